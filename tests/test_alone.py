"""Of two processes with the same work in one folder, the second says who is at work."""

import errno
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cuhs.alone import alone
from cuhs.errors import CuhsError
from tests.imports import ROOT

HOLD = (
    "import sys; from pathlib import Path; from cuhs.alone import alone\nwith alone(Path('run'), 'training'):\n    "
)


def other(body: str, folder: Path) -> subprocess.Popen[str]:
    """Another process, which does something while it holds the folder ``run``."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD + body, "--epochs", "3"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_the_second_says_who_holds_the_folder_until_that_one_is_killed(tmp_path: Path) -> None:
    with other("print('held', flush=True); input()", tmp_path) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        who = rf"process {holder.pid} on {re.escape(platform.node())}: -c --epochs 3"
        with (
            pytest.raises(CuhsError, match=rf"run: another training is at work here \({who}\); wait for it, or stop"),
            alone(tmp_path / "run", "training"),
        ):
            pass
        holder.kill()
        holder.wait()
        with alone(tmp_path / "run", "training"):
            pass


def test_work_in_another_folder_is_not_held_up(tmp_path: Path) -> None:
    with alone(tmp_path / "train-1", "training"), alone(tmp_path / "train-2", "training"):
        pass


def test_the_folder_may_be_deleted_by_who_holds_it(tmp_path: Path) -> None:
    with alone(tmp_path / "run", "training"):
        shutil.rmtree(tmp_path / "run")
        with alone(tmp_path / "run", "training"):  # another folder by now
            assert (tmp_path / "run/lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_file_system_without_locks_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with alone(tmp_path, "training"):
        pass
    assert "cannot be locked (No locks available); start only one training here" in caplog.text


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CuhsError, match=r"file/lock: cannot be written \(File exists\)"),
        alone(tmp_path / "file", "build"),
    ):
        pass
