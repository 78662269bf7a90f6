"""The form of Market-1501 and its successors: a folder for each role; file names with identity and camera."""

import re
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.raw.layouts.listing import entries, image_tree, named_images, nothing_found, require_folders
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
    if not any(found.values()):
        raise nothing_found(root, layout, tuple(FOLDERS), example)
    if empty := [folder for folder, images in found.items() if not images]:
        counts = ", ".join(f"{len(images):,} in {folder}/" for folder, images in found.items())
        raise CuhsError(
            f"{root / empty[0]}: no image is named as in the {layout} layout, such as {example} ({counts})"
            f"{_below(root / empty[0])}"
        )
    return sorted(
        RawImage(path, int(match[1]), int(match[2]), FOLDERS[folder])
        for folder, images in found.items()
        for path, match in images
    )


def _below(folder: Path) -> str:
    """Return the end of an error about a folder whose images lie in folders below it."""
    if not (below := image_tree(folder)) or not entries(folder)[0]:
        return ""
    return f"; {len(below):,} images lie in folders below it: move them up, or use layout: pattern"
