import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuhs.build.unusual_boxes import FEWEST, unusual

REAL = os.environ.get("CUHS_REAL_DATA")
real = pytest.mark.skipif(not REAL, reason="CUHS_REAL_DATA names no folder of real images")


def usual(count: int, seed: int = 0) -> np.ndarray:
    """Boxes around 0.2, 0, 0.8, 0.3."""
    return np.array([0.2, 0.0, 0.8, 0.3]) + np.random.default_rng(seed).normal(0, 0.01, (count, 4)).clip(-0.03, 0.03)


# Three tenths off each side, 55 % of the height.
HEAD_ONLY = np.array([[0.7, 0, 0.3, 0], [0, 1, 0, 0], [0.3, 0, 0.7, 0], [0, 0.45, 0, 0.55]])

# What annotations are wrong in: files made for images of another size, other people in the crop, whole bodies.
ERRORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half the size": lambda box: box / 2,
    "twice the size": lambda box: box * 2,
    "the whole body": lambda box: np.array([box[0], box[1], box[2], 0.97]),
    "the waist": lambda box: box + np.array([0, 0.3, 0, 0.3]),
    "the head only": lambda box: HEAD_ONLY @ box,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_made_up_errors_are_found_among_usual_boxes(kind: str) -> None:
    boxes = usual(200)
    for row in (3, 77, 150):
        boxes[row] = ERRORS[kind](boxes[row]).clip(0, 1)
    assert list(unusual(boxes)) == [3, 77, 150]


def test_errors_in_a_third_of_the_boxes_do_not_hide_each_other() -> None:
    boxes = usual(90)
    boxes[:30] = [0.2, 0.0, 0.8, 0.97]
    assert list(unusual(boxes)) == list(range(30))


def test_the_reason_names_the_measure_and_what_is_usual() -> None:
    boxes = np.tile([0.2, 0.0, 0.8, 0.3], (50, 1))
    boxes[7] = [0.25, 0.0, 0.8, 0.95]
    boxes[9] = [0.2, 0.55, 0.8, 0.85]
    assert unusual(boxes) == {
        7: "bottom 0.95, most have 0.30 to 0.30",
        9: "top 0.55, most have 0.00 to 0.00",
    }


def test_where_all_agree_to_the_pixel_a_slightly_different_box_is_no_error() -> None:
    boxes = np.tile([0.2, 0.0, 0.8, 0.3], (50, 1))
    boxes[7] = [0.15, 0.02, 0.83, 0.33]
    assert unusual(boxes) == {}


def test_few_boxes_have_nothing_to_be_compared_with() -> None:
    boxes = usual(FEWEST)
    boxes[0] = [0.2, 0.0, 0.8, 0.97]
    assert list(unusual(boxes)) == [0]
    assert unusual(boxes[:-1]) == {}
    assert unusual(np.empty((0, 4))) == {}


@real
@pytest.mark.parametrize(
    ("source", "folder", "named"), [("cuhk03", "cuhk03/images_labeled", 44), ("partial_reid", "partial_reid", 8)]
)
def test_errors_among_annotated_boxes_are_found(source: str, folder: str, named: int) -> None:
    boxes = annotated(source, folder)
    # Of the annotations as they are, one in 65 or fewer is named.
    assert len(unusual(boxes)) == named
    rng = np.random.default_rng(0)
    for kind, error in ERRORS.items():
        wrong = rng.choice(len(boxes), len(boxes) // 20, replace=False)
        changed = boxes.copy()
        changed[wrong] = [error(box).clip(0, 1) for box in boxes[wrong]]
        found = unusual(changed)
        assert np.mean([row in found for row in wrong]) > 0.9, kind
        assert len(found.keys() - set(wrong)) <= 1.3 * named, kind


def annotated(source: str, folder: str) -> np.ndarray:
    root = Path(REAL or "")
    with (root / f"annotations/{source}_head_shoulder.csv").open() as file:
        rows = list(csv.DictReader(file))
    sizes = []
    for row in rows:
        with Image.open(root / folder / row["file"]) as image:
            sizes.append(image.size * 2)
    return np.array([[float(row[key]) for key in ("x1", "y1", "x2", "y2")] for row in rows]) / sizes
