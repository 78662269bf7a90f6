"""The layout of Occluded-REID and Partial-REID: a folder for each kind of body image.

Neither dataset has camera labels. Here whole-body images are from camera 1, occluded and partial ones from camera 2.
All identities follow the published protocol: occluded and partial images query the whole-body gallery.
"""

import re
from pathlib import Path

from cuhs.raw.layouts.listing import entries, named_images, require_folders, require_images
from cuhs.raw.records import RawImage

WHOLE = "whole_body_images"

NAME = re.compile(r"(\d+)_(\d+)")


def read_bodies(root: Path, layout: str, query_folders: tuple[str, ...]) -> list[RawImage]:
    """List the images of the whole-body folder (gallery) and of ``query_folders`` (query), sorted by path.

    Images are in the folder itself, or one level deeper in a folder for each identity.

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or one of them has no image with a name of this layout.
    """
    folders = (*query_folders, WHOLE)
    require_folders(root, layout, folders)
    found = {
        folder: [
            named
            for holder in (root / folder, *entries(root / folder)[0])
            for named in named_images(root, holder, NAME)
        ]
        for folder in folders
    }
    require_images(root, layout, found, "001_001.jpg")
    whole = [RawImage(path, int(match[1]), 1, "gallery") for path, match in found[WHOLE]]
    parts = [RawImage(path, int(match[1]), 2, "query") for folder in query_folders for path, match in found[folder]]
    return sorted(whole + parts)
