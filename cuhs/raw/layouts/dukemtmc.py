"""DukeMTMC-reID (Ristani et al., ECCV workshops 2016; Zheng et al., ICCV 2017), and Occluded-Duke (same names)."""

import re
from pathlib import Path

from cuhs.raw.layouts.market_form import read_folders
from cuhs.raw.records import RawImage

# Identity, camera, frame.
NAME = re.compile(r"(\d+)_c(\d+)_f\d+")


def read(root: Path) -> list[RawImage]:
    """List all images of the three folders with their published roles, sorted by path.

    The 408 identities seen by one camera only are distractors. They are in ``bounding_box_test`` under numbers of
    their own, so they are gallery identities without a query.

    Raises:
        CuhsError: ``root`` or one of the folders is missing, or one has no image with a name of this layout.
    """
    return read_folders(root, "dukemtmc", NAME, "0001_c2_f0046182.jpg")
