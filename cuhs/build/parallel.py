"""An ordered parallel ``map`` over the cores of this machine, and the protocol for others."""

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
from cuhs.machine import usable_cpus

T = TypeVar("T")
R = TypeVar("R")

# Tasks under way for each worker: one at work and one waiting.
AHEAD = 2


class Mapper(Protocol):
    """``map`` that may run elsewhere: over processes here, or over a cluster.

    It yields ``function(task)`` in the order of the tasks, holds no more than a few results that wait to be
    taken, and lets an exception of ``function`` through as it is. ``function`` and tasks are pickled: a
    function at the top of a module, or a :func:`functools.partial` of one. The builtin ``map`` is one.
    """

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
        """Yield the results."""


def map_on_cores(function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
    """A :class:`Mapper` over a process for each core that this process may use.

    A single task, or a single core, needs no process and is worked off here. The processes end with this one,
    however it ends.

    Raises:
        CuhsError: a process was killed.
    """
    workers = min(usable_cpus(), len(tasks))
    if workers < 2:
        yield from map(function, tasks)
        return
    # Not forked: this process may have threads (a progress bar's, pyarrow's), and a fork copies their locks.
    context = multiprocessing.get_context("forkserver")
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
            "a worker process was killed, perhaps for want of memory; the same command goes on from what is done"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it does: a killed parent tells nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
