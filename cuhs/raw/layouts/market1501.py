"""Market-1501 (Zheng et al., ICCV 2015), and datasets released with the same names."""

import re
from pathlib import Path

from cuhs.raw.layouts.market_form import read_folders
from cuhs.raw.records import RawImage

# Identity, camera and sequence, frame, box; some copies have the extension twice. Other datasets in this form have no
# sequence, and one running number, such as MSMT17 as toolboxes convert it.
NAME = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+)?_\d+(?:_\d+)*(?:\.jpg)?")


def read(root: Path) -> list[RawImage]:
    """List all images of the three folders with their published roles, sorted by path.

    ``bounding_box_test`` also holds distractors (pid 0) and junk (pid -1).

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or one has no image with a name of this layout.
    """
    return read_folders(root, "market1501", NAME, "0002_c1s1_000451_03.jpg")
