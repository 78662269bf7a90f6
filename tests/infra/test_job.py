"""infra/kuberay/job.sh, run as the RayJob does: in a fresh clone each time, with a store that outlives it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.manifests import INFRA

# Two stages, each of which says that it ran; the second fails until a file says otherwise.
PIPELINE = """
stages:
  first: {cmd: "echo first >> $LOG && echo 1 > first.txt", deps: [input.txt], outs: [first.txt]}
  second:
    cmd: "test -e $GO && echo second >> $LOG && cp first.txt second.txt"
    deps: [first.txt]
    outs: [second.txt]
"""


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the job in a new clone of a small project; the clone is gone afterwards."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CUHS_", "DVC_", "GIT_", "AWS_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LOG": str(tmp_path / "log"),
        "GO": str(tmp_path / "go"),
        "CUHS_STORE": str(tmp_path / "store"),
    }
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    (origin / "infra" / "kuberay").mkdir(parents=True)
    shutil.copy(INFRA / "kuberay" / "job.sh", origin / "infra" / "kuberay")
    (origin / "dvc.yaml").write_text(PIPELINE)
    (origin / "input.txt").write_text("0")

    def run(command: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, shell=True, cwd=cwd, env=environment | changes, capture_output=True, text=True, timeout=120
        )

    identity = "-c user.name=test -c user.email=test@example.invalid"
    made = run(f"git init -q && dvc init -q && git add . && git {identity} commit -qm x", origin)
    assert made.returncode == 0, made.stderr

    def again(**changes: str) -> subprocess.CompletedProcess[str]:
        assert run(f"git clone -q {origin} {clone}", tmp_path).returncode == 0
        try:
            return run("bash infra/kuberay/job.sh", clone, **changes)
        finally:
            shutil.rmtree(clone)

    return again


def test_another_attempt_takes_over_the_stages_that_had_ended(
    job: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    failed = job()
    assert failed.returncode != 0
    assert (tmp_path / "log").read_text() == "first\n"
    (tmp_path / "go").touch()
    done = job()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "log").read_text() == "first\nsecond\n"
    # A third one has nothing to do.
    assert job().returncode == 0
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_without_a_store_the_job_says_so_before_it_starts(
    job: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    failed = job(CUHS_STORE="")
    assert failed.returncode != 0
    assert "CUHS_STORE: names no object store, such as s3://BUCKET/cuhs" in failed.stderr
    assert not (tmp_path / "log").exists()
