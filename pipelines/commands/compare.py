"""Is model A better than model B on the same queries? Differences by group, with 95 % intervals and p-values.

A and B are MLflow runs that hold an evaluation (an id, ``models:/NAME@champion`` or ``models:/NAME/VERSION``), or
``queries.csv`` files of evaluations. Several trainings of a model that differ in their seeds are given together, with
commas between them; the interval is then over seeds as well.
"""

import argparse
import sys
from collections.abc import Sequence

from pipelines.base import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print the difference of each group in a measure, paired by query; returns the exit code."""
    parser = cli.parser("cuhs compare", __doc__)
    parser.add_argument("a", metavar="A", help="an MLflow run, models:/NAME@champion, or a queries.csv; or several")
    parser.add_argument("b", metavar="B", help="what A is compared with")
    parser.add_argument("--measure", default="mAP", help="mAP (the default), rank1, rank5, …")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: _compare(arguments))


def _compare(arguments: argparse.Namespace) -> None:
    # Not at the top: it takes seconds to import.
    from rich.table import Table

    from cuhs.errors import CuhsError
    from pipelines.base.console import console
    from pipelines.evaluation.comparison import compare, read

    measure = arguments.measure
    a, b = ([read(name, measure) for name in side.split(",") if name] for side in (arguments.a, arguments.b))
    if not (a and b):
        raise CuhsError("give at least one evaluation on each side")
    differences = list(compare(a, b))
    table = Table("group", "queries", f"{measure} of A − {measure} of B", "95 % interval", "p")
    for group, count, difference in differences:
        interval = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
        table.add_row(group, str(count), f"{100 * difference.mean:+.1f}", interval, f"{difference.p:.4f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
