"""The form that Market-1501 gave to datasets: a folder for each role, identity and camera in the file name."""

import re
from pathlib import Path

from cuhs.raw.layouts.listing import named_images, nothing_found, require_folders
from cuhs.raw.records import RawImage, Split

FOLDERS: dict[str, Split] = {"bounding_box_train": "train", "bounding_box_test": "gallery", "query": "query"}


def read_folders(root: Path, layout: str, name: re.Pattern[str], example: str) -> list[RawImage]:
    """All images of the three folders with their published roles, sorted by path.

    Args:
        root: the folder that holds the three.
        layout: as errors name it.
        name: matches an image's name without extension; the first group is the identity, the second the camera.
        example: a file name of this layout, for errors.

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or no image has a name of this layout.
    """
    require_folders(root, layout, tuple(FOLDERS))
    images = [
        RawImage(path, int(match[1]), int(match[2]), split)
        for folder, split in FOLDERS.items()
        for path, match in named_images(root, root / folder, name)
    ]
    if not images:
        raise nothing_found(root, layout, tuple(FOLDERS), example)
    return sorted(images)
