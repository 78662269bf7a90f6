"""Starts Ray in this process or joins a cluster, and notices when Ray's own processes on this machine are killed."""

import atexit
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cuhs.errors import CuhsError
from cuhs.machine import temporary_folder

# The exit code of a process whose Ray was killed.
RAY_LOST = 70
# Without these, Ray answers nobody. They are children of the process that started Ray.
OWN = ("gcs_server", "raylet")
# Faster than the pages of log that Ray prints then.
LOOK_S = 0.1
# How long a cluster may take to accept a connection.
ANSWER_S = 10.0
# What Ray adds to its folder's name for its sockets takes about 60 bytes of the 107 that Linux allows.
LONGEST_FOLDER = 40
FOLDERS = "cuhs-ray-"

log = logging.getLogger(__name__)
# Set when the Ray that was started here is let go.
_left = threading.Event()
# The folder of the Ray that was started here.
_folders: list[Path] = []


class RayLost(CuhsError):
    """Ray's own processes on this machine were killed, or did not start."""


def start_ray() -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start Ray in this process.

    If the Ray that was started here is killed later, this process ends with the code ``RAY_LOST``: Ray itself would
    end it, after a minute and without a reason. :func:`.supervisor.supervised` then starts both anew.

    Raises:
        RayLost: Ray did not start on this machine.
        CuhsError: nothing answers at ``RAY_ADDRESS``.
    """
    import ray

    if ray.is_initialized():
        return
    debug = bool(os.environ.get("CUHS_DEBUG"))
    options: dict[str, Any] = {
        "logging_level": logging.INFO if debug else logging.ERROR,
        "log_to_driver": debug,
    }
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        _knock(address)
        try:
            ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:
            raise CuhsError(f"RAY_ADDRESS: {address} cannot be joined ({_first_line(error)})") from error
        return
    _folders.append(_new_folder())
    options |= {"address": "local", "include_dashboard": False, "_temp_dir": str(_folders[-1])}
    try:
        ray.init(**options)
    except Exception as error:  # whatever Ray raises when a process of its own is missing
        leave_ray()
        raise RayLost(f"Ray did not start on this machine ({_first_line(error)}); run the command again") from error
    # Runs before Ray's own function at the exit, which kills the processes that are watched here.
    atexit.register(leave_ray)
    _left.clear()
    threading.Thread(target=_watch, daemon=True).start()


def leave_ray() -> None:
    """Leave the cluster, or stop the Ray that was started here and delete its logs (not with ``CUHS_DEBUG=1``)."""
    if ray := sys.modules.get("ray"):
        _left.set()
        ray.shutdown()
    while _folders:
        folder = _folders.pop()
        if os.environ.get("CUHS_DEBUG"):
            log.info("Ray's logs are in %s", folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _knock(address: str) -> None:
    """Ask whether anything listens: Ray itself would try for minutes, with pages of log."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # `auto`, or what Ray knows better
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise CuhsError(
            f"RAY_ADDRESS: nothing answers at {address} ({error}); start the cluster there or unset it"
        ) from error


def _new_folder() -> Path:
    """A new folder for Ray's sockets and logs, with a short path; those of processes that ended are deleted."""
    wanted = os.environ.get("RAY_TMPDIR", "")
    fits = wanted and len(os.fsencode(wanted)) <= LONGEST_FOLDER
    parent = Path(wanted if fits else temporary_folder(LONGEST_FOLDER))
    parent.mkdir(parents=True, exist_ok=True)
    for old in sorted(parent.glob(f"{FOLDERS}*")):
        owner = old.name.removeprefix(FOLDERS).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-", dir=parent))


def _watch() -> None:
    """End this process when one of Ray's own is gone, and all that Ray has started with it."""
    me = psutil.Process()
    own = {process: process.name() for process in me.children() if process.name() in OWN}
    while not _left.wait(LOOK_S):
        lost = [name for process, name in own.items() if not _runs(process)]
        if lost and not _left.is_set():
            log.warning(
                "Ray's own process %s was killed on this machine; what it worked on has to start again", lost[0]
            )
            for process in me.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            os._exit(RAY_LOST)


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
