"""Runs a training on Ray Train: workers, checkpoints, resuming, progress.

A stage gives a function that builds a :class:`.worker.Training` on a worker; everything else is the same for both
steps. Checkpoints are in ``runs/NAME``, here or in the object store (:mod:`pipelines.storage.checkpoint_store`), not
in DVC's outputs, which DVC deletes before a stage runs. NAME is a hash of all inputs: the same command continues a
killed training, and a changed parameter starts a new one. Ray itself is not told about checkpoints, because it would
copy them without verification.
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
from pipelines.cluster.joining import leave_ray, start_ray
from pipelines.cluster.resources import resources, scaling
from pipelines.storage.checkpoint_store import checkpoint_store
from pipelines.storage.places import place
from pipelines.training.progress import Hopeless, board
from pipelines.training.worker import Make, work

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

log = logging.getLogger(__name__)


class ControllerLost(CuhsError):
    """Ray Train's controller, the process that drives the workers, was killed."""


def train(make: Make, params: Params, paths: dict[str, str], name: str, run: "Run") -> dict[str, Any]:
    """Run a training on ``compute.workers`` workers, from its last checkpoint if it has one.

    Args:
        make: builds the training on a worker from (params, paths, device, rank, workers).
        params: all parameters.
        paths: absolute paths that ``make`` needs.
        name: the run directory's name.
        run: the MLflow run that gets the epochs.

    Returns:
        The last checkpoint's state: ``model``, ``optimizer``, and ``history``, one dict for each epoch.

    Raises:
        CuhsError: the training itself failed, or its workers failed more often than ``compute.max_failures``.
        Terminated: at SIGTERM, after a checkpoint was saved.
    """
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
            # Ray frees the lost controller's resources only after this process leaves the cluster.
            leave_ray()
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
    """The Ray Train run behind a training; Ray must be initialised. Arguments are those of :func:`train`, and:

    Args:
        folder: the absolute run directory, below ``runs``; the run continues from its last checkpoint.
        scaled: what :func:`scaling` returned.
        label: the progress bar's label; none shows nothing.
        callbacks: callbacks for Ray Train.
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

    worker: Any = work  # Ray's annotations do not allow a return value

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
            if hopeless := _hopeless(shown):
                raise _given_up(name, hopeless) from error
            kind = ControllerLost if isinstance(error, ray.exceptions.RayActorError) else CuhsError
            raise kind(
                f"{name}: broken off ({_last_line(error)}); compute.max_failures is {most}; the same command goes on "
                "from the last checkpoint"
            ) from error
    if isinstance(result.return_value, Hopeless):
        raise _given_up(name, result.return_value)
    if result.return_value:
        raise result.return_value


def _hopeless(shown: Any) -> Hopeless | None:
    """The error that came twice, if the board is still there to tell."""
    import ray

    try:
        found: Hopeless | None = ray.get(shown.hopeless.remote(), timeout=10)
        return found
    except (ray.exceptions.RayError, TimeoutError):
        return None


def _given_up(name: str, hopeless: Hopeless) -> CuhsError:
    trace = RUNS / name / "error.txt"
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.write_text(hopeless.trace)
    return CuhsError(
        f"{name}: failed twice in the same way ({hopeless.error}), so going on would not help; {trace} has the trace"
    )


class Anew(Enum):
    """What to restart after a failure; the training then continues from its last checkpoint."""

    CONTROLLER = "what drives the workers"
    RAY = "that, in a Ray that this process has joined anew"


def anew(error: BaseException, failed: int, most: int) -> Anew | None:
    """What to restart after an error; none if the error is to be raised.

    Ray itself restarts failed workers, but not the controller that drives them.

    Args:
        error: an error of Ray Train, or a :class:`ControllerLost`.
        failed: how many such errors came before.
        most: how many restarts are allowed; -1 for any number.
    """
    import ray.train

    if failed == most:
        return None
    if isinstance(error, ControllerLost):
        return Anew.RAY
    return Anew.CONTROLLER if isinstance(error, ray.train.ControllerError) else None


def _with_new_controllers(fit: Callable[[], Any], name: str, most: int) -> Any:
    """The result of ``fit``, which is called again after errors for which :func:`anew` asks for a new controller."""
    for failed in itertools.count():
        try:
            return fit()
        except Exception as error:
            if anew(error, failed, most) is not Anew.CONTROLLER:
                raise
            log.warning("%s: %s; going on from the last checkpoint", name, _last_line(error))


def discard(name: str) -> None:
    """Delete a run's directory and checkpoints, once its outputs are written."""
    discard_checkpoints(name)
    shutil.rmtree(RUNS / name, ignore_errors=True)


def discard_checkpoints(name: str) -> None:
    """Delete the checkpoints of a run that will not be continued."""
    try:
        checkpoint_store(RUNS, name).discard()
    except CuhsError as error:
        log.warning("checkpoints of %s are left: %s", name, error)


def _last_line(error: BaseException) -> str:
    """The last line of a Ray error; the rest is stack traces, and advice for machines that run out of memory."""
    return str(error).strip().splitlines()[-1].partition(" Some common causes include")[0]
