"""Progress of workers, wherever they run, drawn and tracked where the stage runs.

Ray forwards what workers print line by line, each prefixed and mixed with its own. So the first worker tells a
small actor what it is doing, and a thread of the stage asks that actor and draws a bar. What MLflow gets goes the
same way: workers need no access to it, and no training waits for it. Back to the workers goes one word only: stop.
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
    """What happened since the board was asked last.

    Attributes:
        position: epochs done, of how many.
        lines: to print.
        history: measures of all epochs so far, where one ended.
        machines: how busy machines were, each time they looked.
    """

    position: tuple[float, float] = (0, 1)
    lines: list[str] = field(default_factory=list)
    history: Epochs = field(default_factory=list)
    machines: list[dict[str, float]] = field(default_factory=list)


class Board:
    """Holds the news. Runs as an actor."""

    def __init__(self) -> None:
        self._news = News()
        self._stopped = False

    def move(self, done: float, total: float) -> None:
        """Where the work is."""
        self._news.position = (done, total)

    def end_epoch(self, line: str, history: Epochs) -> None:
        """A line to print above the bar, and the measures of all epochs so far."""
        self._news.lines.append(line)
        self._news.history = history

    def say(self, line: str) -> None:
        """A line to print above the bar."""
        self._news.lines.append(line)

    def stop(self) -> None:
        """The training has to end."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether it has to."""
        return self._stopped

    def machine(self, values: dict[str, float]) -> None:
        """How busy a machine is."""
        self._news.machines.append(values)

    def take(self) -> News:
        """What is new."""
        news, self._news = self._news, News(self._news.position)
        return news


@contextmanager
def board(label: str | None, run: "Run") -> Iterator[Any]:
    """A board whose news are drawn and tracked while the block runs; yields the actor's handle.

    Args:
        label: before the bar; none draws nothing.
        run: that epochs and machines are logged into.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On this machine: on another it might be lost, and what is told with it.
    here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
    over = threading.Event()
    queue: SimpleQueue[News | None] = SimpleQueue()
    # A thread of its own: a slow server does not hold up the bar.
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
        except Exception:  # progress is no reason for a training to fail
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
        except Exception as error:  # nor is tracking; all epochs are given again when the training ends
            log.warning("epochs are not tracked for now (%s)", error)


class WorkerProgress:
    """What the first worker tells the board; the others tell nothing.

    Args:
        actor: the board.
        rank: of the worker.
        epochs: of the whole training.
    """

    EVERY_S = 0.5

    def __init__(self, actor: Any, rank: int, epochs: int) -> None:
        self._actor = actor if rank == 0 else None
        self._epochs = epochs
        self._last = 0.0

    def position(self, epoch: int, done: int, steps: int) -> None:
        """``done`` of ``steps`` of an epoch, counted from 0."""
        if self._actor is not None and time.monotonic() - self._last > self.EVERY_S:
            self._last = time.monotonic()
            self._actor.move.remote(epoch + done / steps, self._epochs)

    def say(self, line: str) -> None:
        """A line to print above the bar."""
        if self._actor is not None:
            self._actor.say.remote(line)

    def end_epoch(self, history: Epochs) -> None:
        """The measures of all epochs so far; the last one's main measures are printed."""
        if self._actor is not None:
            shown = "  ".join(f"{key} {value:.4g}" for key, value in history[-1].items() if "/" not in key)
            self._actor.end_epoch.remote(f"epoch {len(history):>3}/{self._epochs}  {shown}", history)
            self._actor.move.remote(len(history), self._epochs)
