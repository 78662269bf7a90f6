import doctest

import numpy as np
import pytest
from scipy import stats

from cuhs.errors import CuhsError
from cuhs.evaluation import intervals
from cuhs.evaluation.intervals import interval, paired


def queries(seed, identities=60, spread=0.2, noise=0.1, mean=0.6):
    """AP-like values whose identities differ by ``spread``, two to six queries each."""
    random = np.random.default_rng(seed)
    pids = np.repeat(np.arange(identities), random.integers(2, 7, identities))
    values = mean + spread * random.standard_normal(identities)[pids] + noise * random.standard_normal(len(pids))
    return values, pids


def test_interval_covers_the_true_mean_as_often_as_it_says():
    covered = 0
    for seed in range(300):
        values, pids = queries(seed)
        low, high = interval(values[:, None], pids, resamples=500, seed=seed)
        covered += low[0] <= 0.6 <= high[0]
    assert 0.90 <= covered / 300 <= 0.98


def test_interval_knows_that_queries_of_one_identity_go_together():
    values, pids = queries(0, noise=0.0)
    of_identities = np.subtract(*interval(values[:, None], pids)[::-1])
    of_queries = np.subtract(*interval(values[:, None], np.arange(len(pids)))[::-1])
    assert of_identities > 1.5 * of_queries


def test_interval_takes_columns_and_names_alike_and_repeats_with_its_seed():
    values, pids = queries(1)
    both = np.stack([values, values > 0.6], axis=1)
    low, high = interval(both, pids, seed=3)
    named = interval(both, np.array([f"set/{pid:03d}" for pid in pids]), seed=3)
    np.testing.assert_array_equal(low, named[0])
    np.testing.assert_array_equal(high, named[1])
    np.testing.assert_allclose(low[:1], interval(values[:, None], pids, seed=3)[0])
    assert (low < both.mean(0)).all() and (both.mean(0) < high).all()
    assert not np.array_equal(low, interval(both, pids, seed=4)[0])


def test_interval_is_that_of_a_studentised_bootstrap_over_drawn_identities():
    values, pids = queries(2)
    counts = np.bincount(pids)
    sums = np.bincount(pids, weights=values)

    def mean_and_error(sample):
        mean = sums[sample].sum() / counts[sample].sum()
        psi = (sums[sample] - mean * counts[sample]) / counts[sample].sum()
        return mean, np.sqrt((psi**2).sum() * 60 / 59)

    mean, _ = mean_and_error(np.arange(60))
    share = counts / counts.sum()
    error = np.sqrt((((sums - mean * counts) / counts.sum()) ** 2 / (1 - share)).sum())
    drawn = [mean_and_error(sample) for sample in np.random.default_rng(0).integers(60, size=(100, 60))]
    upper, lower = np.quantile([(each - mean) / own for each, own in drawn], [0.975, 0.025])
    low, high = interval(values[:, None], pids, resamples=100)
    assert [low[0], high[0]] == pytest.approx([mean - upper * error, mean - lower * error])


def test_interval_stays_within_the_values_and_is_a_point_where_all_are_alike():
    hits = np.array([1.0] * 19 + [0.0])
    low, high = interval(hits[:, None], np.arange(20))
    assert 0 <= low[0] < 0.95 < high[0] <= 1
    alike = interval(np.ones((20, 1)), np.arange(20) // 2)
    assert [*alike[0], *alike[1]] == [1.0, 1.0]


def test_several_trainings_are_averaged_and_widen_the_interval_by_their_luck():
    values, pids = queries(5)
    luck = np.array([-0.1, 0.0, 0.1])
    trainings = values + luck[:, None]
    one = np.subtract(*interval(values[:, None], pids)[::-1])
    three = np.subtract(*interval(trainings[..., None], pids)[::-1])
    same = np.subtract(*interval(np.stack([values] * 3)[..., None], pids)[::-1])
    assert three > 2 * one
    assert same == pytest.approx(one)


def test_one_identity_has_no_interval():
    low, high = interval(np.array([[0.2], [0.8]]), np.array([7, 7]))
    assert np.isnan([low, high]).all()
    assert np.isnan(interval(np.zeros((0, 2)), np.zeros(0, int))[0]).all()


def test_identical_models_do_not_differ():
    values, pids = queries(3)
    assert paired(values, values, pids) == (0.0, 0.0, 0.0, 1.0)


def test_a_clear_gain_is_found_and_its_sign_follows_the_order():
    values, pids = queries(4)
    gain = 0.05 + 0.02 * np.random.default_rng(0).standard_normal(len(values))
    better = paired(values + gain, values, pids)
    assert better.mean == pytest.approx(gain.mean())
    assert 0 < better.low < better.mean < better.high
    assert better.p < 0.001
    worse = paired(values, values + gain, pids)
    assert worse.mean == pytest.approx(-better.mean)
    assert worse.high < 0 and worse.p < 0.001


@pytest.mark.parametrize("identities", [10, 60])
def test_models_of_equal_quality_are_told_apart_as_often_as_the_level_says(identities):
    alarms = 0
    for seed in range(400):
        gains, pids = queries(seed, identities, mean=0.0)
        result = paired(gains, np.zeros_like(gains), pids)
        alarms += result.p < 0.05
        assert (result.p < 0.05) == (not result.low <= 0 <= result.high)
    # Three standard errors around 5 %.
    assert 0.017 <= alarms / 400 <= 0.083


def test_a_paired_comparison_is_the_t_test_where_identities_have_one_query_each():
    gains = np.random.default_rng(0).normal(0.02, 0.1, 12)
    found = paired(gains, np.zeros(12), np.arange(12))
    theirs = stats.ttest_1samp(gains, 0)
    assert found.p == pytest.approx(theirs.pvalue)
    assert [found.low, found.high] == pytest.approx([*theirs.confidence_interval()])


def test_a_comparison_of_trainings_counts_their_luck():
    values, pids = queries(6)
    steady = np.stack([values] * 3)
    lucky = values + 0.05 + np.array([-0.15, 0.0, 0.15])[:, None]
    assert paired(lucky[1], values, pids).p < 0.001
    found = paired(lucky, steady, pids)
    assert found.mean == pytest.approx(0.05)
    assert found.p > 0.05
    assert found.low < 0 < found.high
    # Two of 3 - 1 degrees of freedom at most: nearly all of the variance is between the three trainings.
    error = 0.15 / np.sqrt(3)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * error, rel=0.05)


@pytest.mark.parametrize(
    ("a", "b", "pids", "message"),
    [
        ([0.1, 0.2], [0.1], [1, 2], "both models need the same queries"),
        ([0.1, 0.2], [0.1, 0.2], [1, 2, 3], "do not go with pids"),
        ([0.1, np.nan], [0.1, 0.2], [1, 2], "leave out queries without a true match"),
        ([0.1, 0.2], [0.1, 0.2], [1, 1], "at least two identities"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(a, b, pids, message):
    with pytest.raises(CuhsError, match=message):
        paired(np.array(a), np.array(b), np.array(pids))


def test_examples_in_the_docstrings_run():
    results = doctest.testmod(intervals)
    assert results.attempted > 0
    assert results.failed == 0
