"""List the evaluated models of an experiment, best first, with intervals, data version and commit."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.base import cli

if TYPE_CHECKING:
    from rich.text import Text

    from pipelines.tracking.evaluated_runs import EvaluatedRun


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = cli.parser("cuhs leaderboard", __doc__)
    parser.add_argument(
        "--metric",
        nargs="+",
        default=["all/mAP"],
        help="GROUP/MEASURE, such as black/mAP or all/rank1; models are sorted by the first one",
    )
    parser.add_argument("--experiment", help="default: tracking.experiment of params.yaml")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: _show(arguments))


def _show(arguments: argparse.Namespace) -> None:
    # Not at the top: it takes seconds to import.
    from rich.table import Table

    from pipelines.base import params
    from pipelines.base.console import console
    from pipelines.tracking.evaluated_runs import evaluated_runs

    experiment = arguments.experiment or params.load().tracking.experiment
    table = Table(title=f"experiment {experiment}, 95 % intervals, best {arguments.metric[0]} first")
    table.add_column("", justify="right")
    table.add_column("model", no_wrap=True)
    for metric in arguments.metric:
        table.add_column(metric, justify="right", overflow="fold")
    for place, run in enumerate(evaluated_runs(experiment, arguments.metric), 1):
        values = (_shown(*run.values[metric]) for metric in arguments.metric)
        table.add_row(str(place), _origin(run), *values, end_section=True)
    console.print(table)
    console.print(
        "Below each model: its MLflow run; data, data version and commit (+ local changes, ? unknown); its start. "
        "Compare figures only if the data version is the same."
    )


def _origin(run: "EvaluatedRun") -> "Text":
    """A model's name and, below it, its origin; narrow enough for any terminal."""
    from rich.text import Text

    commit = run.commit[:8] + {True: "+", False: "", None: "?"}[run.dirty]
    lines = (run.run_id, f"{run.data} {run.data_version[:8]} {commit}", f"{run.started:%Y-%m-%d %H:%M}")
    return Text(run.name, "bold").append("\n" + "\n".join(lines), "not bold")


def _shown(value: float | None, low: float | None, high: float | None) -> str:
    """A value and, below it, its interval, which may wrap."""
    if value is None:
        return "–"
    return f"{value:.1f}" if low is None or high is None else f"{value:.1f}\n{low:.1f} – {high:.1f}"


if __name__ == "__main__":
    sys.exit(main())
