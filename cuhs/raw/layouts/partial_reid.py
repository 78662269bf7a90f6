"""Partial-REID (Zheng et al., ICCV 2015): 60 people, five occluded, five partial, five whole images each."""

from pathlib import Path

from cuhs.raw.layouts.bodies import read_bodies
from cuhs.raw.records import RawImage


def read(root: Path) -> list[RawImage]:
    """List all images, such as ``partial_body_images/001_001.jpg``, sorted by path.

    Raises:
        CuhsError: a folder is missing, or has no image with a name of this layout.
    """
    return read_bodies(root, "partial_reid", ("occluded_body_images", "partial_body_images"))
