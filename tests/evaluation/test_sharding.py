import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhs.errors import CuhsError
from cuhs.evaluation import sharding
from cuhs.evaluation.counting import Matches
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import Ranking, rank
from cuhs.evaluation.sharding import count_rows, find_matches
from tests.evaluation.problems import assert_same, problems, whole_number_problem


def rank_in_shards(problem, cuts, chunk_mb):
    query, gallery = problem
    parts = np.split(np.arange(len(gallery)), cuts)
    shards = [gallery.take(rows) for rows in parts]
    # In any order: workers end when they end.
    found = [
        find_matches(query, shard, rows, chunk_mb=chunk_mb)
        for shard, rows in zip(reversed(shards), reversed(parts), strict=True)
    ]
    matches = Matches.joined(found)
    before = np.zeros(len(matches), np.int64)
    for shard in shards:
        before += count_rows(query, shard, matches, chunk_mb=chunk_mb)
    return Ranking.of(len(query), matches, before)


@settings(max_examples=300, deadline=None)
@given(problems(), st.lists(st.integers(0, 25), max_size=4), st.sampled_from([1e-6, 1e-4, 1.0]))
def test_shards_give_the_ranking_of_the_whole(problem, cuts, chunk_mb):
    cuts = sorted(min(cut, len(problem[1])) for cut in cuts)
    assert_same(rank_in_shards(problem, cuts, chunk_mb), rank(*problem))


@pytest.mark.parametrize("cuts", [[], [1, 2], [700, 700, 2999], list(range(100, 3000, 100))])
def test_a_larger_gallery_may_be_cut_anywhere(cuts):
    problem = whole_number_problem()
    assert_same(rank_in_shards(problem, cuts, chunk_mb=0.1), rank(*problem))


def test_rows_marked_as_junk_count_in_no_shard():
    marked = [
        replace(side, junk=np.arange(len(side)) % 4 == 0) for side in whole_number_problem(queries=40, gallery=400)
    ]
    assert_same(rank_in_shards(marked, [100, 250], chunk_mb=0.1), rank(*marked))


def test_a_shard_without_a_match_costs_no_product_in_the_first_pass(monkeypatch):
    query, gallery = whole_number_problem(queries=9, gallery=50)
    strangers = replace(gallery, pids=gallery.pids + 1000)
    monkeypatch.setattr(sharding.Products, "chunks", None)
    assert len(find_matches(query, strangers, np.arange(50))) == 0


def test_an_image_that_cannot_be_ranked_is_named():
    query = Features(np.zeros((1, 2)), [1], [0])
    broken = Features(np.array([[0, 0], [0, np.nan]]), [1, 1], [1, 1], ["a", "b.jpg"])
    with pytest.raises(CuhsError, match=r"gallery features: row 1 \(b\.jpg\) holds NaN"):
        find_matches(query, broken, np.array([70, 71]))


def test_example_in_the_docstring_runs():
    results = doctest.testmod(sharding)
    assert results.attempted > 0
    assert results.failed == 0
