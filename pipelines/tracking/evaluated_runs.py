"""The evaluated models of an MLflow experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from cuhs.errors import CuhsError
from pipelines.tracking.mlflow_store import does_not_answer, reader, shown_uri


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated model: its MLflow run, its metrics with their intervals, and its origin.

    Attributes:
        values: for each requested metric, the value and the ends of its interval; none if the run lacks them.
    """

    run_id: str
    name: str
    values: dict[str, tuple[float | None, float | None, float | None]]
    data: str
    data_version: str
    commit: str
    dirty: bool | None
    started: datetime


def evaluated_runs(experiment: str, metrics: Sequence[str]) -> list[EvaluatedRun]:
    """The runs of an experiment that hold the first metric, best first; among equals, the older first.

    Raises:
        CuhsError: there is no such experiment, no run holds one of the metrics, or the store does not answer.
    """
    client = reader()
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise CuhsError(
                f"{experiment}: no such experiment in {shown_uri()}; train and evaluate a model first (dvc repro)"
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
    return [_evaluated_run(run, metrics) for run in held]


def _evaluated_run(run: MlflowRun, wanted: Sequence[str]) -> EvaluatedRun:
    metrics, tags = run.data.metrics, run.data.tags
    return EvaluatedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        values={
            metric: (metrics.get(metric), metrics.get(f"{metric}_low"), metrics.get(f"{metric}_high"))
            for metric in wanted
        },
        data=tags.get("cuhs.data", run.data.params.get("data.name", "")),
        data_version=tags.get("cuhs.data_version", ""),
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty={"true": True, "false": False}.get(tags.get("cuhs.git_dirty", "")),
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
    )
