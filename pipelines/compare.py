"""``python -m pipelines.compare A B``: is model A better than model B on the same queries?

A and B are ``queries.csv`` files of two evaluations, or ids of the MLflow runs that hold them.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from rich.table import Table

from cuhs.errors import CuhsError
from cuhs.evaluation.bootstrap import Difference, paired
from pipelines import cli
from pipelines.console import console
from pipelines.tracking import Run

Queries = dict[str, dict[str, tuple[str, float]]]


def main() -> None:
    """Print the difference in mAP of each group, with its 95 % interval and p-value, paired by query."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compare", description=__doc__)
    parser.add_argument("a", help="queries.csv, or the id of an MLflow run")
    parser.add_argument("b", help="what it is compared with")
    arguments = parser.parse_args()
    differences = list(compare(read(arguments.a), read(arguments.b)))
    table = Table("group", "queries", "mAP of A − mAP of B", "95 % interval", "p")
    for group, count, difference in differences:
        interval = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
        table.add_row(group, str(count), f"{100 * difference.mean:+.1f}", interval, f"{difference.p:.4f}")
    console.print(table)


def compare(a: Queries, b: Queries) -> Iterator[tuple[str, int, Difference]]:
    """For each group of both, how many queries are paired and the difference in mean AP, as shares.

    Raises:
        CuhsError: the two have no query in common.
    """
    groups = [group for group in a if group in b]
    shared = {group: sorted(a[group].keys() & b[group].keys()) for group in groups}
    if not any(shared.values()):
        raise CuhsError("the two evaluations have no query in common: they are of different data")
    for group, names in shared.items():
        if len({a[group][name][0] for name in names}) > 1:
            ap_a, ap_b = (np.array([side[group][name][1] for name in names]) for side in (a, b))
            yield group, len(names), paired(ap_a, ap_b, np.array([a[group][name][0] for name in names]))


def read(origin: str) -> Queries:
    """{group: {query: (pid, average precision)}} of the queries that have a match.

    Raises:
        CuhsError: there is no such file or run, or it is not a table of queries.
    """
    path = Path(origin)
    if not path.is_file():
        run = Run(origin)
        try:
            path = Path(run.client.download_artifacts(run.id, "evaluation/queries.csv"))
        except (MlflowException, OSError) as error:
            raise CuhsError(f"{origin}: neither a queries.csv nor an evaluated MLflow run") from error
    queries: Queries = {}
    with path.open(newline="") as file:
        try:
            for row in csv.DictReader(file):
                if row["ap"]:
                    queries.setdefault(row["group"], {})[row["query"]] = (row["pid"], float(row["ap"]))
        except (KeyError, ValueError) as error:
            raise CuhsError(f"{origin}: not a table of queries as pipelines.evaluate writes it") from error
    return queries


if __name__ == "__main__":
    cli.run(main)
