import csv
from pathlib import Path

import numpy as np

from cuhs.evaluation.groups import Features, evaluate_groups
from pipelines.evaluate import CMC_RANKS, write_cmc


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
