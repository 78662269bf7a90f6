"""``python -m pipelines.commands.leaderboard``: evaluated models by their metrics, with intervals, data version and commit."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from rich.table import Table
from rich.text import Text

from cuhs.errors import CuhsError
from pipelines.base import cli, params
from pipelines.base.console import console
from pipelines.tracking.mlflow_store import connect, does_not_answer, uri


@dataclass(frozen=True)
class Entry:
    """An evaluated model's line: its MLflow run, its metrics with their intervals, and what it comes from.

    Attributes:
        values: of each metric asked for the value and the ends of its interval, none where the run lacks them.
    """

    run: str
    name: str
    values: dict[str, tuple[float | None, float | None, float | None]]
    data: str
    data_version: str
    commit: str
    dirty: bool
    started: datetime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.commands.leaderboard", description=__doc__)
    parser.add_argument(
        "--metric",
        nargs="+",
        default=["all/mAP"],
        help="GROUP/MEASURE, such as black/mAP or all/rank1; the first one orders the models",
    )
    parser.add_argument("--experiment", help="default: tracking.experiment of params.yaml")
    arguments = parser.parse_args()
    experiment = arguments.experiment or params.load().tracking.experiment
    table = Table(title=f"experiment {experiment}, 95 % intervals, best {arguments.metric[0]} first")
    table.add_column("", justify="right")
    table.add_column("model", no_wrap=True)
    for metric in arguments.metric:
        table.add_column(metric, justify="right", overflow="fold")
    for place, entry in enumerate(entries(experiment, arguments.metric), 1):
        table.add_row(
            str(place),
            _origin(entry),
            *(_shown(*entry.values[metric]) for metric in arguments.metric),
            end_section=True,
        )
    console.print(table)
    console.print(
        "Below a model: its MLflow run; data, data version and commit (+ with local changes); when it began. Figures "
        "compare only where the data version is the same."
    )


def _origin(entry: Entry) -> Text:
    """A model's name, and below it what it comes from, narrow enough for any terminal."""
    commit = entry.commit[:8] + ("+" if entry.dirty else "")
    lines = (entry.run, f"{entry.data} {entry.data_version[:8]} {commit}", f"{entry.started:%Y-%m-%d %H:%M}")
    return Text(entry.name, "bold").append("\n" + "\n".join(lines), "not bold")


def _shown(value: float | None, low: float | None, high: float | None) -> str:
    """A value, and below it its interval, which may wrap."""
    if value is None:
        return "–"
    return f"{value:.1f}" if low is None or high is None else f"{value:.1f}\n{low:.1f} – {high:.1f}"


def entries(experiment: str, metrics: Sequence[str]) -> list[Entry]:
    """The runs of an experiment that hold the first metric, best first; of equal ones the older first.

    Raises:
        CuhsError: there is no such experiment, no run holds a metric, or the store does not answer.
    """
    client = connect()
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise CuhsError(
                f"{experiment}: no such experiment in {uri()}; train and evaluate a model first (dvc repro)"
            )
        runs: list[MlflowRun] = []
        token: str | None = None
        while token is None or token:
            page = client.search_runs([found.experiment_id], page_token=token, max_results=1000)
            runs, token = runs + list(page), page.token or ""
    except MlflowException as error:
        raise does_not_answer(error) from error
    for metric in metrics:
        if not any(metric in run.data.metrics for run in runs):
            known = sorted({key for run in runs for key in run.data.metrics if key.endswith("/mAP")})
            raise CuhsError(
                f"--metric {metric}: no run holds it; there are {', '.join(known) or 'no evaluations yet'}"
            )
    held = sorted(
        (run for run in runs if metrics[0] in run.data.metrics),
        key=lambda run: (-run.data.metrics[metrics[0]], run.info.start_time),
    )
    return [_entry(run, metrics) for run in held]


def _entry(run: MlflowRun, wanted: Sequence[str]) -> Entry:
    metrics, tags = run.data.metrics, run.data.tags
    return Entry(
        run=run.info.run_id,
        name=run.info.run_name,
        values={
            metric: (metrics.get(metric), metrics.get(f"{metric}_low"), metrics.get(f"{metric}_high"))
            for metric in wanted
        },
        data=tags.get("cuhs.data", run.data.params.get("data.name", "")),
        data_version=tags.get("cuhs.data_version", ""),
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("cuhs.git_dirty") == "true",
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
    )


if __name__ == "__main__":
    cli.run(main)
