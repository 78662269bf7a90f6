"""Head-shoulder boxes: read from annotation files in pixels, converted to [0, 1]."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cuhs.csv_files import read_csv
from cuhs.errors import CuhsError

Box = tuple[float, float, float, float]

# Origins of a box, in order of precedence: a file of boxes, a file of key points, a key point detector, and the same
# upper part of every image.
ORIGINS = ("annotation", "keypoints", "detected", "fixed")


@dataclass(frozen=True)
class PixelBoxes:
    """Boxes of a source, in pixels, from its annotation files.

    Attributes:
        by_path: image path relative to the source's folder → x1 y1 x2 y2 in pixels of the upright image.
        unmatched: values of ``file`` that name no image of the source.
        estimated: paths whose boxes were computed from key points; all others are annotated.
    """

    by_path: dict[str, Box] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    estimated: frozenset[str] = frozenset()

    def origin(self, path: str) -> str:
        """Return ``annotation`` or ``keypoints`` for an image that has a box."""
        return "keypoints" if path in self.estimated else "annotation"

    def with_estimates(self, estimates: "PixelBoxes") -> "PixelBoxes":
        """Add boxes computed from key points, for the images that have none here."""
        return PixelBoxes(
            {**estimates.by_path, **self.by_path},
            self.unmatched + estimates.unmatched,
            frozenset(estimates.by_path.keys() - self.by_path.keys()),
        )


def fixed_box() -> Box:
    """Return the upper third of the image, the "fixed head-shoulder region" of Table 7."""
    return (0.0, 0.0, 1.0, 1 / 3)


def read_boxes(path: Path, images: Iterable[str]) -> PixelBoxes:
    """Read an annotation file with the columns ``file,x1,y1,x2,y2``.

    Args:
        path: the CSV file. ``file`` is a path relative to the source's folder, or a bare file name that occurs
            only once in the source; numbers are pixels.
        images: paths of the source's images.

    Raises:
        CuhsError: the file is missing or has other columns; a value is not a number, or a box has no area; a name
            is ambiguous or occurs twice (the message names file and row); or no row names an image of the source.
    """
    rows = read_csv(path, ("file", "x1", "y1", "x2", "y2"))
    places = ((f"row {row}", record) for row, record in rows)
    return gather(
        path, ((place, record["file"], _numbers(record, f"{path}, {place}")) for place, record in places), images
    )


def gather(path: Path, entries: Iterable[tuple[str, str, Box | None]], images: Iterable[str]) -> PixelBoxes:
    """Match the entries of an annotation file to images.

    Args:
        path: the annotation file.
        entries: for each entry its place in the file, its image (a path relative to the source's folder, or a bare
            file name that occurs only once in the source), and its box or None.
        images: paths of the source's images.

    Raises:
        CuhsError: a name is ambiguous or occurs twice, or no entry names an image of the source.
    """
    paths = set(images)
    by_name: dict[str, list[str]] = defaultdict(list)
    for image in sorted(paths):
        by_name[image.rpartition("/")[2]].append(image)
    boxes, found = PixelBoxes(), set()
    for place, written, box in entries:
        name = written.replace("\\", "/")
        matches = [name] if name in paths else by_name.get(name, [])
        if len(matches) > 1:
            raise CuhsError(f"{path}, {place}: {name} may be {matches[0]} or {matches[1]}; give the folder, too")
        if not matches:
            boxes.unmatched.append(name)
            continue
        if matches[0] in found:
            raise CuhsError(f"{path}, {place}: {name} has a box already; keep one row for it")
        found.add(matches[0])
        if box:
            boxes.by_path[matches[0]] = box
    if not found:
        example = min(paths, default="nothing")
        raise CuhsError(f"{path}: no row names an image of the source, whose paths look like {example}")
    return boxes


def _numbers(record: dict[str, str], where: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(record[key]) for key in ("x1", "y1", "x2", "y2"))
    except ValueError as error:
        raise CuhsError(f"{where}: {error}; x1, y1, x2, y2 are pixels") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x1 >= x2 or y1 >= y2:
        raise CuhsError(f"{where}: box {x1:g},{y1:g},{x2:g},{y2:g} is empty; x1 < x2 and y1 < y2 are needed")
    return (x1, y1, x2, y2)


def normalise(box: Box, width: int, height: int) -> Box | None:
    """Clip a box in pixels to the image and divide it by the image's size; None if nothing remains."""
    x1, x2 = (min(max(x / width, 0.0), 1.0) for x in (box[0], box[2]))
    y1, y2 = (min(max(y / height, 0.0), 1.0) for y in (box[1], box[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None
