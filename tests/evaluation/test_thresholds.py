import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhs.errors import CuhsError
from cuhs.evaluation import thresholds
from cuhs.evaluation.features import Features
from cuhs.evaluation.thresholds import BINS, pair_distances
from tests.evaluation.problems import problems


def all_pairs(query, gallery):
    """Distances of genuine and of impostor pairs, one by one, in float64."""
    genuine, impostor = [], []
    for feature, pid, camid in zip(query.values.astype(np.float64), query.pids, query.camids, strict=True):
        for other, other_pid, other_camid in zip(
            gallery.values.astype(np.float64), gallery.pids, gallery.camids, strict=True
        ):
            if pid < 0 or other_pid < 0 or (pid == other_pid and camid == other_camid):
                continue
            (genuine if pid == other_pid else impostor).append(math.dist(feature, other))
    return np.array(genuine), np.array(impostor)


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([1e-6, 1.0]))
def test_every_pair_falls_into_the_bin_of_its_distance(problem, chunk_mb):
    pairs = pair_distances(*problem, chunk_mb=chunk_mb)
    for found, expected in zip((pairs.genuine, pairs.impostor), all_pairs(*problem), strict=True):
        places = np.repeat(np.flatnonzero(found), found[found > 0])
        assert len(places) == len(expected)
        np.testing.assert_allclose((places + 0.5) * pairs.width, np.sort(expected), atol=0.51 * pairs.width + 1e-6)


def trained(queries=120, gallery=900, seed=0):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((30, 8))

    def side(count):
        pids = random.integers(0, 30, count)
        features = centres[pids] + 0.7 * random.standard_normal((count, 8))
        return Features(features.astype(np.float32), pids, random.integers(0, 3, count))

    return side(queries), side(gallery)


@pytest.mark.parametrize("rate", [1e-2, 1e-3, 1e-4, 0.5])
def test_a_threshold_keeps_its_false_match_rate_and_is_the_largest_that_does(rate):
    problem = trained()
    genuine, impostor = all_pairs(*problem)
    pairs = pair_distances(*problem)
    point = pairs.at_false_match_rate(rate)
    allowed = int(rate * len(impostor))
    assert point.false_matches == (impostor < point.distance).sum() <= allowed
    assert point.false_match_rate == pytest.approx(point.false_matches / len(impostor))
    assert point.true_match_rate == pytest.approx((genuine < point.distance).mean())
    # One bin farther would let in one pair too many.
    assert point.distance <= np.sort(impostor)[allowed] <= point.distance + 1.01 * pairs.width
    assert pairs.width < 1.01 * 2 * max(np.linalg.norm(problem[0].values, axis=1).max(), 9) / BINS


def test_rows_marked_as_junk_are_in_no_pair():
    query, gallery = trained(queries=30, gallery=200)
    marked = [replace(side, junk=np.arange(len(side)) % 4 == 0) for side in (query, gallery)]
    negative = [replace(side, pids=np.where(side.junk, -1, side.pids), junk=None) for side in marked]
    found, expected = pair_distances(*marked), pair_distances(*negative)
    np.testing.assert_array_equal(found.genuine, expected.genuine)
    np.testing.assert_array_equal(found.impostor, expected.impostor)
    assert found.impostor.sum() == len(all_pairs(*negative)[1]) < len(all_pairs(query, gallery)[1])


def test_a_rate_of_less_than_one_pair_has_no_threshold():
    pairs = pair_distances(*trained(queries=3, gallery=40))
    assert pairs.impostor.sum() < 1000
    assert pairs.at_false_match_rate(1e-3) is None
    query, gallery = (Features(np.zeros((1, 2)), [1], [camera]) for camera in (0, 1))
    assert pair_distances(query, gallery).at_false_match_rate(0.5) is None


def test_the_roc_runs_through_the_operating_points():
    problem = trained()
    genuine, impostor = all_pairs(*problem)
    false, true = pair_distances(*problem).roc()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    # The area beneath is the chance that a genuine pair is nearer than an impostor pair.
    nearer = np.searchsorted(np.sort(impostor), genuine)
    assert np.trapezoid(true, false) == pytest.approx(1 - nearer.mean() / len(impostor), abs=1e-5)


def test_a_roc_needs_both_kinds_of_pairs():
    pairs = pair_distances(Features(np.zeros((1, 2)), [1], [0]), Features(np.zeros((1, 2)), [2], [1]))
    with pytest.raises(CuhsError, match="ROC: needs genuine and impostor pairs"):
        pairs.roc()
    assert math.isnan(pairs.at_bin(3).true_match_rate)


def test_an_image_that_cannot_be_compared_is_named():
    gallery = Features(np.array([[0], [np.nan]]), [1, 1], [1, 1], names=["a", "b"])
    with pytest.raises(CuhsError, match=r"gallery features: row 1 \(b\)"):
        pair_distances(Features(np.zeros((1, 1)), [1], [0]), gallery)


def test_example_in_the_docstring_runs():
    results = doctest.testmod(thresholds)
    assert results.attempted > 0
    assert results.failed == 0
