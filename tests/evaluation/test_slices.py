import doctest

import numpy as np
import pytest

from cuhs.errors import CuhsError
from cuhs.evaluation import slices
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from cuhs.evaluation.ranking import rank
from cuhs.evaluation.slices import by_pair, by_query


def split(count, seed, identities=20):
    random = np.random.default_rng(seed)
    pids = random.integers(0, identities, count)
    centres = np.random.default_rng(7).standard_normal((identities, 16))
    return Features(
        values=(centres[pids] + 1.2 * random.standard_normal((count, 16))).astype(np.float32),
        pids=pids,
        camids=np.array([f"cam{camera}" for camera in random.integers(0, 3, count)]),
        junk=random.random(count) < 0.1,
        names=[f"{i}.jpg" for i in range(count)],
    )


@pytest.fixture(scope="module")
def splits():
    return split(60, seed=1), split(300, seed=2)


def ranked(query, gallery, rows, columns):
    return rank(query.take(rows), gallery.take(columns))


def test_queries_of_a_label_have_the_measures_of_ranking_them_alone(splits, monkeypatch):
    query, gallery = splits
    group = evaluate_groups(query, gallery, resamples=50)["all"]
    occluded = np.arange(len(query)) % 3 == 0
    monkeypatch.setattr(slices, "rank", None)
    table = by_query(
        group.ranking, query.pids[group.query_rows], occluded[group.query_rows], ranks=(1, 3), resamples=200
    )
    assert list(table) == ["False", "True"]
    for name, value in (("False", False), ("True", True)):
        rows = group.query_rows[occluded[group.query_rows] == value]
        expected = ranked(query, gallery, rows, group.gallery_rows)
        assert table[name]["mAP"] == round(100 * expected.map(), 3)
        assert table[name]["rank3"] == round(100 * expected.rank_at(3), 3)
        assert table[name]["queries"] == expected.valid.sum()
        assert table[name]["mAP_low"] < table[name]["mAP"] < table[name]["mAP_high"]
    assert table["True"]["queries"] + table["False"]["queries"] == group.metrics["queries"]


def test_camera_pairs_are_ranked_against_one_camera_each(splits):
    query, gallery = splits
    table = by_pair(query, gallery, query.camids, gallery.camids, resamples=50)
    # A camera's own images never count.
    assert list(table) == [f"cam{a} → cam{b}" for a in range(3) for b in range(3) if a != b]
    for name, metrics in table.items():
        a, b = name.split(" → ")
        rows = np.flatnonzero((query.camids == a) & ~query.junk)
        columns = np.flatnonzero((gallery.camids == b) & ~gallery.junk)
        expected = ranked(query, gallery, rows, columns)
        assert metrics["mAP"] == round(100 * expected.map(), 3)
        assert metrics["queries_without_match"] == len(expected.without_match)
        assert metrics["gallery"] == len(columns)


def test_labels_of_another_length_are_refused(splits):
    query, gallery = splits
    ranking = evaluate_groups(query, gallery, resamples=50)["all"].ranking
    with pytest.raises(CuhsError, match=r"slices: \d+ queries need as many pids and labels, got 60, 3"):
        by_query(ranking, query.pids, ["a", "b", "c"])
    with pytest.raises(CuhsError, match="slices: 300 rows of features need as many labels, got 299"):
        by_pair(query, gallery, query.camids, gallery.camids[1:])


def test_a_label_whose_queries_have_no_match_has_no_measures():
    ranking = rank(Features(np.eye(2), [1, 2], [0, 0]), Features(np.eye(2), [1, 3], [1, 1]))
    table = by_query(ranking, np.array([1, 2]), ["a", "b"], resamples=10)
    assert table["a"]["mAP"] == 100.0
    assert table["b"]["mAP"] is None and table["b"]["queries_without_match"] == 1


def test_example_in_the_docstring_runs():
    results = doctest.testmod(slices)
    assert results.attempted > 0
    assert results.failed == 0
