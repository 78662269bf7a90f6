"""Loads batches, in this process or in loader processes."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from cuhs import machine
from cuhs.data.dataset import Batch, PersonImages, collate
from cuhs.data.sampler import Draw
from cuhs.errors import CuhsError

# How often loader processes that give no batch are looked after, and how often in a row before they count as stuck.
LOOK_S, LOOKS = 5, 12
# Loader processes hand their batches over through shared memory; Linux keeps it here.
SHARED = Path("/dev/shm")
# Batches that PyTorch lets each process prepare ahead.
AHEAD = 2
MIB = 1024 * 1024


class Rows(Sized, Iterable[list[Draw] | list[int]], Protocol):
    """What chooses the rows of each batch: the samplers of :mod:`cuhs.data.sampler`, or a list of batches."""


class Loader:
    """Iterable over the :class:`~cuhs.data.dataset.Batch` es that ``rows`` chooses; it may be iterated again.

    Loader processes live as long as the loader.

    Args:
        images: the images.
        rows: the rows of each batch, with seeds where images are augmented.
        processes: number of processes that decode images; 0 decodes in this one.
        pinned: whether to copy batches to page-locked memory, which speeds up the way to a GPU.

    Raises:
        CuhsError: the machine's shared memory is too small for the processes' batches.
    """

    def __init__(self, images: PersonImages, rows: Rows, processes: int, *, pinned: bool = False) -> None:
        if processes and len(rows):
            largest = len(next(iter(rows)))
            check_shared_memory(largest * images.height * images.width * 3, processes)
        dataset: Dataset[Any] = images
        self._processes = processes
        self._loader: DataLoader[Batch] = DataLoader(
            dataset,
            batch_sampler=rows,
            num_workers=processes,
            collate_fn=collate,
            pin_memory=pinned,
            multiprocessing_context=machine.processes() if processes else None,
            persistent_workers=processes > 0,
            timeout=LOOK_S if processes else 0,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches.

        Raises:
            OSError: a loader process was lost, or hangs.
        """
        found, looks = iter(self._loader), 0
        while True:
            try:
                batch = next(found)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader "):
                    raise
                looks += 1
                if "timed out" not in str(error) or looks == LOOKS:
                    raise OSError(
                        f"compute.loader_processes: one of {self._processes} loader processes was lost or hangs "
                        f"({' '.join(str(error).split())}); give the machine more memory or shared memory "
                        f"({SHARED}), or set 0"
                    ) from error
                continue
            looks = 0
            yield batch


def batches(count: int, size: int) -> list[list[int]]:
    """The rows 0 to ``count`` in order, in batches of ``size``; the last one may be smaller."""
    return [[*range(start, min(start + size, count))] for start in range(0, count, size)]


def check_shared_memory(batch_bytes: int, processes: int) -> None:
    """Refuse loader processes whose batches the shared memory cannot hold: their batches would never come.

    All trainings' workers of a machine share it; their number is in ``LOCAL_WORLD_SIZE``, as PyTorch sets it.

    Raises:
        CuhsError: there is too little of it.
    """
    if not SHARED.is_dir():
        return
    # Each process has its batches ahead; one more is in use.
    needed = (AHEAD * processes + 1) * batch_bytes * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = shutil.disk_usage(SHARED).free
    if needed > free:
        raise CuhsError(
            f"compute.loader_processes: the batches of {processes} loader processes need {needed / MIB:.0f} MiB of "
            f"shared memory and {SHARED} has {free / MIB:.0f} MiB left; enlarge it (docker run --shm-size=…) or set 0"
        )
