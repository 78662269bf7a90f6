import csv
import json
from pathlib import Path

import numpy as np

from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from cuhs.evaluation.thresholds import pair_distances
from pipelines.evaluation.tables import CMC_RANKS, write_cmc, write_thresholds


def test_the_cmc_table_has_a_column_a_group_and_ends_where_all_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pids = np.array(["a", "b", "c", "d"])
    groups = [["all", "black"], ["all", "black"], ["all", "white"], ["all", "white"]]
    features = rng.normal(size=(4, 3)).astype(np.float32)
    query = Features(features, pids, np.array(["1"] * 4), groups=groups)
    gallery = Features(features + 0.1, pids, np.array(["2"] * 4), groups=groups)
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
    query, gallery = Features(vectors, pids, ["1"] * count), Features(vectors + 0.1, pids, ["2"] * count)
    pairs = pair_distances(query, gallery)
    write_thresholds(tmp_path / "thresholds.json", pairs)
    points = json.loads((tmp_path / "thresholds.json").read_text())
    # 60 × 59 impostor pairs are too few to say anything of one in ten thousand.
    assert list(points) == ["0.01", "0.001"]
    assert points["0.01"]["distance"] > points["0.001"]["distance"] > 0
    assert points["0.001"]["true_match_rate"] == 1.0
    assert points["0.001"]["false_matches"] <= 3
