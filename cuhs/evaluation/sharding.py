"""Ranking of a gallery that fits on no single machine: the counts of its shards add up to the whole.

1. :func:`find_matches` reads the scores of the true matches in one shard. Join the matches of all shards.
2. :func:`count_rows` counts, in one shard, the rows before each of those matches. The sums over all shards
   make the ranking (:meth:`.ranking.Ranking.of`).

Both steps compute the same product in the same chunks, so the counted scores equal the read scores bit for
bit. The result is that of :mod:`.ranking`, except that rows of different shards can swap places if their
distances differ by less than float32's rounding, as they can in :mod:`.ranking` with another chunk size.

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
    """Find every query's true matches in one shard; their columns are rows of the whole gallery.

    Args:
        query: all queries.
        gallery: one shard, of G rows.
        rows: (G,) int64, the shard's rows in the whole gallery.
        chunk_mb: as for :func:`.ranking.rank`; give both steps the same.

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
    """Count the rows of one shard before each match; rows of equal score count as before it.

    Args:
        query: all queries.
        gallery: one shard.
        matches: P matches, of all shards.
        chunk_mb: as for :func:`.ranking.rank`; give both steps the same.

    Returns:
        (P,) int64 counts, without rows of the query's own identity and junk rows.

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
