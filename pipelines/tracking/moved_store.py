"""The store in a working folder that was moved or copied.

MLflow notes in ``mlflow.db`` where artifacts lie, as absolute paths. In another folder these would lead into the old
one, and a copy would write into the folder that it is a copy of.
"""

import sqlite3
from pathlib import Path

# Columns of MLflow's tables that hold such paths.
COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def settle(database: Path, artifacts: Path) -> None:
    """Let a store's paths lead to the artifacts beside it, where it says that they lie elsewhere.

    Args:
        database: ``mlflow.db``; nothing is done where there is none.
        artifacts: the folder of the artifacts now.
    """
    if not database.is_file():
        return
    here = artifacts.resolve().as_uri()
    with sqlite3.connect(database, timeout=1) as connection:
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
