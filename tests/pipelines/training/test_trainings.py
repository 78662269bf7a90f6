from pathlib import Path

import numpy as np
import pytest

from cuhs.data.dataset import PersonImages
from cuhs.errors import CuhsError
from pipelines.base import params
from pipelines.training.trainings import boxed_split

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def images(tiny_dataset: Path) -> PersonImages:
    found = PersonImages(tiny_dataset, "train", 64, 32)
    found.boxes = np.tile(np.float32([0.1, 0.0, 0.9, 0.3]), (len(found), 1))
    found.box_origins = np.array(["annotation", "fixed"] * (len(found) // 2))
    return found


def test_the_localiser_is_not_judged_by_boxes_that_were_put_at_a_fixed_place(images: PersonImages) -> None:
    trained, held = boxed_split(images, params.load(PARAMS))
    assert set(images.box_origins[held]) == {"annotation"}
    assert set(images.box_origins[trained]) == {"annotation", "fixed"}
    assert not set(images.pids[held]) & set(images.pids[trained])


def test_where_all_boxes_are_fixed_they_are_what_there_is_to_judge_by(images: PersonImages) -> None:
    images.box_origins[:] = "fixed"
    assert len(boxed_split(images, params.load(PARAMS))[1])


def test_without_boxes_one_line_says_what_to_give(images: PersonImages) -> None:
    images.boxes[:] = np.nan
    with pytest.raises(CuhsError, match=r"0 training images of \S+ have a head-shoulder box; give a `boxes` file"):
        boxed_split(images, params.load(PARAMS))
