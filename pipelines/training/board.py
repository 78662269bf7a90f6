"""Where workers post news of a training, and learn that it has to stop.

The stage's process reads the news: workers need no access to the terminal or to MLflow, and no training waits for
either. On Ray the board is an actor; for a training in the stage's own process it is an object.
"""

import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

Epochs = list[dict[str, float]]
# How long an actor may take to answer.
ANSWER_S = 10


@dataclass(frozen=True)
class Profile:
    """A profile of some steps of a training.

    Attributes:
        steps: how many steps it covers.
        trace: a Chrome trace, JSON compressed by gzip; about 0.3 MB a step.
        table: the largest operators.
    """

    steps: int
    trace: bytes
    table: str


@dataclass
class News:
    """What happened since the last :meth:`Board.take`.

    Attributes:
        position: (epochs done, epochs in all).
        lines: lines to print.
        history: the measures of all epochs so far; empty if none ended since.
        machines: the metrics of machines, one entry for each time that one reported.
        profile: the training's profile, if one was made since.
    """

    position: tuple[float, float] = (0, 1)
    lines: list[str] = field(default_factory=list)
    history: Epochs = field(default_factory=list)
    machines: list[dict[str, float]] = field(default_factory=list)
    profile: Profile | None = None


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
    """Collects the news."""

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

    def failed(self, rank: int, error: str, trace: str) -> None:
        """Remember a worker's error; if the same one came before, the training is hopeless."""
        if (rank, error) in self._errors:
            self._hopeless = Hopeless(error, trace)
        self._errors.add((rank, error))

    def hopeless(self) -> Hopeless | None:
        """The error that came twice, if one did."""
        return self._hopeless

    def machine(self, values: dict[str, float]) -> None:
        """Add the metrics of a machine."""
        self._news.machines.append(values)

    def profiled(self, profile: Profile) -> None:
        """Set the training's profile."""
        self._news.profile = profile

    def take(self) -> News:
        """Return the news, and start anew."""
        news, self._news = self._news, News(self._news.position)
        return news


class Post(Protocol):
    """How a board is reached."""

    def tell(self, name: str, *args: Any) -> None:
        """Call the board's method of this name, without waiting for it."""

    def ask(self, name: str, *args: Any) -> Any:
        """The result of the board's method of this name."""


def hopeless(board: Post) -> Hopeless | None:
    """The error that came twice, if one did and the board is there to tell."""
    try:
        found: Hopeless | None = board.ask("hopeless")
        return found
    except Exception:  # a board that is lost or slow must not end a training
        return None


class Direct:
    """A board in this process; its threads take turns."""

    def __init__(self) -> None:
        self._board = Board()
        # A signal may interrupt the thread that holds it.
        self._turn = threading.RLock()

    def tell(self, name: str, *args: Any) -> None:
        """See :class:`Post`."""
        self.ask(name, *args)

    def ask(self, name: str, *args: Any) -> Any:
        """See :class:`Post`."""
        with self._turn:
            return getattr(self._board, name)(*args)


class ByActor:
    """A board that is a Ray actor on this machine: another one might be lost, and the news with it.

    The object can be sent to workers. Its errors are those of Ray, also when the actor does not answer.
    """

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()

    def tell(self, name: str, *args: Any) -> None:
        """See :class:`Post`."""
        getattr(self._actor, name).remote(*args)

    def ask(self, name: str, *args: Any) -> Any:
        """See :class:`Post`."""
        import ray

        return ray.get(getattr(self._actor, name).remote(*args), timeout=ANSWER_S)
