"""Stage ``evaluate``: rank the test split with the trained network, report, and log into the model's run."""

import argparse
import csv
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from cuhs.data.dataset import PersonImages
from cuhs.errors import CuhsError
from cuhs.evaluation.groups import ALL, Features, Group, Metrics, evaluate_groups
from cuhs.evaluation.reranking import rank_reranked
from cuhs.evaluation.thresholds import PairDistances, pair_distances
from cuhs.export import ModelCard, load
from cuhs.network.cuhs import CUHS
from pipelines.base import cli, params
from pipelines.base.console import progress, summary_table
from pipelines.base.versions import DATASET, data_version, file_version
from pipelines.evaluation import comparison as compare
from pipelines.evaluation import report as evaluation_report
from pipelines.evaluation.extraction import extract
from pipelines.stages import train
from pipelines.tracking import stage_runs
from pipelines.tracking.registry import DATA_VERSION, Registry
from pipelines.tracking.run import Run, send_left

REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
CMC = REPORTS / "cmc.csv"
QUERIES = REPORTS / "queries.csv"
THRESHOLDS = REPORTS / "thresholds.json"
REPORT = REPORTS / "report.html"
RUN_FILE = REPORTS / "run.json"
CMC_RANKS = 50

log = logging.getLogger(__name__)


def main() -> None:
    """Write ``reports``: ``metrics.json``, ``cmc.csv``, ``queries.csv``, ``thresholds.json``, the report, the run."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages.evaluate", description=__doc__)
    parser.add_argument(
        "--features", type=Path, metavar="DIR", help="evaluate the features of these files instead (any model's)"
    )
    if folder := parser.parse_args().features:
        from pipelines.evaluation import features as evaluate_features

        evaluate_features.evaluate(folder)
        return
    p = params.load()
    # First of all: a name that leads nowhere should not cost the extraction.
    other = compare.read(p.evaluate.compare_with) if p.evaluate.compare_with else None
    send_left()
    model, card = load(train.OUT)
    splits, features, groups = judge(model, card, p)
    pairs = _pairs(features["query"], features["gallery"], p.evaluate.chunk_mb)
    metrics = {name: group.metrics for name, group in groups.items()}
    reranked = _reranked(features, p.evaluate) if p.evaluate.rerank else {}

    REPORTS.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
    write_cmc(CMC, groups)
    write_queries(QUERIES, groups, features["query"])
    write_thresholds(THRESHOLDS, pairs)
    run = _run(p, card)
    run.write(RUN_FILE)
    others = _champion(p) | ({str(p.evaluate.compare_with): other} if other else {})
    ours = compare.read(str(QUERIES))
    comparisons = {name: list(compare.compare(ours, queries)) for name, queries in others.items()}
    pictures = evaluation_report.curves(groups, pairs)
    evaluation_report.write(
        REPORT, p, model, card, splits, features, groups, pairs, pictures, reranked, comparisons, run.id
    )
    flat = {f"{group}/{key}": value for group, values in metrics.items() for key, value in values.items()}
    run.metrics(flat | {f"reranked/{g}/{key}": v for g, values in reranked.items() for key, v in values.items()})
    for path in (METRICS, CMC, QUERIES, REPORT):
        run.artifacts(path, "evaluation")
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in pictures.items():
            picture.savefig(Path(folder) / f"{name}.png", dpi=150)
            run.artifacts(Path(folder) / f"{name}.png", "evaluation")
    # Beside the weights: who takes the model takes the distance that means "the same person" with it.
    run.artifacts(THRESHOLDS, "model")
    run.finish()
    summary_table(metrics, p.variant)
    if reranked:
        summary_table(reranked, f"{p.variant}, re-ranked")


def judge(
    model: CUHS, card: ModelCard, p: params.Params
) -> tuple[dict[str, PersonImages], dict[str, Features], dict[str, Group]]:
    """The test splits, their features by a model, and what its queries found, by group."""
    device = torch.device("cuda" if torch.cuda.is_available() and p.compute.gpu != "no" else "cpu")
    splits = {name: PersonImages(DATASET, name, card.height, card.width) for name in ("query", "gallery")}
    features = {name: _features(model, images, p, device) for name, images in splits.items()}
    groups = evaluate_groups(features["query"], features["gallery"], chunk_mb=p.evaluate.chunk_mb)
    return splits, features, groups


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


def _reranked(features: Mapping[str, Features], config: params.Evaluate) -> dict[str, Metrics]:
    ranker = partial(rank_reranked, **config.rerank.model_dump()) if config.rerank else rank_reranked
    groups = evaluate_groups(features["query"], features["gallery"], chunk_mb=config.chunk_mb, ranker=ranker)
    return {name: group.metrics for name, group in groups.items()}


def _champion(p: params.Params) -> dict[str, compare.Queries]:
    """What the champion of the same data found, by a name for people; empty where there is none, or no answer."""
    try:
        champion = Registry(p.registry.model).champion()
        if champion is None or champion.tags.get(DATA_VERSION) != data_version():
            return {}
        return {f"the champion, {champion}": champion.queries()}
    except CuhsError as error:
        log.warning("not compared with the champion: %s", error)
        return {}


def _run(p: params.Params, card: ModelCard) -> Run:
    """The model's run where it has not been evaluated yet; otherwise, and where the store lost it, a new one.

    So figures of two evaluations never stand in one run.
    """
    evaluated = "cuhs.evaluated_model"
    version = {evaluated: file_version(train.OUT / "model.safetensors")}
    run = Run.read(train.RUN_FILE)
    if run.holds(evaluated) is False:
        run.reopen()
        run.tags(version)
        return run
    return Run.start(
        p.tracking.experiment,
        f"{p.data.name} {p.variant} evaluated again",
        stage_runs.tags(p, "evaluation", data_version()) | version | {"cuhs.model_run": run.key},
        p.model_dump(mode="json"),
        stage_runs.description(p, "evaluated again"),
        stage_runs.data_used(p, "evaluation"),
        parent=None if run.lost() else run.key,
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    cli.run_stage("evaluate", main)
