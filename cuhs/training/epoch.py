"""An epoch of either training, from its beginning or from where it was cut off."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cuhs.data.dataset import Batch
from cuhs.training.config import Schedule
from cuhs.training.schedule import learning_rate, set_learning_rate

OnStep = Callable[[int, int], None]


@dataclass
class EpochPart:
    """What a worker has done of an epoch; it grows with each step, and the epoch can be gone on with from it.

    Attributes:
        steps: that are done.
        images: that this worker trained on.
        seconds: that it took.
        losses: sums over the steps, numbers or tensors of no dimension.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: dict[str, float | Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {**vars(self), "losses": {name: float(value) for name, value in self.losses.items()}}

    @classmethod
    def of_worker(cls, states: Sequence[Mapping[str, Any]], rank: int, workers: int) -> "EpochPart":
        """A worker's own, from those of all; an equal share where they were more workers or fewer.

        Args:
            states: what :meth:`state` gave on each worker; none at an epoch's beginning.
            rank: of the worker.
            workers: how many there are now.
        """
        if not states:
            return cls()
        if len(states) == workers:
            return cls(**{**states[rank], "losses": dict(states[rank]["losses"])})
        return cls(
            steps=states[0]["steps"],
            images=sum(state["images"] for state in states) // workers,
            seconds=max(state["seconds"] for state in states),
            losses={name: sum(s["losses"][name] for s in states) / len(states) for name in states[0]["losses"]},
        )


@dataclass
class Epoch:
    """An epoch that is to be trained, or what is left of it.

    Attributes:
        number: counted from 0.
        steps: of the whole epoch.
        part: what this worker has done of it.
        on_step: called with (done, steps) after each step; what it raises cuts the epoch off.
    """

    number: int
    steps: int
    part: EpochPart = field(default_factory=EpochPart)
    on_step: OnStep = lambda done, steps: None


def train_steps(
    losses: Callable[[Batch], dict[str, Tensor]],
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    config: Schedule,
    epoch: Epoch,
) -> dict[str, float]:
    """The steps of an epoch that are left, each one down the gradient of ``losses(batch)["loss"]``.

    Args:
        losses: of a batch, by name.
        batches: this worker's part of each global batch, without those that are done.
        optimizer: over what is trained.
        config: the schedule.
        epoch: its part grows with each step.

    Returns:
        Means over the whole epoch of this worker's losses, ``lr`` at the end, and ``images_per_second``.
    """
    part, steps = epoch.part, epoch.steps
    started = time.perf_counter() - part.seconds
    for batch in batches:
        set_learning_rate(optimizer, learning_rate(config, epoch.number + part.steps / steps))
        found = losses(batch)
        optimizer.zero_grad(set_to_none=True)
        found["loss"].backward()
        optimizer.step()
        part.steps += 1
        part.images += len(batch.labels)
        part.seconds = time.perf_counter() - started
        for name, value in found.items():
            part.losses[name] = part.losses.get(name, 0.0) + value.detach().float()
        epoch.on_step(part.steps, steps)
    means = {name: float(value) / steps for name, value in part.losses.items()}
    rate: float = optimizer.param_groups[0]["lr"]
    return {**means, "lr": rate, "images_per_second": part.images / (time.perf_counter() - started)}
