"""Progress of the workers, shown and tracked by the stage's process.

Ray forwards workers' output line by line, each line prefixed and mixed with Ray's own. So the first worker reports to
a small actor, and a thread of the stage polls that actor and draws a bar. Metrics for MLflow take the same way:
workers need no access to MLflow, and no training waits for it. The only message back to the workers is to stop.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.base.console import console

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

Epochs = list[dict[str, float]]

log = logging.getLogger(__name__)


@dataclass
class News:
    """What happened since the last :meth:`Board.take`.

    Attributes:
        position: (epochs done, epochs in all).
        lines: lines to print.
        history: the measures of all epochs so far; empty if none ended since.
        machines: the metrics of machines, one entry for each time that one reported.
    """

    position: tuple[float, float] = (0, 1)
    lines: list[str] = field(default_factory=list)
    history: Epochs = field(default_factory=list)
    machines: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Hopeless:
    """An error that came again at the same step after a restart, so that it always would.

    Attributes:
        error: where it came, and what it says.
        trace: the worker's stack trace.
    """

    error: str
    trace: str


class Board:
    """Collects the news; runs as a Ray actor."""

    def __init__(self) -> None:
        self._news = News()
        self._stopped = False
        self._errors: set[tuple[int, str]] = set()
        self._hopeless: Hopeless | None = None

    def move(self, done: float, total: float) -> None:
        """Set how many epochs are done."""
        self._news.position = (done, total)

    def end_epoch(self, line: str, history: Epochs) -> None:
        """Add a line to print above the bar, and set the measures of all epochs so far."""
        self._news.lines.append(line)
        self._news.history = history

    def say(self, line: str) -> None:
        """Add a line to print above the bar."""
        self._news.lines.append(line)

    def stop(self) -> None:
        """Tell the workers that the training has to end."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether the training has to end."""
        return self._stopped

    def failed(self, rank: int, error: str, trace: str) -> bool:
        """Remember a worker's error; returns whether the same one came before, so that the training is hopeless."""
        if (rank, error) in self._errors:
            self._hopeless = Hopeless(error, trace)
        self._errors.add((rank, error))
        return self._hopeless is not None

    def hopeless(self) -> "Hopeless | None":
        """The error that came twice, if one did."""
        return self._hopeless

    def machine(self, values: dict[str, float]) -> None:
        """Add the metrics of a machine."""
        self._news.machines.append(values)

    def take(self) -> News:
        """Return the news, and start anew."""
        news, self._news = self._news, News(self._news.position)
        return news


@contextmanager
def board(label: str | None, run: "Run") -> Iterator[Any]:
    """A board whose news are shown and tracked while the block runs; yields the actor's handle.

    Args:
        label: the text before the bar; none shows nothing.
        run: the MLflow run that gets the epochs' and machines' metrics.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On this machine, because another one might be lost, and the news with it.
    here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
    over = threading.Event()
    queue: SimpleQueue[News | None] = SimpleQueue()
    # In its own thread, so that a slow server does not hold up the bar.
    tracker = threading.Thread(target=_track, args=(run, queue), daemon=True)
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
        reader = threading.Thread(target=_read, args=(actor, bars, task, queue, over), daemon=True)
        reader.start()
        try:
            yield actor
        finally:
            over.set()
            reader.join(timeout=10)
            queue.put(None)
            tracker.join(timeout=10)


def _read(actor: Any, bars: Progress, task: TaskID, queue: "SimpleQueue[News | None]", over: threading.Event) -> None:
    import ray

    while True:
        last = over.wait(0.5)
        try:
            news: News = ray.get(actor.take.remote(), timeout=10)
        except Exception:  # a failure to show progress must not end the training
            if last:
                return
            continue
        for line in news.lines if not bars.disable else ():
            bars.console.print(line, markup=False, highlight=False)
        done, total = news.position
        bars.update(task, completed=done, total=total)
        if news.history or news.machines:
            queue.put(news)
        if last:
            return


def _track(run: "Run", queue: "SimpleQueue[News | None]") -> None:
    while (news := queue.get()) is not None:
        try:
            for values in news.machines:
                run.machine(values)
            if news.history:
                run.history(news.history)
        except Exception as error:  # nor must a failure to track; all epochs are logged again when the training ends
            log.warning("epochs are not tracked for now (%s)", error)


class WorkerProgress:
    """Reports the first worker's progress to the board; on other workers it does nothing.

    Args:
        actor: the board.
        rank: the worker's rank.
        epochs: the number of epochs of the whole training.
    """

    EVERY_S = 0.5

    def __init__(self, actor: Any, rank: int, epochs: int) -> None:
        self._actor = actor if rank == 0 else None
        self._epochs = epochs
        self._last = 0.0

    def position(self, epoch: int, done: int, steps: int) -> None:
        """Report that ``done`` of ``steps`` of an epoch, counted from 0, are done."""
        if self._actor is not None and time.monotonic() - self._last > self.EVERY_S:
            self._last = time.monotonic()
            self._actor.move.remote(epoch + done / steps, self._epochs)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._actor is not None:
            self._actor.say.remote(line)

    def end_epoch(self, history: Epochs) -> None:
        """Report the measures of all epochs so far; the main ones of the last epoch are printed."""
        if self._actor is not None:
            shown = "  ".join(f"{key} {value:.4g}" for key, value in history[-1].items() if "/" not in key)
            self._actor.end_epoch.remote(f"epoch {len(history):>3}/{self._epochs}  {shown}", history)
            self._actor.move.remote(len(history), self._epochs)
