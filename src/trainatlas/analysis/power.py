"""What a number of seeds can tell apart: the power of the t-test over seeds, from the noncentral t-distribution."""

from __future__ import annotations

import functools

import numpy as np
from scipy import optimize, special

from trainatlas.analysis.intervals import CONFIDENCE

POWER = 0.8
MOST_SEEDS = 1000
"""No more seeds than these are ever said to be needed."""
_LOWER_TAIL = 5.0
"""Beyond this noncentrality the other tail holds less than a millionth, and SciPy's series for it may fail."""


def t_test_power(effect: float, seeds: int) -> float:
    """Return the power of the two-sided 5 % one-sample t-test (Cohen 1988, chapter 2; noncentral t).

    Parameters
    ----------
    effect
        True mean over the standard deviation, >= 0.
    seeds
        Number of values, >= 2.
    """
    critical = special.stdtrit(seeds - 1, (1 + CONFIDENCE) / 2)
    distance = effect * np.sqrt(seeds)
    below = special.nctdtr(seeds - 1, distance, critical)
    missed = 0.0 if np.isnan(below) else below  # where the series fails, nothing is left to miss
    lower = special.nctdtr(seeds - 1, distance, -critical) if distance < _LOWER_TAIL else 0.0
    return float(1 - missed + lower)


@functools.cache
def detectable_effect(seeds: int) -> float:
    """Return the standardised difference that so many seeds find with 80 % power; nan for fewer than two."""
    if seeds < 2:
        return float("nan")
    return float(optimize.brentq(lambda effect: t_test_power(effect, seeds) - POWER, 1e-6, 100.0, xtol=1e-10))


def seeds_needed(effect: float) -> float:
    """Return how many seeds find a difference with 80 % power, from 2 to MOST_SEEDS; nan for no difference.

    Parameters
    ----------
    effect
        Difference over its standard deviation between seeds; of either sign, may be infinite.
    """
    effect = abs(effect)
    if not effect > 0:
        return float("nan")
    if effect >= detectable_effect(2):
        return 2.0
    low, high = 2, MOST_SEEDS  # `low` is never enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if t_test_power(effect, middle) >= POWER else (middle, high)
    return float(high)
