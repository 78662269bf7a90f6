"""At which distance are two images of the same person? Error rates of pairs, without holding the pairs.

A genuine pair is a query and one of its true matches; an impostor pair a query and a gallery image of another
identity, of any camera. Junk rows and other images of a query's identity from its own camera are in no pair,
as in :mod:`.match_rules`. The distances of all pairs are counted in 2²⁰ equal bins between 0 and the largest
distance possible, so a threshold is exact to a millionth of that; products in float32 are not more exact.
"""

from dataclasses import dataclass

import numpy as np
import torch

from cuhs.errors import CuhsError
from cuhs.evaluation.counting import hide, read_matches
from cuhs.evaluation.features import Features
from cuhs.evaluation.match_rules import MatchRules
from cuhs.evaluation.products import Products

BINS = 2**20

# Distances are binned so many at a time.
_BINNED = 2**22


@dataclass(frozen=True)
class OperatingPoint:
    """What calling pairs nearer than a distance the same person means.

    Attributes:
        distance: the threshold, Euclidean.
        false_match_rate: share of the impostor pairs that are nearer.
        true_match_rate: share of the genuine pairs that are nearer; NaN without genuine pairs.
        false_matches: impostor pairs that are nearer: a rate that rests on a few is a guess.
    """

    distance: float
    false_match_rate: float
    true_match_rate: float
    false_matches: int


@dataclass(frozen=True)
class PairDistances:
    """How the distances of genuine and impostor pairs are distributed.

    Attributes:
        genuine: (BINS,) int64, pairs in each bin.
        impostor: (BINS,) int64.
        width: of a bin, the resolution of thresholds.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    width: float

    def at_false_match_rate(self, rate: float) -> OperatingPoint | None:
        """The largest threshold at which no more than this share of the impostor pairs is nearer.

        Args:
            rate: in (0, 1).

        Returns:
            None where there are too few impostor pairs for such a rate: less than one would be nearer.
        """
        nearer = np.cumsum(self.impostor)
        allowed = int(rate * nearer[-1] + 1e-9)
        if allowed < 1:
            return None
        return self.at_bin(int(np.searchsorted(nearer, allowed, side="right")))

    def at_bin(self, edge: int) -> OperatingPoint:
        """The operating point at the lower edge of a bin."""
        false, true = int(self.impostor[:edge].sum()), int(self.genuine[:edge].sum())
        impostors, genuines = self.impostor.sum(), self.genuine.sum()
        return OperatingPoint(
            distance=edge * self.width,
            false_match_rate=float(false / impostors) if impostors else float("nan"),
            true_match_rate=float(true / genuines) if genuines else float("nan"),
            false_matches=false,
        )

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """False match rates and true match rates, (T,) float64 each, from 0 up, wherever either changes.

        Raises:
            CuhsError: there is no genuine or no impostor pair.
        """
        if not (self.genuine.any() and self.impostor.any()):
            raise CuhsError("ROC: needs genuine and impostor pairs; check identities and cameras of both sides")
        changes = np.flatnonzero(self.genuine + self.impostor)
        rates = (np.cumsum(pairs)[changes] / pairs.sum() for pairs in (self.impostor, self.genuine))
        false, true = (np.concatenate([[0.0], rate]) for rate in rates)
        return false, true


@torch.no_grad()
def pair_distances(query: Features, gallery: Features, *, chunk_mb: float = 128) -> PairDistances:
    """Count the Euclidean distances of all pairs; the arguments are those of :func:`.ranking.rank`.

    Raises:
        CuhsError: as :func:`.ranking.rank`.

    Example:
        One of the two impostor pairs is nearer than 2.

        >>> query = Features(np.array([[0.0]]), pids=[7], camids=[0])
        >>> gallery = Features(np.array([[1.0], [1.5], [4.0]]), pids=[7, 8, 9], camids=[1, 1, 1])
        >>> point = pair_distances(query, gallery).at_false_match_rate(0.5)
        >>> round(point.distance, 4), point.false_match_rate, point.true_match_rate, point.false_matches
        (4.0, 0.5, 1.0, 1)
    """
    products, rules = Products.of(query, gallery), MatchRules(query, gallery)
    # No two rows are farther apart than their norms together; a little more, lest rounding exceed it.
    norms = [
        squares.sqrt().max().item() for squares in (products.query_squares, products.gallery_squares) if len(squares)
    ]
    width = (1.00001 * sum(norms) or 1.0) / BINS
    genuine, impostor = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for start, scores in products.chunks(chunk_mb):
        own = rules.own(start, start + len(scores))
        scores += products.query_squares[start : start + len(scores), None]
        genuine += _binned(torch.from_numpy(read_matches(scores, own).scores), width)
        hide(scores, own, rules.junk)
        junk = rules.junk_queries - start
        scores[torch.from_numpy(junk[(junk >= 0) & (junk < len(scores))])] = torch.inf
        for part in scores.flatten().split(_BINNED):
            impostor += _binned(part, width)
    return PairDistances(genuine, impostor, width)


def _binned(squares: torch.Tensor, width: float) -> np.ndarray:
    """(BINS,) int64, how many of these squared distances fall into each bin; infinite ones into none."""
    bins = squares.clamp(min=0).sqrt_().mul_(1 / width).clamp_(max=BINS).long()
    return torch.bincount(bins, minlength=BINS + 1)[:BINS].cpu().numpy()
