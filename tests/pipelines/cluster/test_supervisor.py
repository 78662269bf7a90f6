import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cuhs.errors import CuhsError
from pipelines.cluster.joining import RayLost
from pipelines.cluster.supervisor import supervised
from tests.imports import ROOT

# Children are new processes: what they do is told by files in this folder.
FOLDER = "TEST_SUPERVISOR_FOLDER"


def begin() -> int:
    """Count the starts; returns how many there were before."""
    folder = Path(os.environ[FOLDER])
    before = len(list(folder.glob("start-*")))
    (folder / f"start-{before}").write_text(str(os.getpid()))
    return before


def work() -> None:
    begin()


def fail() -> None:
    begin()
    raise CuhsError("params.yaml: no such thing")


def lose_the_first_two() -> None:
    if begin() < 2:
        os.kill(os.getpid(), signal.SIGKILL)


def lose_ray_first() -> None:
    if begin() == 0:
        raise RayLost("Ray did not start")


def lose_all() -> None:
    begin()
    os._exit(70)


def last() -> None:
    begin()
    while True:
        time.sleep(0.1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def starts(folder: Path) -> int:
    return len(list(folder.glob("start-*")))


def test_work_that_ends_is_done_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised(work, 2) == 0
    assert starts(folder) == 1
    assert capfd.readouterr().err == ""


def test_an_error_is_one_line_and_not_tried_again(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised(fail, 2) == 2
    assert starts(folder) == 1
    assert capfd.readouterr().err == "error: params.yaml: no such thing\n"


def test_a_killed_process_is_started_again(folder: Path) -> None:
    assert supervised(lose_the_first_two, 2) == 0
    assert starts(folder) == 3


def test_so_is_one_whose_ray_did_not_start(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised(lose_ray_first, 2) == 0
    assert starts(folder) == 2
    assert "Ray did not start" in capfd.readouterr().err


def test_what_is_lost_again_and_again_ends_in_a_line(folder: Path) -> None:
    with pytest.raises(CuhsError, match=r"compute.max_failures: .* was killed 2 times \(its last exit code is 70\)"):
        supervised(lose_all, 1)
    assert starts(folder) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_signals_reach_the_work_and_start_nothing_anew(number: int, code: int, folder: Path) -> None:
    module = "tests.pipelines.cluster.test_supervisor"
    called = f"import sys; from {module} import last, supervised; sys.exit(supervised(last, 2))"
    process = subprocess.Popen([sys.executable, "-c", called], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline, written = time.monotonic() + 60, folder / "start-0"
        while not (written.is_file() and written.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        child = psutil.Process(int(written.read_text()))
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        child.wait(timeout=30)
    finally:
        process.kill()
    assert starts(folder) == 1
