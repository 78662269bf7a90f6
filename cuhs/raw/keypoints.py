"""Head-shoulder boxes computed from body key points: files in COCO's form, and the 14 points of Market-1501.

The rule: let s be the height from the top of the head to the middle of the shoulders, and d the horizontal distance
between the shoulders. The box starts at the top of the head, ends 0.27 s below the shoulders, and is 0.8 s + 0.6 d
wide. A person seen from the side (d near 0) thus has a box about three fifths as wide as high. Horizontally, the box
is centred on the shoulders, moved a sixth of the way towards the head.

COCO has no point for the top of the head. It is placed above the mean of nose, eyes and ears, 1.2 times as far as the
shoulders are below that mean. Market-1501's highest point is on the skull, s/11 below the top of the hair.

The constants are fitted to the annotated boxes of CUHK03, camera pair 1 (docs/results.md has the agreement). The one
for Market-1501's points is fitted to the height of these boxes as a share of a person's height, 0.28.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from cuhs.errors import CuhsError
from cuhs.raw.head_shoulder_boxes import Box, RawBoxes, gather

BELOW_SHOULDERS = 0.27
WIDTH_BY_HEIGHT, WIDTH_BY_SHOULDERS = 0.8, 0.6
TOWARDS_HEAD = 1 / 6
ABOVE_FACE = 1.2
ABOVE_SKULL = 0.1

# COCO: 17 points; nose, eyes and ears come first, then the shoulders.
_FACE, _COCO_SHOULDERS = slice(0, 5), slice(5, 7)
# Points with this confidence or more count; so do COCO's visibilities 1 (hidden but annotated) and 2.
CONFIDENT = 0.3

# Market-1501: top of the head, neck, one arm from the shoulder, the other arm, one leg from the hip, the other leg.
_SKULL, _MARKET_SHOULDERS = 0, [2, 5]
# Values in one of its files; a few bytes may stand for many.
LARGEST = 10_000_000
MARKET_FILES = {
    "bounding_box_train": "market1501_14point_train.mat",
    "query": "market1501_14point_query.mat",
    "bounding_box_test": "market1501_14point_gallery.mat",
}


def box_of(top: Sequence[float], shoulders: np.ndarray) -> Box | None:
    """Compute a box by the rule of this module.

    Args:
        top: x and y of the top of the head, in pixels.
        shoulders: (2, 2) x and y of both shoulders, in pixels.

    Returns:
        x1 y1 x2 y2 in pixels; None if the points are not of an upright body: the shoulders are not below the head,
        or farther apart than 2.5 s, or the head is farther to the side than s.
    """
    middle = shoulders.mean(axis=0)
    height = middle[1] - top[1]
    distance = abs(shoulders[0, 0] - shoulders[1, 0])
    if height <= 0 or distance > 2.5 * height or abs(middle[0] - top[0]) > height:
        return None
    half = (WIDTH_BY_HEIGHT * height + WIDTH_BY_SHOULDERS * distance) / 2
    centre = middle[0] + TOWARDS_HEAD * (top[0] - middle[0])
    bottom = middle[1] + BELOW_SHOULDERS * height
    return (float(centre - half), float(top[1]), float(centre + half), float(bottom))


def coco_box(points: np.ndarray) -> Box | None:
    """Compute the box of a person from COCO's 17 points.

    Args:
        points: (17, 3) x, y in pixels and visibility or confidence.

    Returns:
        x1 y1 x2 y2 in pixels; None without both shoulders and a point of the face, or if the body is not upright
        (see :func:`box_of`).
    """
    seen = points[:, 2] >= CONFIDENT
    if not seen[_COCO_SHOULDERS].all() or not seen[_FACE].any():
        return None
    face = points[_FACE][seen[_FACE], :2].mean(axis=0)
    shoulders = points[_COCO_SHOULDERS, :2]
    return box_of((face[0], face[1] - ABOVE_FACE * (shoulders[:, 1].mean() - face[1])), shoulders)


def market_box(points: np.ndarray) -> Box | None:
    """Compute the box of a person from Market-1501's 14 points, (14, 2) in pixels; None as in :func:`box_of`."""
    skull, shoulders = points[_SKULL], points[_MARKET_SHOULDERS]
    return box_of((skull[0], skull[1] - ABOVE_SKULL * (shoulders[:, 1].mean() - skull[1])), shoulders)


class _Image(BaseModel):
    id: int | str
    file_name: str


class _Person(BaseModel):
    image_id: int | str
    keypoints: Annotated[list[FiniteFloat], Field(min_length=51, max_length=51)]
    score: FiniteFloat = 0.0

    def points(self) -> np.ndarray:
        return np.reshape(self.keypoints, (17, 3))

    def rank(self) -> tuple[float, int, float]:
        """Sort key: the person of a crop has the highest score, then the most points, then the largest extent."""
        points = self.points()
        seen = points[points[:, 2] >= CONFIDENT]
        return self.score, len(seen), float(np.prod(np.ptp(seen[:, :2], axis=0))) if len(seen) else 0.0


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Person]


def read_coco_boxes(path: Path, images: Iterable[str]) -> RawBoxes:
    """Read boxes from a file in COCO's form for human key points (``person_keypoints_*.json``).

    Args:
        path: the JSON file. ``file_name`` of its images is a path relative to the source's folder, or a bare
            file name that occurs only once in the source. An estimator may add a ``score`` to a person. If an
            image has several people, the highest score counts, then the most points, then the largest extent.
        images: paths of the source's images. Images without a usable person have no box.

    Raises:
        CuhsError: the file is missing or not of this form, its numbers are no pixels, an annotation belongs to no
            image, a name is ambiguous or occurs twice, or no name is that of an image of the source.
    """
    if not path.is_file():
        raise CuhsError(f"{path}: {'not a file' if path.exists() else 'no such annotation file'}")
    try:
        content = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CuhsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CuhsError(f"{path}: not COCO's person_keypoints form ({place}: {first['msg']})") from error
    people: dict[int | str, list[_Person]] = defaultdict(list)
    for person in content.annotations:
        people[person.image_id].append(person)
    unknown = people.keys() - {image.id for image in content.images}
    if unknown:
        example = min(map(str, unknown))
        raise CuhsError(f"{path}: annotations have image_id {example}, which is not among the file's images")
    seen = [place for person in content.annotations for x, y, v in person.points() if v for place in (x, y)]
    if seen and max(seen) <= 1:
        raise CuhsError(
            f"{path}: no number is above 1, so these are no pixels; multiply them by the image's width and height"
        )
    best = {image: max(found, key=_Person.rank) for image, found in people.items()}
    entries = (
        (f"image {image.id}", image.file_name, coco_box(best[image.id].points()) if image.id in best else None)
        for image in content.images
    )
    return gather(path, entries, images)


def read_market_boxes(folder: Path, images: Iterable[str]) -> RawBoxes:
    """Read boxes from the key points published for Market-1501 (Z. Zheng, 2016, MIT licence).

    A file's rows follow the sorted names of its folder's images. The points come from an estimator, without
    confidence. Points that do not form an upright body give no box: 1 in 15 training images, and 1 in 6 of the
    gallery, which contains bad detections on purpose. Check the other boxes with
    :func:`cuhs.build.unusual_boxes.unusual`.

    Args:
        folder: folder with the files of :data:`MARKET_FILES`.
        images: paths of the source's images, including all images of the three folders.

    Raises:
        CuhsError: a file is missing or not as published, or its number of rows differs from its folder's images.
    """
    names = defaultdict(list)
    for image in sorted(images):
        names[image.rpartition("/")[0]].append(image)
    boxes = RawBoxes()
    for subfolder, file in MARKET_FILES.items():
        points = _read_points(folder / file)
        found = names[subfolder]
        if len(points) != len(found):
            raise CuhsError(
                f"{folder / file}: {len(points)} rows, but {subfolder}/ has {len(found)} images; "
                "rows follow the sorted names of the published images, so all of them are needed"
            )
        for image, row in zip(found, points, strict=True):
            box = market_box(row)
            if box:
                boxes.by_path[image] = box
    return boxes


def _read_points(path: Path) -> np.ndarray:
    """Read (N, 14, 2) x and y in pixels, counted from the image's left and upper edge."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file["pp"].size > LARGEST:
                raise ValueError(f"{file['pp'].size:,} values")
            columns = np.asarray(file["pp"], dtype=float)
    except FileNotFoundError as error:
        raise CuhsError(f"{path}: no such annotation file") from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CuhsError(f"{path}: not Market-1501's key points as published; copy it again") from error
    if columns.ndim != 2 or columns.shape[1] != 28 or not math.isfinite(columns.sum()):
        raise CuhsError(f"{path}: not Market-1501's key points as published; copy it again")
    # MATLAB counts pixels from 1, and the middle of the first pixel is at 0.5.
    return columns.reshape(-1, 2, 14).transpose(0, 2, 1) - 0.5
