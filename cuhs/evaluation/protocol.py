"""Who counts against whom: labels under the single-query, cross-camera protocol.

* A query's true matches are the gallery rows of its identity from other cameras.
* Gallery rows with the query's identity *and* camera are ignored, and so are junk rows (``pid < 0``).
* A junk query has no true match. Distractors are identities that no query has; they need no mark.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cuhs.errors import CuhsError

Labels = torch.Tensor | np.ndarray | Sequence[int] | Sequence[str]


class Own(NamedTuple):
    """The gallery rows of some queries' own identities, as P pairs in the queries' order.

    Attributes:
        rows: (P,) int64, the query, counted from the first one asked for.
        columns: (P,) int64, the gallery row; ascending for each query.
        true: (P,) bool, whether it is a true match; otherwise it is of the query's own camera.
    """

    rows: np.ndarray
    columns: np.ndarray
    true: np.ndarray


class Protocol:
    """Checked labels of queries and gallery.

    Args:
        query_pids: (Q,) int or str; a negative number marks a junk row.
        query_camids: (Q,) int or str.
        gallery_pids: (G,), of the same kind as the query's.
        gallery_camids: (G,), of the same kind as the query's.
        counts: Q and G.

    Attributes:
        queries: Q.
        gallery: G.
        junk: (J,) int64, gallery rows that every query ignores.
        junk_queries: (U,) int64.

    Raises:
        CuhsError: lengths or kinds of labels do not fit.
    """

    def __init__(
        self,
        query_pids: Labels,
        query_camids: Labels,
        gallery_pids: Labels,
        gallery_camids: Labels,
        counts: tuple[int, int],
    ) -> None:
        self.queries, self.gallery = counts
        (pids, junk_query), (gallery_pids, junk) = _encode(query_pids, gallery_pids, counts, "pids")
        (self._camids, _), (self._gallery_camids, _) = _encode(query_camids, gallery_camids, counts, "camids")
        self.junk, self.junk_queries = np.flatnonzero(junk), np.flatnonzero(junk_query)
        # The usable rows by identity: each query's own are then one stretch of `_by_pid`, an empty one for
        # a junk query.
        usable = np.flatnonzero(~junk)
        self._by_pid = usable[np.argsort(gallery_pids[usable], kind="stable")]
        in_order = gallery_pids[self._by_pid]
        self._starts = np.searchsorted(in_order, pids, side="left")
        self._counts = np.searchsorted(in_order, pids, side="right") - self._starts

    def own(self, start: int, stop: int) -> Own:
        """Gallery rows of the identities of the queries from ``start`` to ``stop``, junk rows left out."""
        counts = self._counts[start:stop]
        ends = np.cumsum(counts)
        rows = np.repeat(np.arange(len(counts)), counts)
        stretch = self._starts[start:stop] - (ends - counts)
        columns = self._by_pid[np.arange(len(rows)) + stretch[rows]]
        return Own(rows, columns, self._gallery_camids[columns] != self._camids[start:stop][rows])


def _encode(
    query: Labels, gallery: Labels, counts: tuple[int, int], what: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each side, the labels as integers that both share, and which are negative numbers."""
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
    for array, of_side in zip(arrays, np.split(codes, [counts[0]]), strict=True):
        yield of_side, array < 0 if array.dtype.kind in "iu" else np.zeros(len(array), bool)
