"""What each worker does: it builds its part of a training, resumes it, trains, and saves checkpoints."""

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from cuhs.errors import CuhsError
from cuhs.training.epoch import EpochPart, OnStep
from cuhs.training.flops import device_name, peak_flops
from cuhs.training.numerics import Numerics
from pipelines.base.params import Params, with_values
from pipelines.base.signals import Terminated
from pipelines.storage.checkpoint_store import CheckpointStore
from pipelines.storage.places import located
from pipelines.training.board import Hopeless, Post, hopeless
from pipelines.training.machine_metrics import AnyGauges, Gauges, MachineMetrics, NoGauges
from pipelines.training.preemption import Notices
from pipelines.training.profiling import Profiler
from pipelines.training.progress import WorkerProgress
from pipelines.training.saving import Saver, failing_alone
from pipelines.training.team import Alone, RayTeam, Team, mean_of_all, of_all

# How many characters of a worker's error are shown.
QUOTED = 300


class Training(Protocol):
    """A training on a worker: its state, and how to train one epoch."""

    epochs: int

    @property
    def numerics(self) -> Numerics:
        """How it computes."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser, which checkpoints include."""

    @property
    def model(self) -> nn.Module:
        """The model that checkpoints include, not wrapped for distributed training."""

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """Train the rest of an epoch, counted from 0, on this worker's share of each batch.

        ``part`` says which steps are done. Each step updates it and then calls ``on_step(done, steps)``, whose
        exceptions pass through.
        """


Make = Callable[[Params, dict[str, str], torch.device, int, int], Training]


@dataclass(frozen=True)
class Task:
    """What all workers of a training are given.

    Attributes:
        name: the training's name, which names its run directory.
        make: builds the training on a worker from (params, paths, device, rank, workers).
        params: all parameters.
        places: where the data is that ``make`` needs, by name.
        checkpoints: the training's checkpoints.
        board: where news go.
    """

    name: str
    make: Make
    params: Params
    places: dict[str, str]
    checkpoints: CheckpointStore
    board: Post


def work_on_ray(config: dict[str, Any]) -> BaseException | Hopeless | None:
    """:func:`work` on a worker of Ray Train; ``config["task"]`` is the :class:`Task`."""
    task: Task = config["task"]
    team = RayTeam()
    return work(task, team, Gauges(task.name, team.rank))


def work_here(task: Task) -> BaseException | Hopeless | None:
    """:func:`work` in this process, as the only worker."""
    return work(task, Alone(task.params.compute), NoGauges())


def work(task: Task, team: Team, gauges: AnyGauges) -> BaseException | Hopeless | None:
    """Do a worker's part, with its data on its machine; returns the reason if training is impossible.

    Such an error would come again. It is returned because all workers are restarted after a raised one.
    """
    if known := hopeless(task.board):
        return known
    torch.set_num_threads(team.threads)
    where = Where()
    with located(task.places) as paths, Saver(task.checkpoints, gauges.checkpoint_seconds.set) as saver:
        try:
            _train(task, team, saver, gauges, paths, where)
        except (CuhsError, Terminated) as error:
            return error
        except Exception as error:
            if _may_pass(error):
                raise
            text = " ".join(str(error).split())[:QUOTED]
            what = f"epoch {where.epoch + 1}, step {where.step + 1}: {type(error).__name__}: {text}"
            task.board.tell("failed", team.rank, what, traceback.format_exc())
            # Other workers wait for this one; they end only if it raises.
            if team.size == 1 and (known := hopeless(task.board)):
                return known
            raise
    return None


@dataclass
class Where:
    """Where a training is: the epoch, counted from 0, and how many of its steps are done."""

    epoch: int = 0
    step: int = 0


def _may_pass(error: Exception) -> bool:
    """Whether an error may be due to a machine or a network that was lost, and so may come twice by chance."""
    text = str(error).lower()
    return isinstance(error, OSError) or any(word in text for word in ("gloo", "nccl", "connection"))


def _train(task: Task, team: Team, saver: Saver, gauges: AnyGauges, paths: dict[str, str], where: Where) -> None:
    """Build the training, and train it under its numerics."""
    params = task.params
    if "weights" in paths:
        params = with_values(params, {"network.weights": paths["weights"]})
    training = task.make(params, paths, team.device, team.rank, team.size)
    with training.numerics.applied():
        _train_all(training, task, team, saver, gauges, where)


def _train_all(training: Training, task: Task, team: Team, saver: Saver, gauges: AnyGauges, where: Where) -> None:
    """Resume, train epoch by epoch."""
    store = task.checkpoints
    progress = WorkerProgress(task.board, team.rank, training.epochs)
    progress.say(_computes(training.numerics, team))
    machine = MachineMetrics(task.board, team)
    machine.start()
    # The first worker chooses, so that all continue from the same checkpoint.
    with failing_alone():
        last = team.from_first(store.newest() if team.rank == 0 else None)
        state = store.load(last) if last else None
    history: list[dict[str, float]] = []
    part, notices = EpochPart(), Notices(task.board, team)
    profiler = Profiler(task.params.train.profile if team.rank == 0 else 0, team.device, task.board)
    if state:
        training.model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
        part = EpochPart.of_worker(state["parts"], team.rank, team.size)

    def after_step(done: int, steps: int) -> None:
        where.step = done
        profiler.step()
        progress.position(where.epoch, done, steps)
        if not notices.new() or done == steps:  # a whole epoch is saved below
            return
        parts = of_all(team, part.state())
        if team.rank == 0:
            saver.save(_state(training, history, parts), where.epoch, done)
            saver.wait()
        if notices.stop:
            raise _terminated(where.epoch, done)
        progress.say(f"a node has to go: epoch {where.epoch + 1} is saved after {done} of {steps} steps")

    if len(history) == training.epochs:
        # Killed after its last epoch: report its measures once more for Ray Tune, which waits for them.
        team.report(history[-1])
    for epoch in range(len(history), training.epochs):
        where.epoch, where.step = epoch, part.steps
        with profiler:
            own = training.epoch(epoch, part, after_step)
        part = EpochPart()
        gauges.of_epoch(own)
        metrics = mean_of_all(team, own)
        if not all(math.isfinite(value) for value in metrics.values()):
            raise CuhsError(f"the loss is not finite in epoch {epoch + 1}; lower lr or warm up longer")
        history.append(metrics)
        if team.rank == 0:
            # An epoch is shown and tracked only once it is saved, so that none is tracked twice.
            saver.save(_state(training, history, []), epoch, then=partial(progress.end_epoch, [*history]))
        team.report(metrics)
        if notices.stop and len(history) < training.epochs:
            saver.wait()
            raise _terminated(len(history), 0)
    saver.wait()
    machine.stop()


def _computes(numerics: Numerics, team: Team) -> str:
    """What a training computes on, and how, in one line."""
    known = peak_flops(team.device, numerics.precision)
    without = "" if known else "; no mfu: the peak of this device is not known"
    return f"{team.size} × {device_name(team.device)}, {numerics.on(team.device)}{without}"


def _state(training: Training, history: list[dict[str, float]], parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint's content; ``parts`` holds each worker's progress in the unfinished epoch, if there is one."""
    return {
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "history": history,
        "parts": parts,
    }


def _terminated(epoch: int, done: int) -> Terminated:
    return Terminated(f"stopped by SIGTERM; the same command goes on from epoch {epoch + 1}, step {done + 1}")
