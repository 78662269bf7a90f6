"""What a result depends on, as short hashes: the data, the parameters, the code."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cuhs.data.shards import read_summary
from pipelines.base import stages
from pipelines.base.paths import DATASET

# A job on a cluster finds its commit here, as JSON of :class:`Commit`.
CODE = "CUHS_CODE"
# Characters that MLflow takes for the digest of a dataset are 36; DVC's own have 32, and `.dir`.
DIGEST = 32


def data_version(root: Path = DATASET) -> str:
    """The built dataset's version: a hash of its shards."""
    return str(read_summary(root)["version"])


def data_digest(root: Path = DATASET, lock: Path = Path("dvc.lock")) -> str:
    """What DVC calls the built dataset: its hash in ``dvc.lock``, or the dataset's own version where that is of
    another build, or DVC has no part in this."""
    try:
        locked_stages = yaml.safe_load(lock.read_text())["stages"]
        (locked,) = (out for out in locked_stages["build_dataset"]["outs"] if out["path"] == root.as_posix())
        files = [path for path in root.rglob("*") if path.is_file()]
        if (locked["nfiles"], locked["size"]) == (len(files), sum(path.stat().st_size for path in files)):
            return str(locked["md5"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        pass
    return data_version(root)[:DIGEST]


def code_version(stage: str) -> str:
    """Hash of the code that a stage depends on, as ``dvc.yaml`` lists it.

    Interrupted trainings are found by it, so that a change of other code loses none of their checkpoints.

    Raises:
        CuhsError: there is no such stage.
    """
    digest = hashlib.sha256()
    for path in stages.read(stage).code:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.as_posix()}\0{file_version(file)}\0".encode())
    return digest.hexdigest()


def file_version(path: Path) -> str:
    """SHA-256 of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_name(stage: str, **inputs: Any) -> str:
    """Name of a training run, the same only where every input is: ``train-1f0c9a…``."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Commit:
    """The commit that code comes from.

    Attributes:
        id: 40 hexadecimal digits; empty where it is not known.
        dirty: whether tracked files differ from it; none where that is not known.
        unknown: why something is not known; empty where everything is.
    """

    id: str
    dirty: bool | None
    unknown: str = ""

    def __str__(self) -> str:
        if not self.id:
            return f"unknown ({self.unknown})"
        changes = {True: " with local changes", False: "", None: f", local changes unknown ({self.unknown})"}
        return self.id + changes[self.dirty]


def git_commit() -> Commit:
    """The commit checked out, and whether tracked files differ from it.

    ``params.yaml`` and ``dvc.lock`` do not count: DVC rewrites both, and a run has its parameters anyway. A job on
    a cluster has no repository; it is told by an environment variable.
    """
    if told := os.environ.get(CODE):
        return Commit(**json.loads(told))
    commit = ""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", ":!params.yaml", ":!dvc.lock")
        return Commit(commit, bool(changed))
    except FileNotFoundError:
        return Commit("", None, "git is not installed")
    except OSError as error:
        return Commit(commit, None, f"git: {error.strerror}")
    except subprocess.CalledProcessError as error:
        # Such as "not a git repository" and "dubious ownership", with git's own mend in the lines below.
        said = (error.stderr.strip().splitlines() or ["git failed"])[0]
        return Commit(commit, None, said.removeprefix("fatal: ")[:200])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
