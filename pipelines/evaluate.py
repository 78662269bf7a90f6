"""Stage ``evaluate``: rank the test split with the trained network, report, and log into the model's run."""

import argparse
import csv
import json
import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from cuhs.data.dataset import PersonImages
from cuhs.evaluation.groups import ALL, Features, Group, evaluate_groups
from cuhs.evaluation.thresholds import PairDistances, pair_distances
from cuhs.export import ModelCard, load
from cuhs.network.cuhs import CUHS
from pipelines import cli, compare, evaluation_report, params, train
from pipelines.console import progress, summary_table
from pipelines.extraction import extract
from pipelines.tracking import Run
from pipelines.versions import DATASET, file_version

REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
CMC = REPORTS / "cmc.csv"
QUERIES = REPORTS / "queries.csv"
THRESHOLDS = REPORTS / "thresholds.json"
REPORT = REPORTS / "report.html"
CMC_RANKS = 50

log = logging.getLogger(__name__)


def main() -> None:
    """Write ``reports/metrics.json``, ``cmc.csv``, ``queries.csv``, ``thresholds.json`` and ``report.html``."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.evaluate", description=__doc__)
    parser.add_argument(
        "--features", type=Path, metavar="DIR", help="evaluate the features of these files instead (any model's)"
    )
    if folder := parser.parse_args().features:
        from pipelines import evaluate_features

        evaluate_features.evaluate(folder)
        return
    p = params.load()
    # First of all: a name that leads nowhere should not cost the extraction.
    other = compare.read(p.evaluate.compare_with) if p.evaluate.compare_with else None
    model, card = load(train.OUT)
    device = torch.device("cuda" if torch.cuda.is_available() and p.compute.gpu != "no" else "cpu")
    splits = {name: PersonImages(DATASET, name, card.height, card.width) for name in ("query", "gallery")}
    features = {name: _features(model, images, p, device) for name, images in splits.items()}
    groups = evaluate_groups(features["query"], features["gallery"], chunk_mb=p.evaluate.chunk_mb)
    pairs = _pairs(features["query"], features["gallery"], p.evaluate.chunk_mb)
    metrics = {name: group.metrics for name, group in groups.items()}

    REPORTS.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
    write_cmc(CMC, groups)
    write_queries(QUERIES, groups, features["query"])
    write_thresholds(THRESHOLDS, pairs)
    run = _run(p, card)
    comparisons = (
        {str(p.evaluate.compare_with): list(compare.compare(compare.read(str(QUERIES)), other))} if other else {}
    )
    evaluation_report.write(REPORT, p, model, card, splits, features, groups, pairs, comparisons, run.id)
    run.metrics({f"{group}/{key}": value for group, values in metrics.items() for key, value in values.items()})
    for path in (METRICS, CMC, QUERIES, REPORT):
        run.artifacts(path, "evaluation")
    # Beside the weights: who takes the model takes the distance that means "the same person" with it.
    run.artifacts(THRESHOLDS, "model")
    run.finish()
    summary_table(metrics, p.variant)


def write_cmc(path: Path, groups: Mapping[str, Group]) -> None:
    """CMC curves as a table: ``rank``, then the share of queries in percent for each group."""
    curves = {name: group.ranking.cmc(CMC_RANKS) for name, group in groups.items() if group.metrics["queries"]}
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["rank", *curves])
        for k in range(CMC_RANKS):
            rows.writerow([k + 1, *(round(100 * float(curve[k]), 3) for curve in curves.values())])


def write_queries(path: Path, groups: Mapping[str, Group], query: Features) -> None:
    """What each query of each group found; average precision is empty where the query has no match."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["group", "query", "pid", "camid", "ap", "first_hit"])
        for name, group in groups.items():
            ranking = group.ranking
            for row, ap, hit in zip(group.query_rows, ranking.ap, ranking.first_hit, strict=True):
                # A source's name and its file's path: paths alone may meet in two sources.
                query_name = f"{str(query.pids[row]).partition('/')[0]}/{query.names[row]}"
                value = "" if math.isnan(ap) else repr(float(ap))
                rows.writerow([name, query_name, query.pids[row], query.camids[row], value, int(hit)])


def write_thresholds(path: Path, pairs: PairDistances) -> None:
    """The Euclidean distance up to which two embeddings are the same person, by the false match rate asked for."""
    points = {f"{rate:g}": asdict(point) for rate, point in evaluation_report.operating_points(pairs)}
    path.write_text(json.dumps(points, indent=2, allow_nan=False) + "\n")


def _pairs(query: Features, gallery: Features, chunk_mb: float) -> PairDistances:
    queries, rows = (split.take(split.rows_of(ALL)) for split in (query, gallery))
    return pair_distances(**queries.against(rows), chunk_mb=chunk_mb)


def _features(model: CUHS, images: PersonImages, p: params.Params, device: torch.device) -> Features:
    with progress() as bar:
        task = bar.add_task(f"features of the {images.split} split", total=len(images))
        return extract(model, images, p, device, lambda done: bar.update(task, completed=done))


def _run(p: params.Params, card: ModelCard) -> Run:
    """The model's run where it has not been evaluated yet; otherwise, and where the store lost it, a new one.

    So figures of two evaluations never stand in one run.
    """
    version = file_version(train.OUT / "model.safetensors")
    evaluated = "cuhs.evaluated_model"
    run = Run(json.loads(train.RUN_FILE.read_text())["run_id"])
    tags = {"cuhs.kind": "evaluation", "cuhs.model_run": run.id, evaluated: version}
    name = f"{p.data.name} {p.variant} evaluated again"
    if not run.exists():
        return Run.start(p.tracking.experiment, name, tags, p.model_dump(mode="json"))
    if evaluated in run.client.get_run(run.id).data.tags:
        return Run.start(
            p.tracking.experiment, name, {**tags, "mlflow.parentRunId": run.id}, p.model_dump(mode="json")
        )
    run.reopen()
    run.tags({evaluated: version})
    return run


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    cli.run(main)
