"""What workers tell, and what is tracked of it."""

from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.training import progress
from pipelines.training.board import Board, Direct, Hopeless, News
from pipelines.training.progress import WorkerProgress


def test_news_are_given_once_and_the_position_stays() -> None:
    board = Board()
    board.move(1.5, 4)
    board.end_epoch("epoch 1/4", [{"loss": 3.0}])
    board.machine({"system/cpu": 50.0})
    news = board.take()
    assert (news.position, news.lines, news.history) == ((1.5, 4), ["epoch 1/4"], [{"loss": 3.0}])
    assert news.machines == [{"system/cpu": 50.0}]
    assert board.take() == News((1.5, 4))


def test_the_first_worker_tells_where_it_is_and_what_each_epoch_gave() -> None:
    board = Direct()
    worker = WorkerProgress(board, 0, 4)
    worker.position(1, 5, 10)
    assert board.ask("take").position == (1.5, 4)
    worker.end_epoch([{"loss": 3.0, "lr": 0.1}, {"loss": 2.0, "loss/triplet/bn": 1.0}])
    news = board.ask("take")
    assert news.position == (2, 4)
    assert news.lines == ["epoch   2/4  loss 2"]
    assert len(news.history) == 2


def test_the_others_tell_nothing() -> None:
    board = Direct()
    worker = WorkerProgress(board, 1, 4)
    worker.position(1, 5, 10)
    worker.end_epoch([{"loss": 3.0}])
    assert board.ask("take") == News()


def test_all_that_is_told_is_tracked_though_one_entry_fails(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []

    def history(epochs: list[dict[str, float]]) -> None:
        if len(epochs) == 1:
            raise OSError("disk full")
        got.append(epochs)

    queue: SimpleQueue[News | None] = SimpleQueue()
    for news in (News(history=[{"a": 1.0}]), News(history=[{"a": 1.0}, {"a": 2.0}], machines=[{"cpu": 1.0}]), None):
        queue.put(news)
    progress._track(SimpleNamespace(history=history, machine=got.append), "train", queue)  # type: ignore[arg-type]
    assert got == [{"cpu": 1.0}, [{"a": 1.0}, {"a": 2.0}]]
    assert "epochs are not tracked for now (disk full)" in caplog.text


def test_an_error_that_comes_to_the_same_worker_twice_is_hopeless() -> None:
    board = Board()
    board.failed(0, "epoch 1, step 2: ValueError: short", "first")
    board.failed(1, "epoch 1, step 2: ValueError: short", "other")
    board.failed(0, "epoch 1, step 3: ValueError: short", "later")
    assert board.hopeless() is None
    board.failed(0, "epoch 1, step 2: ValueError: short", "second")
    assert board.hopeless() == Hopeless("epoch 1, step 2: ValueError: short", "second")
