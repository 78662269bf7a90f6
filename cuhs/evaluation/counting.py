"""Positions of true matches by counting instead of sorting.

The rank of a true match is one more than the number of gallery rows placed before it, so every measure
follows from counts: no gallery-long sort, and no query × gallery matrix is ever held. Counts over parts
of a gallery add up to those over the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from cuhs.evaluation.match_rules import Own


@dataclass(frozen=True)
class Matches:
    """P true matches of some queries, ordered by query, then score, then gallery row.

    Attributes:
        rows: (P,) int64, the query.
        columns: (P,) int64, the gallery row.
        scores: (P,) float32; less is nearer.
    """

    rows: np.ndarray
    columns: np.ndarray
    scores: np.ndarray

    @classmethod
    def ordered(cls, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> "Matches":
        """The same matches in any order."""
        order = np.lexsort((columns, scores, rows))
        return cls(rows[order], columns[order], scores[order])

    @classmethod
    def joined(cls, parts: Sequence["Matches"]) -> "Matches":
        """The matches of all parts, none where there is no part."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        columns = [[getattr(part, field.name) for part in (none, *parts)] for field in fields(cls)]
        return cls.ordered(*(np.concatenate(column) for column in columns))

    def __len__(self) -> int:
        return len(self.rows)

    def of_queries(self, start: int, stop: int) -> tuple[slice, "Matches"]:
        """Where the matches of some consecutive queries stand, and those, with queries counted from ``start``."""
        part = slice(*np.searchsorted(self.rows, [start, stop]))
        return part, Matches(self.rows[part] - start, self.columns[part], self.scores[part])

    def bounds(self, queries: int) -> np.ndarray:
        """(queries + 1,) int64: query i's matches are those from ``bounds[i]`` to ``bounds[i + 1]``."""
        return np.searchsorted(self.rows, np.arange(queries + 1))


def read_matches(scores: torch.Tensor, own: Own) -> Matches:
    """The true matches among the (B, G) scores of B queries."""
    rows, columns = own.rows[own.true], own.columns[own.true]
    found = scores[torch.from_numpy(rows), torch.from_numpy(columns)]
    return Matches.ordered(rows, columns, found.cpu().numpy())


def hide(scores: torch.Tensor, own: Own, junk: np.ndarray) -> None:
    """Put infinity in place of the scores that precede no match: of own identities and of junk rows."""
    scores[torch.from_numpy(own.rows), torch.from_numpy(own.columns)] = torch.inf
    scores.index_fill_(1, torch.from_numpy(junk).to(scores.device), torch.inf)


def count_before(scores: torch.Tensor, matches: Matches) -> np.ndarray:
    """How many rows come before each match; rows of equal score do.

    Args:
        scores: (B, G) float32 after :func:`hide`.
        matches: of these B queries.

    Returns:
        (P,) int64.
    """
    return (_by_rows if scores.is_cpu else _by_passes)(scores, matches)


def _by_rows(scores: torch.Tensor, matches: Matches) -> np.ndarray:
    """For CPUs, whose cache holds a row."""
    counts = np.zeros(len(matches), np.int64)
    bounds = matches.bounds(len(scores)).tolist()
    for i, row in enumerate(scores.numpy()):
        start, stop = bounds[i], bounds[i + 1]
        if start < stop:
            thresholds = matches.scores[start:stop]
            # Only what is not farther than the last match can precede any: in a trained model's ranking
            # that is a small part of the row, and it is all that gets sorted.
            before = np.compress(row <= thresholds[-1], row)
            before.sort()
            counts[start:stop] = np.searchsorted(before, thresholds, side="right")
    return counts


def _by_passes(scores: torch.Tensor, matches: Matches) -> np.ndarray:
    """For GPUs: one pass for the first match of all queries, one for the second, and so on."""
    starts = matches.bounds(len(scores))[:-1]
    places = np.arange(len(matches)) - starts[matches.rows]
    thresholds = np.full((len(scores), places.max(initial=-1) + 1), -np.inf, np.float32)
    thresholds[matches.rows, places] = matches.scores
    counts = torch.zeros(thresholds.shape, dtype=torch.int64, device=scores.device)
    for place, column in enumerate(torch.from_numpy(thresholds.T).to(scores.device)):
        counts[:, place] = torch.count_nonzero(scores <= column[:, None], dim=1)
    return counts.cpu().numpy()[matches.rows, places]
