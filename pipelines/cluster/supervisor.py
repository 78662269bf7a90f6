"""Runs a stage's work in a process of its own, and again when that process was lost with its Ray.

A process cannot outlive the Ray that it has started: Ray's C++ ends it. Work that goes on from its last checkpoint is
therefore done by a child, and this process, which knows nothing of Ray, starts another one.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from cuhs.errors import CuhsError
from pipelines.base import cli
from pipelines.cluster.joining import RayLost, leave_ray

log = logging.getLogger(__name__)


def supervised(work: Callable[[], object], most: int) -> int:
    """The exit code of :func:`pipelines.base.cli.run` for ``work``, which runs in a child.

    SIGTERM and SIGINT are passed on to the child. If this process is killed, so is the child.

    Args:
        work: a function of a module, called without arguments.
        most: how many more times the work is started after its process was lost; -1 for any number.

    Raises:
        CuhsError: the process was lost more often.
    """
    spawn = multiprocessing.get_context("spawn")
    lost = 0
    while True:
        ours, theirs = spawn.Pipe(duplex=False)
        child = spawn.Process(target=_child, args=(work, theirs))
        with _forwarding(child) as asked:
            child.start()
            theirs.close()
            child.join()
        try:
            code: int = ours.recv()
            return code
        except EOFError:  # it ended without a word
            pass
        finally:
            ours.close()
        if asked:
            return 128 + asked[-1]
        lost += 1
        if lost == most + 1:
            raise CuhsError(
                f"compute.max_failures: the process that does the work, or its Ray, was killed {lost} times "
                f"(its last exit code is {child.exitcode}); the same command goes on from the last checkpoint"
            )
        log.warning("the process that does the work was lost with its Ray; starting both anew")


def _child(work: Callable[[], object], over: Connection) -> None:
    """Do the work; ``over`` gets the exit code, unless Ray was lost."""
    os.setpgid(0, 0)  # signals reach it only by way of its parent
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def unless_ray_is_lost() -> None:
        try:
            work()
        except RayLost as lost:
            log.warning("%s", lost)
            os._exit(1)

    code = 1
    try:
        code = cli.run(unless_ray_is_lost)
    finally:
        over.send(code)
        leave_ray()  # a child of multiprocessing has no functions at its exit


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _forwarding(child: BaseProcess) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on to the child; yields those that came."""
    asked: list[int] = []

    def forward(number: int, frame: object) -> None:
        asked.append(number)
        if child.pid is not None and child.is_alive():
            os.kill(child.pid, number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
