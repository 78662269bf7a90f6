"""One epoch of either training; it can resume in the middle."""

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
    """One worker's progress in an epoch; each step updates it, and the epoch can resume from it.

    Attributes:
        steps: number of completed steps.
        images: number of images that this worker trained on.
        seconds: time spent.
        waited: time of it that was spent waiting for batches.
        losses: sums over the completed steps, as numbers or scalar tensors.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    losses: dict[str, float | Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {**vars(self), "losses": {name: float(value) for name, value in self.losses.items()}}

    @classmethod
    def of_worker(cls, states: Sequence[Mapping[str, Any]], rank: int, workers: int) -> "EpochPart":
        """Pick a worker's progress from that of all workers; share it out equally if their number changed.

        Args:
            states: results of :meth:`state` on all workers; empty at the beginning of an epoch.
            rank: index of the worker.
            workers: number of workers now.
        """
        if not states:
            return cls()
        if len(states) == workers:
            return cls(**{**states[rank], "losses": dict(states[rank]["losses"])})
        return cls(
            steps=states[0]["steps"],
            images=sum(state["images"] for state in states) // workers,
            seconds=max(state["seconds"] for state in states),
            waited=max(state.get("waited", 0.0) for state in states),
            losses={name: sum(s["losses"][name] for s in states) / len(states) for name in states[0]["losses"]},
        )


@dataclass
class Epoch:
    """An epoch to train, from its beginning or from where it was interrupted.

    Attributes:
        number: index of the epoch, from 0.
        steps: number of steps in the whole epoch.
        part: this worker's progress.
        on_step: called with (done, steps) after each step; an exception from it interrupts the epoch.
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
    """Train the remaining steps of an epoch, each one down the gradient of ``losses(batch)["loss"]``.

    Args:
        losses: returns the losses of a batch, by name.
        batches: this worker's part of each remaining global batch.
        optimizer: optimiser of the trained parameters.
        config: the schedule.
        epoch: the epoch; its ``part`` is updated with each step.

    Returns:
        This worker's mean losses over the whole epoch, the final ``lr``, ``images_per_second``, and ``waiting``, the
        share of the time in which it waited for batches.
    """
    part, steps = epoch.part, epoch.steps
    started = time.perf_counter() - part.seconds
    coming = iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(coming, None)
        if batch is None:
            break
        part.waited += time.perf_counter() - asked
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
    seconds = time.perf_counter() - started
    return {**means, "lr": rate, "images_per_second": part.images / seconds, "waiting": part.waited / seconds}
