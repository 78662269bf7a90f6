"""Corrects the local store after its working folder was moved or copied.

``mlflow.db`` holds absolute paths of artifacts. After a move they would lead to the old folder, and a copy would
write into the original.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

# Columns of MLflow's tables that hold such paths.
COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def settle(database: Path, artifacts: Path) -> None:
    """Make a store's paths lead to the artifacts beside it.

    Args:
        database: ``mlflow.db``; if it does not exist, nothing is done.
        artifacts: the present folder of the artifacts.
    """
    if not database.is_file():
        return
    here = artifacts.resolve().as_uri()
    with closing(sqlite3.connect(database, timeout=1)) as connection, connection:
        known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not COLUMNS.keys() <= known:
            return
        query = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?"
        for (there,) in connection.execute(query, (f"file://%/{artifacts.name}",)).fetchall():
            if there == here:
                continue
            for table, columns in COLUMNS.items():
                for column in columns:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (here, len(there) + 1, len(there) + 1, f"{there}/"),
                    )
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (here, there))
