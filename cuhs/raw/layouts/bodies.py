"""The layout of Occluded-REID and Partial-REID: a folder for each kind of body image.

Neither dataset has camera labels. Here whole-body images are from camera 1, occluded and partial ones from camera 2.
All identities follow the published protocol: occluded and partial images query the whole-body gallery.
"""

import re
from pathlib import Path

from cuhs.raw.layouts.listing import entries, named_images, nothing_found, require_folders
from cuhs.raw.records import RawImage

WHOLE = "whole_body_images"

NAME = re.compile(r"(\d+)_(\d+)")


def read_bodies(root: Path, layout: str, query_folders: tuple[str, ...]) -> list[RawImage]:
    """List the images of the whole-body folder (gallery) and of ``query_folders`` (query), sorted by path.

    Images are in the folder itself, or one level deeper in a folder for each identity.

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or no image has a name of this layout.
    """
    folders = (*query_folders, WHOLE)
    require_folders(root, layout, folders)
    images = []
    for folder in folders:
        for holder in (root / folder, *entries(root / folder)[0]):
            for path, match in named_images(root, holder, NAME):
                if folder == WHOLE:
                    images.append(RawImage(path, int(match[1]), 1, "gallery"))
                else:
                    images.append(RawImage(path, int(match[1]), 2, "query"))
    if not images:
        raise nothing_found(root, layout, folders, "001_001.jpg")
    return sorted(images)
