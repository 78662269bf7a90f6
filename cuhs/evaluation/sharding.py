"""Ranking a gallery that no machine holds: what is counted in its shards adds up to the whole.

1. :func:`find_matches` reads the scores of each query's true matches in one shard. All shards' matches,
   joined, say where the ranks are to be counted.
2. :func:`count_rows` counts, in one shard, the rows before each of those matches. The sums over all shards
   make the ranking (:meth:`.ranking.Ranking.of`).

Both compute the same product in the same chunks, so that a score is read from the very bits that are counted.
Between shards, rows nearer to one another than float32's rounding may change places where their products are
of different shapes, as they may in :mod:`.ranking` with another chunk size; otherwise the result is the same.

Example:
    >>> import numpy as np
    >>> from cuhs.evaluation.ranking import Ranking
    >>> query = Shard(np.array([[0.0], [5.0]]), np.array([1, 2]), np.array([0, 0]), np.arange(2))
    >>> near = Shard(np.array([[1.0], [5.0]]), np.array([1, 2]), np.array([1, 0]), np.arange(0, 2))
    >>> far = Shard(np.array([[9.0], [2.0]]), np.array([2, 1]), np.array([1, 1]), np.arange(2, 4))
    >>> matches = Matches.joined([find_matches(query, shard) for shard in (near, far)])
    >>> before = sum(count_rows(query, shard, matches) for shard in (near, far))
    >>> Ranking.of(len(query), matches, before).first_hit.tolist()
    [1, 3]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cuhs.evaluation.counting import Matches, count_before, hide, read_matches
from cuhs.evaluation.products import Features, Products
from cuhs.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Shard:
    """Some rows of a split.

    Attributes:
        features: (N, D) real, any precision.
        pids: (N,) int or str; a negative number marks a junk row.
        camids: (N,) int or str.
        rows: (N,) int64, their numbers in the whole split.
        names: N names, for error messages.
    """

    features: Features
    pids: np.ndarray
    camids: np.ndarray
    rows: np.ndarray
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.features)


@torch.no_grad()
def find_matches(query: Shard, gallery: Shard, *, chunk_mb: float = 128) -> Matches:
    """Every query's true matches in one shard of the gallery, by their rows in the whole.

    Args:
        query: all queries.
        gallery: one shard.
        chunk_mb: as of :func:`.ranking.rank`; the same for both passes.

    Raises:
        CuhsError: as :func:`.ranking.rank`.
    """
    products, protocol = _compared(query, gallery)
    if not protocol.own(0, protocol.queries).true.any():
        return Matches.joined([])
    parts = []
    for start, scores in products.chunks(chunk_mb):
        found = read_matches(scores, protocol.own(start, start + len(scores)))
        parts.append(Matches(found.rows + start, gallery.rows[found.columns], found.scores))
    return Matches.joined(parts)


@torch.no_grad()
def count_rows(query: Shard, gallery: Shard, matches: Matches, *, chunk_mb: float = 128) -> np.ndarray:
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
    products, protocol = _compared(query, gallery)
    counts = np.zeros(len(matches), np.int64)
    for start, scores in products.chunks(chunk_mb):
        hide(scores, protocol.own(start, start + len(scores)), protocol.junk)
        part, of_chunk = matches.of_queries(start, start + len(scores))
        counts[part] = count_before(scores, of_chunk)
    return counts


def _compared(query: Shard, gallery: Shard) -> tuple[Products, Protocol]:
    products = Products(query.features, gallery.features, query.names, gallery.names)
    return products, Protocol(query.pids, query.camids, gallery.pids, gallery.camids, products.counts)
