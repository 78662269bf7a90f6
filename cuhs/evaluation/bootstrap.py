"""Confidence intervals and paired tests for means over queries, by a bootstrap over identities.

Queries of one identity succeed and fail together, so the bootstrap draws identities, not queries.
"""

from typing import NamedTuple

import numpy as np

from cuhs.errors import CuhsError


class Difference(NamedTuple):
    """Paired difference between models ``a`` and ``b``, in the unit of the compared values.

    Attributes:
        mean: mean of a - b over the queries.
        low: lower end of the mean's confidence interval.
        high: upper end of the mean's confidence interval.
        p: two-sided p-value of the hypothesis "there is no difference".
    """

    mean: float
    low: float
    high: float
    p: float


def interval(
    values: np.ndarray, pids: np.ndarray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of each column's mean.

    Args:
        values: (Q, M) float, M measures of each query, such as AP and whether rank 1 is a hit.
        pids: (Q,) int or str, identities of the queries.
        resamples: number of bootstrap samples.
        level: coverage of the interval, in (0, 1).
        seed: seed of the draws; the same seed gives the same interval.

    Returns:
        low, high: (M,) float64 each; NaN for fewer than two identities, where nothing can be drawn.

    Raises:
        CuhsError: a value is NaN or infinite, or the shapes do not fit.

    Example:
        >>> low, high = interval(np.array([[0.2], [0.4], [0.9], [0.5]]), np.array([1, 1, 2, 3]))
        >>> bool(0.2 <= low[0] < 0.5 < high[0] <= 0.9)
        True
    """
    means = _resampled_means(values, pids, resamples, seed)
    if means is None:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def paired(
    ap_a: np.ndarray,
    ap_b: np.ndarray,
    pids: np.ndarray,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compare two models on the same queries.

    The p-value is consistent with the percentile interval: p < 1 - level exactly where the interval
    excludes zero (up to one resample).

    Args:
        ap_a: (Q,) float, average precision (or another measure) of each query under model a.
        ap_b: (Q,) float, the same queries in the same order under model b.
        pids: (Q,) int or str, identities of the queries.
        resamples: number of bootstrap samples.
        level: coverage of the interval, in (0, 1).
        seed: seed of the draws.

    Raises:
        CuhsError: lengths differ, a value is NaN (leave out queries without a true match first), or
            there are fewer than two identities.

    Example:
        >>> ap = np.array([0.2, 0.4, 0.9])
        >>> paired(ap, ap, np.array([1, 2, 3]))
        Difference(mean=0.0, low=0.0, high=0.0, p=1.0)
    """
    ap_a, ap_b = np.asarray(ap_a, np.float64), np.asarray(ap_b, np.float64)
    if ap_a.shape != ap_b.shape:
        raise CuhsError(f"paired test: {ap_a.shape} and {ap_b.shape} values; both models need the same queries")
    gains = ap_a - ap_b
    means = _resampled_means(gains[:, None], pids, resamples, seed)
    if means is None:
        raise CuhsError("paired test: needs queries of at least two identities")
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    # Add one to numerator and denominator: a finite number of draws cannot show a probability of zero.
    fewer = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = min(1.0, 2 * (fewer + 1) / (resamples + 1))
    return Difference(float(gains.mean()), float(low), float(high), p)


def _resampled_means(values: np.ndarray, pids: np.ndarray, resamples: int, seed: int) -> np.ndarray | None:
    """Return the (resamples, M) means over queries of resampled identities; None for fewer than two identities."""
    values, pids = np.asarray(values, np.float64), np.asarray(pids)
    if values.ndim != 2 or pids.shape != values.shape[:1]:
        raise CuhsError(f"bootstrap: values of shape {values.shape} do not go with pids of shape {pids.shape}")
    if not np.isfinite(values).all():
        raise CuhsError("bootstrap: a value is NaN or infinite; leave out queries without a true match")
    names, identity = np.unique(pids, return_inverse=True)
    identities = len(names)
    if identities < 2:
        return None
    # Sum each identity's values and count its queries. The mean of a sample is then a ratio of two weighted
    # sums, and one matrix product computes all samples of a chunk.
    columns = [*values.T, np.ones(len(values))]
    totals = np.stack([np.bincount(identity, weights=c, minlength=identities) for c in columns], axis=1)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    size = max(1, 2**21 // identities)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = generator.integers(identities, size=(count, identities))
        drawn += identities * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * identities).reshape(count, identities)
        sums = weights.astype(np.float64) @ totals
        means[start : start + count] = sums[:, :-1] / sums[:, -1:]
    return means
