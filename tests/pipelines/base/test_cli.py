"""Entry points as a shell sees them: exit codes and what stands on stderr."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRELUDE = "import sys, time\nfrom cuhs.errors import CuhsError\nfrom pipelines.base import cli\n"


def environment(**extra: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CUHS_")}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def run(body: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a stage whose ``main`` has this body."""
    code = f"{PRELUDE}def main():\n    {body}\nsys.exit(cli.run(main))\n"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(**extra), capture_output=True, text=True, timeout=60, check=False)


def test_a_stage_that_succeeds_exits_0_and_keeps_stderr_clean() -> None:
    done = run("print('figures')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "figures\n", "")


def test_log_lines_go_to_stderr_as_they_are() -> None:
    done = run("import logging; logging.getLogger('pipelines.x').info('epoch 1')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "epoch 1\n")


def test_what_the_user_can_mend_is_one_line_and_exit_code_2() -> None:
    done = run("raise CuhsError('data.raw: no such folder; set CUHS_REAL_DATA')")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: data.raw: no such folder; set CUHS_REAL_DATA\n"


def test_debugging_shows_the_trace_of_the_same_failure() -> None:
    done = run("raise CuhsError('data.raw: no such folder')", CUHS_DEBUG="1")
    assert done.returncode not in (0, 130)
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().endswith("CuhsError: data.raw: no such folder")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("EACCES", "data/x: Permission denied; give this user the right to it, or run as its owner"),
        ("EROFS", "data/x: Read-only file system; work in a copy on a file system that can be written"),
        ("ENOSPC", "data/x: No space left on device; make room, then run the same command again"),
    ],
)
def test_a_file_or_a_disk_that_cannot_be_used_is_one_line(code: str, line: str) -> None:
    done = run(f"import errno, os; raise OSError(errno.{code}, os.strerror(errno.{code}), 'data/x')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {line}\n")


def test_a_fault_of_the_program_keeps_its_trace() -> None:
    done = run("{}['pid']")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'pid'" in done.stderr


def test_a_stage_that_sigterm_ended_is_one_line_and_exit_code_143() -> None:
    done = run("from pipelines.base.signals import Terminated; raise Terminated('stopped in epoch 3')")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped in epoch 3\n")


def test_ctrl_c_is_one_word_and_exit_code_130() -> None:
    code = f"{PRELUDE}def main():\n    print('ready', flush=True)\n    time.sleep(60)\nsys.exit(cli.run(main))\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "interrupted\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_shown_on_a_terminal_that_lacks_its_characters(encoding: str) -> None:
    command = [sys.executable, "-m", "pipelines.main", "submit", "--help"]
    done = subprocess.run(
        command, env=environment(PYTHONIOENCODING=encoding), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"RAY_ADDRESS=http://?" in done.stdout


def test_a_user_without_a_home_is_told_to_name_one() -> None:
    # A container's user often is a mere number.
    homeless = "import pwd; pwd.getpwuid = lambda uid: {}[uid]; sys.exit(cli.run(lambda: print('ran')))"
    kept = {name: value for name, value in environment().items() if name != "HOME"}
    for home, expected in ((None, 2), ("/nowhere", 0)):
        own = kept | ({"HOME": home} if home else {})
        command = [sys.executable, "-c", PRELUDE + homeless]
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == expected
        line = "error: HOME: not set, and this user has no home folder; export HOME=/path/to/a/writable/folder\n"
        assert done.stderr == (line if expected else "")


@pytest.mark.parametrize("stage", ["synthesize", "build_dataset"])
def test_a_stage_started_in_the_wrong_folder_says_so_in_one_line(stage: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"pipelines.stages.{stage}"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: missing; run from the project's root\n"
    assert list(tmp_path.iterdir()) == []
