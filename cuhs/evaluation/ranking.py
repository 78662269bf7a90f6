"""Exact CMC, mAP and mINP under the single-query, cross-camera protocol.

* :mod:`.match_rules` defines true matches and ignored rows.
* Ties count against the model: a true match comes after every other row of equal distance.
* Distances are Euclidean, from float32 matrix products (see :mod:`.products`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from cuhs.errors import CuhsError
from cuhs.evaluation.counting import Matches, count_before, hide, read_matches
from cuhs.evaluation.features import Features, Matrix
from cuhs.evaluation.match_rules import MatchRules, Own
from cuhs.evaluation.products import Products, as_tensor


@dataclass(frozen=True)
class Ranking:
    """Result of every query; all measures are shares in [0, 1].

    Attributes:
        ap: (Q,) float64, step average precision: mean precision at each true match; NaN if not valid.
        inp: (Q,) float64, inverse negative penalty: matches / rank of the last match; NaN if not valid.
        first_hit: (Q,) int64, rank of the nearest true match, from 1; 0 if there is none.
        first_match: (Q,) int64, gallery row of the nearest true match; -1 if there is none.
        matches: (Q,) int64, number of true matches.
        valid: (Q,) bool, whether the query has a true match and so counts in the means.
    """

    ap: np.ndarray
    inp: np.ndarray
    first_hit: np.ndarray
    first_match: np.ndarray
    matches: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, queries: int, matches: Matches, before: np.ndarray) -> "Ranking":
        """Compute the ranking from how many other gallery rows come before each true match.

        Args:
            queries: Q, the number of queries.
            matches: P true matches, of all queries.
            before: (P,) int64, number of other gallery rows before each match.
        """
        bounds = matches.bounds(queries)
        starts, counts = bounds[:-1], np.diff(bounds)
        valid = counts > 0
        found = np.arange(len(matches)) - starts[matches.rows] + 1
        ranks = found + before
        first, last = starts[valid], bounds[1:][valid] - 1
        ap, inp = np.full(queries, np.nan), np.full(queries, np.nan)
        first_hit, first_match = np.zeros(queries, np.int64), np.full(queries, -1, np.int64)
        ap[valid] = np.add.reduceat(found / ranks, first) / counts[valid]
        inp[valid] = counts[valid] / ranks[last]
        first_hit[valid], first_match[valid] = ranks[first], matches.columns[first]
        return cls(ap, inp, first_hit, first_match, counts, valid)

    @classmethod
    def joined(cls, parts: Sequence["Ranking"]) -> "Ranking":
        """Join the rankings of consecutive queries."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        return cls(*(np.concatenate(column) for column in columns))

    def take(self, rows: np.ndarray) -> "Ranking":
        """Select queries by index or by mask; the gallery stays the same."""
        return Ranking(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def without_match(self) -> np.ndarray:
        """(U,) int64, indices of queries that are in no mean: without a true match, or junk themselves."""
        return np.flatnonzero(~self.valid)

    def map(self) -> float:
        """Return the mean average precision over the valid queries; NaN if there is none."""
        return _mean(self.ap[self.valid])

    def minp(self) -> float:
        """Return the mean inverse negative penalty over the valid queries; NaN if there is none."""
        return _mean(self.inp[self.valid])

    def rank_at(self, k: int) -> float:
        """Return the share of valid queries with a true match in the first ``k``; NaN if no query is valid."""
        return _mean(self.first_hit[self.valid] <= k)

    def cmc(self, max_rank: int) -> np.ndarray:
        """Return (max_rank,) float64, :meth:`rank_at` for 1 to ``max_rank``."""
        return np.array([self.rank_at(k) for k in range(1, max_rank + 1)])

    def percentages(self, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Return ``mAP``, ``mINP`` and ``rankK`` for each K of ``ranks``, in percent; NaN without valid queries."""
        shares = {"mAP": self.map(), "mINP": self.minp()} | {f"rank{k}": self.rank_at(k) for k in ranks}
        return {name: 100.0 * share for name, share in shares.items()}


@torch.no_grad()
def rank(query: Features, gallery: Features, *, chunk_mb: float = 128) -> Ranking:
    """Rank the gallery for every query, on the device of the gallery's features.

    Args:
        query: (Q, D) features.
        gallery: (G, D) features, with labels of the same kind as the query's.
        chunk_mb: size in MiB of the only buffer of distances (at least one query's row: 4 G bytes).

    Raises:
        CuhsError: shapes or labels do not fit, or a row holds NaN, infinity or values too large for float32.

    Example:
        Each query's nearest image is from its own camera, so it is ignored. The second query's true match
        then comes after two images of identity 1, one of them at the same distance.

        >>> import numpy as np
        >>> query = Features(np.array([[0.0, 0.0], [5.0, 0.0]]), pids=[1, 2], camids=[0, 0])
        >>> images = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [9.0, 0.0], [2.0, 0.0]])
        >>> ranking = rank(query, Features(images, pids=[1, 1, 2, 2, 1], camids=[0, 1, 0, 1, 1]))
        >>> ranking.ap.round(3).tolist(), ranking.first_hit.tolist()
        ([1.0, 0.333], [1, 3])
        >>> round(ranking.map(), 3), ranking.rank_at(1), ranking.cmc(3).tolist()
        (0.667, 0.5, [0.5, 0.5, 1.0])
    """
    products, rules = Products.of(query, gallery), MatchRules(query, gallery)
    return _rank(products.chunks(chunk_mb), rules)


@torch.no_grad()
def rank_distances(distances: Iterable[Matrix], query: Features, gallery: Features) -> Ranking:
    """Rank by given distances, under the rules of :func:`rank`.

    Args:
        distances: blocks for consecutive queries, (B, G) real each, of any kind where less is nearer.
            Blocks of float32 are overwritten.
        query: Q rows; only the labels are read (see :meth:`.Features.without_values`).
        gallery: G rows; only the labels are read.

    Raises:
        CuhsError: shapes or labels do not fit, or a distance is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> blocks = iter([np.array([[0.1, 0.4, 0.3]]), np.array([[0.9, 0.2, 0.5]])])
        >>> query = Features.without_values(pids=[1, 2], camids=[0, 0])
        >>> rank_distances(blocks, query, Features.without_values([1, 1, 2], [0, 1, 1])).first_hit.tolist()
        [2, 2]
    """
    rules = MatchRules(query, gallery)
    return _rank(_checked(distances, rules), rules)


@torch.no_grad()
def top_k(query: Features, gallery: Features, k: int, *, chunk_mb: float = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return the first ``k`` gallery rows for every query, under the rules of :func:`rank`.

    Rows of equal distance are listed non-matches first, then in the gallery's order. A junk query has no
    match; its list is drawn from the whole gallery except junk rows.

    Returns:
        indices: (Q, k) int64 gallery rows; -1 where the gallery has no further row.
        distances: (Q, k) float32 Euclidean distances; infinite where the gallery has no further row.

    Raises:
        CuhsError: as :func:`rank`, or ``k`` is less than 1.

    Example:
        >>> import numpy as np
        >>> query = Features(np.array([[0.0]]), pids=[7], camids=[0])
        >>> gallery = Features(np.array([[0.0], [1.0], [4.0]]), pids=[7, 7, 8], camids=[0, 1, 1])
        >>> top_k(query, gallery, k=3)
        (array([[ 1,  2, -1]]), array([[ 1.,  4., inf]], dtype=float32))
    """
    if k < 1:
        raise CuhsError(f"k: must be at least 1, got {k}")
    products, rules = Products.of(query, gallery), MatchRules(query, gallery)
    indices = np.full((rules.queries, k), -1, np.int64)
    distances = np.full((rules.queries, k), np.inf, np.float32)
    if not rules.gallery:
        return indices, distances
    last = min(k, rules.gallery) - 1
    for start, scores in products.chunks(chunk_mb):
        own = rules.own(start, start + len(scores))
        matches = read_matches(scores, own)
        bounds = matches.bounds(len(scores))
        hide(scores, Own(*(column[~own.true] for column in own)), rules.junk)
        for i, row in enumerate(scores.cpu().numpy()):
            true = matches.columns[bounds[i] : bounds[i + 1]]
            near = np.flatnonzero(row <= np.partition(row, last)[last])
            near = near[np.isfinite(row[near])]
            near = near[np.lexsort((near, np.isin(near, true), row[near]))][:k]
            indices[start + i, : len(near)] = near
            squares = row[near] + products.query_squares[start + i].item()
            distances[start + i, : len(near)] = np.sqrt(np.maximum(squares, 0))
    return indices, distances


def _rank(chunks: Iterable[tuple[int, torch.Tensor]], rules: MatchRules) -> Ranking:
    """Rank by chunks of scores, as :meth:`.products.Products.chunks` yields them."""
    parts = [Ranking.of(0, Matches.joined([]), np.zeros(0, np.int64))]
    for start, scores in chunks:
        own = rules.own(start, start + len(scores))
        # Read the true matches' scores from the same product that is counted. Scores computed separately
        # could differ in the last bit, and win or lose ties wrongly.
        matches = read_matches(scores, own)
        hide(scores, own, rules.junk)
        parts.append(Ranking.of(len(scores), matches, count_before(scores, matches)))
    return Ranking.joined(parts)


def _checked(distances: Iterable[Matrix], rules: MatchRules) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each block of distances with its first query's index; refuse blocks that do not fit the labels."""
    start = 0
    for block in distances:
        # Ranking writes into the blocks, so copy an array that is read-only, such as a memory map.
        block = block if isinstance(block, torch.Tensor) else np.require(block, requirements="W")
        scores = as_tensor(block, "distances").float()
        stop = start + len(scores)
        if scores.shape[1] != rules.gallery or stop > rules.queries:
            raise CuhsError(
                f"distances: got {scores.shape[1]} columns in rows {start} to {stop - 1};"
                f" the labels are of {rules.queries} queries and {rules.gallery} gallery rows"
            )
        bad = (~scores.sum(1).isfinite()).nonzero().flatten().tolist()
        if bad:
            raise CuhsError(f"distances: row {start + bad[0]} holds NaN, infinity or values too large for float32")
        yield start, scores
        start = stop
    if start < rules.queries:
        raise CuhsError(f"distances: got {start} rows; the labels are of {rules.queries} queries")


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
