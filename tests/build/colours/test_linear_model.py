import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clothing_colour import FOLDS, folds, labelled, scores, transferred
from cuhs.build.colours import network as torso_network
from cuhs.build.colours.linear_model import DOUBTFUL, ColourModel, by_person, classify, decide, fit, fitted
from cuhs.build.colours.measures import exposures, torso_features
from cuhs.build.colours.network import cut_out, levelled, probabilities
from cuhs.errors import CuhsError
from cuhs.raw.labels import COLOURS

REAL = os.environ.get("CUHS_REAL_DATA")
real = pytest.mark.skipif(not REAL, reason="CUHS_REAL_DATA names no folder of real images")

CLOTHES = {"black": (25, 25, 27), "white": (225, 225, 222), "red": (170, 40, 40), "grey": (120, 120, 120)}


def crop(rng: np.random.Generator, colour: str, gain: float) -> np.ndarray:
    """A street, a head, a top of the colour, and trousers."""
    picture = np.full((128, 48, 3), 110.0)
    picture[:20, :, :] = 210
    picture[4:32, 16:32] = (150, 115, 95)
    picture[32:72, 8:40] = CLOTHES[colour]
    picture[72:, 12:36] = (60, 60, 80)
    noisy = picture + rng.normal(0, 6, picture.shape) + rng.normal(0, 4, (128, 48, 1))
    return (gain * noisy).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class People:
    """Images of made-up people, and what each wears."""

    pictures: np.ndarray
    pids: np.ndarray
    camids: np.ndarray
    worn: dict[int, str]

    def classified(self, rows: Sequence[int] | np.ndarray | slice = np.s_[:]) -> dict[int, tuple[str, float]]:
        """What some of the images tell, in that order."""
        box = (0.1, 0.02, 0.9, 0.3)
        features = np.array([torso_features(picture, box) for picture in self.pictures[rows]])
        camids = self.camids[rows].tolist()
        cuts = np.array([cut_out(picture, box) for picture in self.pictures[rows]])
        seen = probabilities(torso_network.fitted(), levelled(cuts, exposures(features, camids)))
        return dict(classify(features, seen, self.pids[rows].tolist(), camids))


def people(count: int = 12) -> People:
    """``count`` people of each kind of clothes, two images in each of two cameras, one of them dark."""
    rng = np.random.default_rng(0)
    pictures, pids, camids, worn = [], [], [], {}
    for pid, colour in enumerate(sorted(CLOTHES) * count):
        worn[pid] = colour if colour in COLOURS else "other"
        for camera, gain in enumerate((1.0, 0.45)):
            for _ in range(2):
                pictures.append(crop(rng, colour, gain))
                pids.append(pid)
                camids.append(camera)
    return People(np.array(pictures), np.array(pids), np.array(camids), worn)


def test_made_up_people_are_told_apart_under_both_exposures_by_what_comes_with_the_project() -> None:
    made_up = people()
    assert {pid: colour for pid, (colour, _) in made_up.classified().items()} == made_up.worn
    for camera in (0, 1):
        alone = made_up.classified(made_up.camids == camera)
        right = np.mean([alone[pid][0] == colour for pid, colour in made_up.worn.items()])
        assert right > 0.9, camera


def test_the_order_of_the_images_does_not_matter() -> None:
    made_up = people(4)
    shuffled = made_up.classified(np.random.default_rng(1).permutation(len(made_up.pids)))
    for pid, (colour, sure) in made_up.classified().items():
        assert shuffled[pid] == (colour, pytest.approx(sure, abs=1e-5))


def test_a_camera_with_many_images_of_a_person_counts_no_more_than_one_with_few() -> None:
    seen = np.array([[0.0], [0.3], [0.6], [0.9], [0.7]])
    np.testing.assert_allclose(by_person(seen, ["b", "b", "b", "a", "b"], [1, 1, 1, 1, 2]), [[0.5], [0.9]])


def test_no_images_are_nobody() -> None:
    assert classify(np.empty((0, 1032), dtype=np.uint8), np.empty((0, 3)), [], []) == {}


def test_who_is_doubtful_is_left_in_other_with_the_probability_of_that() -> None:
    low = DOUBTFUL - 0.01
    assert decide(np.array([[0.9, 0.0, 0.1], [0.1, 0.6, 0.3], [low, 0.2, 0.8 - low], [0.0, low, 1 - low]])) == [
        ("black", 0.9),
        ("white", 0.6),
        ("other", pytest.approx(0.8 - low)),
        ("other", pytest.approx(1 - low)),
    ]


def test_a_fit_is_deterministic_and_its_file_gives_the_same_decisions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = list(COLOURS) * 40
    measures = rng.normal(0, 1, (120, 5)) + 2 * np.array(
        [[COLOURS.index(colour) == k for k in range(5)] for colour in colours]
    )
    model = fit(measures, colours, "made-up people")
    np.testing.assert_array_equal(fit(measures, colours).weights, model.weights)
    right = np.mean([a == b for (a, _), b in zip(decide(model.probabilities(measures)), colours, strict=True)])
    assert right > 0.8
    model.save(tmp_path / "m.json")
    again = ColourModel.load(tmp_path / "m.json")
    assert again.fitted_to == "made-up people"
    np.testing.assert_allclose(again.probabilities(measures), model.probabilities(measures), atol=2e-3)


@pytest.mark.parametrize("content", ["", "[]", '{"mean": [1]}', '{"mean": [1, "x"]}'])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(CuhsError, match=r"m\.json: not a colour model") as caught:
        ColourModel.load(tmp_path / "m.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(CuhsError, match=r"gone\.json: no such colour model"):
        ColourModel.load(tmp_path / "gone.json")


def test_the_coefficients_that_come_with_the_project_say_where_they_are_from() -> None:
    assert re.fullmatch(r"CUHK03 camera pair 1, 743 identities", fitted().fitted_to)
    assert fitted().weights.shape == (561, 3)


def test_folds_share_out_every_colour_evenly() -> None:
    colours = np.array(["black"] * 11 + ["white"] * 5 + ["other"] * 40)
    of = folds(colours, seed=0)
    for colour, expected in (("black", [3, 2, 2, 2, 2]), ("white", [1] * 5), ("other", [8] * 5)):
        assert np.bincount(of[colours == colour]).tolist() == expected
    assert (of != folds(colours, seed=1)).any()


def test_scores_are_those_of_the_confusion_matrix() -> None:
    probabilities = np.array([[0.9, 0, 0.1], [0.9, 0, 0.1], [0, 0.7, 0.3], [0, 0.1, 0.9]])
    result = scores(probabilities, ["black", "other", "white", "white"])
    assert result["confusion"] == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert result["black"] == {"precision": 0.5, "recall": 1.0, "f1": 0.667}
    assert result["white"] == {"precision": 1.0, "recall": 0.5, "f1": 0.667}
    assert result["sure"] == {"coverage": 0.75, "accuracy": 0.333}
    json.dumps(result)


@real
def test_real_people_are_told_apart_by_the_linear_half_in_cross_validation_and_elsewhere_by_both() -> None:
    raw = Path(REAL or "")
    # Networks take minutes to fit.
    source = labelled("cuhk03", raw)
    people, measures = source.measures
    colours = source.worn_by(people)
    predicted = np.empty((len(people), len(COLOURS)))
    for fold in range(FOLDS):
        out = folds(colours, 0) == fold
        predicted[out] = fit(measures[~out], colours[~out].tolist()).probabilities(measures[out])
    results = scores(predicted, colours)
    assert results["black"]["f1"] > 0.84 and results["white"]["f1"] > 0.81
    # Nobody in white is taken for black, or the other way round.
    assert results["confusion"][0][1] == results["confusion"][1][0] == 0
    # Ten of sixty people wear white, two black.
    assert transferred(labelled("partial_reid", raw))["white"]["recall"] >= 0.9
