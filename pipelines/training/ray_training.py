"""Runs a training on Ray Train: workers, restarts, progress.

A stage gives a function that builds a :class:`.worker.Training` on a worker; everything else is the same for both
steps. Ray itself is not told about checkpoints, because it would copy them without verification.
"""

import itertools
import logging
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
from pipelines.training import runs
from pipelines.training.board import ByActor, hopeless
from pipelines.training.progress import showing
from pipelines.training.worker import Make, work_on_ray

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

log = logging.getLogger(__name__)


class ControllerLost(CuhsError):
    """Ray Train's controller, the process that drives the workers, was killed."""


def train_on_ray(make: Make, params: Params, paths: dict[str, str], name: str, run: "Run") -> None:
    """Train on Ray until the end. Arguments and errors are those of :func:`.start.train`."""
    folder = (RUNS / name).resolve()
    for failed in itertools.count():
        start_ray()
        scaled = scaling(params.compute, *resources())
        try:
            run_workers(make, params, paths, folder, run, scaled, label=name.partition("-")[0])
            return
        except ControllerLost as error:
            if anew(error, failed, params.compute.max_failures) is not Anew.RAY:
                raise
            log.warning("%s: what drives its workers was killed; going on from the last checkpoint", name)
            # Ray frees the lost controller's resources only after this process leaves the cluster.
            leave_ray()


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
    """The Ray Train run behind a training; Ray must be initialised. Arguments are those of :func:`.start.train`, and:

    Args:
        folder: the absolute run directory, below ``runs``; the run continues from its last checkpoint.
        scaled: what :func:`scaling` returned.
        label: the progress bar's label; none shows nothing.
        callbacks: callbacks for Ray Train.
    """
    import ray.train
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    name = folder.relative_to(RUNS.resolve()).as_posix()
    board, most = ByActor(), params.compute.max_failures
    config = {"task": runs.task(make, params, paths, name, board)}
    run_config = RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=FailureConfig(max_failures=most),
        callbacks=list(callbacks),
    )
    worker: Any = work_on_ray  # Ray's annotations do not allow a return value

    def fit() -> Any:
        return TorchTrainer(
            worker, train_loop_config=config, scaling_config=ScalingConfig(**scaled), run_config=run_config
        ).fit()

    with showing(board, label, run), on_sigterm(lambda: board.tell("stop")):
        try:
            result = _with_new_controllers(fit, name, most)
        except (ray.train.TrainingFailedError, ray.exceptions.RayActorError) as error:
            runs.raise_reason(name, hopeless(board))
            kind = ControllerLost if isinstance(error, ray.exceptions.RayActorError) else CuhsError
            raise kind(
                f"{name}: broken off ({_last_line(error)}); compute.max_failures is {most}; the same command goes on "
                "from the last checkpoint"
            ) from error
    runs.raise_reason(name, result.return_value)


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


def _last_line(error: BaseException) -> str:
    """The last line of a Ray error; the rest is stack traces, and advice for machines that run out of memory."""
    return str(error).strip().splitlines()[-1].partition(" Some common causes include")[0]
