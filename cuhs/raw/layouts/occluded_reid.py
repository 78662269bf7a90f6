"""Occluded-REID (Zhuo et al., ICME 2018): 200 identities, five occluded and five whole images each."""

from pathlib import Path

from cuhs.raw.layouts.bodies import read_bodies
from cuhs.raw.records import RawImage


def read(root: Path) -> list[RawImage]:
    """List all images, such as ``occluded_body_images/001/001_01.tif``, sorted by path.

    Raises:
        CuhsError: a folder is missing, or has no image with a name of this layout.
    """
    return read_bodies(root, "occluded_reid", ("occluded_body_images",))
