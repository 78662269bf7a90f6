"""How far a mean over queries can be trusted: bootstrap over query identities.

Queries of one identity succeed and fail together, so identities are drawn, not queries.
"""

from typing import NamedTuple

import numpy as np

from cuhs.errors import CuhsError


class Difference(NamedTuple):
    """How much better ``a`` is than ``b``, in the unit of the values.

    Attributes:
        mean: mean of a - b over the queries.
        low: lower end of its interval.
        high: upper end of its interval.
        p: two-sided p-value of "there is no difference".
    """

    mean: float
    low: float
    high: float
    p: float


def interval(
    values: np.ndarray, pids: np.ndarray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the mean of each column.

    Args:
        values: (Q, M) float, M measures of each query, such as AP and whether rank 1 is a hit.
        pids: (Q,) int or str, the queries' identities.
        resamples: number of bootstrap samples.
        level: coverage of the interval, in (0, 1).
        seed: of the draws; the same seed gives the same interval.

    Returns:
        low, high: (M,) float64 each; NaN for fewer than two identities, which leave nothing to draw from.

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

    The p-value inverts the percentile interval: p < 1 - level just where the interval excludes zero
    (up to one resample).

    Args:
        ap_a: (Q,) float, average precision (or another measure) of each query under model a.
        ap_b: (Q,) float, the same queries in the same order under model b.
        pids: (Q,) int or str, the queries' identities.
        resamples: number of bootstrap samples.
        level: coverage of the interval, in (0, 1).
        seed: of the draws.

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
    # One is added to numerator and denominator: no finite number of draws shows a probability of zero.
    fewer = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = min(1.0, 2 * (fewer + 1) / (resamples + 1))
    return Difference(float(gains.mean()), float(low), float(high), p)


def _resampled_means(values: np.ndarray, pids: np.ndarray, resamples: int, seed: int) -> np.ndarray | None:
    """(resamples, M) means over the queries of as many identities drawn with replacement; None below two."""
    values, pids = np.asarray(values, np.float64), np.asarray(pids)
    if values.ndim != 2 or pids.shape != values.shape[:1]:
        raise CuhsError(f"bootstrap: values of shape {values.shape} do not go with pids of shape {pids.shape}")
    if not np.isfinite(values).all():
        raise CuhsError("bootstrap: a value is NaN or infinite; leave out queries without a true match")
    names, identity = np.unique(pids, return_inverse=True)
    identities = len(names)
    if identities < 2:
        return None
    # An identity's sums and its number of queries: a sample's mean is then a ratio of two weighted sums,
    # and all samples of a chunk are one matrix product.
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
