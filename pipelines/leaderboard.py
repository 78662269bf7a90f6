"""``python -m pipelines.leaderboard``: evaluated models by a metric, with intervals, data version and commit."""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from rich.table import Table

from cuhs.errors import CuhsError
from pipelines import cli, params
from pipelines.console import console
from pipelines.tracking.mlflow_store import connect, does_not_answer, uri


@dataclass(frozen=True)
class Entry:
    """An evaluated model's line: its MLflow run, the metric with its interval, and what it comes from."""

    run: str
    name: str
    value: float
    low: float | None
    high: float | None
    data: str
    data_version: str
    commit: str
    dirty: bool
    started: datetime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.leaderboard", description=__doc__)
    parser.add_argument("--metric", default="all/mAP", help="GROUP/MEASURE, such as black/mAP or all/rank1")
    parser.add_argument("--experiment", help="default: tracking.experiment of params.yaml")
    arguments = parser.parse_args()
    experiment = arguments.experiment or params.load().tracking.experiment
    table = Table(title=f"{arguments.metric} in experiment {experiment}, 95 % intervals, best first")
    for column in ("", arguments.metric, "interval", "model", "data", "data version", "commit", "started", "run"):
        table.add_column(column, justify="right" if column in ("", arguments.metric) else "left", overflow="fold")
    for place, entry in enumerate(entries(experiment, arguments.metric), 1):
        table.add_row(
            str(place),
            f"{entry.value:.1f}",
            "–" if entry.low is None or entry.high is None else f"{entry.low:.1f}–{entry.high:.1f}",
            entry.name,
            entry.data,
            entry.data_version[:8],
            entry.commit[:8] + ("+" if entry.dirty else ""),
            f"{entry.started:%Y-%m-%d %H:%M}",
            entry.run,
        )
    console.print(table)
    console.print("+ after a commit: with local changes. Figures compare only where the data version is the same.")


def entries(experiment: str, metric: str) -> list[Entry]:
    """The runs of an experiment that hold the metric, best first; of equal ones the older first.

    Raises:
        CuhsError: there is no such experiment, no run holds the metric, or the store does not answer.
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
    held = [_entry(run, metric) for run in runs if metric in run.data.metrics]
    if not held:
        known = sorted({key for run in runs for key in run.data.metrics if key.endswith("/mAP")})
        raise CuhsError(f"--metric {metric}: no run holds it; there are {', '.join(known) or 'no evaluations yet'}")
    return sorted(held, key=lambda entry: (-entry.value, entry.started))


def _entry(run: MlflowRun, metric: str) -> Entry:
    metrics, tags = run.data.metrics, run.data.tags
    return Entry(
        run=run.info.run_id,
        name=run.info.run_name,
        value=metrics[metric],
        low=metrics.get(f"{metric}_low"),
        high=metrics.get(f"{metric}_high"),
        data=tags.get("cuhs.data", run.data.params.get("data.name", "")),
        data_version=tags.get("cuhs.data_version", ""),
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("cuhs.git_dirty") == "true",
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
    )


if __name__ == "__main__":
    cli.run(main)
