"""BCa intervals are SciPy's, which computes them for several samples, one comparison at a time."""

import numpy as np
import pytest
from scipy import stats

from trainatlas.analysis.bootstrap import bca_ends, stratified_bca


def mean_of_means(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean([sample.mean(axis=axis) for sample in samples], axis=0)


def by_scipy(strata: list[np.ndarray], resamples: int = 20_000):
    return stats.bootstrap(
        strata, mean_of_means, method="BCa", n_resamples=resamples, vectorized=True, rng=np.random.default_rng(1)
    )


SKEWED = [np.random.default_rng(seed).exponential(size=size) - 0.8 for seed, size in enumerate((30, 22, 9, 14))]


def padded(strata: list[np.ndarray]) -> np.ndarray:
    width = max(map(len, strata))
    return np.stack([np.pad(each, (0, width - len(each)), constant_values=np.nan) for each in strata])


@pytest.mark.parametrize("strata", [1, 2, 4])
def test_intervals_are_those_of_scipy_but_for_chance(strata: int) -> None:
    given = SKEWED[:strata]
    low, high = stratified_bca(padded(given)[None], resamples=20_000)[0]
    expected = by_scipy(given)
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.03 * width)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.03 * width)


def test_on_the_same_resamples_both_ends_are_those_of_scipy() -> None:
    expected = by_scipy(SKEWED, 500)
    # The jackknife, one unit at a time, slowly.
    influences = []
    for stratum, values in enumerate(SKEWED):
        for unit in range(len(values)):
            without = [*SKEWED]
            without[stratum] = np.delete(values, unit)
            influences.append((len(values) - 1) * (mean_of_means(*SKEWED) - mean_of_means(*without)) / len(values))
    influence = np.array(influences)
    acceleration = (influence**3).sum() / (influence**2).sum() ** 1.5 / 6
    ends = bca_ends(float(mean_of_means(*SKEWED)), expected.bootstrap_distribution, acceleration)
    assert tuple(ends) == pytest.approx(tuple(expected.confidence_interval), rel=1e-12)


def test_comparisons_with_other_units_missing_get_the_intervals_they_get_alone() -> None:
    generator = np.random.default_rng(3)
    values = generator.gamma(2, size=(4, 3, 40))
    values[1, :, :7] = np.nan
    values[2, 1] = np.nan  # a whole stratum
    together = stratified_bca(values, resamples=20_000)
    for comparison, (low, high) in zip(values, together, strict=True):
        strata = [stratum[~np.isnan(stratum)] for stratum in comparison]
        expected = by_scipy([stratum for stratum in strata if len(stratum)]).confidence_interval
        assert (low, high) == pytest.approx(tuple(expected), abs=0.03 * (expected.high - expected.low))


def test_the_same_values_yield_the_same_interval_and_shifted_ones_a_shifted_one() -> None:
    values = padded(SKEWED)[None]
    assert stratified_bca(values).tolist() == stratified_bca(values.copy()).tolist()
    np.testing.assert_allclose(stratified_bca(values + 5), stratified_bca(values) + 5, atol=1e-9)


def test_without_two_units_that_differ_in_a_stratum_there_is_no_interval() -> None:
    single = np.array([[[0.1, np.nan], [np.nan, 0.3]], [[0.2, 0.2], [0.3, 0.3]]])
    assert np.isnan(stratified_bca(single)).all()
