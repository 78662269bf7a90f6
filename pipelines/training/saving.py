"""Saves checkpoints in a thread, while the training goes on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from cuhs.errors import CuhsError
from pipelines.storage.checkpoint_store import CheckpointStore


class Saver:
    """Saves one checkpoint at a time; as a context manager, it lets the last one be finished at the end.

    Args:
        store: where checkpoints go.
        took: called with the seconds that each one took.
    """

    def __init__(self, store: CheckpointStore, took: Callable[[float], object]) -> None:
        self._store, self._took = store, took
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *raised: object) -> None:
        self._thread.shutdown()

    def save(
        self, state: dict[str, Any], epoch: int, step: int | None = None, then: Callable[[], object] = int
    ) -> None:
        """Copy the state and save it as :meth:`.CheckpointStore.save` does; call ``then`` once it is whole.

        Raises:
            OSError: the checkpoint before this one could not be stored.
        """
        self.wait()
        self._running = self._thread.submit(self._save, _copy(state), epoch, step, then)

    def wait(self) -> None:
        """Wait until the last checkpoint is whole.

        Raises:
            OSError: it could not be stored.
        """
        if self._running is not None:
            with failing_alone():
                self._running.result()

    def _save(self, state: dict[str, Any], epoch: int, step: int | None, then: Callable[[], object] | None) -> None:
        started = time.perf_counter()
        self._store.save(state, epoch, step)
        self._took(time.perf_counter() - started)
        if then is not None:
            then()


def _copy(value: Any) -> Any:
    """The same value on the CPU, with tensors of its own."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(each) for each in value)
    return value


@contextmanager
def failing_alone() -> Iterator[None]:
    """Raise errors that hit this worker alone so that all workers are restarted: the others wait for this one."""
    try:
        yield
    except CuhsError as error:
        raise OSError(str(error)) from error
