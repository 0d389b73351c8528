"""Intervals over seeds are Student's."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.stats.api as sms
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trainatlas.analysis.intervals import jackknife, over_seeds, over_seeds_of_each

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=30)


@given(values=VALUES)
def test_the_interval_is_that_of_scipy_and_statsmodels(values: list[float]) -> None:
    interval = over_seeds(values)
    if np.std(values) < 1e-9:
        assert interval == pytest.approx((values[0],) * 3, abs=1e-7)
        return
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval == pytest.approx((np.mean(values), low, high), rel=1e-9, abs=1e-12)
    assert interval[1:] == pytest.approx(sms.DescrStatsW(values).tconfint_mean(0.05), rel=1e-9, abs=1e-12)


@given(values=VALUES, shift=st.floats(-1, 1))
def test_the_interval_moves_with_the_values(values: list[float], shift: float) -> None:
    moved = over_seeds([value + shift for value in values])
    assert moved == pytest.approx([end + shift for end in over_seeds(values)], abs=1e-9)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    interval = over_seeds([0.7])
    assert interval.mean == 0.7
    assert math.isnan(interval.low) and math.isnan(interval.high)


@pytest.mark.parametrize("seeds", [2, 4, 10])
def test_intervals_hold_the_truth_95_times_in_100(seeds: int) -> None:
    draws = np.random.default_rng(0).normal(0.8, 0.05, size=(3000, seeds))
    intervals = [over_seeds(draw) for draw in draws]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.94 <= covered <= 0.96


@given(groups=st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=6), min_size=1, max_size=6))
def test_intervals_of_many_groups_are_those_of_each(groups: list[list[float]]) -> None:
    frame = pd.DataFrame(
        [(key, value) for key, values in enumerate(groups) for value in values], columns=["key", "value"]
    )
    table = over_seeds_of_each(frame.groupby("key")["value"])
    for key, values in enumerate(groups):
        expected = pytest.approx(tuple(over_seeds(values)), rel=1e-9, abs=1e-9, nan_ok=True)
        assert tuple(table.loc[key, ["mean", "low", "high"]]) == expected


@given(values=VALUES)
def test_the_jackknife_of_a_mean_is_the_interval_over_seeds(values: list[float]) -> None:
    left_out = [np.mean(np.delete(values, seed)) for seed in range(len(values))]
    assert jackknife(np.mean(values), left_out) == pytest.approx(tuple(over_seeds(values)), abs=1e-7)


def test_the_jackknife_of_a_variance_is_the_closed_form() -> None:
    """Its pseudo-values are n / (n - 2) times the squared distances from the mean, and a constant (Miller 1974, section 3)."""
    values = np.random.default_rng(0).normal(size=12)
    squares = (values - values.mean()) ** 2
    half = stats.t.ppf(0.975, 11) * 12 / 10 * squares.std(ddof=1) / math.sqrt(12)
    variance = values.var(ddof=1)
    interval = jackknife(variance, [np.delete(values, seed).var(ddof=1) for seed in range(12)])
    assert interval == pytest.approx((variance, variance - half, variance + half))
