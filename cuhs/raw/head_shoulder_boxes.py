"""Head-shoulder boxes: read from annotation files in pixels or as shares of the image, converted to [0, 1]."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from cuhs.csv_files import read_csv
from cuhs.errors import CuhsError
from cuhs.raw.records import composed

Box = tuple[float, float, float, float]
Unit = Literal["pixels", "fraction"]

CORNERS = ("x1", "y1", "x2", "y2")
# Detectors let boxes hang over the image's edge a little.
LARGEST_FRACTION = 1.1

# Origins of a box, in order of precedence: a file of boxes, a file of key points, a key point detector, and the same
# upper part of every image.
ORIGINS = ("annotation", "keypoints", "detected", "fixed")


@dataclass(frozen=True)
class RawBoxes:
    """Boxes of a source as its annotation files give them.

    Attributes:
        by_path: image path relative to the source's folder → x1 y1 x2 y2 of the upright image, in ``unit``.
        unmatched: values of ``file`` that name no image of the source.
        estimated: paths whose boxes were computed from key points, in pixels; all others are annotated.
        unit: unit of the annotated boxes: pixels, or fractions of the image's width and height.
    """

    by_path: dict[str, Box] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    estimated: frozenset[str] = frozenset()
    unit: Unit = "pixels"

    def origin(self, path: str) -> str:
        """Return ``annotation`` or ``keypoints`` for an image that has a box."""
        return "keypoints" if path in self.estimated else "annotation"

    def with_estimates(self, estimates: "RawBoxes") -> "RawBoxes":
        """Add boxes computed from key points, for the images that have none here."""
        return RawBoxes(
            {**estimates.by_path, **self.by_path},
            self.unmatched + estimates.unmatched,
            frozenset(estimates.by_path.keys() - self.by_path.keys()),
            self.unit,
        )

    def normalised(self, path: str, width: int, height: int) -> Box | None:
        """Return an image's box in [0, 1], clipped to the image of this size in pixels; None if nothing remains."""
        return normalise(self.by_path[path], *self._size(path, width, height))

    def reach(self, path: str, width: int, height: int) -> float:
        """Return how far right or down an image's box goes, as a share of its width or height."""
        across, down = self._size(path, width, height)
        return max(self.by_path[path][2] / across, self.by_path[path][3] / down)

    def _size(self, path: str, width: int, height: int) -> tuple[int, int]:
        """Width and height in the unit of the image's box."""
        return (1, 1) if self.unit == "fraction" and path not in self.estimated else (width, height)


def fixed_box() -> Box:
    """Return the upper third of the image, the "fixed head-shoulder region" of Table 7."""
    return (0.0, 0.0, 1.0, 1 / 3)


def read_boxes(path: Path, images: Iterable[str]) -> RawBoxes:
    """Read an annotation file with the columns ``file,x1,y1,x2,y2`` and possibly ``unit``.

    Args:
        path: the CSV file. ``file`` is a path relative to the source's folder, or a bare file name that occurs
            only once in the source. ``unit`` is ``pixels`` or, for numbers in [0, 1], ``fraction``, the same in all
            rows; without this column numbers are pixels.
        images: paths of the source's images.

    Raises:
        CuhsError: the file is missing or has other columns; a value is not a number, a box has no area, or the
            numbers contradict the unit; a name is ambiguous or occurs twice (the message names file and row); or no
            row names an image of the source.
    """
    rows = read_csv(path, ("file", *CORNERS), optional=("unit",))
    entries = [(f"row {row}", record["file"], _numbers(record, f"{path}, row {row}")) for row, record in rows]
    unit = _unit(path, rows)
    _check_unit(path, unit, entries)
    return replace(gather(path, entries, images), unit=unit)


def gather(path: Path, entries: Iterable[tuple[str, str, Box | None]], images: Iterable[str]) -> RawBoxes:
    """Match the entries of an annotation file to images.

    Args:
        path: the annotation file.
        entries: for each entry its place in the file, its image (a path relative to the source's folder, or a bare
            file name that occurs only once in the source), and its box or None.
        images: paths of the source's images.

    Raises:
        CuhsError: a name is ambiguous or occurs twice, or no entry names an image of the source.
    """
    paths = {composed(image): image for image in sorted(images)} | {image: image for image in images}
    by_name: dict[str, list[str]] = defaultdict(list)
    for image in sorted(set(paths.values())):
        by_name[composed(image).rpartition("/")[2]].append(image)
    boxes, found = RawBoxes(), set()
    for place, written, box in entries:
        name = written.replace("\\", "/")
        whole = paths.get(name) or paths.get(composed(name))
        matches = [whole] if whole else by_name.get(composed(name), [])
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
        raise CuhsError(
            f"{path}: no row names an image of the source, whose paths look like {example}; the first row names "
            f"{min(boxes.unmatched[:1], default='nothing')}"
        )
    return boxes


def normalise(box: Box, width: int, height: int) -> Box | None:
    """Clip a box in pixels to the image and divide it by the image's size; None if nothing remains."""
    x1, x2 = (min(max(x / width, 0.0), 1.0) for x in (box[0], box[2]))
    y1, y2 = (min(max(y / height, 0.0), 1.0) for y in (box[1], box[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _numbers(record: dict[str, str], where: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(record[key]) for key in CORNERS)
    except ValueError as error:
        raise CuhsError(f"{where}: {error}; x1, y1, x2, y2 are numbers") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x1 >= x2 or y1 >= y2:
        raise CuhsError(f"{where}: box {x1:g},{y1:g},{x2:g},{y2:g} is empty; x1 < x2 and y1 < y2 are needed")
    return (x1, y1, x2, y2)


def _unit(path: Path, rows: list[tuple[int, dict[str, str]]]) -> Unit:
    units = {record.get("unit", "pixels"): row for row, record in rows}
    for unit, row in units.items():
        if unit not in get_args(Unit):
            raise CuhsError(f"{path}, row {row}: unit {unit!r} is not one of {', '.join(get_args(Unit))}")
    if len(units) > 1:
        raise CuhsError(f"{path}: some rows are in pixels and some are fractions; give all in one unit")
    return "fraction" if "fraction" in units else "pixels"


def _check_unit(path: Path, unit: Unit, entries: list[tuple[str, str, Box]]) -> None:
    if unit == "pixels" and entries and max(max(box) for _, _, box in entries) <= 1:
        raise CuhsError(
            f"{path}: no number is above 1, so these are no pixels; add a column unit that says fraction in each row"
        )
    for place, _, box in entries:
        if unit == "fraction" and max(box) > LARGEST_FRACTION:
            raise CuhsError(
                f"{path}, {place}: {max(box):g} is no fraction of an image; divide by its width or height, or say "
                "pixels in the column unit"
            )
