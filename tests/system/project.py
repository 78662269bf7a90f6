"""A tiny copy of the project in a repository of its own, and what tests do to its processes."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml

from infra.local.processes import kill_tree

T = TypeVar("T")
# The fixture `felt`.
Felt = Callable[[str], AbstractContextManager[None]]

ROOT = Path(__file__).parents[2]
# Never to be seen anywhere but in the environment of processes.
PLANTED = "planted-0aa3c6f1"
RAY = {
    # Ray's workers give way to all other processes; on a machine with other work they would starve.
    "RAY_worker_niceness": "0",
    # How often Ray Train looks after its workers; every epoch waits for it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}
os.environ |= RAY
EPOCHS = 10
TINY = [
    "synthesize.identities=24",
    "synthesize.images=240",
    "image.height=64",
    "image.width=32",
    "network.channels=16",
    "pretrain_hsl.epochs=1",
    f"train.epochs={EPOCHS}",
    "train.identities=4",
    "compute.workers=2",
]


def inherited() -> dict[str, str]:
    """This process's environment without what would lead to another cluster, server or store."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "CUHS_"))}
    return kept | RAY


class Project:
    """A copy of the project in a repository of its own.

    Args:
        folder: of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **inherited(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.invalid",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.invalid",
            "COLUMNS": "200",
            "CUHS_CACHE": str(folder.parent / "cache"),
        }

    @classmethod
    def tiny(cls, folder: Path) -> "Project":
        """The files of the working tree, and all that the main job makes of a tiny FG-Synth."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if name != "dvc.lock" and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        made = cls(folder)
        made.run("git", "init", "-q")
        made.run("git", "add", "-A")
        made.run("git", "commit", "-qm", "project")
        made.run("dvc", "exp", "run", *(part for override in TINY for part in ("-S", override)))
        return made

    def twin(self, folder: Path) -> "Project":
        """A copy with all that was made, but nothing that was tracked or begun."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts", "runs"))
        return Project(folder)

    def set(self, **values: Any) -> None:
        """Change parameters: ``train={"epochs": 2}``."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, changed in values.items():
            params[section] = {**params[section], **changed} if isinstance(changed, dict) else changed
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *command: str) -> str:
        process = self.start(*command)
        try:
            out, _ = process.communicate(timeout=900)
        finally:
            kill_tree(process.pid)
        assert process.returncode == 0, out[-4000:]
        return out

    def json(self, name: str) -> dict | list:
        return json.loads((self.folder / name).read_text())

    def losses(self) -> list[float]:
        return [epoch["loss"] for epoch in self.json("reports/training.json")]

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("runs/train-*/checkpoint_*/manifest.json"))


def descendants(pid: int, name: str) -> list[psutil.Process]:
    """Processes below one whose command line holds ``name``."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition: Callable[[], T], process: subprocess.Popen[str] | None = None, seconds: float = 600) -> T:
    """What the condition gives once that is true; fails when ``process`` ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended before: {process.stdout and process.stdout.read()[-4000:]}")
        time.sleep(0.1)
    pytest.fail("waited in vain")
