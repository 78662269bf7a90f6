"""Progress of workers, wherever they run, drawn where the stage runs.

Ray forwards what workers print line by line, each prefixed and mixed with its own. So the first worker tells a
small actor what it is doing, and a thread of the stage asks that actor and draws a bar.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.console import console


class Board:
    """Holds the newest position, and the lines that were not drawn yet. Runs as an actor."""

    def __init__(self) -> None:
        self._position: tuple[float, float] = (0, 1)
        self._lines: list[str] = []

    def move(self, done: float, total: float) -> None:
        """Where the work is."""
        self._position = (done, total)

    def say(self, line: str) -> None:
        """A line to print above the bar."""
        self._lines.append(line)

    def take(self) -> tuple[tuple[float, float], list[str]]:
        """The position, and the lines since the last call."""
        lines, self._lines = self._lines, []
        return self._position, lines


@contextmanager
def board(label: str) -> Iterator[Any]:
    """A board whose progress is drawn while the block runs; yields the actor's handle."""
    import ray

    actor = ray.remote(num_cpus=0)(Board).remote()
    over = threading.Event()
    with Progress(
        TextColumn(label),
        BarColumn(),
        TextColumn("epoch {task.completed:.1f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bars:
        task = bars.add_task(label, total=1)
        drawer = threading.Thread(target=_draw, args=(actor, bars, task, over), daemon=True)
        drawer.start()
        try:
            yield actor
        finally:
            over.set()
            drawer.join(timeout=10)


def _draw(actor: Any, bars: Progress, task: TaskID, over: threading.Event) -> None:
    import ray

    while True:
        last = over.wait(0.5)
        try:
            (done, total), lines = ray.get(actor.take.remote(), timeout=10)
        except Exception:  # progress is no reason for a training to fail
            if last:
                return
            continue
        for line in lines:
            bars.console.print(line, markup=False, highlight=False)
        bars.update(task, completed=done, total=total)
        if last:
            return


class WorkerProgress:
    """What the first worker tells the board; the others tell nothing.

    Args:
        actor: the board; none where nobody looks.
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

    def end_of_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """A line with the epoch's main metrics."""
        if self._actor is not None:
            shown = "  ".join(f"{key} {value:.4g}" for key, value in metrics.items() if "/" not in key)
            self._actor.say.remote(f"epoch {epoch + 1:>3}/{self._epochs}  {shown}")
            self._actor.move.remote(epoch + 1, self._epochs)
