"""Resources that this process may use, and how it starts others."""

import multiprocessing
import os
import tempfile
from multiprocessing.context import ForkServerContext
from multiprocessing.util import get_temp_dir

# Processes talk through sockets in a temporary folder. Linux allows 107 bytes for a socket's path, of which the
# names that Python appends take up to 32.
LONGEST = 107 - 32


def usable_cpus() -> int:
    """Return the number of usable cores; containers, batch systems and ``taskset`` allow fewer than exist."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes() -> ForkServerContext:
    """Return how to start processes: without a fork of this one, whose threads may hold locks.

    Their sockets are in ``/tmp`` if the path of the folder for temporary files (``TMPDIR``) is too long for sockets.
    """
    chosen = tempfile.gettempdir()
    try:
        tempfile.tempdir = temporary_folder(LONGEST)
        get_temp_dir()  # made at the first call, and kept by this process and its children
    finally:
        tempfile.tempdir = chosen
    return multiprocessing.get_context("forkserver")


def temporary_folder(longest: int) -> str:
    """Return the folder for temporary files (``TMPDIR``), or ``/tmp`` if its path has more than ``longest`` bytes."""
    chosen = tempfile.gettempdir()
    return chosen if len(os.fsencode(chosen)) <= longest else "/tmp"
