"""Run directories: a training's checkpoints and traces are in ``runs/NAME``, here or in the object store.

They are not in DVC's outputs, which DVC deletes before a stage runs. NAME is a hash of all inputs: the same command
continues a killed training, and a changed parameter starts a new one.
"""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuhs.errors import CuhsError
from pipelines.base.params import Params
from pipelines.base.paths import RUNS
from pipelines.storage.checkpoint_store import checkpoint_store
from pipelines.storage.places import place
from pipelines.training.board import Hopeless, Post
from pipelines.training.worker import Make, Task

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

log = logging.getLogger(__name__)


def task(make: Make, params: Params, paths: dict[str, str], name: str, board: Post) -> Task:
    """What the workers of the training ``name`` are given.

    Raises:
        CuhsError: the object store failed.
    """
    places = {key: place(Path(path)) for key, path in paths.items()}
    if Path(params.network.weights).is_file():
        places["weights"] = place(Path(params.network.weights))
    return Task(name, make, params, places, checkpoint_store(RUNS, name), board)


def last_state(name: str, run: "Run") -> dict[str, Any]:
    """The state of a finished training; its epochs are tracked again, in case that some were not.

    Raises:
        CuhsError: there is no whole checkpoint.
    """
    store = checkpoint_store(RUNS, name)
    last = store.newest()
    if last is None:
        raise CuhsError(f"{name}: no whole checkpoint after the training; run the command again")
    state = store.load(last)
    run.history(state["history"])
    return state


def raise_reason(name: str, reason: BaseException | Hopeless | None) -> None:
    """Raise why a training is impossible, if a worker returned that; a stack trace is kept in a file."""
    if isinstance(reason, Hopeless):
        trace = RUNS / name / "error.txt"
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text(reason.trace)
        raise CuhsError(
            f"{name}: failed twice in the same way ({reason.error}), so going on would not help; {trace} has the "
            "stack trace"
        )
    if reason:
        raise reason


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
