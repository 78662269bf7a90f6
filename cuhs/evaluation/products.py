"""Distances between queries and gallery by float32 matrix products, a chunk of queries at a time.

If distances differ by less than float32's rounding, their order can depend on the chunk size and the
device, because these change the order of summation.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features, Matrix

# Squared norms below this keep every score |g|² - 2 q·g finite in float32.
_LARGEST_SQUARED_NORM = 1e37

# Features of another type are converted to float32 in pieces of at most this many numbers.
_CONVERTED = 2**23


@dataclass(frozen=True)
class Products:
    """Checked features of queries and gallery, ready to be multiplied.

    Attributes:
        query: (Q, D) real, of any precision, on the gallery's device.
        gallery: (G, D) real.
        query_squares: (Q,) float32, squared norms of the query rows.
        gallery_squares: (G,) float32, squared norms of the gallery rows.
    """

    query: torch.Tensor
    gallery: torch.Tensor
    query_squares: torch.Tensor
    gallery_squares: torch.Tensor

    @classmethod
    def of(cls, query: Features, gallery: Features) -> "Products":
        """Check the features and move the queries to the device of the gallery's features.

        Raises:
            CuhsError: shapes do not fit, or a row holds NaN, infinity or values too large for float32.
        """
        right = as_tensor(gallery.values, "gallery features")
        left = as_tensor(query.values, "query features").to(right.device)
        if left.shape[1] != right.shape[1]:
            raise CuhsError(
                f"features: queries have {left.shape[1]} dimensions and the gallery"
                f" {right.shape[1]}; extract both with the same model"
            )
        left_squares = _squared_norms(left, "query features", query.names)
        return cls(left, right, left_squares, _squared_norms(right, "gallery features", gallery.names))

    def of_all(self) -> "Products":
        """Return products of all rows (queries, then gallery) with all rows."""
        rows = torch.cat([self.query, self.gallery])
        squares = _squared_norms(rows, "features")
        return Products(rows, rows, squares, squares)

    @property
    def counts(self) -> tuple[int, int]:
        """Q and G, the numbers of queries and gallery rows."""
        return len(self.query), len(self.gallery)

    def chunks(self, chunk_mb: float) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the first query's index and the (B, G) float32 scores of each chunk of queries.

        The score |g|² - 2 q·g orders the gallery as the distance does: the missing |q|² is the same for
        every gallery row. The caller may overwrite the scores; the next chunk reuses their memory.

        Args:
            chunk_mb: size of a chunk in MiB (at least one query's row: 4 G bytes).
        """
        queries, gallery = self.counts
        size = max(1, min(queries, int(chunk_mb * 2**20) // (4 * max(gallery, 1))))
        buffer = torch.empty(size, gallery, device=self.gallery.device)
        for start in range(0, queries, size):
            part = self.query[start : start + size].float()
            scores = buffer[: len(part)]
            for rows in _stretches(self.gallery):
                squares, features = self.gallery_squares[rows], self.gallery[rows].float()
                torch.addmm(squares, part, features.T, alpha=-2, out=scores[:, rows])
            yield start, scores


def as_tensor(features: Matrix, what: str) -> torch.Tensor:
    """Turn a matrix into a tensor that shares its memory; ``what`` names it in error messages.

    Raises:
        CuhsError: the input is not a matrix of real numbers.
    """
    if isinstance(features, np.ndarray):
        if features.dtype.kind not in "fiu":
            raise CuhsError(f"{what}: must be real numbers, got {features.dtype}")
        features = np.ascontiguousarray(features, features.dtype.newbyteorder("="))
        with warnings.catch_warnings():
            # A read-only memory map is fine: nothing here writes into features.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            features = torch.from_numpy(features)
    tensor = features.detach()
    if tensor.ndim != 2:
        raise CuhsError(f"{what}: must be (N, D), got the shape {tuple(tensor.shape)}")
    return tensor


def _squared_norms(features: torch.Tensor, what: str, names: Sequence[str] | None = None) -> torch.Tensor:
    """Return the (N,) float32 squared norms of the rows.

    Raises:
        CuhsError: a row holds NaN, infinity or values too large; the message gives its number and name.
    """
    squares = torch.empty(len(features), device=features.device)
    # In place: small results between large temporary arrays would keep the memory of those from being used again.
    for part, sums in zip(features.split(1024), squares.split(1024), strict=True):
        torch.sum(part.float().square(), 1, out=sums)
    # This one comparison catches NaN, infinity and values that would overflow.
    bad = (~(squares < _LARGEST_SQUARED_NORM)).nonzero().flatten().tolist()
    if bad:
        name = f" ({names[bad[0]]})" if names is not None else ""
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise CuhsError(
            f"{what}: row {bad[0]}{name}{more} holds NaN, infinity or values too large for float32;"
            " look at that image and at the model's training loss"
        )
    return squares


def _stretches(features: torch.Tensor) -> Iterator[slice]:
    """Yield all rows at once if they are float32, otherwise stretches small enough to convert."""
    rows, dimensions = features.shape
    size = rows if features.dtype == torch.float32 else _CONVERTED // max(dimensions, 1)
    for start in range(0, rows, max(size, 1)):
        yield slice(start, start + max(size, 1))
