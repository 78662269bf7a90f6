import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cuhs.data.dataset import PersonImages
from cuhs.evaluation.groups import Features, evaluate_groups
from cuhs.evaluation.thresholds import pair_distances
from pipelines.base import params
from pipelines.evaluation.slicing import slices
from pipelines.stages import evaluate
from pipelines.stages.evaluate import CMC_RANKS, write_cmc, write_thresholds
from pipelines.tracking.registry import DATA_VERSION

PARAMS = Path(__file__).parents[3] / "params.yaml"


def test_the_cmc_table_has_a_column_a_group_and_ends_where_all_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pids = np.array(["a", "b", "c", "d"])
    junk = np.zeros(4, bool)
    groups = [["all", "black"], ["all", "black"], ["all", "white"], ["all", "white"]]
    features = rng.normal(size=(4, 3)).astype(np.float32)
    query = Features(features, pids, np.array(["1"] * 4), groups, junk, list(pids))
    gallery = Features(features + 0.1, pids, np.array(["2"] * 4), groups, junk, list(pids))
    evaluated = evaluate_groups(query, gallery, resamples=100)
    write_cmc(tmp_path / "cmc.csv", evaluated)
    rows = list(csv.reader((tmp_path / "cmc.csv").open()))
    assert rows[0] == ["rank", "all", "black", "white"]
    assert len(rows) == CMC_RANKS + 1
    assert float(rows[1][1]) == evaluated["all"].metrics["rank1"]
    assert [float(value) for value in rows[-1][1:]] == [100, 100, 100]


def test_thresholds_are_kept_by_the_false_match_rate_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 60
    pids = np.arange(count).astype(str)
    vectors = rng.normal(size=(count, 8))
    pairs = pair_distances(vectors, pids, ["1"] * count, vectors + 0.1, pids, ["2"] * count)
    write_thresholds(tmp_path / "thresholds.json", pairs)
    points = json.loads((tmp_path / "thresholds.json").read_text())
    # 60 × 59 impostor pairs are too few to say anything of one in ten thousand.
    assert list(points) == ["0.01", "0.001"]
    assert points["0.01"]["distance"] > points["0.001"]["distance"] > 0
    assert points["0.001"]["true_match_rate"] == 1.0
    assert points["0.001"]["false_matches"] <= 3


def test_reranking_is_told_beside_and_with_the_parameters_given() -> None:
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(12), 3).astype(str)
    centres = np.repeat(rng.normal(size=(12, 6)), 3, axis=0)
    features = {
        name: Features(
            centres + 0.6 * rng.normal(size=centres.shape),
            pids,
            np.full(36, name),
            [["all"]] * 36,
            np.zeros(36, bool),
            pids,
        )
        for name in ("query", "gallery")
    }
    config = params.Evaluate(rerank=params.Rerank(k1=4, k2=2))
    reranked = evaluate._reranked(features, config)["all"]
    plain = evaluate_groups(features["query"], features["gallery"], resamples=10)["all"].metrics
    assert reranked["queries"] == plain["queries"] == 36
    assert reranked["mAP"] != plain["mAP"]
    # λ = 1 leaves the distances as they were.
    same = evaluate._reranked(features, params.Evaluate(rerank=params.Rerank(lambda_value=1.0)))["all"]
    assert same["mAP"] == plain["mAP"]


def champion(data: str) -> SimpleNamespace:
    queries = {"all": {"q": ("1", 0.5)}}
    return SimpleNamespace(tags={DATA_VERSION: data}, queries=lambda: queries, __str__=lambda self: "version 1")


@pytest.mark.parametrize(("data", "compared"), [("d1", True), ("d0", False), (None, False)])
def test_the_champion_of_the_same_data_is_compared_with(
    data: str | None, compared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "data_version", lambda: "d1")
    monkeypatch.setattr(evaluate, "Registry", lambda name: SimpleNamespace(champion=lambda: data and champion(data)))
    found = evaluate._champion(params.load(PARAMS))
    assert bool(found) is compared


def test_without_a_registry_an_evaluation_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert evaluate._champion(params.load(PARAMS)) == {}
    assert "not compared with the champion: MLFLOW_TRACKING_URI" in caplog.text


def test_slices_are_by_what_varies_only(tiny_dataset: Path) -> None:
    splits = {name: PersonImages(tiny_dataset, name, 64, 32) for name in ("query", "gallery")}
    rng = np.random.default_rng(0)
    features = {
        name: Features(
            rng.normal(size=(len(images), 4)), images.pids, images.camids, images.groups, images.junk, images.paths
        )
        for name, images in splits.items()
    }
    whole = evaluate_groups(features["query"], features["gallery"], resamples=10)["all"]
    found = slices(splits, features, whole)
    # One source, no box, nothing stated about occlusion; queries are of camera 0 and the gallery of camera 1.
    assert list(found) == ["camera pair"]
    assert list(found["camera pair"]) == ["made/0 → made/1"]
    assert found["camera pair"]["made/0 → made/1"]["queries"] == 2
