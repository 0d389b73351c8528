"""Power and numbers of seeds are those of statsmodels."""

import math

import pytest
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

from trainatlas.analysis.power import MOST_SEEDS, detectable_effect, seeds_needed, t_test_power


def by_integration(effect: float, seeds: int) -> float:
    """Power as an integral over the standard deviation that is found, in units of the true one."""
    freedom = seeds - 1
    critical = stats.t.ppf(0.975, freedom)
    scale = stats.chi(freedom, scale=1 / math.sqrt(freedom))

    def told(spread: float) -> float:
        distance = effect * math.sqrt(seeds)
        beyond = stats.norm.sf(critical * spread - distance) + stats.norm.cdf(-critical * spread - distance)
        return float(beyond * scale.pdf(spread))

    low, high = scale.ppf([1e-13, 1 - 1e-13])
    return float(integrate.quad(told, low, high, limit=200, epsabs=1e-12)[0])


@pytest.mark.parametrize("seeds", [2, 3, 4, 10, 100])
@pytest.mark.parametrize("effect", [0.0, 0.01, 0.3, 1.0, 4.0])
def test_power_is_that_of_statsmodels_and_of_an_integral(seeds: int, effect: float) -> None:
    assert t_test_power(effect, seeds) == pytest.approx(by_integration(effect, seeds), abs=1e-8)
    expected = TTestPower().power(effect, seeds, 0.05)  # nan where its series fails
    assert t_test_power(effect, seeds) == pytest.approx(expected, abs=1e-9) or math.isnan(expected)


@pytest.mark.parametrize("seeds", [2, 3, 4, 8, 20, 300])
def test_the_smallest_effect_found_is_that_of_statsmodels(seeds: int) -> None:
    expected = TTestPower().solve_power(None, nobs=seeds, alpha=0.05, power=0.8)
    assert detectable_effect(seeds) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("effect", [0.1, 0.25, 0.5, 0.9, 1.7, 3.0, 5.0, 11.0])
def test_seeds_needed_are_the_fewest_that_are_enough(effect: float) -> None:
    needed = int(seeds_needed(effect))
    assert by_integration(effect, needed) >= 0.8
    assert needed == 2 or by_integration(effect, needed - 1) < 0.8
    assert seeds_needed(-effect) == needed


def test_seeds_needed_are_bounded_and_missing_where_nothing_differs() -> None:
    assert seeds_needed(0.01) == MOST_SEEDS
    assert seeds_needed(math.inf) == 2
    assert math.isnan(seeds_needed(0.0)) and math.isnan(seeds_needed(math.nan))
    assert math.isnan(detectable_effect(1))
