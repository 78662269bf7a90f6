"""Bring back the code, parameters and data that a model was trained with.

RUN is the id of an MLflow run, or ``models:/NAME@champion``, or ``models:/NAME/VERSION``. This checks out the run's
commit, replaces ``params.yaml`` and ``dvc.lock`` with the run's, and lets DVC fetch the data that they name.
``dvc repro`` then trains the model again, or takes it from DVC's cache.

Only these two files are taken from the run. Both are checked, so DVC writes nothing outside the outputs' folders.
"""

import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cuhs.errors import CuhsError
from pipelines.base import cli
from pipelines.base.console import console
from pipelines.storage.dvc_files import LIMIT, check_cached, check_lock, check_params
from pipelines.storage.inside import inside
from pipelines.tracking.reproduce import FILES, FOLDER

STORES = Path(".dvc/config")
PARAMS, LOCK = FILES
COMMIT = re.compile("[0-9a-f]{40}")
# Stages whose outputs the training needs.
NEEDED = ("build_dataset", "pretrain_hsl")

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Bring the working copy to the state of a run; returns the exit code."""
    parser = cli.parser("cuhs checkout", __doc__)
    parser.add_argument("run", metavar="RUN", help="id of an MLflow run, or models:/NAME@champion")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: check_out(arguments.run))


def check_out(name: str) -> None:
    """Bring back the commit, the parameters and the data of a run.

    Raises:
        CuhsError: there is no such run, MLflow does not answer, the working copy has changes, or a file of the run
            or of DVC's remote would be written outside the outputs' folders.
    """
    if not STORES.is_file():
        raise CuhsError(f"{STORES}: missing; run from the project's root")
    _refuse_changes()
    with tempfile.TemporaryDirectory() as folder:
        commit, files = _read(name, Path(folder))
        stores = STORES.read_text()
        for path in FILES:  # both are replaced, and would keep git from another commit
            _run("git", "checkout", "--quiet", "--", str(path))
        _git("checkout", "--quiet", "--detach", commit, "--", mend=f"fetch the commit: git fetch origin {commit}")
        for path in files:
            place = inside(Path(), path.name)
            place.unlink(missing_ok=True)  # so that nothing is written through a link
            shutil.copy(path, place)
    # The location of data comes from today's configuration, not from the commit's.
    local = STORES.with_name("config.local")
    if not local.exists() and stores != STORES.read_text():
        local.write_text(stores)
    _bring_data()
    console.print(f"commit {commit[:12]}, params.yaml and dvc.lock are those of {name}; go on with: dvc repro")


def _bring_data() -> None:
    fetched = _dvc("fetch", *NEEDED) if _dvc("remote", "list").stdout.strip() else None
    try:
        check_cached(LOCK, Path(_dvc("cache", "dir").stdout.strip()))
    except CuhsError:
        _git("checkout", "--quiet", "--", str(LOCK))
        raise
    brought = _dvc("checkout", *NEEDED)
    failed = next((done for done in (fetched, brought) if done and done.returncode), None)
    if failed:
        why = (failed.stderr.strip().splitlines() or ["nothing said"])[-1]
        log.warning("DVC does not have the run's data (%s): dvc repro builds it from the raw images", why)


def _read(name: str, folder: Path) -> tuple[str, list[Path]]:
    """A run's commit, and its downloaded files."""
    # Not at the top: it takes seconds to import.
    from mlflow.exceptions import MlflowException

    from pipelines.tracking.mlflow_store import does_not_answer, reader
    from pipelines.tracking.registry import run_of

    client = reader()
    try:
        name = run_of(client, name)
        tags = client.get_run(name).data.tags
        commit = tags.get("mlflow.source.git.commit", "")
        if not commit:
            raise CuhsError(f"{name}: the run names no commit; it was made outside of a repository")
        if not COMMIT.fullmatch(commit):
            raise CuhsError(f"{name}: the run names {commit!r}, which is not a commit; see who can write to MLflow")
        if tags.get("cuhs.git_dirty") == "true":
            log.warning("%s: its code had changes that no commit holds; the numbers may differ", name)
        elif reason := tags.get("cuhs.git_unknown"):
            log.warning("%s: whether its code had changes is unknown (%s); the numbers may differ", name, reason)
        files = _download(client, name, folder)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise CuhsError(f"{name}: MLflow has no such run or model") from error
        raise does_not_answer(error) from error
    except OSError as error:
        raise CuhsError(f"{name}: the run's {FOLDER}/ cannot be read ({error.strerror or error})") from error
    return commit, files


def _download(client: "MlflowClient", run: str, folder: Path) -> list[Path]:
    """Download and check those of :data:`FILES` that a run holds; other artifacts are not fetched."""
    listed = {info.path: info for info in client.list_artifacts(run, FOLDER)}
    wanted = {f"{FOLDER}/{path.name}" for path in FILES}
    if strangers := sorted(listed.keys() - wanted):
        log.warning("%s: %s in its artifacts is ignored", run, ", ".join(map(repr, strangers)))
    if f"{FOLDER}/{PARAMS.name}" not in listed:
        raise CuhsError(f"{run}: the run holds no {FOLDER}/{PARAMS.name}; it is not the run of a trained model")
    checks = {PARAMS.name: check_params, LOCK.name: check_lock}
    files = []
    for artifact in sorted(wanted & listed.keys()):
        if listed[artifact].is_dir or (listed[artifact].file_size or 0) > LIMIT:
            raise CuhsError(f"{run}: {artifact} is refused, it is not a file of at most {LIMIT} bytes")
        path = Path(client.download_artifacts(run, artifact, str(folder)))
        checks[path.name](path)
        files.append(path)
    return files


def _refuse_changes() -> None:
    # DVC changes both files, and they are replaced anyway.
    changed = _git("status", "--porcelain", "--untracked-files=no", *(f":!{path}" for path in FILES))
    if changed:
        first = changed.splitlines()[0].split(maxsplit=1)[-1]
        raise CuhsError(f"{first}: changed and not committed; commit or stash your changes first")


def _git(*arguments: str, mend: str = "run it inside the project's repository") -> str:
    try:
        done = _run("git", *arguments)
    except OSError as error:
        raise CuhsError(f"git: {error.strerror}; install git") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["failed"]
        if len(lines) == 1:  # longer messages hold advice of git's own
            lines.append(f"({mend})")
        raise CuhsError(f"git {arguments[0]}: {' '.join(lines)[:500]}")
    return done.stdout.strip()


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    # -P: no file of the working copy, such as a dvc.py, can replace a module.
    return _run(sys.executable, "-P", "-m", "dvc", *arguments)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
