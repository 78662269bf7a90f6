"""Exact CMC, mAP and mINP under the single-query, cross-camera protocol, by counting instead of sorting.

The rank of a true match is one more than the number of gallery rows placed before it, so all three
measures follow from counts: no gallery-long sort, and no query × gallery matrix is ever held.

* Gallery rows with the query's identity *and* camera are ignored, and so are junk rows (``pid < 0``).
* Distractors are identities that no query has; they need no mark.
* Ties are settled against the model: a true match comes after every other row of equal distance.
* Distances are Euclidean, in float32, as a matrix product computes them: rows nearer to one another
  than its rounding may change places when another chunk size or device sums in another order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cuhs.errors import CuhsError

Features = torch.Tensor | np.ndarray
Labels = torch.Tensor | np.ndarray | Sequence[int] | Sequence[str]

# Squared norms below this keep every score |g|² - 2 q·g finite in float32.
_LARGEST_SQUARED_NORM = 1e37


@dataclass(frozen=True)
class Ranking:
    """What every query found; all measures are shares in [0, 1].

    Attributes:
        ap: (Q,) float64, step average precision: mean precision at each true match; NaN where not valid.
        inp: (Q,) float64, inverse negative penalty: matches / rank of the last match; NaN where not valid.
        first_hit: (Q,) int64, 1-based rank of the nearest true match, 0 when there is none.
        first_match: (Q,) int64, gallery row of the nearest true match, -1 when there is none.
        matches: (Q,) int64, number of true matches.
        valid: (Q,) bool, whether the query has a true match and counts in the means.
    """

    ap: np.ndarray
    inp: np.ndarray
    first_hit: np.ndarray
    first_match: np.ndarray
    matches: np.ndarray
    valid: np.ndarray

    @property
    def without_match(self) -> np.ndarray:
        """(U,) int64, indices of the queries left out of the means: no true match, or junk themselves."""
        return np.flatnonzero(~self.valid)

    def map(self) -> float:
        """Mean average precision over the valid queries; NaN when there is none."""
        return _mean(self.ap[self.valid])

    def minp(self) -> float:
        """Mean inverse negative penalty over the valid queries; NaN when there is none."""
        return _mean(self.inp[self.valid])

    def rank_at(self, k: int) -> float:
        """Share of valid queries with a true match among the first ``k``; NaN when there is none."""
        return _mean(self.first_hit[self.valid] <= k)

    def cmc(self, max_rank: int) -> np.ndarray:
        """(max_rank,) float64, :meth:`rank_at` for 1 to ``max_rank``."""
        return np.array([self.rank_at(k) for k in range(1, max_rank + 1)])

    def percentages(self, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """``mAP``, ``mINP`` and ``rankK`` for each K of ``ranks``, in percent; NaN without valid queries."""
        shares = {"mAP": self.map(), "mINP": self.minp()} | {f"rank{k}": self.rank_at(k) for k in ranks}
        return {name: 100.0 * share for name, share in shares.items()}


@torch.no_grad()
def rank(
    query_features: Features,
    query_pids: Labels,
    query_camids: Labels,
    gallery_features: Features,
    gallery_pids: Labels,
    gallery_camids: Labels,
    *,
    chunk_mb: float = 128,
    query_names: Sequence[str] | None = None,
    gallery_names: Sequence[str] | None = None,
) -> Ranking:
    """Rank the gallery for every query.

    The matrix product runs on the device of the gallery's features, the counting on the CPU.

    Args:
        query_features: (Q, D) real, any float precision; computed with in float32.
        query_pids: (Q,) int or str; a negative number marks a junk row.
        query_camids: (Q,) int or str.
        gallery_features: (G, D).
        gallery_pids: (G,), of the same kind as the query's.
        gallery_camids: (G,), of the same kind as the query's.
        chunk_mb: size in MiB of the one buffer of distances (at least one query's row: 4 G bytes).
        query_names: (Q,) names of the rows for error messages.
        gallery_names: (G,) names of the rows for error messages.

    Raises:
        CuhsError: shapes do not fit, or a row holds NaN, infinity or values too large for float32.

    Example:
        Both queries see their own camera's image first, which does not count. The second one's true
        match is then beaten by identity 1.

        >>> import numpy as np
        >>> query = np.array([[0.0, 0.0], [5.0, 0.0]])
        >>> gallery = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [9.0, 0.0], [2.0, 0.0]])
        >>> ranking = rank(query, [1, 2], [0, 0], gallery, [1, 1, 2, 2, 1], [0, 1, 0, 1, 1])
        >>> ranking.ap.round(3).tolist(), ranking.first_hit.tolist()
        ([1.0, 0.333], [1, 3])
        >>> round(ranking.map(), 3), ranking.rank_at(1), ranking.cmc(3).tolist()
        (0.667, 0.5, [0.5, 0.5, 1.0])
    """
    problem = _Problem(
        query_features,
        query_pids,
        query_camids,
        gallery_features,
        gallery_pids,
        gallery_camids,
        query_names,
        gallery_names,
    )
    queries = len(problem.query)
    ap, inp = np.full(queries, np.nan), np.full(queries, np.nan)
    first_hit, first_match = np.zeros(queries, np.int64), np.full(queries, -1, np.int64)
    matches = np.zeros(queries, np.int64)
    for i, row in problem.rows(chunk_mb):
        same_camera, true = problem.split_own(i)
        if not len(true):
            continue
        # The scores of the true matches are read from the very product that is counted below. Computed
        # apart, they could differ in the last bit from their neighbours' and lose or win ties wrongly.
        order = np.argsort(row[true], kind="stable")
        true = true[order]
        scores = row[true]
        row[same_camera] = np.inf
        row[true] = np.inf
        # Only what is not farther than the last match can precede any match: in a trained model's
        # ranking that is a small part of the row, and it is all that gets sorted.
        before = row[row <= scores[-1]]
        before.sort()
        found = np.arange(1, len(true) + 1)
        ranks = found + np.searchsorted(before, scores, side="right")
        ap[i] = np.mean(found / ranks)
        inp[i] = len(true) / ranks[-1]
        first_hit[i], first_match[i], matches[i] = ranks[0], true[0], len(true)
    return Ranking(ap, inp, first_hit, first_match, matches, valid=matches > 0)


@torch.no_grad()
def top_k(
    query_features: Features,
    query_pids: Labels,
    query_camids: Labels,
    gallery_features: Features,
    gallery_pids: Labels,
    gallery_camids: Labels,
    k: int,
    *,
    chunk_mb: float = 128,
) -> tuple[np.ndarray, np.ndarray]:
    """The first ``k`` gallery rows for every query, under the rules of :func:`rank`.

    Rows of equal distance come non-matches first, then in the gallery's order.

    Returns:
        indices: (Q, k) int64 gallery rows, -1 where the gallery has no further row to give.
        distances: (Q, k) float32 Euclidean distances, infinite there.

    Raises:
        CuhsError: as :func:`rank`, or ``k`` is less than 1.

    Example:
        >>> import numpy as np
        >>> gallery = np.array([[0.0], [1.0], [4.0]])
        >>> top_k(np.array([[0.0]]), [7], [0], gallery, [7, 7, 8], [0, 1, 1], k=3)
        (array([[ 1,  2, -1]]), array([[ 1.,  4., inf]], dtype=float32))
    """
    if k < 1:
        raise CuhsError(f"k: must be at least 1, got {k}")
    problem = _Problem(query_features, query_pids, query_camids, gallery_features, gallery_pids, gallery_camids)
    indices = np.full((len(problem.query), k), -1, np.int64)
    distances = np.full((len(problem.query), k), np.inf, np.float32)
    last = min(k, len(problem.gallery)) - 1
    for i, row in problem.rows(chunk_mb):
        same_camera, true = problem.split_own(i)
        row[same_camera] = np.inf
        near = np.flatnonzero(row <= np.partition(row, last)[last])
        near = near[np.isfinite(row[near])]
        near = near[np.lexsort((near, np.isin(near, true), row[near]))][:k]
        indices[i, : len(near)] = near
        distances[i, : len(near)] = np.sqrt(np.maximum(row[near] + problem.query_squares[i].item(), 0))
    return indices, distances


class _Problem:
    """Checked features and labels of queries and gallery, and the product of the two in chunks."""

    def __init__(
        self,
        query_features: Features,
        query_pids: Labels,
        query_camids: Labels,
        gallery_features: Features,
        gallery_pids: Labels,
        gallery_camids: Labels,
        query_names: Sequence[str] | None = None,
        gallery_names: Sequence[str] | None = None,
    ) -> None:
        self.gallery = _as_tensor(gallery_features, "gallery")
        self.query = _as_tensor(query_features, "query").to(self.gallery.device)
        if self.query.shape[1] != self.gallery.shape[1]:
            raise CuhsError(
                f"features: queries have {self.query.shape[1]} dimensions and the gallery"
                f" {self.gallery.shape[1]}; extract both with the same model"
            )
        self.query_squares = _squared_norms(self.query, "query", query_names)
        self.gallery_squares = _squared_norms(self.gallery, "gallery", gallery_names)
        counts = len(self.query), len(self.gallery)
        pids, gallery_pids, gallery_junk = _encode(query_pids, gallery_pids, counts, "pids")
        self.camids, self.gallery_camids, _ = _encode(query_camids, gallery_camids, counts, "camids")
        # An infinite norm puts a junk row behind everything, at no cost to the product.
        self.gallery_squares[torch.from_numpy(gallery_junk).to(self.gallery.device)] = torch.inf
        # The usable rows by identity: each query's own are then one stretch of `by_pid`, an empty one for
        # a junk query.
        usable = np.flatnonzero(~gallery_junk)
        self.by_pid = usable[np.argsort(gallery_pids[usable], kind="stable")]
        in_order = gallery_pids[self.by_pid]
        self.starts = np.searchsorted(in_order, pids, side="left")
        self.ends = np.searchsorted(in_order, pids, side="right")

    def rows(self, chunk_mb: float) -> Iterator[tuple[int, np.ndarray]]:
        """Each query's index and its (G,) float32 scores, a view that the caller may overwrite.

        The score |g|² - 2 q·g orders the gallery as the distance does: the query's norm shifts all alike.
        """
        queries, gallery = len(self.query), len(self.gallery)
        if not queries or not gallery:
            return
        size = min(queries, max(1, int(chunk_mb * 2**20) // (4 * gallery)))
        buffer = torch.empty(size, gallery, device=self.gallery.device)
        for start in range(0, queries, size):
            part = self.query[start : start + size]
            scores = buffer[: len(part)]
            torch.addmm(self.gallery_squares, part, self.gallery.T, alpha=-2, out=scores)
            yield from enumerate(scores.cpu().numpy(), start)

    def split_own(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Gallery rows with query ``i``'s identity: those of its own camera, and its true matches."""
        own = self.by_pid[self.starts[i] : self.ends[i]]
        true = self.gallery_camids[own] != self.camids[i]
        return own[~true], own[true]


def _as_tensor(features: Features, what: str) -> torch.Tensor:
    if isinstance(features, np.ndarray):
        features = torch.from_numpy(np.require(features, requirements=["C", "W"]))
    tensor = features.detach()
    if tensor.ndim != 2:
        raise CuhsError(f"{what} features: must be (N, D), got the shape {tuple(tensor.shape)}")
    return tensor.to(torch.float32)


def _squared_norms(features: torch.Tensor, what: str, names: Sequence[str] | None) -> torch.Tensor:
    squares = torch.cat([(part * part).sum(1) for part in features.split(1024)])
    # One comparison finds NaN, infinity and what would overflow.
    bad = (~(squares < _LARGEST_SQUARED_NORM)).nonzero().flatten().tolist()
    if bad:
        name = f" ({names[bad[0]]})" if names is not None else ""
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise CuhsError(
            f"{what} features: row {bad[0]}{name}{more} holds NaN, infinity or values too large for float32;"
            " look at that image and at the model's training loss"
        )
    return squares


def _encode(
    query: Labels, gallery: Labels, counts: tuple[int, int], what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels as integers that both sides share, and which of the gallery's are negative numbers."""
    arrays = []
    for labels, count, side in zip((query, gallery), counts, ("query", "gallery"), strict=True):
        array = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
        if array.dtype.kind == "O":  # what Parquet columns of strings turn into
            array = np.asarray(array.tolist())
        if array.shape != (count,):
            raise CuhsError(f"{side} {what}: {count} rows of features need as many labels, got {array.shape}")
        if count and array.dtype.kind not in "iuUT":
            raise CuhsError(f"{side} {what}: must be integers or strings, got {array.dtype}")
        arrays.append(array)
    filled = [array for array in arrays if len(array)]
    if len({array.dtype.kind in "iu" for array in filled}) > 1:
        raise CuhsError(f"{what}: integers on one side and strings on the other never match; use one kind")
    codes = np.unique(np.concatenate(filled), return_inverse=True)[1] if filled else np.zeros(0, np.int64)
    numbers = arrays[1].dtype.kind in "iu"
    negative = arrays[1] < 0 if numbers else np.zeros(counts[1], bool)
    return codes[: counts[0]], codes[counts[0] :], negative


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
