"""Confidence intervals and comparisons of means over queries: over the people asked for, and over trainings.

Queries of one identity succeed and fail together, and so do all queries of one training. What varies is therefore
identities, and trainings with other seeds where there are several. A mean over queries is a ratio over identities,
``R = Σ s_i / Σ n_i`` with the sum s_i and the number n_i of an identity's queries; its variance over I identities is
estimated from ``ψ_i = (s_i - R n_i) / Σ n``, linearised (Cochran, Sampling Techniques, 1977, eq. 6.13). Several
trainings of the same queries make a table of trainings × identities, whose variance is that of a crossed
random-effects model: that over identities, plus that of the trainings' means, less what the latter owe to chance
inside the table, which is in both. Degrees of freedom are Satterthwaite's (Biometrics Bulletin, 1946).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from cuhs.errors import CuhsError


class Difference(NamedTuple):
    """Difference between models ``a`` and ``b`` on the same queries, in the unit of the compared values.

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


class _Spread(NamedTuple):
    """Variance of a mean, and its degrees of freedom."""

    variance: float
    freedom: float


def interval(
    values: np.ndarray, pids: np.ndarray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of each column's mean, by a studentised bootstrap over identities.

    The bootstrap draws identities and divides each deviation by its own standard error, which keeps the coverage with
    few identities and skewed values (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 12.5). Where
    drawn samples often have no spread of their own, Student's t takes its place. Several trainings widen the interval
    of their mean by the standard error and degrees of freedom that they add.

    Args:
        values: (Q, M) float, M measures of each query, such as AP and whether rank 1 is a hit; of several
            trainings, (S, Q, M).
        pids: (Q,) int or str, identities of the queries.
        resamples: number of bootstrap samples.
        level: coverage of the interval, in (0, 1).
        seed: seed of the draws; the same seed gives the same interval.

    Returns:
        low, high: (M,) float64 each, within the range of the values; NaN for fewer than two identities, where nothing
        can be drawn.

    Raises:
        CuhsError: a value is NaN or infinite, or the shapes do not fit.

    Example:
        >>> low, high = interval(np.array([[0.2], [0.4], [0.9], [0.5]]), np.array([1, 1, 2, 3]))
        >>> bool(0.2 <= low[0] < 0.5 < high[0] <= 0.9)
        True
    """
    tables = np.asarray(values, np.float64)
    tables = tables[None] if tables.ndim == 2 else tables
    sums, counts = _by_identity(tables, pids)
    _, measures, identities = sums.shape
    if identities < 2:
        return np.full(measures, np.nan), np.full(measures, np.nan)
    deviations = _studentised(sums.mean(0), counts, resamples, seed)
    tail = (1 - level) / 2
    low, high = np.empty(measures), np.empty(measures)
    for column in range(measures):
        table = sums[:, column]
        identities_alone = _over_identities(table.mean(0), counts)
        spread = _sum(identities_alone, _over_trainings(table, counts))
        drawn, student = deviations[:, column], _quantile(identities_alone, level)
        # Nearly all identities alike, as with rank 1 of a strong model: the bootstrap knows one side only.
        pointlike = np.isnan(drawn).mean() > tail / 2
        upper, lower = (student, -student) if pointlike else np.nanquantile(drawn, [1 - tail, tail])
        error = np.sqrt(spread.variance) * _quantile(spread, level) / student
        mean = table.mean(0).sum() / counts.sum()
        ends = mean - upper * error, mean - lower * error
        low[column], high[column] = np.clip(ends, tables[..., column].min(), tables[..., column].max())
    return low, high


def paired(a: np.ndarray, b: np.ndarray, pids: np.ndarray, *, level: float = 0.95) -> Difference:
    """Compare two models on the same queries, by a t-test over identities.

    With one training each, the comparison holds for these two trainings. With several, it holds for the trainings of
    either model, whose seeds are taken to be independent. p < 1 - level exactly where the interval excludes zero.

    Args:
        a: (Q,) float, average precision (or another measure) of each query under model a; of several trainings,
            (S, Q).
        b: the same queries in the same order under model b; the number of trainings may differ.
        pids: (Q,) int or str, identities of the queries.
        level: coverage of the interval, in (0, 1).

    Raises:
        CuhsError: lengths differ, a value is NaN (leave out queries without a true match first), or there are fewer
            than two identities.

    Example:
        >>> ap = np.array([0.2, 0.4, 0.9])
        >>> paired(ap, ap, np.array([1, 2, 3]))
        Difference(mean=0.0, low=0.0, high=0.0, p=1.0)
    """
    sides = [np.atleast_2d(np.asarray(side, np.float64)) for side in (a, b)]
    if sides[0].shape[1] != sides[1].shape[1]:
        queries = " and ".join(str(side.shape[1]) for side in sides)
        raise CuhsError(f"paired test: values of {queries} queries; both models need the same queries")
    (sums_a, counts), (sums_b, _) = (_by_identity(side[:, :, None], pids) for side in sides)
    if len(counts) < 2:
        raise CuhsError("paired test: needs queries of at least two identities")
    gains = sums_a[:, 0].mean(0) - sums_b[:, 0].mean(0)
    mean = float(gains.sum() / counts.sum())
    spread = _sum(
        _over_identities(gains, counts), *(_over_trainings(side[:, 0], counts) for side in (sums_a, sums_b))
    )
    error = float(np.sqrt(spread.variance))
    half = error * _quantile(spread, level)
    if error == 0.0:
        return Difference(mean, mean, mean, 0.0 if mean else 1.0)
    return Difference(mean, mean - half, mean + half, float(2 * stdtr(spread.freedom, -abs(mean) / error)))


def _by_identity(tables: np.ndarray, pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum each identity's values: (S, Q, M) to (S, M, I), with its number of queries, (I,)."""
    pids = np.asarray(pids)
    if tables.ndim != 3 or pids.shape != tables.shape[1:2]:
        raise CuhsError(f"intervals: values of shape {tables.shape} do not go with pids of shape {pids.shape}")
    if not np.isfinite(tables).all():
        raise CuhsError("intervals: a value is NaN or infinite; leave out queries without a true match")
    names, identity = np.unique(pids, return_inverse=True)
    counts = np.bincount(identity, minlength=len(names)).astype(np.float64)
    sums = np.zeros((tables.shape[0], tables.shape[2], len(names)))
    for training, measure in np.ndindex(sums.shape[:2]):
        sums[training, measure] = np.bincount(identity, weights=tables[training, :, measure], minlength=len(names))
    return sums, counts


def _over_identities(sums: np.ndarray, counts: np.ndarray) -> _Spread:
    """Variance of a mean over other identities; sums and counts are (I,)."""
    share = counts / counts.sum()
    psi = (sums - sums.sum() / counts.sum() * counts) / counts.sum()
    # Dividing by 1 - share is what I / (I - 1) is for identities with equally many queries.
    return _Spread(_exact(float((psi**2 / (1 - share)).sum()), sums), len(counts) - 1)


def _over_trainings(table: np.ndarray, counts: np.ndarray) -> tuple[_Spread, _Spread]:
    """Variance of the mean of all trainings over other trainings, and, below 0, what it shares with the identities'.

    Chance inside the table of trainings × identities is in both variances. Trainings that differ by no more than that
    add nothing.
    """
    trainings, identities = table.shape
    nothing = _Spread(0.0, 1), _Spread(0.0, 1)
    if trainings == 1:
        return nothing
    means = table.sum(1) / counts.sum()
    psi = (table - np.outer(means, counts)) / counts.sum()
    inside = float(((psi - psi.mean(0)) ** 2).sum()) * identities / (identities - 1) / (trainings - 1) / trainings
    between = float(means.var(ddof=1)) / trainings
    if between <= inside:
        return nothing
    return _Spread(between, trainings - 1), _Spread(-inside, (identities - 1) * (trainings - 1))


def _sum(identities: _Spread, *trainings: tuple[_Spread, _Spread]) -> _Spread:
    """The variance of a sum, with Satterthwaite's degrees of freedom."""
    parts = [identities, *(part for pair in trainings for part in pair if part.variance)]
    variance = sum(part.variance for part in parts)
    if variance == 0.0:
        return identities
    return _Spread(variance, variance**2 / sum(part.variance**2 / part.freedom for part in parts))


def _quantile(spread: _Spread, level: float) -> float:
    """How many standard errors an interval of this level is to either side."""
    return float(stdtrit(spread.freedom, 0.5 + level / 2))


def _exact(variance: float, sums: np.ndarray) -> float:
    """The variance, or 0 if it is no more than rounding."""
    return variance if variance > (1e-12 * float(np.abs(sums).max(initial=0.0))) ** 2 else 0.0


def _studentised(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Deviations of resampled means from the mean, in standard errors of their own.

    Args:
        sums: (M, I) sums of each identity's values.
        counts: (I,) numbers of its queries.
        resamples: B.
        seed: seed of the draws.

    Returns:
        (B, M); NaN where a sample has no spread of its own.
    """
    measures, identities = sums.shape
    # A sample's mean and standard error are made of weighted sums; one matrix product computes those of a chunk.
    columns = [counts, counts**2, *sums, *sums**2, *(sums * counts)]
    totals = np.stack(columns, axis=1)
    means = sums.sum(1) / counts.sum()
    generator = np.random.default_rng(seed)
    deviations = np.empty((resamples, measures))
    size = max(1, 2**21 // identities)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = generator.integers(identities, size=(count, identities))
        drawn += identities * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * identities).reshape(count, identities)
        found = weights.astype(np.float64) @ totals
        queries, squared, (first, second, mixed) = found[:, :1], found[:, 1:2], np.split(found[:, 2:], 3, axis=1)
        ratio = first / queries
        spread = (second - 2 * ratio * mixed + ratio**2 * squared) * identities / (identities - 1)
        error = np.sqrt(np.where(spread > 1e-12 * second, spread, np.nan)) / queries
        deviations[start : start + count] = (ratio - means) / error
    return deviations
