"""Ranking a gallery that no machine holds: what is counted in its shards adds up to the whole.

1. :func:`find_matches` reads the scores of each query's true matches in one shard. All shards' matches,
   joined, say where the ranks are to be counted.
2. :func:`count_rows` counts, in one shard, the rows before each of those matches. The sums over all shards
   make the ranking (:meth:`.ranking.Ranking.of`).

Both compute the same product in the same chunks, so that a score is read from the very bits that are counted.
Between shards, rows nearer to one another than float32's rounding may change places where their products are
of different shapes, as they may in :mod:`.ranking` with another chunk size; otherwise the result is the same.

Example:
    >>> from cuhs.evaluation.ranking import Ranking
    >>> query = Features(np.array([[0.0], [5.0]]), pids=[1, 2], camids=[0, 0])
    >>> near = Features(np.array([[1.0], [5.0]]), pids=[1, 2], camids=[1, 0])
    >>> far = Features(np.array([[9.0], [2.0]]), pids=[2, 1], camids=[1, 1])
    >>> found = [find_matches(query, near, np.arange(0, 2)), find_matches(query, far, np.arange(2, 4))]
    >>> matches = Matches.joined(found)
    >>> before = sum(count_rows(query, shard, matches) for shard in (near, far))
    >>> Ranking.of(len(query), matches, before).first_hit.tolist()
    [1, 3]
"""

import numpy as np
import torch

from cuhs.evaluation.counting import Matches, count_before, hide, read_matches
from cuhs.evaluation.features import Features
from cuhs.evaluation.match_rules import MatchRules
from cuhs.evaluation.products import Products


@torch.no_grad()
def find_matches(query: Features, gallery: Features, rows: np.ndarray, *, chunk_mb: float = 128) -> Matches:
    """Every query's true matches in one shard of the gallery, by their rows in the whole.

    Args:
        query: all queries.
        gallery: G rows, one shard.
        rows: (G,) int64, their numbers in the whole gallery.
        chunk_mb: as of :func:`.ranking.rank`; the same for both passes.

    Raises:
        CuhsError: as :func:`.ranking.rank`.
    """
    products, rules = Products.of(query, gallery), MatchRules(query, gallery)
    if not rules.own(0, rules.queries).true.any():
        return Matches.joined([])
    parts = []
    for start, scores in products.chunks(chunk_mb):
        found = read_matches(scores, rules.own(start, start + len(scores)))
        parts.append(Matches(found.rows + start, rows[found.columns], found.scores))
    return Matches.joined(parts)


@torch.no_grad()
def count_rows(query: Features, gallery: Features, matches: Matches, *, chunk_mb: float = 128) -> np.ndarray:
    """How many rows of one shard come before each match; rows of equal score do.

    Args:
        query: all queries.
        gallery: one shard.
        matches: those of all shards.
        chunk_mb: as of :func:`.ranking.rank`; the same for both passes.

    Returns:
        (P,) int64. Rows of the query's own identity and junk rows are not among them.

    Raises:
        CuhsError: as :func:`.ranking.rank`.
    """
    products, rules = Products.of(query, gallery), MatchRules(query, gallery)
    counts = np.zeros(len(matches), np.int64)
    for start, scores in products.chunks(chunk_mb):
        hide(scores, rules.own(start, start + len(scores)), rules.junk)
        part, of_chunk = matches.of_queries(start, start + len(scores))
        counts[part] = count_before(scores, of_chunk)
    return counts
