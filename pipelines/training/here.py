"""Runs a training in this process, as a plain loop."""

import itertools
import logging
from typing import TYPE_CHECKING

from cuhs.errors import CuhsError
from pipelines.base.params import Params
from pipelines.base.signals import on_sigterm
from pipelines.training import runs
from pipelines.training.board import Direct, Hopeless
from pipelines.training.progress import showing
from pipelines.training.worker import Make, work_here

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

log = logging.getLogger(__name__)


def train_here(make: Make, params: Params, paths: dict[str, str], name: str, run: "Run") -> None:
    """Train as the only worker until the end. Arguments and errors are those of :func:`.start.train`."""
    board, most = Direct(), params.compute.max_failures
    task = runs.task(make, params, paths, name, board)
    with showing(board, name.partition("-")[0], run), on_sigterm(lambda: board.tell("stop")):
        reason: BaseException | Hopeless | None = None
        for failed in itertools.count():
            try:
                reason = work_here(task)
                break
            except Exception as error:
                text = " ".join(str(error).split()) or type(error).__name__
                if failed == most:
                    raise CuhsError(
                        f"{name}: broken off ({text}); compute.max_failures is {most}; the same command goes on from "
                        "the last checkpoint"
                    ) from error
                log.warning("%s: %s; going on from the last checkpoint", name, text)
    runs.raise_reason(name, reason)
