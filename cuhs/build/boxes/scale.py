"""Annotated boxes that belong to images of another size, such as full frames or resized copies."""

from collections import defaultdict
from collections.abc import Mapping

from cuhs.build.decode import Finding, Key
from cuhs.errors import CuhsError
from cuhs.raw.sources import Listed

# A box that goes this far right or down, as a share of the image, is outside. Estimates may hang over the edge more.
OUTSIDE = {"annotation": 1.1, "keypoints": 1.5}


def check_scale(listed: Mapping[str, Listed], findings: Mapping[Key, Finding]) -> None:
    """Check that not more than half of a source's boxes of one origin reach outside their images.

    Single ones are clipped, or dropped and listed.

    Args:
        listed: annotations of each source.
        findings: finding of each usable image.

    Raises:
        CuhsError: they do; the message names the source's key and a box.
    """
    reaches: dict[tuple[str, str], list[tuple[str, Finding, float]]] = defaultdict(list)
    for (source, path), finding in findings.items():
        boxes = listed[source].boxes
        if path in boxes.by_path:
            reach = boxes.reach(path, finding.width, finding.height)
            reaches[source, boxes.origin(path)].append((path, finding, reach))
    for (source, origin), held in reaches.items():
        outside = [(path, finding) for path, finding, reach in held if reach > OUTSIDE[origin]]
        if 2 * len(outside) <= len(held):
            continue
        path, finding = outside[0]
        box = ",".join(f"{value:g}" for value in listed[source].boxes.by_path[path])
        raise CuhsError(
            f"data.sources.{source}.{'boxes' if origin == 'annotation' else 'keypoints'}: {len(outside):,} of "
            f"{len(held):,} boxes reach outside their images, such as {box} in {path} of "
            f"{finding.width}×{finding.height} pixels; give boxes of these images, not of frames or resized copies"
        )
