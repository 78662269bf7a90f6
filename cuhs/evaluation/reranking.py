"""k-reciprocal re-ranking (Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding",
CVPR 2017). The encodings are sparse: a row holds a few hundred entries, and only those are stored.

A query and a gallery image move closer if each is among the other's nearest neighbours and they share
neighbours. All images take part as neighbours: queries, junk rows and images of the query's own camera.
Remove images beforehand that should not take part.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features
from cuhs.evaluation.products import Products
from cuhs.evaluation.ranking import Ranking, rank_distances

# Distances of separate pairs are computed in pieces of at most this many numbers.
_GATHERED = 2**18


@torch.no_grad()
def rerank(
    query: Features,
    gallery: Features,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    chunk_mb: float = 128,
) -> Iterator[torch.Tensor]:
    """Yield re-ranked distances in blocks of queries, the input of :func:`.ranking.rank_distances`.

    The final distance is (1 - λ) · Jaccard distance + λ · squared Euclidean distance (Eq. 12 of the paper).
    As in the paper's code, the latter is divided by the query's largest distance to any image.

    Args:
        query: (Q, D) features.
        gallery: (G, D) features.
        k1: size of the neighbourhoods.
        k2: number of neighbours whose encodings are averaged (local query expansion).
        lambda_value: weight λ of the original distance.
        chunk_mb: size in MiB of the only buffer of distances (at least one row: 4 (Q + G) bytes).

    Yields:
        (B, G) float32 distances of consecutive queries.

    Raises:
        CuhsError: a parameter is out of range, or the features cannot be compared (see :func:`.ranking.rank`).
    """
    if not (1 <= k2 <= k1 + 1 and 0 <= lambda_value <= 1):
        raise CuhsError(
            f"re-ranking: needs 1 <= k2 <= k1 + 1 and lambda in [0, 1], got k1={k1}, k2={k2}, lambda={lambda_value}"
        )
    products = Products.of(query, gallery)
    everything = products.of_all()
    nearest, farthest = _neighbours(everything, k1 + 1, chunk_mb)
    encodings = _encodings(everything, nearest, farthest, k1, k2)
    queries, _ = products.counts
    shared = _Overlaps(encodings[:queries], encodings[queries:])
    for start, scores in products.chunks(chunk_mb):
        rows = slice(start, start + len(scores))
        scores += products.query_squares[rows, None]
        scores.clamp_(min=0).mul_(lambda_value / farthest[rows, None]).add_(1 - lambda_value)
        for i, row in enumerate(scores, start):
            row -= torch.from_numpy((1 - lambda_value) * shared.similarities(i)).to(row.device)
        yield scores


def rank_reranked(
    query: Features,
    gallery: Features,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    chunk_mb: float = 128,
) -> Ranking:
    """Rank as :func:`.ranking.rank` does, by the distances of :func:`rerank`, which takes these parameters.

    Raises:
        CuhsError: as :func:`.ranking.rank` and :func:`rerank`.

    Example:
        The first query's match, at 1.9, is farther away than a stranger at -1.8. But the strangers are one
        another's neighbours, while the match and the query are each other's.

        >>> from cuhs.evaluation.ranking import rank
        >>> query = Features(np.array([[0.0], [2.4]]), pids=[1, 1], camids=[0, 0])
        >>> gallery = Features(np.array([[1.9], [-1.8], [-2.0], [-2.2]]), pids=[1, 2, 2, 2], camids=[1, 1, 1, 1])
        >>> rank(query, gallery).first_hit.tolist()
        [2, 1]
        >>> rank_reranked(query, gallery, k1=2, k2=1).first_hit.tolist()
        [1, 1]
    """
    distances = rerank(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value, chunk_mb=chunk_mb)
    return rank_distances(distances, query, gallery)


def _neighbours(products: Products, count: int, chunk_mb: float) -> tuple[np.ndarray, torch.Tensor]:
    """Find, for each of N images, the (N, count) nearest, itself first, and its largest squared distance."""
    images, _ = products.counts
    nearest = np.empty((images, min(count, images)), np.int64)
    farthest = torch.empty(images, device=products.gallery.device)
    for start, scores in products.chunks(chunk_mb):
        rows = slice(start, start + len(scores))
        farthest[rows] = scores.amax(1) + products.query_squares[rows]
        # Force each image to be its own nearest: rounding and duplicates could put another one first.
        scores.diagonal(start).fill_(-torch.inf)
        nearest[rows] = scores.topk(nearest.shape[1], dim=1, largest=False).indices.cpu().numpy()
    return nearest, farthest.clamp_(min=torch.finfo(torch.float32).tiny)


def _encodings(products: Products, nearest: np.ndarray, farthest: torch.Tensor, k1: int, k2: int) -> sparse.csr_array:
    """Return the (N, N) float32 encodings, the paper's V: membership in each image's expanded neighbourhood."""
    reciprocal = _reciprocal(nearest)
    halves = _reciprocal(nearest[:, : int(np.around(k1 / 2)) + 1])
    # A neighbour adds its own smaller neighbourhood if more than two thirds of that lies in this one.
    common = (reciprocal @ halves.T).multiply(reciprocal).tocoo()
    joins = common.data > 2 / 3 * np.diff(halves.indptr)[common.col]
    joining = sparse.csr_array((common.data[joins], (common.row[joins], common.col[joins])), common.shape)
    expanded = (reciprocal + joining @ halves).tocsr()

    rows = np.repeat(np.arange(expanded.shape[0]), np.diff(expanded.indptr))
    distances = _pair_distances(products.query, rows, expanded.indices) / farthest.cpu().numpy()[rows]
    weights = np.exp(-distances)
    totals = np.bincount(rows, weights, minlength=expanded.shape[0])
    encodings = sparse.csr_array(
        ((weights / totals[rows]).astype(np.float32), expanded.indices, expanded.indptr), expanded.shape
    )
    return _lists(nearest[:, :k2], np.float32(1 / k2)) @ encodings


def _reciprocal(nearest: np.ndarray) -> sparse.csr_array:
    """Return (N, N), 1 where two images are on each other's list."""
    forward = _lists(nearest, 1)
    return forward.multiply(forward.T).tocsr()


def _lists(nearest: np.ndarray, value: np.float32 | int) -> sparse.csr_array:
    """Return (N, N), ``value`` where a column is on its row's list."""
    images, count = nearest.shape
    starts = np.arange(images + 1) * count
    return sparse.csr_array((np.full(nearest.size, value), nearest.ravel(), starts), (images, images))


def _pair_distances(features: torch.Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the (P,) squared Euclidean distances of P pairs of rows."""
    size = max(1, _GATHERED // max(1, features.shape[1]))
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(rows), size):
        left, right = (features[torch.from_numpy(side[start : start + size])].float() for side in (rows, columns))
        parts.append((left - right).square_().sum(1).cpu().numpy())
    return np.concatenate(parts)


class _Overlaps:
    """Overlap of the encodings of queries and gallery."""

    def __init__(self, query: sparse.csr_array, gallery: sparse.csr_array) -> None:
        self.query = query
        # Stored by column, to find the gallery images whose encodings hold a given image.
        self.gallery = gallery.tocsc()
        self.counts = np.diff(self.gallery.indptr)

    def similarities(self, i: int) -> np.ndarray:
        """Return (G,) float32, 1 - Jaccard distance (Eq. 10) of query ``i`` and each gallery image."""
        entries = slice(self.query.indptr[i], self.query.indptr[i + 1])
        images, weights = self.query.indices[entries], self.query.data[entries]
        starts, counts = self.gallery.indptr[images], self.counts[images]
        ends = np.cumsum(counts)
        places = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
        smaller = np.minimum(self.gallery.data[places], np.repeat(weights, counts))
        shared = np.bincount(self.gallery.indices[places], smaller, minlength=self.gallery.shape[0])
        # Both encodings sum to 1, so the element-wise maxima sum to 2 - shared.
        return (shared / (2 - shared)).astype(np.float32)
