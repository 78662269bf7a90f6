"""Keeps two processes from doing the same work in one folder."""

import fcntl
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from cuhs.errors import CuhsError

FILE = "lock"
# How many characters of a command are shown.
QUOTED = 100

log = logging.getLogger(__name__)


@contextmanager
def alone(folder: Path, work: str) -> Iterator[None]:
    """Hold a folder, which is made if it is missing, for one process's work in it.

    The end of the process frees it, too, however it ends. The folder may be deleted meanwhile.

    Args:
        folder: where the work is done; the lock is a file in it.
        work: what is done there, such as ``build``.

    Raises:
        CuhsError: another process does this work there, or the folder cannot be written into.
    """
    with _locked(folder / FILE, work) as file:
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


def _locked(path: Path, work: str) -> TextIO:
    """Open a file that no other process has; closing it frees it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise CuhsError(f"{path}: cannot be written ({error.strerror}); make its folder writable") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise CuhsError(
                f"{path.parent}: another {work} is at work here ({holder}); wait for it, or stop it"
            ) from error
        except OSError as error:  # some network file systems have no locks
            log.warning("%s: cannot be locked (%s); start only one %s here", path, error.strerror, work)
            return file
        # Who held it before may have deleted the folder.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _me() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"process {os.getpid()} on {platform.node()}: {' '.join(command.split())[:QUOTED]}"
