"""Ray Train around a training: workers, checkpoints, resuming, progress.

A stage gives a function that builds a :class:`.worker.Training` on a worker; all else is the same for both steps.
Checkpoints lie in ``runs/NAME`` of this folder or of the object store (:mod:`pipelines.storage.checkpoint_store`),
outside DVC's outputs, which DVC deletes before a stage runs; the name is a hash of all inputs, so the same command
goes on where it was killed and a changed parameter starts afresh. Ray itself is told of no checkpoint: it would copy
them unverified.
"""

import itertools
import logging
import shutil
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuhs.errors import CuhsError
from pipelines.base.params import Params
from pipelines.base.paths import RUNS
from pipelines.base.signals import on_sigterm
from pipelines.cluster.resources import resources, scaling, start_ray
from pipelines.storage.checkpoint_store import checkpoint_store
from pipelines.storage.places import place
from pipelines.training.progress import board
from pipelines.training.worker import Make, work

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

log = logging.getLogger(__name__)


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

    worker: Any = work  # Ray's annotations know nothing of what it returns

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


def _last_line(error: BaseException) -> str:
    """What an error of Ray's says in the end; the rest is traces, and advice for machines without memory."""
    return str(error).strip().splitlines()[-1].partition(" Some common causes include")[0]
