"""The MLflow store: where it is, how it is opened, and what its errors mean.

``MLFLOW_TRACKING_URI`` names a server; without it the store is ``mlflow.db`` in the working folder.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cuhs.errors import CuhsError
from pipelines.tracking.moved_store import settle

# Used without a server.
DATABASE, ARTIFACTS = Path("mlflow.db"), Path("mlartifacts")
# Answers that stay the same however often the store is asked.
REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST"}

# A failure is reported once, by the caller.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def uri() -> str:
    """The tracking store's address; a file's is absolute, so that processes in another folder find the same one."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE.resolve()}"


def shown_uri() -> str:
    """The tracking store's address for messages, without its password."""
    return _without_password(uri())


def _without_password(address: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", address)


def connect() -> MlflowClient:
    """A client of the tracking store, which makes a local store that is missing; this sends no request yet.

    Raises:
        CuhsError: ``MLFLOW_TRACKING_URI`` is not a store's address, its driver is missing, or the store's file is
            locked or damaged.
    """
    try:
        _open_file()
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            settle(DATABASE.resolve(), ARTIFACTS)
        return MlflowClient(uri())
    except Exception as error:  # of MLflow, SQLAlchemy, SQLite, a driver that is not installed
        if os.environ.get("MLFLOW_TRACKING_URI"):
            told = f"MLFLOW_TRACKING_URI: {shown_uri()} cannot be opened ({line(error)}); correct it"
        else:
            told = _file_problem(error)
        raise CuhsError(told) from error


def reader() -> MlflowClient:
    """Like :func:`connect`, for those who only read: it makes no store.

    Raises:
        CuhsError: as for :func:`connect`, or the store's file is missing.
    """
    file = _file()
    if file and not file.exists():
        shown = file if os.environ.get("MLFLOW_TRACKING_URI") else DATABASE
        raise CuhsError(
            f"{shown}: missing, so there are no runs here; train a model first (dvc repro), or name the store in "
            "MLFLOW_TRACKING_URI"
        )
    return connect()


def _file() -> Path | None:
    """The store's file; none if it is not an SQLite file."""
    scheme, _, rest = uri().partition(":///")
    return Path(rest.partition("?")[0]) if scheme == "sqlite" else None


def _open_file() -> None:
    """Open the store's file once, because MLflow tries for minutes to open what cannot be opened."""
    file = _file()
    if file and file.parent.is_dir():  # MLflow makes a folder that is missing
        with closing(sqlite3.connect(file, timeout=1)) as database:
            database.execute("PRAGMA schema_version")


def experiment_id(name: str) -> str | None:
    """The store's id of an experiment; none if it has no experiment of this name.

    Raises:
        CuhsError: the store does not answer.
    """
    try:
        found = reader().get_experiment_by_name(name)
    except MlflowException as error:
        raise does_not_answer(error) from error
    return str(found.experiment_id) if found else None


def does_not_answer(error: Exception) -> CuhsError:
    """A one-line error for callers that need the store."""
    if registry := os.environ.get("MLFLOW_REGISTRY_URI"):  # MLflow's own, for a registry apart from the runs
        return CuhsError(
            f"MLFLOW_REGISTRY_URI: {_without_password(registry)}, or the store of the runs, does not answer "
            f"({line(error)}); start it or unset it"
        )
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return CuhsError(_file_problem(error))
    return CuhsError(f"MLFLOW_TRACKING_URI: {shown_uri()} does not answer ({line(error)}); start it or unset it")


def _file_problem(error: Exception) -> str:
    if "database is locked" in str(error):
        return f"{DATABASE}: another process writes to it; run the command again when that one has ended"
    if "mlflow db upgrade" in str(error):
        return (
            f"{DATABASE}: another version of MLflow made it; keep a copy, then run: mlflow db upgrade "
            f"sqlite:///{DATABASE} (a newer version's file needs that version)"
        )
    return (
        f"{DATABASE}: cannot be read ({line(error)}); bring back a copy, or move it away and the next stage begins a "
        "new one"
    )


def line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


class Deleted(MlflowException):
    """An entry's run or experiment was deleted and can be restored; the entry waits without holding up other runs."""


class NotYet(MlflowException):
    """Something that an entry depends on is not sent yet; the entry waits without holding up other runs."""


def as_mlflow(method: Callable[P, R]) -> Callable[P, R]:
    """Make a method raise only ``MlflowException`` and ``FileNotFoundError``; a store's driver may raise anything."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (MlflowException, FileNotFoundError):  # the latter is an artifact that is gone
            raise
        except Exception as error:
            raise MlflowException(f"{type(error).__name__}: {line(error)}") from error

    return wrapped
