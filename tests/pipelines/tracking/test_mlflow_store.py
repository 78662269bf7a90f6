"""The local store: who reads makes none, and a file that cannot be read is named with what to do."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from pipelines.evaluation import comparison
from pipelines.tracking.evaluated_runs import evaluated_runs
from pipelines.tracking.mlflow_store import connect, experiment_id, reader
from pipelines.tracking.registry import Registry

# Stands for a password.
WORD = "word"

READERS = [
    lambda: evaluated_runs("cuhs", ["all/mAP"]),
    lambda: comparison.read("0" * 32),
    lambda: comparison.read("models:/cuhs@champion"),
    lambda: experiment_id("cuhs"),
]


@pytest.fixture(scope="module")
def made(store: Path) -> Path:
    """The file of a store with its tables."""
    connect()
    return store / "mlflow.db"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.mark.parametrize("address", ["", "sqlite:///mlflow.db", "sqlite:///mlflow.db?timeout=1"])
@pytest.mark.parametrize("read", READERS)
def test_who_reads_makes_no_store(
    here: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(CuhsError, match=r"mlflow\.db: missing, so there are no runs here; train a model first"):
        read()
    assert list(here.iterdir()) == []


def test_a_store_in_another_folder_is_named_by_its_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/away/mlflow.db")
    with pytest.raises(CuhsError, match=f"^{here}/away/mlflow.db: missing"):
        reader()


def test_a_damaged_store_is_named_and_its_remedy_helps(here: Path) -> None:
    (here / "mlflow.db").write_bytes(b"no database " * 100)
    with pytest.raises(CuhsError, match=r"^mlflow\.db: cannot be read \(file is not a database\); .* move it away"):
        connect()
    (here / "mlflow.db").rename(here / "old")
    connect()
    assert (here / "mlflow.db").is_file()


def test_a_store_that_is_damaged_inside_is_named(made: Path, here: Path) -> None:
    content = bytearray(made.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (here / "mlflow.db").write_bytes(content)
    with pytest.raises(CuhsError, match=r"^mlflow\.db: cannot be read \(.*malformed"):
        evaluated_runs("cuhs", ["all/mAP"])


@pytest.mark.parametrize("address", ["", "sqlite:///mlflow.db"])
def test_what_cannot_be_opened_is_told_at_once(here: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits for a store that will not come"))
    (here / "mlflow.db").mkdir()  # as Docker leaves it if the file that it mounts is missing
    with pytest.raises(CuhsError, match=r"mlflow\.db cannot be opened|mlflow\.db: cannot be read"):
        connect()


def test_a_locked_store_says_to_wait(here: Path) -> None:
    with sqlite3.connect(here / "mlflow.db", isolation_level=None) as other:
        other.execute("CREATE TABLE held (a)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CuhsError, match=r"^mlflow\.db: another process writes to it; run the command again"):
            connect()


def test_a_store_of_another_version_of_mlflow_says_how_it_is_upgraded(made: Path, here: Path) -> None:
    shutil.copy(made, here)
    with sqlite3.connect(here / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'older'")
    with pytest.raises(
        CuhsError, match=r"^mlflow\.db: another version of MLflow .*: mlflow db upgrade sqlite:///mlf"
    ):
        connect()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (
            f"mysql+pymysql://me:{WORD}@127.0.0.1/x",
            "mysql+pymysql://me:***@127.0.0.1/x",
        ),  # its driver is missing here
        ("sqlite:////proc/nowhere/mlflow.db", "sqlite:////proc/nowhere/mlflow.db"),
    ],
)
def test_a_registry_of_its_own_that_cannot_be_opened_is_named(
    made: Path, here: Path, monkeypatch: pytest.MonkeyPatch, address: str, shown: str
) -> None:
    shutil.copy(made, here)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", address)
    for ask in (lambda: Registry("net").champion(), lambda: Registry("net").versions()):
        with pytest.raises(CuhsError) as failed:
            ask()
        assert str(failed.value).startswith(f"MLFLOW_REGISTRY_URI: {shown}, or ") and "\n" not in str(failed.value)
