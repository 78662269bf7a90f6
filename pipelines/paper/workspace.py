"""Clones of the project, in which experiments run beside the user's own work."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from dvc.repo import Repo

from cuhs.errors import CuhsError
from pipelines.base.paths import RUNS
from pipelines.tracking.mlflow_store import uri

# Files that experiments compose or write anew; changes to them do not reach a clone.
NOT_CODE = {"params.yaml", "dvc.lock"}
# How long the processes of a killed run have to save what they have.
LEAVE_S = 60


def commit() -> str:
    """The commit whose code all experiments run.

    Raises:
        CuhsError: there are uncommitted changes, or this is no git repository.
    """
    changed = [line[3:] for line in _git("status", "--porcelain", "--untracked-files=no").splitlines()]
    if code := sorted(set(changed) - NOT_CODE):
        raise CuhsError(
            f"{code[0]}: changed since the last commit ({len(code)} such files); commit first (git commit -a), so "
            "that the table names the code that made it"
        )
    return _git("rev-parse", "HEAD").strip()


class Workspace:
    """A clone with the project's DVC cache, MLflow store and environment.

    Trainings that were broken off in it go on from their checkpoints, and DVC's run cache brings what is done.

    Args:
        number: tells workspaces apart that work at the same time.
    """

    def __init__(self, number: int) -> None:
        self.folder = (RUNS / "paper" / str(number)).resolve()
        self.log = self.folder.with_suffix(".log")

    def prepare(self, commit: str) -> None:
        """Make the clone, or bring it to a commit; what a killed run left running there is told to stop.

        Raises:
            CuhsError: git or DVC fails.
        """
        self._stop_left()
        if not (self.folder / ".git").is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            _git("clone", "--quiet", "--shared", "--no-checkout", str(Path.cwd()), str(self.folder))
        _git("fetch", "--quiet", "origin", "HEAD", folder=self.folder)
        _git("checkout", "--quiet", "--force", "--detach", commit, folder=self.folder)
        local = Path(".dvc/config.local")
        if local.is_file():
            shutil.copy(local, self.folder / local)
        with Repo() as repo:
            cache = repo.cache.local.path
        self._dvc(["config", "--local", "cache.dir", cache])

    def run(self, stage: str, overrides: Sequence[str], message: str) -> None:
        """Run the pipeline up to a stage as a DVC experiment, and bring the experiment here.

        Raises:
            CuhsError: a stage failed.
        """
        changes = [argument for override in overrides for argument in ("-S", override)]
        self._dvc(["exp", "run", stage, "--message", message, *changes])
        _git("fetch", "--quiet", str(self.folder), "+refs/exps/*:refs/exps/*", "^refs/exps/exec/*")

    def _dvc(self, arguments: list[str]) -> None:
        variables = os.environ | {"MLFLOW_TRACKING_URI": uri()}
        before = len(self.log.read_text(errors="replace")) if self.log.exists() else 0
        with self.log.open("a") as log:
            done = subprocess.run(
                [sys.executable, "-m", "dvc", *arguments], cwd=self.folder, env=variables, stdout=log, stderr=log
            )
        if done.returncode:
            said = self.log.read_text(errors="replace")[before:].splitlines()
            # A stage's own line first; DVC's comes after it and only says that the stage failed.
            errors = [line for line in said if line.startswith("error: ")] + [
                line for line in said if line.startswith("ERROR: ")
            ]
            why = errors[0].partition(": ")[2] if errors else f"dvc {arguments[0]} failed"
            raise CuhsError(f"{why} (its output: {self.log.relative_to(Path.cwd())})")

    def _stop_left(self) -> None:
        left = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.folder):
                    process.terminate()
                    left.append(process)
            except (psutil.Error, OSError):
                continue
        _, alive = psutil.wait_procs(left, LEAVE_S)
        for process in alive:
            process.kill()


def _git(*arguments: str, folder: Path = Path()) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise CuhsError(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout
