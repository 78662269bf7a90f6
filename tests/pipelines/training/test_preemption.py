"""Notices that all workers hear after the same step, and SIGTERM that is acted on."""

import os
import signal
import threading
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from pipelines.base.signals import on_sigterm
from pipelines.training import preemption
from pipelines.training.preemption import Notices


class World:
    """Two workers in step, with a clock and with Ray's answers made up here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds_a_step: float) -> None:
        self.now, self.seconds, self.answering = 0.0, seconds_a_step, 0.0
        self.nodes: list[str] = []
        self.told: bool | Exception = False
        self.asked: list[int] = []
        self.sent: Any = None
        monkeypatch.setattr(preemption.time, "monotonic", lambda: self.now)
        board: Any = SimpleNamespace(ask=self._ask)
        self.workers = [Notices(board, self._team(rank)) for rank in range(2)]
        self.steps = 0

    def step(self) -> bool:
        """Whether both hear of something new after one more step."""
        self.steps += 1
        self.now += self.seconds
        first, second = (worker.new() for worker in self.workers)
        assert first is second and self.workers[0].stop is self.workers[1].stop
        return first

    def _team(self, rank: int) -> Any:
        def from_first(value: Any) -> Any:
            if rank == 0:
                self.now += self.answering
                self.sent = value
                self.asked.append(self.steps)
            return self.sent

        return SimpleNamespace(rank=rank, leaving=lambda: set(self.nodes), from_first=from_first)

    def _ask(self, name: str) -> bool:
        assert name == "stopped"
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


def test_nothing_is_heard_where_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 1.0)
    assert not any(world.step() for _ in range(50))
    assert not world.workers[1].stop


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 2000), (0.1, 20), (0.5, 4), (2.0, 1), (30.0, 1)])
def test_workers_ask_about_every_two_seconds_and_never_less_than_each_step(
    seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, seconds)
    for _ in range(3 * steps + 20):
        world.step()
    gaps = [b - a for a, b in pairwise(world.asked)]
    assert world.asked[0] == 1 and gaps[-1] == pytest.approx(steps, rel=0.01)
    # The first steps of a GPU seem to take no time: it is believed little by little.
    assert all(b <= 2 * a for a, b in pairwise(gaps))


def test_slow_answers_are_asked_for_so_seldom_that_they_take_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, 0.1)
    world.answering = 3.0
    for _ in range(2000):
        world.step()
    assert world.asked[-1] - world.asked[-2] == pytest.approx(300, rel=0.01)


def test_steps_that_become_slow_are_asked_about_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 0.1)
    for _ in range(60):
        world.step()
    world.seconds = 4.0
    for _ in range(60):
        world.step()
    assert world.asked[-3:] == [118, 119, 120]


def test_each_node_that_goes_is_new_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 5.0)
    world.nodes = ["a"]
    assert [world.step() for _ in range(3)] == [True, False, False]
    world.nodes = ["a", "b"]
    assert [world.step() for _ in range(3)] == [True, False, False]
    world.nodes = ["b"]
    assert [world.step(), world.workers[0].stop] == [False, False]


def test_sigterm_is_new_once_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 5.0)
    assert not world.step()
    world.told = True
    assert [world.step(), world.step()] == [True, False]
    assert world.workers[0].stop and world.workers[1].stop


def test_a_board_that_does_not_answer_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 5.0)
    world.told = ray.exceptions.GetTimeoutError("late")
    assert not world.step() and not world.workers[0].stop


def test_sigterm_is_acted_on_and_only_within() -> None:
    before, heard = signal.getsignal(signal.SIGTERM), []
    with on_sigterm(lambda: heard.append(1)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [1, 1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_threads_hear_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def drive() -> None:
        with on_sigterm(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert seen == [before]
