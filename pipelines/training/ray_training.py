"""Ray Train around a training: workers, checkpoints, resuming, progress.

A stage gives a function that builds a :class:`Training` on a worker; everything else is the same for both steps.
Checkpoints lie in ``runs/NAME`` of this folder or of the object store (:mod:`pipelines.storage.checkpoint_store`),
outside DVC's outputs, which DVC deletes before a stage runs; the name is a hash of all inputs, so the same command
goes on where it was killed and a changed parameter starts afresh. Ray itself is told of no checkpoint: it would copy
them unverified.
"""

import itertools
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from cuhs.errors import CuhsError
from cuhs.machine import usable_cpus
from cuhs.training.epoch import EpochPart, OnStep
from pipelines.base.params import Params, with_values
from pipelines.base.paths import RUNS
from pipelines.base.signals import Terminated, on_sigterm
from pipelines.cluster.resources import resources, scaling, start_ray
from pipelines.storage.checkpoint_store import checkpoint_store
from pipelines.storage.places import located, place
from pipelines.training.machine_metrics import Gauges, MachineMetrics
from pipelines.training.preemption import Notices
from pipelines.training.progress import WorkerProgress, board

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

T = TypeVar("T")

log = logging.getLogger(__name__)


class Training(Protocol):
    """What a stage trains: its state, and one epoch of it."""

    epochs: int

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Its state is checkpointed with the model's."""

    @property
    def model(self) -> nn.Module:
        """What is checkpointed, not wrapped for distributed training."""

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """Train what ``part`` leaves of an epoch, counted from 0, on this worker's share of each batch.

        ``part`` grows with each step, and then ``on_step(done, steps)`` is called; what it raises is let through.
        """


Make = Callable[[Params, dict[str, str], torch.device, int, int], Training]


class ControllerLost(CuhsError):
    """The process of Ray Train's that drives the workers was killed."""


def train(make: Make, params: Params, paths: dict[str, str], name: str, run: "Run") -> dict[str, Any]:
    """Run a training on ``compute.workers`` workers, from its last checkpoint if it has one.

    Args:
        make: builds the training on a worker from (params, paths, device, rank, workers).
        params: all parameters.
        paths: absolute paths that ``make`` needs.
        name: of the run directory.
        run: where epochs are tracked.

    Returns:
        The last checkpoint's state: ``model``, ``optimizer``, and ``history``, one dict an epoch.

    Raises:
        CuhsError: the training itself failed, or its workers failed more often than ``compute.max_failures``.
        Terminated: at SIGTERM, after a checkpoint was saved.
    """
    import ray

    folder = (RUNS / name).resolve()
    for failed in itertools.count():
        start_ray()
        scaled = scaling(params.compute, *resources())
        try:
            run_workers(make, params, paths, folder, run, scaled, label=name.partition("-")[0])
            break
        except ControllerLost as error:
            if anew(error, failed, params.compute.max_failures) is not Anew.RAY:
                raise
            log.warning("%s: what drives its workers was killed; going on from the last checkpoint", name)
            # What it had reserved stays so until this process has left the cluster.
            ray.shutdown()
    store = checkpoint_store(RUNS, name)
    last = store.newest()
    if last is None:
        raise CuhsError(f"{name}: no whole checkpoint after the training; run the command again")
    state = store.load(last)
    run.history(state["history"])
    return state


def run_workers(
    make: Make,
    params: Params,
    paths: dict[str, str],
    folder: Path,
    run: "Run",
    scaled: dict[str, Any],
    label: str | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """The Ray Train run behind a training, in an initialised Ray; arguments as of :func:`train` and

    Args:
        folder: absolute run directory, within the folder of all; its run's checkpoints are gone on from.
        scaled: what :func:`scaling` gave.
        label: of the bar that shows it; none shows nothing.
        callbacks: of Ray Train.
    """
    import ray.train
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    places = {name: place(Path(path)) for name, path in paths.items()}
    if Path(params.network.weights).is_file():
        places["weights"] = place(Path(params.network.weights))
    name = folder.relative_to(RUNS.resolve()).as_posix()
    store = checkpoint_store(RUNS, name)
    config: dict[str, Any] = {"make": make, "params": params, "places": places, "checkpoints": store, "name": name}
    most = params.compute.max_failures
    run_config = RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=FailureConfig(max_failures=most),
        callbacks=list(callbacks),
    )

    worker: Any = _worker  # Ray's annotations know nothing of what it returns

    def fit() -> Any:
        return TorchTrainer(
            worker,
            train_loop_config=config | {"board": shown},
            scaling_config=ScalingConfig(**scaled),
            run_config=run_config,
        ).fit()

    with board(label, run) as shown, on_sigterm(lambda: shown.stop.remote()):
        try:
            result = _with_new_controllers(fit, name, most)
        except (ray.train.TrainingFailedError, ray.exceptions.RayActorError) as error:
            kind = ControllerLost if isinstance(error, ray.exceptions.RayActorError) else CuhsError
            raise kind(
                f"{name}: broken off ({_last_line(error)}); compute.max_failures is {most}; the same command goes on "
                "from the last checkpoint"
            ) from error
    if result.return_value:
        raise result.return_value


class Anew(Enum):
    """What is started anew after a failure, to go on from the last checkpoint."""

    CONTROLLER = "what drives the workers"
    RAY = "that, in a Ray that this process has joined anew"


def anew(error: BaseException, failed: int, most: int) -> Anew | None:
    """What to start anew after an error, where as many came before; nothing where it is raised.

    Ray itself starts failed workers again, but not what drives them.

    Args:
        error: of Ray Train, or a :class:`ControllerLost`.
        failed: how many such errors came before.
        most: how many may be mended; -1 for all.
    """
    import ray.train

    if failed == most:
        return None
    if isinstance(error, ControllerLost):
        return Anew.RAY
    return Anew.CONTROLLER if isinstance(error, ray.train.ControllerError) else None


def _with_new_controllers(fit: Callable[[], Any], name: str, most: int) -> Any:
    """What ``fit`` gives, called again after errors that :func:`anew` says so of."""
    for failed in itertools.count():
        try:
            return fit()
        except Exception as error:
            if anew(error, failed, most) is not Anew.CONTROLLER:
                raise
            log.warning("%s: %s; going on from the last checkpoint", name, _last_line(error))


def discard(name: str) -> None:
    """Delete all that is kept of a run whose outputs are safe."""
    discard_checkpoints(name)
    shutil.rmtree(RUNS / name, ignore_errors=True)


def discard_checkpoints(name: str) -> None:
    """Delete the checkpoints of a run that will not go on."""
    try:
        checkpoint_store(RUNS, name).discard()
    except CuhsError as error:
        log.warning("checkpoints of %s are left: %s", name, error)


def _worker(config: dict[str, Any]) -> BaseException | None:
    """One Ray Train worker, its data on its machine; gives why no training is possible, or goes on.

    Every worker ends alike then and would again: that is told and not raised, which would start all of them again.
    """
    with located(config["places"]) as paths:
        try:
            _train(config, paths)
        except (CuhsError, Terminated) as error:
            return error
    return None


def _train(config: dict[str, Any], paths: dict[str, str]) -> None:
    """Build, resume, train epoch by epoch."""
    import ray.train.torch
    from ray.train.collective import broadcast_from_rank_zero

    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    # Ray counts the machine's cores; threads beyond those this process may use would wait for one another.
    torch.set_num_threads(max(1, min(math.ceil(cpus), usable_cpus())))
    params, store = config["params"], config["checkpoints"]
    if "weights" in paths:
        params = with_values(params, {"network.weights": paths["weights"]})
    training: Training = config["make"](params, paths, device, rank, workers)
    progress = WorkerProgress(config["board"], rank, training.epochs)
    machine = MachineMetrics(config["board"], context)
    machine.start()
    gauges = Gauges(config["name"], rank)
    # All go on from the same one, whatever happens to it meanwhile.
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
        # Killed after its last epoch; who waits for its measures gets them.
        ray.train.report(history[-1])
    for epoch in range(len(history), training.epochs):
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
    """What a checkpoint holds; ``parts`` are each worker's of the epoch after the history's."""
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
    """What fails here fails on this worker only: the others wait for it, so Ray has to start all of them again."""
    try:
        yield
    except CuhsError as error:
        raise OSError(str(error)) from error


def _last_line(error: BaseException) -> str:
    """What an error of Ray's says in the end; the rest is traces, and advice for machines without memory."""
    return str(error).strip().splitlines()[-1].partition(" Some common causes include")[0]


def _of_all_workers(value: T) -> list[T]:
    """What each worker gave, by rank."""
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
