"""Short hashes of what a result depends on: the data, the parameters, the code."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuhs.data.shards import read_summary
from cuhs.documents import Document
from cuhs.errors import CuhsError
from pipelines.base import stages
from pipelines.base.paths import DATASET
from pipelines.base.yaml_files import read_yaml

# The variable by which a job on a cluster is told its commit, as JSON of :class:`Commit`.
CODE = "CUHS_CODE"
# MLflow allows 36 characters for a dataset's digest; DVC's has 32 and `.dir`.
DIGEST = 32


def data_version(root: Path = DATASET) -> str:
    """The built dataset's version: a hash of its shards."""
    return str(read_summary(root)["version"])


def data_digest(root: Path = DATASET, lock: Path = Path("dvc.lock")) -> str:
    """DVC's hash of the built dataset in ``dvc.lock``, or else the start of the dataset's own version.

    The latter if ``dvc.lock`` describes another build, or does not hold the dataset at all.
    """
    try:
        locked_stages = read_yaml(lock, "DVC writes it")["stages"]
        (locked,) = (out for out in locked_stages["build_dataset"]["outs"] if out["path"] == root.as_posix())
        files = [path for path in root.rglob("*") if path.is_file()]
        if (locked["nfiles"], locked["size"]) == (len(files), sum(path.stat().st_size for path in files)):
            return str(locked["md5"])
    except (OSError, KeyError, TypeError, ValueError, CuhsError):
        pass
    return data_version(root)[:DIGEST]


def code_version(stage: str) -> str:
    """A hash of the code that a stage depends on, as ``dvc.yaml`` lists it.

    Interrupted trainings are found by this hash, so a change in other code does not orphan their checkpoints.

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
    """The name of a training run, such as ``train-1f0c9a…``; equal only if every input is equal."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Commit:
    """The commit that code comes from.

    Attributes:
        id: 40 hexadecimal digits; empty where it is not known.
        dirty: whether tracked files differ from it; none if that is not known.
        unknown: why something is not known; empty if everything is known.
    """

    id: str
    dirty: bool | None
    unknown: str = ""

    def __str__(self) -> str:
        if not self.id:
            return f"unknown ({self.unknown})"
        changes = {True: " with local changes", False: "", None: f", local changes unknown ({self.unknown})"}
        return self.id + changes[self.dirty]


_TOLD = Document(Commit, "a commit", f"unset {CODE}, or submit the stage again")


def git_commit() -> Commit:
    """The commit checked out, and whether tracked files differ from it.

    ``params.yaml`` and ``dvc.lock`` do not count: DVC rewrites both, and a run has its parameters anyway. A job on
    a cluster has no repository, so it reads both answers from an environment variable.
    """
    if told := os.environ.get(CODE):
        return _TOLD.parse(told, CODE)
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
        # Such as "not a git repository" and "dubious ownership"; the lines after it are git's advice.
        said = (error.stderr.strip().splitlines() or ["git failed"])[0]
        return Commit(commit, None, said.removeprefix("fatal: ")[:200])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
