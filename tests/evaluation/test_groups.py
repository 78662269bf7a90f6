import json
from dataclasses import replace

import numpy as np
import pytest

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from cuhs.evaluation.ranking import rank

COLOURS = ("black", "white", "other")


def split(count, seed, identities=30):
    random = np.random.default_rng(seed)
    pid = random.integers(0, identities, count)
    centres = np.random.default_rng(99).standard_normal((identities, 16))
    features = centres[pid] + 1.2 * random.standard_normal((count, 16))
    return Features(
        values=features.astype(np.float32),
        pids=np.array([f"set/{i:03d}" for i in pid]),
        camids=np.array([f"set/{camera}" for camera in random.integers(0, 3, count)]),
        groups=[["all", COLOURS[i % 3]] for i in pid],
        junk=random.random(count) < 0.1,
        names=[f"{i}.jpg" for i in range(count)],
    )


@pytest.fixture(scope="module")
def splits():
    return split(80, seed=1), split(400, seed=2)


def test_each_group_ranks_its_own_queries_against_its_own_gallery(splits):
    query, gallery = splits
    results = evaluate_groups(query, gallery, resamples=200)
    assert list(results) == ["all", "black", "other", "white"]
    for name, group in results.items():
        keep_query = np.array([name in g for g in query.groups]) & ~query.junk
        keep_gallery = np.array([name in g for g in gallery.groups]) & ~gallery.junk
        np.testing.assert_array_equal(group.query_rows, np.flatnonzero(keep_query))
        np.testing.assert_array_equal(group.gallery_rows, np.flatnonzero(keep_gallery))
        expected = rank(
            Features(query.values[keep_query], query.pids[keep_query], query.camids[keep_query]),
            Features(gallery.values[keep_gallery], gallery.pids[keep_gallery], gallery.camids[keep_gallery]),
        )
        np.testing.assert_array_equal(group.ranking.ap, expected.ap)
        assert group.metrics["mAP"] == round(100 * expected.map(), 3)
        assert group.metrics["mINP"] == round(100 * expected.minp(), 3)
        assert group.metrics["rank5"] == round(100 * expected.rank_at(5), 3)
        assert group.metrics["queries"] == expected.valid.sum()
        assert group.metrics["identities"] == len(set(query.pids[keep_query][expected.valid]))
        assert group.metrics["queries_without_match"] == len(expected.without_match)
        assert group.metrics["gallery"] == keep_gallery.sum()


def test_intervals_stand_around_their_measures_and_repeat_with_the_seed(splits):
    first = evaluate_groups(*splits, ranks=(1, 3), seed=5)
    for group in first.values():
        for key in ("mAP", "mINP", "rank1", "rank3"):
            low, high = group.metrics[f"{key}_low"], group.metrics[f"{key}_high"]
            assert 0 <= low <= group.metrics[key] <= high <= 100
        assert group.metrics["mAP_low"] < group.metrics["mAP"] < group.metrics["mAP_high"]
    again = evaluate_groups(*splits, ranks=(1, 3), seed=5)
    assert {n: g.metrics for n, g in first.items()} == {n: g.metrics for n, g in again.items()}


def test_a_group_without_a_valid_query_has_counts_and_no_measures(splits):
    query, gallery = splits
    groups = [list(names) for names in query.groups]
    row = int(np.flatnonzero(~query.junk)[0])
    groups[row].append("query only")
    gallery_groups = [list(names) for names in gallery.groups]
    gallery_groups[int(np.flatnonzero(~gallery.junk)[0])].append("gallery only")
    results = evaluate_groups(replace(query, groups=groups), replace(gallery, groups=gallery_groups), resamples=100)
    assert list(results) == ["all", "black", "gallery only", "other", "query only", "white"]
    alone = results["query only"].metrics
    assert (alone["queries"], alone["queries_without_match"], alone["gallery"]) == (0, 1, 0)
    empty = results["gallery only"].metrics
    assert (empty["queries"], empty["queries_without_match"], empty["gallery"]) == (0, 0, 1)
    for metrics in (alone, empty):
        assert all(metrics[key] is None for key in ("mAP", "mAP_low", "mINP", "rank1", "rank10_high"))
    json.dumps([group.metrics for group in results.values()], allow_nan=False)


def test_one_identity_is_measured_without_an_interval():
    query = Features(np.array([[0.0]]), pids=[1], camids=[0])
    gallery = Features(np.array([[1.0], [2.0]]), pids=[1, 2], camids=[1, 1])
    metrics = evaluate_groups(query, gallery)["all"].metrics
    assert metrics["mAP"] == 100.0
    assert metrics["mAP_low"] is metrics["mAP_high"] is None


def test_rows_that_name_no_group_still_count_in_all(splits):
    _, gallery = splits
    for groups in (lambda split: [[]] * len(split), lambda split: None):
        results = evaluate_groups(*(replace(split, groups=groups(split)) for split in splits), resamples=100)
        assert list(results) == ["all"]
        assert results["all"].metrics["gallery"] == (~gallery.junk).sum()


def test_an_image_that_cannot_be_ranked_is_named(splits):
    query, gallery = splits
    broken = gallery.values.copy()
    row = int(np.flatnonzero(~gallery.junk)[7])
    broken[row] = np.nan
    with pytest.raises(CuhsError, match=rf"\({row}\.jpg\)"):
        evaluate_groups(query, replace(gallery, values=broken))
