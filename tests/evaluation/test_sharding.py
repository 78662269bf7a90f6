import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhs.errors import CuhsError
from cuhs.evaluation import sharding
from cuhs.evaluation.counting import Matches
from cuhs.evaluation.ranking import Ranking, rank
from cuhs.evaluation.sharding import Shard, count_rows, find_matches
from tests.evaluation.problems import assert_same, problems, whole_number_problem


def rank_in_shards(problem, cuts, chunk_mb):
    query, query_pids, query_camids, gallery, pids, camids = problem
    asked = Shard(query, query_pids, query_camids, np.arange(len(query)))
    shards = [
        Shard(gallery[rows], pids[rows], camids[rows], rows) for rows in np.split(np.arange(len(gallery)), cuts)
    ]
    # In any order: workers end when they end.
    matches = Matches.joined([find_matches(asked, shard, chunk_mb=chunk_mb) for shard in reversed(shards)])
    before = np.zeros(len(matches), np.int64)
    for shard in shards:
        before += count_rows(asked, shard, matches, chunk_mb=chunk_mb)
    return Ranking.of(len(asked), matches, before)


@settings(max_examples=300, deadline=None)
@given(problems(), st.lists(st.integers(0, 25), max_size=4), st.sampled_from([1e-6, 1e-4, 1.0]))
def test_shards_give_the_ranking_of_the_whole(problem, cuts, chunk_mb):
    cuts = sorted(min(cut, len(problem[3])) for cut in cuts)
    assert_same(rank_in_shards(problem, cuts, chunk_mb), rank(*problem))


@pytest.mark.parametrize("cuts", [[], [1, 2], [700, 700, 2999], list(range(100, 3000, 100))])
def test_a_larger_gallery_may_be_cut_anywhere(cuts):
    problem = whole_number_problem()
    assert_same(rank_in_shards(problem, cuts, chunk_mb=0.1), rank(*problem))


def test_a_shard_without_a_match_costs_no_product_in_the_first_pass(monkeypatch):
    query, query_pids, query_camids, gallery, pids, camids = whole_number_problem(queries=9, gallery=50)
    asked = Shard(query, query_pids, query_camids, np.arange(9))
    strangers = Shard(gallery, pids + 1000, camids, np.arange(50))
    monkeypatch.setattr(sharding.Products, "chunks", None)
    assert len(find_matches(asked, strangers)) == 0


def test_an_image_that_cannot_be_ranked_is_named():
    asked = Shard(np.zeros((1, 2)), np.array([1]), np.array([0]), np.arange(1))
    broken = Shard(
        np.array([[0, 0], [0, np.nan]]), np.array([1, 1]), np.array([1, 1]), np.array([70, 71]), ["a", "b.jpg"]
    )
    with pytest.raises(CuhsError, match=r"gallery features: row 1 \(b\.jpg\) holds NaN"):
        find_matches(asked, broken)


def test_example_in_the_docstring_runs():
    results = doctest.testmod(sharding)
    assert results.attempted > 0
    assert results.failed == 0
