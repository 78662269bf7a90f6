"""The form of Market-1501 and its successors: a folder for each role; file names with identity and camera."""

import re
from pathlib import Path

from cuhs.raw.layouts.listing import named_images, require_folders, require_images
from cuhs.raw.records import RawImage, Split

FOLDERS: dict[str, Split] = {"bounding_box_train": "train", "bounding_box_test": "gallery", "query": "query"}


def read_folders(root: Path, layout: str, name: re.Pattern[str], example: str) -> list[RawImage]:
    """List all images of the three folders with their published roles, sorted by path.

    Args:
        root: folder with the three folders.
        layout: name of the layout, for errors.
        name: matches an image's name without extension; group 1 is the identity, group 2 the camera.
        example: file name of this layout, for errors.

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or one of them has no image with a name of this layout.
    """
    require_folders(root, layout, tuple(FOLDERS))
    found = {folder: named_images(root, root / folder, name) for folder in FOLDERS}
    require_images(root, layout, found, example)
    return sorted(
        RawImage(path, int(match[1]), int(match[2]), FOLDERS[folder])
        for folder, images in found.items()
        for path, match in images
    )
