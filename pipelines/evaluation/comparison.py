"""Is model A better than model B on the same queries?"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException

from cuhs.csv_files import read_csv
from cuhs.errors import CuhsError
from cuhs.evaluation.intervals import Difference, paired
from pipelines.evaluation.tables import QUERY_COLUMNS
from pipelines.tracking.mlflow_store import does_not_answer, reader
from pipelines.tracking.registry import NOT_THERE, run_of

Queries = dict[str, dict[str, tuple[str, float]]]


def compare(a: Sequence[Queries], b: Sequence[Queries]) -> Iterator[tuple[str, int, Difference]]:
    """For each common group: its name, the number of paired queries, and the difference of the means as a share.

    Args:
        a: evaluations of a model: of one training, or of trainings with other seeds.
        b: those of the model that it is compared with.

    Raises:
        CuhsError: the evaluations have no query in common.
    """
    first, *others = (*a, *b)
    groups = [group for group in first if all(group in other for other in others)]
    shared = {group: sorted(set(first[group]).intersection(*(other[group] for other in others))) for group in groups}
    if not any(shared.values()):
        raise CuhsError("the evaluations have no query in common; compare models evaluated on the same data")
    for group, names in shared.items():
        pids = np.array([first[group][name][0] for name in names])
        if len(set(pids)) > 1:
            ours, theirs = (np.array([[each[group][name][1] for name in names] for each in side]) for side in (a, b))
            yield group, len(names), paired(ours, theirs, pids)


def read(origin: str, measure: str = "mAP") -> Queries:
    """Read {group: {query: (pid, value)}} for the queries that have a match.

    Args:
        origin: a ``queries.csv``, or an MLflow run that holds one: its id, ``models:/NAME@ALIAS`` or
            ``models:/NAME/VERSION``.
        measure: ``mAP``, whose value is the average precision, or ``rankK``, whose value is 1 if a match is among
            the first K and 0 otherwise.

    Raises:
        CuhsError: there is no such file or run, it is not a table of queries, there is no such measure, or MLflow
            does not answer.
    """
    if not re.fullmatch(r"mAP|rank[1-9]\d*", measure):
        raise CuhsError(f"{measure}: not a measure of single queries; there are mAP and rank1, rank2, …")
    path = Path(origin)
    if path.suffix == ".csv" and not path.is_file():
        raise CuhsError(f"{origin}: missing; evaluate the model first (dvc repro)")
    if not path.is_file():
        path = _downloaded(origin)
    queries: Queries = {}
    try:
        for _, row in read_csv(path, QUERY_COLUMNS, may_be_empty=QUERY_COLUMNS):
            if row["ap"]:
                found = float(row["ap"]) if measure == "mAP" else int(row["first_hit"]) <= int(measure[4:])
                queries.setdefault(row["group"], {})[row["query"]] = (row["pid"], float(found))
    except (CuhsError, ValueError) as error:
        raise CuhsError(
            f"{origin}: not a table of queries as an evaluation writes it, reports/queries.csv ({error})"
        ) from error
    return queries


def _downloaded(name: str) -> Path:
    """The ``queries.csv`` of an MLflow run."""
    neither = f"{name}: neither a queries.csv nor an evaluated MLflow run"
    try:
        client = reader()
    except CuhsError as error:
        raise CuhsError(f"{name}: neither a queries.csv nor an MLflow run that can be read ({error})") from error
    try:
        run = client.get_run(run_of(client, name)).info.run_id
    except MlflowException as error:
        raise CuhsError(neither) if error.error_code in NOT_THERE else does_not_answer(error) from error
    try:
        return Path(client.download_artifacts(run, "evaluation/queries.csv"))
    except (MlflowException, OSError) as error:
        raise CuhsError(neither) from error
