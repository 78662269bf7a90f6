"""``python -m pipelines.stages.evaluate --features DIR``: evaluate features that anyone extracted.

DIR holds ``query.parquet`` and ``gallery.parquet``, or ``query.npy``, ``query.csv``, ``gallery.npy`` and
``gallery.csv``; :mod:`pipelines.evaluation.feature_files` says which columns. Nothing else is needed: no parameters, no
trained model, no tracking.
"""

import json
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.evaluation.groups import evaluate_groups
from pipelines.base.console import summary_table
from pipelines.evaluation import feature_files
from pipelines.stages.evaluate import write_queries


def evaluate(folder: Path) -> None:
    """Print the measures with intervals; write them into the folder's ``metrics.json``.

    ``queries.csv`` beside it is what ``python -m pipelines.evaluation.comparison`` takes.

    Raises:
        CuhsError: files are missing, unreadable, do not fit one another, or cannot be ranked.
    """
    query, gallery = (feature_files.read(folder, split) for split in ("query", "gallery"))
    groups = evaluate_groups(query, gallery)
    metrics = {name: group.metrics for name, group in groups.items()}
    try:
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        write_queries(folder / "queries.csv", groups, query)
    except OSError as error:
        raise CuhsError(f"{folder}: cannot be written into ({error.strerror})") from error
    summary_table(metrics, f"{folder}, 95 % intervals")
