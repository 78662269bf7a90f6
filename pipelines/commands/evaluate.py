"""Evaluate the trained model (the stage ``evaluate``), or, with ``--features``, the features of any model.

A folder of features holds ``query.parquet`` and ``gallery.parquet``, or ``query.npy``, ``query.csv``, ``gallery.npy``
and ``gallery.csv``, with columns ``pid`` and ``camid``. ``--features`` needs no parameters, model or tracking.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cuhs.errors import CuhsError
from pipelines.base import cli
from pipelines.stages import evaluate


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code."""
    parser = cli.parser("cuhs evaluate", __doc__)
    parser.add_argument("--features", type=Path, metavar="DIR", help="evaluate the features in this folder instead")
    arguments = parser.parse_args(argv)
    if arguments.features is None:
        return evaluate.main([])
    return cli.run(lambda: evaluate_features(arguments.features))


def evaluate_features(folder: Path) -> None:
    """Print the measures with intervals; write ``metrics.json`` and ``queries.csv`` into the folder.

    Raises:
        CuhsError: files are missing, unreadable, do not fit each other, or cannot be ranked.
    """
    # Not at the top: it takes seconds to import.
    from cuhs.evaluation.groups import evaluate_groups
    from pipelines.base.console import summary_table
    from pipelines.evaluation import feature_files
    from pipelines.evaluation.tables import write_queries

    query, gallery = (feature_files.read(folder, split) for split in ("query", "gallery"))
    groups = evaluate_groups(query, gallery)
    metrics = {name: group.metrics for name, group in groups.items()}
    try:
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        write_queries(folder / "queries.csv", groups, query)
    except OSError as error:
        raise CuhsError(f"{folder}: cannot be written into ({error.strerror})") from error
    summary_table(metrics, f"{folder}, 95 % intervals")


if __name__ == "__main__":
    sys.exit(main())
