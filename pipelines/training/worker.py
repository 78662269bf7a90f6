"""What each Ray Train worker does: it builds its part of a training, resumes it, trains, and saves checkpoints."""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from cuhs.errors import CuhsError
from cuhs.machine import usable_cpus
from cuhs.training.epoch import EpochPart, OnStep
from pipelines.base.params import Params, with_values
from pipelines.base.signals import Terminated
from pipelines.storage.places import located
from pipelines.training.machine_metrics import Gauges, MachineMetrics
from pipelines.training.preemption import Notices
from pipelines.training.progress import Hopeless, WorkerProgress

T = TypeVar("T")
# How many characters of a worker's error are shown.
QUOTED = 300


class Training(Protocol):
    """A training on a worker: its state, and how to train one epoch."""

    epochs: int

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


@dataclass
class Where:
    """Where a training is: the epoch, counted from 0, and how many of its steps are done."""

    epoch: int = 0
    step: int = 0


def work(config: dict[str, Any]) -> BaseException | Hopeless | None:
    """Run one Ray Train worker, with its data on its machine; returns the reason if training is impossible.

    Such an error would come again. It is returned because Ray would restart all workers after a raised one.
    """
    import ray.train

    if hopeless := ray.get(config["board"].hopeless.remote()):
        return cast(Hopeless, hopeless)
    where = Where()
    with located(config["places"]) as paths:
        try:
            _train(config, paths, where)
        except (CuhsError, Terminated) as error:
            return error
        except Exception as error:
            if _may_pass(error):
                raise
            what = f"epoch {where.epoch + 1}, step {where.step + 1}: {type(error).__name__}: {_quoted(error)}"
            context = ray.train.get_context()
            again = ray.get(config["board"].failed.remote(context.get_world_rank(), what, traceback.format_exc()))
            # Other workers wait for this one; they end only if it raises.
            if not again or context.get_world_size() > 1:
                raise
            return cast(Hopeless, ray.get(config["board"].hopeless.remote()))
    return None


def _may_pass(error: Exception) -> bool:
    """Whether an error may be due to a machine or a network that was lost, and so may come twice by chance."""
    text = str(error).lower()
    return isinstance(error, OSError) or any(word in text for word in ("gloo", "nccl", "connection"))


def _quoted(error: Exception) -> str:
    return " ".join(str(error).split())[:QUOTED]


def _train(config: dict[str, Any], paths: dict[str, str], where: Where) -> None:
    """Build, resume, train epoch by epoch."""
    import ray.train.torch
    from ray.train.collective import broadcast_from_rank_zero

    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    # Ray counts the machine's cores; more threads than this process may use would wait for each other.
    torch.set_num_threads(max(1, min(math.ceil(cpus), usable_cpus())))
    params, store = config["params"], config["checkpoints"]
    if "weights" in paths:
        params = with_values(params, {"network.weights": paths["weights"]})
    training: Training = config["make"](params, paths, device, rank, workers)
    progress = WorkerProgress(config["board"], rank, training.epochs)
    machine = MachineMetrics(config["board"], context)
    machine.start()
    gauges = Gauges(config["name"], rank)
    # The first worker chooses, so that all continue from the same checkpoint.
    with _failing_alone():
        last = broadcast_from_rank_zero(store.newest() if rank == 0 else None)
        state = store.load(last) if last else None
    history: list[dict[str, float]] = []
    part, notices = EpochPart(), Notices(config["board"], rank)
    if state:
        training.model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
        part = EpochPart.of_worker(state["parts"], rank, workers)

    def save(parts: list[dict[str, Any]], epoch: int, step: int | None = None) -> None:
        started = time.perf_counter()
        with _failing_alone():
            store.save(_state(training, history, parts), epoch, step)
        gauges.checkpoint_seconds.set(time.perf_counter() - started)

    def after_step(done: int, steps: int) -> None:
        epoch = len(history)
        where.epoch, where.step = epoch, done
        progress.position(epoch, done, steps)
        if not notices.new() or done == steps:  # a whole epoch is saved below
            return
        parts = _of_all_workers(part.state())
        if rank == 0:
            save(parts, epoch, done)
        if notices.stop:
            raise _terminated(epoch, done)
        progress.say(f"a node has to go: epoch {epoch + 1} is saved after {done} of {steps} steps")

    if len(history) == training.epochs:
        # Killed after its last epoch: report its measures once more for Ray Tune, which waits for them.
        ray.train.report(history[-1])
    for epoch in range(len(history), training.epochs):
        where.epoch, where.step = epoch, part.steps
        own = training.epoch(epoch, part, after_step)
        part = EpochPart()
        gauges.images_per_second.set(own["images_per_second"])
        metrics = _mean_over_workers(own)
        if not all(math.isfinite(value) for value in metrics.values()):
            raise CuhsError(f"the loss is not finite in epoch {epoch + 1}; lower lr or warm up longer")
        history.append(metrics)
        if rank == 0:
            save([], epoch)
        ray.train.report(metrics)
        progress.end_epoch(history)
        if notices.stop and len(history) < training.epochs:
            raise _terminated(len(history), 0)
    machine.stop()


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


@contextmanager
def _failing_alone() -> Iterator[None]:
    """Raise errors that hit this worker alone so that Ray restarts all workers: the others wait for this one."""
    try:
        yield
    except CuhsError as error:
        raise OSError(str(error)) from error


def _of_all_workers(value: T) -> list[T]:
    """The values of all workers, by rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    gathered = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def _mean_over_workers(metrics: dict[str, float]) -> dict[str, float]:
    gathered = _of_all_workers(metrics)
    means = {key: sum(m[key] for m in gathered) / len(gathered) for key in metrics}
    if "images_per_second" in means:
        means["images_per_second"] *= len(gathered)
    return means
