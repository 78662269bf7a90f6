"""The network beside the colour classifier: what it sees, and that it learns the same each time."""

import copy

import numpy as np
import torch

from benchmarks.clothing_colour import Labelled
from benchmarks.torso_network import HEIGHT, WIDTH, TorsoNetwork, by_person, probabilities, torso, trained, varied
from cuhs.data.clothing import COLOURS


def test_a_torso_is_cut_from_under_the_box_and_freed_of_the_crops_exposure() -> None:
    pixels = np.full((100, 40, 3), 40, dtype=np.uint8)
    pixels[:10] = 120
    pixels[30:60] = 80
    box = (0.1, 0.0, 0.9, 0.3)
    seen = torso(pixels, box)
    assert seen.shape == (HEIGHT, WIDTH, 3) and seen.dtype == np.uint8
    # From 13.5 to 64.5 pixels: dark, 30 rows of shirt, and dark again.
    assert abs(int((seen[:, 32, 0] > 80).sum()) - HEIGHT * 30 / 51) <= 2
    np.testing.assert_allclose(torso(pixels // 2, box).astype(int), seen, atol=1)
    assert torso(pixels[:1, :1], None).shape == (HEIGHT, WIDTH, 3)


def test_variations_keep_the_size_and_follow_the_seed() -> None:
    batch = torch.ones(4, 3, HEIGHT, WIDTH)
    drawn = [(torch.manual_seed(seed), varied(batch))[1] for seed in (0, 0, 1)]
    assert drawn[0].shape == (4, 3, 64, 56)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert (batch == 1).all()


def test_training_is_the_same_each_time_and_changes_what_is_said() -> None:
    draw = torch.Generator().manual_seed(0)
    torsos = torch.randint(0, 256, (64, 3, HEIGHT, WIDTH), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, len(COLOURS), (64,), generator=draw)
    torch.manual_seed(0)
    network = TorsoNetwork("none")
    before = probabilities(network.eval(), torsos)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(probabilities(trained(copy.deepcopy(network), torsos, labels, "made up"), torsos))
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0] - before).max() > 1e-3
    np.testing.assert_allclose(found[0].sum(axis=1), 1, atol=1e-5)


def test_a_camera_with_many_images_of_a_person_counts_no_more_than_one_with_few() -> None:
    source = Labelled(np.empty((5, 0)), ["b", "b", "b", "a", "b"], [1, 1, 1, 1, 2], {"a": "black", "b": "white"})
    means = by_person(source, np.array([[0.0], [0.3], [0.6], [0.9], [0.7]]))
    np.testing.assert_allclose(means, [[0.5], [0.9]])
