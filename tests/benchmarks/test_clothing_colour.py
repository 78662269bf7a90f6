"""Cross-validation of the colour classifier: nobody is asked about whom it was fitted to."""

import numpy as np
import pytest
import torch

from benchmarks import clothing_colour
from benchmarks.clothing_colour import FOLDS, Fold, Labelled, fold_says, folds, together
from benchmarks.torso_training import Task
from cuhs.build.colours.network import HEIGHT, WIDTH, TorsoNetwork, fitted
from cuhs.raw.labels import COLOURS

WORN = {pid: COLOURS[pid % 3] for pid in range(30)}
SHADES = {"black": 20, "white": 220, "other": 110}


@pytest.fixture
def source() -> Labelled:
    """Thirty people, an image in each of two cameras; the first pixel of a cut is the identity."""
    rng = np.random.default_rng(0)
    pids = [pid for pid in WORN for _ in range(2)]
    features = np.array([rng.normal(SHADES[WORN[pid]], 15, 1032) for pid in pids]).clip(0, 255).astype(np.uint8)
    features[:, -384:] = rng.integers(0, 256, (len(pids), 384))
    cuts = np.array([np.full((HEIGHT, WIDTH, 3), pid, dtype=np.uint8) for pid in pids])
    return Labelled(features, cuts, pids, [0, 1] * len(WORN), WORN)


def test_neither_half_is_fitted_to_those_who_are_held_out(source: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every torso is the number of its person.
    source.__dict__["torsos"] = torch.from_numpy(source.cuts).permute(0, 3, 1, 2)
    tasks: list[Task] = []

    def trained(task: Task) -> TorsoNetwork:
        tasks.append(task)
        return fitted()

    monkeypatch.setattr(clothing_colour, "trained", trained)
    people = np.array(list(WORN))
    fold_of = folds(source.worn_by(people), 0)
    said = []
    for fold in range(FOLDS):
        held_out = set(people[fold_of == fold].tolist())
        everybody, in_white = fold_says(Fold([source, source.only("white")], held_out, "none", 0))
        shown = set(tasks[-1].torsos[:, 0, 0, 0].tolist())
        assert shown == set(WORN) - held_out
        assert [COLOURS[k] for k in tasks[-1].labels] == [WORN[int(pid)] for pid in tasks[-1].torsos[:, 0, 0, 0]]
        assert len(everybody.colours) == len(everybody.measured) == len(everybody.seen) == len(held_out)
        assert in_white.colours.tolist() == ["white"] * sum(WORN[pid] == "white" for pid in held_out)
        said.append(everybody)
    everybody = together(said)
    assert sorted(everybody.colours) == sorted(WORN.values())
    right = np.array(COLOURS)[everybody.measured.argmax(axis=1)] == everybody.colours
    assert right.mean() > 0.9
    np.testing.assert_allclose(everybody.joined, (everybody.measured + everybody.seen) / 2)


def test_a_fold_may_hold_nobody_of_a_colour(source: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clothing_colour, "trained", lambda task: fitted())
    everybody, in_white = fold_says(Fold([source, source.only("white")], {0, 3}, "none", 0))
    assert everybody.colours.tolist() == ["black", "black"]
    assert in_white.seen.shape == in_white.measured.shape == (0, 3)
