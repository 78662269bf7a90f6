"""Distance thresholds for "same person": error rates over all pairs, without storing the pairs.

A genuine pair is a query and one of its true matches. An impostor pair is a query and a gallery image of
another identity, from any camera. Junk rows, and images of the query's identity from its own camera, are in
no pair (see :mod:`.match_rules`). Distances are counted in 2²⁰ equal bins from 0 to the largest possible
distance. Thresholds are therefore exact to a millionth of that, which is as exact as float32 products are.
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

# Distances are sorted into bins in pieces of at most this many.
_BINNED = 2**22


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and the error rates if pairs nearer than it are called the same person.

    Attributes:
        distance: the threshold, a Euclidean distance.
        false_match_rate: share of the impostor pairs that are nearer.
        true_match_rate: share of the genuine pairs that are nearer; NaN without genuine pairs.
        false_matches: number of impostor pairs that are nearer; a rate based on a few is only a guess.
    """

    distance: float
    false_match_rate: float
    true_match_rate: float
    false_matches: int


@dataclass(frozen=True)
class PairDistances:
    """Histograms of the distances of genuine and impostor pairs.

    Attributes:
        genuine: (BINS,) int64, genuine pairs in each bin.
        impostor: (BINS,) int64, impostor pairs in each bin.
        width: width of a bin, the resolution of thresholds.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    width: float

    def at_false_match_rate(self, rate: float) -> OperatingPoint | None:
        """Find the largest threshold whose false match rate is at most ``rate``.

        Args:
            rate: false match rate, in (0, 1).

        Returns:
            The operating point; None if ``rate`` allows less than one impostor pair.
        """
        nearer = np.cumsum(self.impostor)
        allowed = int(rate * nearer[-1] + 1e-9)
        if allowed < 1:
            return None
        return self.at_bin(int(np.searchsorted(nearer, allowed, side="right")))

    def at_bin(self, edge: int) -> OperatingPoint:
        """Return the operating point at the lower edge of a bin."""
        false, true = int(self.impostor[:edge].sum()), int(self.genuine[:edge].sum())
        impostors, genuines = self.impostor.sum(), self.genuine.sum()
        return OperatingPoint(
            distance=edge * self.width,
            false_match_rate=float(false / impostors) if impostors else float("nan"),
            true_match_rate=float(true / genuines) if genuines else float("nan"),
            false_matches=false,
        )

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """Return false and true match rates, (T,) float64 each, from 0 up, wherever either changes.

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
        The threshold is 4: one of the two impostor pairs, at 1.5, is nearer.

        >>> query = Features(np.array([[0.0]]), pids=[7], camids=[0])
        >>> gallery = Features(np.array([[1.0], [1.5], [4.0]]), pids=[7, 8, 9], camids=[1, 1, 1])
        >>> point = pair_distances(query, gallery).at_false_match_rate(0.5)
        >>> round(point.distance, 4), point.false_match_rate, point.true_match_rate, point.false_matches
        (4.0, 0.5, 1.0, 1)
    """
    products, rules = Products.of(query, gallery), MatchRules(query, gallery)
    # No two rows are farther apart than the sum of their norms. The margin allows for rounding.
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
    """Count the squared distances in each bin, (BINS,) int64; infinite ones are in no bin."""
    bins = squares.clamp(min=0).sqrt_().mul_(1 / width).clamp_(max=BINS).long()
    return torch.bincount(bins, minlength=BINS + 1)[:BINS].cpu().numpy()
