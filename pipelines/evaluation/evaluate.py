"""Evaluates the trained model on the test split, and writes the results to ``reports/`` and its MLflow run."""

import json
import logging
import tempfile
import warnings
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.export import load
from pipelines.base import paths
from pipelines.base.console import summary_table
from pipelines.base.params import Params
from pipelines.base.versions import data_version, file_version
from pipelines.evaluation import comparison, report
from pipelines.evaluation.evaluation import Evaluation, evaluated
from pipelines.evaluation.tables import write_cmc, write_queries, write_thresholds
from pipelines.tracking import stage_runs
from pipelines.tracking.registry import DATA_VERSION, Registry
from pipelines.tracking.run import Run, send_left

# The tag that holds the hash of the weights that a run evaluated.
EVALUATED = "cuhs.evaluated_model"

log = logging.getLogger(__name__)


def evaluate(p: Params) -> None:
    """Write the files of ``reports`` that :mod:`pipelines.base.paths` names, and log them.

    Raises:
        CuhsError: the model or the dataset is missing, the features cannot be ranked, or what
            ``evaluate.compare_with`` names does not exist.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    # Before the extraction: a wrong name should fail at once.
    other = comparison.read(p.evaluate.compare_with) if p.evaluate.compare_with else None
    send_left()
    model, card = load(paths.MODEL)
    found = evaluated(model, card, p)
    _write_tables(found)
    run = _run(p)
    run.write(paths.EVALUATION_RUN)
    others = _champion(p) | ({str(p.evaluate.compare_with): other} if other else {})
    ours = comparison.read(str(paths.QUERIES))
    comparisons = {name: list(comparison.compare([ours], [queries])) for name, queries in others.items()}
    report.write(paths.REPORT, found, comparisons, run.id)
    _track(run, found)
    summary_table(found.metrics, p.variant)
    if found.reranked:
        summary_table(found.reranked, f"{p.variant}, re-ranked")


def _write_tables(found: Evaluation) -> None:
    paths.REPORTS.mkdir(exist_ok=True)
    paths.METRICS.write_text(json.dumps(found.metrics, indent=2) + "\n")
    write_cmc(paths.CMC, found.groups)
    write_queries(paths.QUERIES, found.groups, found.features["query"])
    write_thresholds(paths.THRESHOLDS, found.pairs)


def _track(run: Run, found: Evaluation) -> None:
    run.metrics(_flat(found.metrics) | {f"reranked/{key}": value for key, value in _flat(found.reranked).items()})
    for path in (paths.METRICS, paths.CMC, paths.QUERIES, paths.REPORT):
        run.artifacts(path, "evaluation")
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in found.curves.items():
            picture.savefig(Path(folder) / f"{name}.png", dpi=150)
            run.artifacts(Path(folder) / f"{name}.png", "evaluation")
    # Beside the weights, so that whoever takes the model also takes its thresholds.
    run.artifacts(paths.THRESHOLDS, "model")
    run.finish()


def _flat(metrics: dict[str, dict[str, float | int | None]]) -> dict[str, float | int | None]:
    return {f"{group}/{key}": value for group, values in metrics.items() for key, value in values.items()}


def _champion(p: Params) -> dict[str, comparison.Queries]:
    """The results of the champion on the same data, under a readable name.

    Empty if there is no such champion, or if the registry does not answer.
    """
    try:
        champion = Registry(p.registry.model).champion()
        if champion is None or champion.tags.get(DATA_VERSION) != data_version():
            return {}
        return {f"the champion, {champion}": comparison.read(champion.run_id)}
    except CuhsError as error:
        log.warning("not compared with the champion: %s", error)
        return {}


def _run(p: Params) -> Run:
    """The model's run if it has not been evaluated yet; otherwise, or if the store lost it, a new run.

    So one run never mixes the figures of two evaluations.
    """
    version = {EVALUATED: file_version(paths.MODEL / "model.safetensors")}
    run = Run.read(paths.MODEL_RUN)
    if run.holds(EVALUATED) is False:
        run.reopen()
        run.tags(version)
        return run
    return Run.start(
        p.tracking.experiment,
        f"evaluation: {p.data.name} {p.variant}",
        stage_runs.tags(p, "evaluation", data_version()) | version | {"cuhs.model_run": run.key},
        p.model_dump(mode="json"),
        stage_runs.description(p, "evaluated again"),
        stage_runs.data_used(p, "evaluation"),
        parent=None if run.lost() else run.key,
    )
