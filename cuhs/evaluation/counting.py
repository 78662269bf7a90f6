"""Ranks of true matches, found by counting instead of sorting.

The rank of a true match is one more than the number of gallery rows before it, so every measure follows
from counts. This needs no sort of the whole gallery and never holds a whole query × gallery matrix. The
counts of a gallery's parts add up to those of the whole gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from cuhs.evaluation.match_rules import Own


@dataclass(frozen=True)
class Matches:
    """P true matches, sorted by query, then score, then gallery row.

    Attributes:
        rows: (P,) int64, index of the query.
        columns: (P,) int64, index of the gallery row.
        scores: (P,) float32, score of the pair; lower is nearer.
    """

    rows: np.ndarray
    columns: np.ndarray
    scores: np.ndarray

    @classmethod
    def ordered(cls, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> "Matches":
        """Sort matches that are given in any order."""
        order = np.lexsort((columns, scores, rows))
        return cls(rows[order], columns[order], scores[order])

    @classmethod
    def joined(cls, parts: Sequence["Matches"]) -> "Matches":
        """Merge the matches of all parts; no part gives no match."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        columns = [[getattr(part, field.name) for part in (none, *parts)] for field in fields(cls)]
        return cls.ordered(*(np.concatenate(column) for column in columns))

    def __len__(self) -> int:
        return len(self.rows)

    def of_queries(self, start: int, stop: int) -> tuple[slice, "Matches"]:
        """Return the slice and the matches of queries ``start`` to ``stop``, with queries counted from ``start``."""
        part = slice(*np.searchsorted(self.rows, [start, stop]))
        return part, Matches(self.rows[part] - start, self.columns[part], self.scores[part])

    def bounds(self, queries: int) -> np.ndarray:
        """Return (queries + 1,) int64: query i's matches are ``bounds[i]`` up to ``bounds[i + 1]``."""
        return np.searchsorted(self.rows, np.arange(queries + 1))


def read_matches(scores: torch.Tensor, own: Own) -> Matches:
    """Read the true matches of B queries from their (B, G) scores."""
    rows, columns = own.rows[own.true], own.columns[own.true]
    found = scores[torch.from_numpy(rows), torch.from_numpy(columns)]
    return Matches.ordered(rows, columns, found.cpu().numpy())


def hide(scores: torch.Tensor, own: Own, junk: np.ndarray) -> None:
    """Set to infinity, in place, the scores that count before no match: rows of the query's identity and junk."""
    scores[torch.from_numpy(own.rows), torch.from_numpy(own.columns)] = torch.inf
    scores.index_fill_(1, torch.from_numpy(junk).to(scores.device), torch.inf)


def count_before(scores: torch.Tensor, matches: Matches) -> np.ndarray:
    """Count the gallery rows before each match; rows of equal score count as before it.

    Args:
        scores: (B, G) float32, after :func:`hide`.
        matches: true matches of these B queries.

    Returns:
        (P,) int64, one count for each match.
    """
    return (_by_rows if scores.is_cpu else _by_passes)(scores, matches)


def _by_rows(scores: torch.Tensor, matches: Matches) -> np.ndarray:
    """Count row by row, for CPUs: a row fits in the cache."""
    counts = np.zeros(len(matches), np.int64)
    bounds = matches.bounds(len(scores)).tolist()
    for i, row in enumerate(scores.numpy()):
        start, stop = bounds[i], bounds[i + 1]
        if start < stop:
            thresholds = matches.scores[start:stop]
            # Only rows at least as near as the last match can come before a match. After training they are
            # a small part of the gallery, and only they are sorted.
            before = np.compress(row <= thresholds[-1], row)
            before.sort()
            counts[start:stop] = np.searchsorted(before, thresholds, side="right")
    return counts


def _by_passes(scores: torch.Tensor, matches: Matches) -> np.ndarray:
    """Count in passes over all queries, for GPUs: first every query's first match, then the second, and so on."""
    starts = matches.bounds(len(scores))[:-1]
    places = np.arange(len(matches)) - starts[matches.rows]
    thresholds = np.full((len(scores), places.max(initial=-1) + 1), -np.inf, np.float32)
    thresholds[matches.rows, places] = matches.scores
    counts = torch.zeros(thresholds.shape, dtype=torch.int64, device=scores.device)
    for place, column in enumerate(torch.from_numpy(thresholds.T).to(scores.device)):
        counts[:, place] = torch.count_nonzero(scores <= column[:, None], dim=1)
    return counts.cpu().numpy()[matches.rows, places]
