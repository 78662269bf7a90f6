import csv
import json
from pathlib import Path

import numpy as np

from cuhs.data.dataset import PersonImages
from cuhs.evaluation.groups import Features, evaluate_groups
from cuhs.evaluation.thresholds import pair_distances
from pipelines.evaluate import CMC_RANKS, write_cmc, write_thresholds
from pipelines.slicing import slices


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
