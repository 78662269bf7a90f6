"""Which gallery rows count for which query: the single-query, cross-camera protocol.

* A query's true matches are the gallery rows of its identity from other cameras.
* A query ignores gallery rows that share both its identity *and* its camera, and all junk rows
  (:attr:`.features.Features.is_junk`).
* A junk query has no true match.
* Distractors are gallery identities without a query; they need no mark.
"""

from typing import NamedTuple

import numpy as np

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features


class Own(NamedTuple):
    """P pairs of a query and a gallery row of the same identity, in the order of the queries.

    Attributes:
        rows: (P,) int64, index of the query, counted from the first requested one.
        columns: (P,) int64, gallery row; ascending for each query.
        true: (P,) bool, whether the row is a true match; otherwise it is from the query's own camera.
    """

    rows: np.ndarray
    columns: np.ndarray
    true: np.ndarray


class MatchRules:
    """True matches and ignored gallery rows of each query.

    Args:
        query: Q rows; only the labels are read.
        gallery: G rows, with labels of the same kind as the query's.

    Attributes:
        queries: Q, the number of queries.
        gallery: G, the number of gallery rows.
        junk: (J,) int64, gallery rows that every query ignores.
        junk_queries: (U,) int64, indices of the junk queries.

    Raises:
        CuhsError: one side's labels are integers and the other's are strings.
    """

    def __init__(self, query: Features, gallery: Features) -> None:
        self.queries, self.gallery = len(query), len(gallery)
        self.junk, self.junk_queries = np.flatnonzero(gallery.is_junk), np.flatnonzero(query.is_junk)
        pids, gallery_pids = _encode(query.pids, gallery.pids, "pids")
        self._camids, self._gallery_camids = _encode(query.camids, gallery.camids, "camids")
        # Sort the usable rows by identity: each query's own rows are then one stretch of `_by_pid`.
        usable = np.flatnonzero(~gallery.is_junk)
        self._by_pid = usable[np.argsort(gallery_pids[usable], kind="stable")]
        in_order = gallery_pids[self._by_pid]
        self._starts = np.searchsorted(in_order, pids, side="left")
        self._counts = np.searchsorted(in_order, pids, side="right") - self._starts
        self._counts[self.junk_queries] = 0

    def own(self, start: int, stop: int) -> Own:
        """Return the pairs of the queries from ``start`` to ``stop``; junk rows are left out."""
        counts = self._counts[start:stop]
        ends = np.cumsum(counts)
        rows = np.repeat(np.arange(len(counts)), counts)
        stretch = self._starts[start:stop] - (ends - counts)
        columns = self._by_pid[np.arange(len(rows)) + stretch[rows]]
        return Own(rows, columns, self._gallery_camids[columns] != self._camids[start:stop][rows])


def _encode(query: np.ndarray, gallery: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Encode both sides' labels as shared integer codes."""
    filled = [labels for labels in (query, gallery) if len(labels)]
    if len({labels.dtype.kind in "iu" for labels in filled}) > 1:
        raise CuhsError(f"{what}: integers on one side and strings on the other never match; use one kind")
    codes = np.unique(np.concatenate(filled), return_inverse=True)[1] if filled else np.zeros(0, np.int64)
    return codes[: len(query)], codes[len(query) :]
