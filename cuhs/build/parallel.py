"""An ordered parallel ``map`` over this machine's cores, and its protocol, which a cluster can implement, too."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from cuhs.errors import CuhsError
from cuhs.machine import processes, usable_cpus

T = TypeVar("T")
R = TypeVar("R")

# Tasks submitted for each worker: one running and one waiting.
AHEAD = 2


class Mapper(Protocol):
    """A ``map`` that may run elsewhere: in processes on this machine, or on a cluster.

    It yields ``function(task)`` in the order of the tasks, keeps only a few results waiting, and raises the
    exceptions of ``function`` unchanged. ``function`` and the tasks are pickled, so ``function`` must be defined at
    the top of a module, or be a :func:`functools.partial` of such a function. The builtin ``map`` qualifies.
    """

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
        """Yield the results."""


def map_on_cores(function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
    """A :class:`Mapper` with a process for each core that this process may use.

    A single task, or a single core, is processed here without another process. The processes end when this one
    does, however it ends.

    Raises:
        CuhsError: a worker process was killed.
    """
    workers = min(usable_cpus(), len(tasks))
    if workers < 2:
        yield from map(function, tasks)
        return
    context = processes()  # no fork: this process may have threads (of a progress bar or pyarrow)
    context.set_forkserver_preload([function.__module__])
    pool = ProcessPoolExecutor(workers, context, initializer=_follow_parent)
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise CuhsError(
            "a worker process was killed, perhaps for lack of memory; run the same command again to continue"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and exit when the parent ends, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
