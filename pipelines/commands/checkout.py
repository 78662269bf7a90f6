"""The code, parameters and data that a model was trained with.

RUN is the id of an MLflow run, or ``models:/NAME@champion``, ``models:/NAME/VERSION``. The commit is checked out,
``params.yaml`` and ``dvc.lock`` are the run's, and DVC brings the data that they name: ``dvc repro`` then trains the
model again, or takes it from DVC's cache.
"""

import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cuhs.errors import CuhsError
from pipelines.base import cli
from pipelines.base.console import console
from pipelines.tracking.reproduce import FILES, FOLDER

STORES = Path(".dvc/config")
# Stages whose outputs the training needs.
NEEDED = ("build_dataset", "pretrain_hsl")

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Change the working copy to what a run had; returns the exit code."""
    parser = cli.parser("cuhs checkout", __doc__)
    parser.add_argument("run", metavar="RUN", help="id of an MLflow run, or models:/NAME@champion")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: check_out(arguments.run))


def check_out(name: str) -> None:
    """Bring back the commit, the parameters and the data of a run.

    Raises:
        CuhsError: there is no such run, MLflow does not answer, or the working copy has changes.
    """
    _refuse_changes()
    with tempfile.TemporaryDirectory() as folder:
        commit, files = _read(name, Path(folder))
        stores = STORES.read_text()
        _git("checkout", "--quiet", "--detach", commit, mend=f"fetch the commit: git fetch origin {commit}")
        for path in files:
            shutil.copy(path, path.name)
    # Where data lies is said by today's configuration, not by that of the commit.
    local = STORES.with_name("config.local")
    if not local.exists() and stores != STORES.read_text():
        local.write_text(stores)
    remote = _run(sys.executable, "-m", "dvc", "remote", "list").stdout.strip()
    brought = _run(sys.executable, "-m", "dvc", "pull" if remote else "checkout", *NEEDED)
    if brought.returncode:
        why = (brought.stderr.strip().splitlines() or ["nothing said"])[-1]
        log.warning("DVC does not have the run's data (%s): dvc repro builds it from the raw images", why)
    console.print(f"commit {commit[:12]}, params.yaml and dvc.lock are those of {name}; go on with: dvc repro")


def _read(name: str, folder: Path) -> tuple[str, list[Path]]:
    """The commit of a run and its files."""
    # Not at the top: it takes seconds to import.
    from mlflow.exceptions import MlflowException

    from pipelines.tracking.mlflow_store import connect, does_not_answer

    client = connect()
    try:
        if match := re.fullmatch(r"models:/([^/@]+)(?:@(.+)|/(\d+))", name):
            model, alias, number = match.groups()
            version = (
                client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, number)
            )
            name = str(version.run_id)
        tags = client.get_run(name).data.tags
        commit = tags.get("mlflow.source.git.commit", "")
        if not commit:
            raise CuhsError(f"{name}: the run names no commit; it was made outside of a repository")
        if tags.get("cuhs.git_dirty") == "true":
            log.warning("%s: its code had changes that no commit holds; the numbers may differ", name)
        root = Path(client.download_artifacts(name, FOLDER, str(folder)))
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise CuhsError(f"{name}: MLflow has no such run or model") from error
        raise does_not_answer(error) from error
    except OSError as error:
        raise CuhsError(f"{name}: the run holds no {FOLDER}/; it is none of a trained model") from error
    return commit, sorted(root.iterdir())


def _refuse_changes() -> None:
    # Both files are DVC's to change, and are replaced.
    changed = _git("status", "--porcelain", "--untracked-files=no", *(f":!{path}" for path in FILES))
    if changed:
        first = changed.splitlines()[0].split(maxsplit=1)[-1]
        raise CuhsError(f"{first}: changed and not committed; commit or stash changes first")
    for path in FILES:
        _run("git", "checkout", "--quiet", "--", str(path))


def _git(*arguments: str, mend: str = "run it inside of the project's repository") -> str:
    try:
        done = _run("git", *arguments)
    except OSError as error:
        raise CuhsError(f"git: {error.strerror}; install git") from error
    if done.returncode:
        raise CuhsError(f"git {arguments[0]}: {done.stderr.strip().splitlines()[-1]}; {mend}")
    return done.stdout.strip()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
