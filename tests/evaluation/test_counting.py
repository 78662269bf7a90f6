from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings

from cuhs.evaluation import counting
from cuhs.evaluation.counting import Matches, count_before, hide, read_matches
from cuhs.evaluation.features import Features
from cuhs.evaluation.match_rules import MatchRules
from cuhs.evaluation.ranking import rank
from tests.evaluation.problems import assert_same, problems, whole_number_problem


@settings(max_examples=200, deadline=None)
@given(problems())
def test_a_gpu_s_way_of_counting_gives_the_cpu_s_ranking(problem):
    expected = rank(*problem)
    by_rows = counting._by_rows
    try:
        counting._by_rows = counting._by_passes
        assert_same(rank(*problem), expected)
    finally:
        counting._by_rows = by_rows


def test_only_rows_as_near_as_a_match_come_before_it():
    scores = torch.tensor([[1.0, 2.0, 2.0, 3.0, 0.0, 5.0], [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])
    query = Features.without_values([1, 2], [0, 0])
    rules = MatchRules(query, Features.without_values([3, 1, 4, 1, -1, 1], [1, 1, 1, 1, 1, 0]))
    own = rules.own(0, 2)
    matches = read_matches(scores, own)
    assert matches.rows.tolist() == [0, 0]
    assert matches.columns.tolist() == [1, 3]
    assert matches.scores.tolist() == [2, 3]
    hide(scores, own, rules.junk)
    assert scores[0].tolist() == [1, torch.inf, 2, torch.inf, torch.inf, torch.inf]
    # The row of equal score comes first; the junk row and the query's own camera's do not count.
    assert count_before(scores, matches).tolist() == [2, 2]


def test_matches_are_ordered_by_query_then_score_then_row():
    parts = [
        Matches(np.array([1, 0]), np.array([5, 9]), np.array([2.0, 1.0], np.float32)),
        Matches(np.array([1, 1]), np.array([3, 4]), np.array([2.0, 0.0], np.float32)),
    ]
    joined = Matches.joined(parts)
    assert joined.rows.tolist() == [0, 1, 1, 1]
    assert joined.columns.tolist() == [9, 4, 3, 5]
    assert joined.bounds(3).tolist() == [0, 1, 4, 4]
    part, of_query = joined.of_queries(1, 2)
    assert (part.start, part.stop) == (1, 4)
    assert of_query.rows.tolist() == [0, 0, 0]
    assert len(Matches.joined([])) == 0


def test_own_rows_are_found_from_any_query_on():
    query, gallery = whole_number_problem(queries=20, gallery=100)
    query.pids[3] = -1
    # Of this one's identity there are gallery rows; marked as junk, it has no match among them all the same.
    query = replace(query, junk=np.arange(20) == 7)
    gallery = replace(gallery, junk=np.arange(100) % 9 == 0)
    assert query.pids[7] in gallery.pids[~gallery.is_junk]
    rules = MatchRules(query, gallery)
    assert rules.junk.tolist() == np.flatnonzero((gallery.pids < 0) | gallery.junk).tolist()
    assert rules.junk_queries.tolist() == [3, 7]
    for start, stop in ((0, 20), (3, 4), (5, 17)):
        own = rules.own(start, stop)
        expected = [
            (i - start, j, gallery.camids[j] != query.camids[i])
            for i in range(start, stop)
            for j in range(100)
            if gallery.pids[j] == query.pids[i] >= 0 and i != 7 and j % 9
        ]
        assert list(zip(*own, strict=True)) == expected
