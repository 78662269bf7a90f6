"""Learning rates at the paper's epochs, and what weight decay may touch."""

import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from cuhs.network.cuhs import CUHS
from cuhs.training.config import HslTraining, ReIDTraining, Schedule
from cuhs.training.reid import Classified
from cuhs.training.schedule import adam, learning_rate, set_learning_rate


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 3e-4), (39, 3e-4), (39.99, 3e-4), (40, 3e-5), (69.99, 3e-5), (70, 3e-6), (89, 3e-6)],
)
def test_the_papers_rate_falls_to_a_tenth_at_40_and_70(epoch: float, rate: float) -> None:
    assert learning_rate(Schedule(epochs=90), epoch) == pytest.approx(rate)


@pytest.mark.parametrize("decay", ["steps", "cosine"])
def test_the_rate_warms_up_in_a_straight_line_from_a_hundredth(decay: str) -> None:
    schedule = Schedule(epochs=90, lr=1.0, warmup_epochs=10, decay=decay)
    rates = [learning_rate(schedule, epoch) for epoch in (0, 2.5, 5, 7.5, 10)]
    assert rates == pytest.approx([0.01, 0.2575, 0.505, 0.7525, 1.0])


def test_the_cosine_falls_to_a_hundredth() -> None:
    schedule = Schedule(epochs=100, lr=2.0, decay="cosine")
    assert learning_rate(schedule, 0) == 2.0
    assert learning_rate(schedule, 50) == pytest.approx(2 * 0.505)
    assert learning_rate(schedule, 25) == pytest.approx(2 * (0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2))
    assert learning_rate(schedule, 100) == pytest.approx(0.02)
    assert 0.02 < learning_rate(schedule, 99.5) < 0.0204
    rates = [learning_rate(schedule, epoch / 2) for epoch in range(201)]
    assert all(a > b for a, b in pairwise(rates))


def test_the_cosine_begins_after_the_warm_up() -> None:
    schedule = Schedule(epochs=50, lr=1.0, warmup_epochs=10, decay="cosine")
    assert learning_rate(schedule, 30) == pytest.approx(0.505)  # half of what is left
    assert learning_rate(schedule, 50) == pytest.approx(0.01)


def test_the_papers_settings_are_the_defaults() -> None:
    step_one, step_two = HslTraining(), ReIDTraining()
    assert (step_one.epochs, step_two.epochs) == (50, 90)
    assert step_two.identities * step_two.images_per_identity == step_one.batch == 64
    assert (step_two.lr, step_two.weight_decay, step_two.milestones) == (3e-4, 5e-4, (40, 70))
    assert (step_two.eta_1, step_two.eta_2, step_two.margin) == (1.0, 1.0, 0.3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"lr": 0},
        {"weight_decay": -1},
        {"epochs": 5, "warmup_epochs": 5},
        {"decay": "linear"},
        {"milestones": (0,)},
        {"margin": 0},
        {"images_per_identity": 1},
        {"pad": 128},
        {"label_smoothing": 1},
        {"momentum": 0.9},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(reversed(wrong))):
        ReIDTraining.model_validate(wrong)


def test_every_group_gets_the_rate() -> None:
    optimizer = adam(nn.Sequential(nn.Linear(2, 2)), Schedule(epochs=1))
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


def test_weight_decay_is_on_matrices_only(tiny_network: CUHS) -> None:
    model = Classified(tiny_network, 5)
    optimizer = adam(model, Schedule(epochs=1, lr=0.1, weight_decay=0.2))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    localiser = {id(p) for p in tiny_network.localiser.parameters()}
    assert localiser and not localiser & decay.keys()
    for name, parameter in model.named_parameters():
        if id(parameter) in localiser:
            continue
        # Convolutions and linear layers are matrices; normalisation and GeM's θ are not.
        matrix = isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Conv2d | nn.Linear)
        is_weight = name.endswith("weight") and matrix
        assert decay[id(parameter)] == (0.2 if is_weight else 0.0), name
    assert decay[id(tiny_network.streams[2].pool.theta)] == 0.0


def test_decay_shrinks_a_matrix_and_leaves_a_vector() -> None:
    layer = nn.Linear(3, 3)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = adam(layer, Schedule(epochs=1, lr=0.01, weight_decay=0.5))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # Adam's first step is the rate times the gradient's sign, and the decay is all the gradient there is.
    torch.testing.assert_close(layer.weight.detach(), before["weight"] - 0.01 * before["weight"].sign())
    assert torch.equal(layer.bias, before["bias"])
