"""Features to distances by matrix products in float32, a chunk of queries at a time.

Rows nearer to one another than float32's rounding may change places when another chunk size or device
sums in another order.
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

# Features that are not float32 are converted so many numbers at a time.
_CONVERTED = 2**23


@dataclass(frozen=True)
class Products:
    """Checked features of queries and gallery, and the product of the two.

    Attributes:
        query: (Q, D) real, of any precision, on the gallery's device.
        gallery: (G, D).
        query_squares: (Q,) float32, squared norms of the rows.
        gallery_squares: (G,) float32.
    """

    query: torch.Tensor
    gallery: torch.Tensor
    query_squares: torch.Tensor
    gallery_squares: torch.Tensor

    @classmethod
    def of(cls, query: Features, gallery: Features) -> "Products":
        """The products of queries and gallery, computed on the device of the gallery's features.

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
        """The products of all rows, the queries before the gallery, with one another."""
        rows = torch.cat([self.query, self.gallery])
        squares = _squared_norms(rows, "features")
        return Products(rows, rows, squares, squares)

    @property
    def counts(self) -> tuple[int, int]:
        """Q and G."""
        return len(self.query), len(self.gallery)

    def chunks(self, chunk_mb: float) -> Iterator[tuple[int, torch.Tensor]]:
        """The first query and the (B, G) float32 scores of each chunk of consecutive queries.

        The score |g|² - 2 q·g orders the gallery as the distance does: the query's norm shifts all alike.
        The caller may overwrite the scores; the next chunk does.

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
    """A matrix as a tensor that shares its memory; ``what`` it is, for the error message.

    Raises:
        CuhsError: it is not a matrix of real numbers.
    """
    if isinstance(features, np.ndarray):
        if features.dtype.kind not in "fiu":
            raise CuhsError(f"{what}: must be real numbers, got {features.dtype}")
        features = np.ascontiguousarray(features, features.dtype.newbyteorder("="))
        with warnings.catch_warnings():
            # A file mapped for reading is fine: nothing here writes into features.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            features = torch.from_numpy(features)
    tensor = features.detach()
    if tensor.ndim != 2:
        raise CuhsError(f"{what}: must be (N, D), got the shape {tuple(tensor.shape)}")
    return tensor


def _squared_norms(features: torch.Tensor, what: str, names: Sequence[str] | None = None) -> torch.Tensor:
    """(N,) float32 squared norms of the rows.

    Raises:
        CuhsError: a row, told by its number and its name, holds NaN, infinity or values too large.
    """
    squares = torch.cat([part.float().square().sum(1) for part in features.split(1024)])
    # One comparison finds NaN, infinity and what would overflow.
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
    """All rows at once where they are float32; otherwise no more than is worth converting at a time."""
    rows, dimensions = features.shape
    size = rows if features.dtype == torch.float32 else _CONVERTED // max(dimensions, 1)
    for start in range(0, rows, max(size, 1)):
        yield slice(start, start + max(size, 1))
