"""Identities set aside to judge parameters on."""

import numpy as np
import pytest

from cuhs.data.held_out import hold_out
from cuhs.errors import CuhsError


def people(count: int, cameras: int = 2, images: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rows = [(f"made/{i:04d}", f"made/{c}") for i in range(count) for c in range(cameras) for _ in range(images)]
    pids, camids = zip(*rows, strict=True)
    return np.array(pids), np.array(camids)


def test_identities_are_on_one_side_only_and_each_camera_asks_once() -> None:
    pids, camids = people(40)
    trained, queries, gallery = hold_out(pids, camids, 0.25, seed=0)
    assert set(pids[trained]).isdisjoint(pids[gallery])
    assert len(trained) + len(gallery) == len(pids)
    assert len(set(pids[gallery])) == 10
    asked = list(zip(pids[queries], camids[queries], strict=True))
    assert len(asked) == len(set(asked)) == 20
    assert set(queries) <= set(gallery)


def test_people_of_one_camera_are_trained_on() -> None:
    pids, camids = people(20)
    camids[pids == "made/0003"] = "made/0"
    for seed in range(5):
        trained, _, gallery = hold_out(pids, camids, 0.5, seed)
        assert "made/0003" in pids[trained] and "made/0003" not in pids[gallery]


def test_another_person_moves_nobody_far() -> None:
    pids, camids = people(40)
    more_pids, more_camids = people(41)
    before = set(pids[hold_out(pids, camids, 0.25, seed=0)[2]])
    after = set(more_pids[hold_out(more_pids, more_camids, 0.25, seed=0)[2]])
    assert len(before ^ after) <= 2
    assert before != set(pids[hold_out(pids, camids, 0.25, seed=1)[2]])


@pytest.mark.parametrize(("count", "share"), [(3, 0.9), (2, 0.5)])
def test_too_few_people_are_an_error(count: int, share: float) -> None:
    pids, camids = people(count)
    with pytest.raises(CuhsError, match=r"tune\.held_out"):
        hold_out(pids, camids, share, seed=0)
