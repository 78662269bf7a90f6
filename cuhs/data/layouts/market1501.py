"""Market-1501 (Zheng et al., ICCV 2015) and the datasets released in its form."""

import re
from pathlib import Path

from cuhs.data.layouts.listing import named_images, nothing_found, require_folders
from cuhs.data.records import RawImage, Split

FOLDERS: dict[str, Split] = {"bounding_box_train": "train", "bounding_box_test": "gallery", "query": "query"}

# Identity, camera and sequence, frame, box; some copies carry the extension twice.
NAME = re.compile(r"(-1|\d+)_c(\d+)s\d+_\d+_\d+(?:\.jpg)?")


def read(root: Path) -> list[RawImage]:
    """All images of the three folders with their published roles, sorted by path.

    ``bounding_box_test`` also holds distractors (pid 0) and junk (pid -1).

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or no image has a name of this layout.
    """
    require_folders(root, "market1501", tuple(FOLDERS))
    images = [
        RawImage(path, int(match[1]), int(match[2]), split)
        for folder, split in FOLDERS.items()
        for path, match in named_images(root, root / folder, NAME)
    ]
    if not images:
        raise nothing_found(root, "market1501", tuple(FOLDERS), "0002_c1s1_000451_03.jpg")
    return sorted(images)
