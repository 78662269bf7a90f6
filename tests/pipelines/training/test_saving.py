"""Checkpoints that are saved while the training goes on."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from cuhs.errors import CuhsError
from pipelines.storage.checkpoint_store import FolderCheckpoints
from pipelines.training.saving import Saver


class Held:
    """A store that waits for a gate, and keeps what it was given."""

    def __init__(self) -> None:
        self.gate, self.saved = threading.Event(), []

    def save(self, state: dict[str, Any], epoch: int, step: int | None = None) -> None:
        assert self.gate.wait(10)
        self.saved.append((epoch, step, state))


def saver(store: Any) -> Saver:
    return Saver(store, lambda seconds: None)


def test_training_goes_on_and_changes_nothing_in_what_is_saved() -> None:
    store, weights, told = Held(), torch.ones(3), []
    state = {"model": {"w": weights}, "optimizer": [{"step": torch.tensor(1.0)}], "history": [{"loss": 1.0}]}
    saving = saver(store)
    saving.save(state, 0, then=lambda: told.append("saved"))
    weights.zero_()
    state["history"].append({"loss": 2.0})  # type: ignore[attr-defined]
    assert store.saved == told == []
    store.gate.set()
    saving.wait()
    ((epoch, step, saved),) = store.saved
    assert (epoch, step, told) == (0, None, ["saved"])
    assert saved["model"]["w"].tolist() == [1, 1, 1] and saved["history"] == [{"loss": 1.0}]


def test_one_is_saved_after_the_other(tmp_path: Path) -> None:
    saving = saver(FolderCheckpoints(tmp_path))
    for epoch in range(5):
        saving.save({"epoch": epoch, "w": torch.full((1000,), float(epoch))}, epoch)
    saving.wait()
    store = FolderCheckpoints(tmp_path)
    newest = store.newest()
    assert newest and store.load(newest)["epoch"] == 4
    assert [path.name[:15] for path in sorted(tmp_path.iterdir())] == ["checkpoint_0003", "checkpoint_0004"]


def test_what_could_not_be_saved_is_raised_at_the_next_turn() -> None:
    class Full:
        def save(self, state: dict[str, Any], epoch: int, step: int | None = None) -> None:
            raise CuhsError("runs/x: cannot be written (No space left on device)")

    told: list[int] = []
    saving = saver(Full())
    saving.save({}, 0, then=lambda: told.append(0))
    with pytest.raises(OSError, match=r"^runs/x: cannot be written \(No space left"):
        saving.save({}, 1)
    with pytest.raises(OSError, match="No space left"):
        saving.wait()
    assert told == []


def test_at_the_end_the_last_one_is_finished_also_after_an_error() -> None:
    store, done = Held(), []
    with pytest.raises(KeyError), saver(store) as saving:
        saving.save({}, 0, then=lambda: done.append(0))
        store.gate.set()
        raise KeyError
    assert done == [0]
