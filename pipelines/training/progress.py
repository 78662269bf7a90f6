"""Shows and tracks what the workers post on the training's board."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.base.console import console
from pipelines.training.board import Epochs, News, Post
from pipelines.training.profiling import keep

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

Queue: TypeAlias = "SimpleQueue[News | None]"

log = logging.getLogger(__name__)


@contextmanager
def showing(board: Post, label: str | None, run: "Run") -> Iterator[None]:
    """Show and track the board's news while the block runs.

    Args:
        board: the board.
        label: the text before the bar; none shows nothing.
        run: the MLflow run that gets the epochs' and machines' metrics, and the profile.
    """
    over = threading.Event()
    queue: Queue = SimpleQueue()
    # In its own thread, so that a slow server does not hold up the bar.
    tracker = threading.Thread(target=_track, args=(run, label or "", queue), daemon=True)
    tracker.start()
    with Progress(
        TextColumn(label or ""),
        BarColumn(),
        TextColumn("epoch {task.completed:.1f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=label is None,
    ) as bars:
        task = bars.add_task("", total=1)
        reader = threading.Thread(target=_read, args=(board, bars, task, queue, over), daemon=True)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join(timeout=10)
            queue.put(None)
            tracker.join(timeout=10)


def _read(
    board: Post, bars: Progress, task: TaskID, queue: "SimpleQueue[News | None]", over: threading.Event
) -> None:
    while True:
        last = over.wait(0.5)
        try:
            news: News = board.ask("take")
        except Exception:  # a failure to show progress must not end the training
            if last:
                return
            continue
        for line in news.lines if not bars.disable else ():
            bars.console.print(line, markup=False, highlight=False)
        done, total = news.position
        bars.update(task, completed=done, total=total)
        if news.history or news.machines or news.profile:
            queue.put(news)
        if last:
            return


def _track(run: "Run", stage: str, queue: Queue) -> None:
    while (news := queue.get()) is not None:
        try:
            for values in news.machines:
                run.machine(values)
            if news.history:
                run.history(news.history)
            if news.profile:
                keep(news.profile, stage, run)
        except Exception as error:  # nor must a failure to track; all epochs are logged again when the training ends
            log.warning("epochs are not tracked for now (%s)", error)


class WorkerProgress:
    """Posts the first worker's progress on the board; on other workers it does nothing.

    Args:
        board: the board.
        rank: the worker's rank.
        epochs: the number of epochs of the whole training.
    """

    EVERY_S = 0.5

    def __init__(self, board: Post, rank: int, epochs: int) -> None:
        self._board = board if rank == 0 else None
        self._epochs = epochs
        self._last = 0.0

    def position(self, epoch: int, done: int, steps: int) -> None:
        """Post that ``done`` of ``steps`` of an epoch, counted from 0, are done."""
        if self._board is not None and time.monotonic() - self._last > self.EVERY_S:
            self._last = time.monotonic()
            self._board.tell("move", epoch + done / steps, self._epochs)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._board is not None:
            self._board.tell("say", line)

    def end_epoch(self, history: Epochs) -> None:
        """Post the measures of all epochs so far; the main ones of the last epoch are printed."""
        if self._board is not None:
            main = {key: value for key, value in history[-1].items() if "/" not in key}
            shown = "  ".join(f"{key} {value:{'.4g' if abs(value) < 1e4 else '.0f'}}" for key, value in main.items())
            self._board.tell("end_epoch", f"epoch {len(history):>3}/{self._epochs}  {shown}", history)
            self._board.tell("move", len(history), self._epochs)
