"""Loader processes that die, hang, or have no room."""

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cuhs.data import loading
from cuhs.data.augment import Augmentation
from cuhs.data.dataset import PersonImages
from cuhs.data.loading import MIB, Loader, batches, check_shared_memory
from cuhs.data.sampler import IdentitySampler
from cuhs.errors import CuhsError


class Killed(PersonImages):
    """Images on which a loader process dies."""

    def __getitem__(self, item: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Stuck(PersonImages):
    """Images that never come."""

    def __getitem__(self, item: Any) -> Any:
        signal.pause()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's usual 64 MB of shared memory."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * MIB))


def test_loader_processes_give_the_same_batches_in_each_epoch(tiny_dataset: Path) -> None:
    images = PersonImages(tiny_dataset, "train", 64, 32, Augmentation(pad=10, jitter=0.2, erasing=0.5))
    sampler = IdentitySampler(images.labels, 3, 2, seed=0)
    here, there = Loader(images, sampler, 0), Loader(images, sampler, 2)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        both = list(zip(here, there, strict=True))
        assert len(both) == len(sampler) == len(there)
        for a, b in both:
            assert torch.equal(a.pixels, b.pixels) and torch.equal(a.labels, b.labels)
            assert torch.equal(a.changes, b.changes)


def test_batches_of_rows_are_in_order_and_whole() -> None:
    assert batches(5, 2) == [[0, 1], [2, 3], [4]]
    assert batches(0, 2) == []


def test_a_killed_loader_process_is_noticed_and_the_line_says_what_to_do(tiny_dataset: Path) -> None:
    with pytest.raises(
        OSError, match=r"^compute\.loader_processes: one of 1 .* was lost .* shared memory .* or set 0$"
    ):
        list(Loader(Killed(tiny_dataset, "train", 64, 32), [[0]], 1))


def test_so_is_one_that_hangs(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOOK_S", 1)
    monkeypatch.setattr(loading, "LOOKS", 2)
    with pytest.raises(OSError, match=r"^compute\.loader_processes: .* timed out after 1 seconds"):
        list(Loader(Stuck(tiny_dataset, "train", 64, 32), [[0]], 1))


@pytest.mark.skipif(not loading.SHARED.is_dir(), reason="this system has no /dev/shm")
def test_batches_that_shared_memory_cannot_hold_are_refused(
    small: None, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = PersonImages(tiny_dataset, "train", 384, 128)
    rows = [[0] * 256]
    Loader(images, rows, 0)
    line = r"the batches of 2 loader processes need 180 MiB of shared memory and /dev/shm has 64 MiB left; enlarge it"
    with pytest.raises(CuhsError, match=r"^compute\.loader_processes: " + line):
        Loader(images, rows, 2)
    check_shared_memory(20 * MIB, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(CuhsError, match="need 120 MiB"):
        check_shared_memory(20 * MIB, 1)
