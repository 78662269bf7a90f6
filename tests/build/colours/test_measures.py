import numpy as np
import pytest

from cuhs.build.colours import measures as torso
from cuhs.build.colours.measures import CROP, TORSO, describe, exposures, torso_features

LENGTH = 3 * (TORSO[0] * TORSO[1] + CROP[0] * CROP[1])


def test_features_are_colours_from_below_the_box_down_to_the_waist_and_from_the_whole_crop() -> None:
    pixels = np.zeros((100, 40, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(100)[:, None]
    pixels[..., 1] = np.arange(40)
    features = torso_features(pixels, (0.25, 0.0, 0.75, 0.4))
    assert features.shape == (LENGTH,) and features.dtype == np.uint8
    under = features[: 3 * TORSO[0] * TORSO[1]].reshape(*TORSO, 3)
    assert (under[0, :, 0] == 31).all() and (under[-1, :, 0] == 74).all()
    assert (under[:, 0, 1] == 10).all() and (under[:, -1, 1] == 29).all()
    crop = features[3 * TORSO[0] * TORSO[1] :].reshape(*CROP, 3)
    assert crop[0, 0].tolist() == [3, 2, 0] and crop[-1, -1].tolist() == [96, 37, 0]


def test_without_a_box_the_usual_one_is_taken_and_boxes_at_the_edge_stay_inside() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(torso_features(pixels, None), torso_features(pixels, torso.USUAL_BOX))
    assert torso_features(pixels, (0.0, 0.6, 1.0, 1.0)).shape == (LENGTH,)
    assert torso_features(pixels[:8, :8], None).shape == (LENGTH,)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_has_its_published_values(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(torso._lab(np.array(rgb, dtype=np.uint8)), lab, atol=0.05)


def crops(rng: np.random.Generator, count: int) -> np.ndarray:
    """Features of crops of random level and grain: (count, LENGTH) floats from 0 to 255."""
    grain = rng.uniform(20, 200, (count, 1)) + rng.normal(0, 25, (count, LENGTH // 3))
    return (np.repeat(grain, 3, axis=1) + rng.normal(0, 3, (count, LENGTH))).clip(0, 255)


def test_a_darker_camera_with_a_cast_gives_nearly_the_same_lightness() -> None:
    rng = np.random.default_rng(0)
    light = crops(rng, 60)
    cast = np.tile([0.6, 0.55, 0.5], LENGTH // 3)
    pids, same = list(range(60)), ["a"] * 60
    _, bright = describe(light.astype(np.uint8), pids, same)
    _, dark = describe((light * cast).astype(np.uint8), pids, same)
    _, unlike = describe(crops(rng, 60).astype(np.uint8), pids, same)
    lightness = slice(112, 126)
    moved, apart = (np.abs(bright - other)[:, lightness].mean() for other in (dark, unlike))
    assert moved < 0.25 * apart


def test_an_identity_is_the_mean_largest_and_smallest_of_its_cameras_whatever_their_images() -> None:
    features = crops(np.random.default_rng(0), 4).astype(np.uint8)
    # The reference of a camera depends on its images; one image more of the same changes no median.
    people, measures = describe(features[[0, 1, 2]], ["x", "x", "y"], [1, 2, 1])
    assert people == ["x", "y"]
    mean, largest, smallest = np.split(measures[0], 3)
    np.testing.assert_allclose(mean, (largest + smallest) / 2)
    assert (largest > smallest).any()
    only = np.split(measures[1], 3)
    np.testing.assert_array_equal(only[0], only[1])
    np.testing.assert_array_equal(only[0], only[2])


def test_a_camera_with_few_images_leans_towards_its_source() -> None:
    rng = np.random.default_rng(0)
    dark = rng.normal(50, 0.5, (40, 1))
    dark[0] += 30
    references = torso._of_cameras(dark, ["many"] * 39 + ["few"])
    swapped = torso._of_cameras(dark, ["few"] + ["many"] * 39)
    assert references[-1, 0] == pytest.approx(references[0, 0], abs=1)
    # One image that is 30 brighter counts for one of eleven.
    assert swapped[0, 0] - swapped[-1, 0] == pytest.approx(30 / 11, abs=0.5)


def test_more_images_than_are_measured_at_once_have_the_same_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).integers(0, 256, (10, LENGTH), dtype=np.uint8)
    pids, camids = [0, 0, 1, 2, 2, 3, 3, 4, 4, 4], [0, 1] * 5
    people, whole = describe(features, pids, camids)
    seen = exposures(features, camids)
    monkeypatch.setattr(torso, "PIECE", 3)
    assert describe(features, pids, camids)[0] == people
    np.testing.assert_allclose(describe(features, pids, camids)[1], whole)
    np.testing.assert_array_equal(exposures(features, camids), seen)


def test_what_is_dark_and_bright_is_told_for_each_camera_and_one_with_few_images_leans_on_the_others() -> None:
    crop = np.linspace(0, 200, CROP[0] * CROP[1])[:, None] * [1.0, 0.5, 0.25]
    light = np.concatenate([np.zeros(3 * TORSO[0] * TORSO[1]), crop.ravel()]).astype(np.uint8)
    found = exposures(np.array([light] * 91 + [light // 2] * 10), ["day"] * 91 + ["night"] * 10)
    assert found.shape == (101, 2, 3)
    np.testing.assert_allclose(found[0], [[10, 5, 2.5], [190, 95, 47.5]], atol=1)
    # Half its own, half what the source has.
    np.testing.assert_allclose(found[-1], 0.75 * found[0], atol=1)
    assert (found[:91] == found[0]).all() and (found[91:] == found[-1]).all()
