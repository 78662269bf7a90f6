"""How the torso network is fine-tuned: what it sees varied, and that it learns the same each time."""

from pathlib import Path

import numpy as np
import torch
from torchvision.models import mobilenet_v2

from benchmarks.torso_training import Task, trained, varied
from cuhs.build.colours.network import HEIGHT, WIDTH, fitted, probabilities
from cuhs.raw.labels import COLOURS


def test_variations_keep_the_size_and_follow_the_seed() -> None:
    batch = torch.ones(4, 3, HEIGHT, WIDTH)
    drawn = [(torch.manual_seed(seed), varied(batch))[1] for seed in (0, 0, 1)]
    assert drawn[0].shape == (4, 3, 64, 56)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert (batch == 1).all()


def test_it_begins_with_the_weights_it_is_given_and_learns_shades(tmp_path: Path) -> None:
    # What has learnt colours before, in a file as torchvision's.
    whole = mobilenet_v2()
    whole.features[:14].load_state_dict(fitted().body.state_dict())
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    shade = torch.tensor([40, 200, 120], dtype=torch.uint8)
    labels = torch.arange(384) % len(COLOURS)
    grain = torch.randint(0, 30, (384, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0))
    torsos = shade[labels, None, None, None] + grain.to(torch.uint8)
    found = probabilities(trained(Task(str(tmp_path / "weights.pt"), 1, torsos, labels)), torsos)
    assert (found.argmax(axis=1) == labels.numpy()).mean() > 0.9


def test_the_same_task_gives_the_same_network_and_another_seed_another_one() -> None:
    torsos = torch.randint(0, 256, (64, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.arange(64) % len(COLOURS)
    found, again, other = (probabilities(trained(Task("none", seed, torsos, labels)), torsos) for seed in (1, 1, 2))
    np.testing.assert_array_equal(found, again)
    assert np.abs(found - other).max() > 1e-3
