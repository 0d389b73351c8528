"""The one rule for intervals: the seed is the unit of replication.

Each seed fixes a split, an order and initial draws of its own, and trials of one seed share them, so
seeds are what is independent here, not trials. An estimate is therefore computed once for
each seed, and the 95 % interval is Student's t over those estimates (Student 1908).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate with its 95 % interval; both ends are nan where there are fewer than two seeds."""

    mean: float
    low: float
    high: float


def over_seeds(estimates: ArrayLike) -> Interval:
    """Return the mean of per-seed estimates and its 95 % t-interval.

    Parameters
    ----------
    estimates
        One value per seed, shape (seeds,).
    """
    values = np.asarray(estimates, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def over_seeds_of_each(groups: Any) -> pd.DataFrame:
    """Return what `over_seeds` does for each of many groups.

    Parameters
    ----------
    groups
        Per-seed estimates, a grouped pandas.Series.

    Returns
    -------
    pandas.DataFrame
        One row a group, columns mean, low and high.
    """
    table = groups.agg(["mean", "sem", "count"])
    half = stats.t.ppf((1 + CONFIDENCE) / 2, (table["count"] - 1).where(table["count"] > 1)) * table["sem"]
    return pd.DataFrame({"mean": table["mean"], "low": table["mean"] - half, "high": table["mean"] + half})


def jackknife(estimate: float, left_out: ArrayLike) -> Interval:
    """Return the 95 % interval of an estimate that is no mean over seeds: Student's t over pseudo-values (Tukey 1958).

    For a mean it is the interval of `over_seeds`.

    Parameters
    ----------
    estimate
        From all seeds.
    left_out
        The estimate without each of the seeds in turn, shape (seeds,).
    """
    values = np.asarray(left_out, dtype=float)
    around = over_seeds(len(values) * estimate - (len(values) - 1) * values)
    half = (around.high - around.low) / 2
    return Interval(estimate, estimate - half, estimate + half)


def between_groups(first: ArrayLike, second: ArrayLike) -> Interval:
    """Return the difference between the means of two groups of per-seed estimates, first minus second, with its interval.

    Student's t for two groups with the same spread; a group of a single seed borrows the spread of the other
    (Sokal and Rohlf 1995, "Biometry", section 9.6). Without an interval where there are two values in all.

    Parameters
    ----------
    first, second
        One value per seed, shape (seeds,) each; no seed is in both.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    difference, freedom = float(a.mean() - b.mean()), len(a) + len(b) - 2
    if freedom < 1:
        return Interval(difference, float("nan"), float("nan"))
    spread = (((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / freedom
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(spread * (1 / len(a) + 1 / len(b))))
    return Interval(difference, difference - half, difference + half)


def wilson(successes: int, trials: int) -> Interval:
    """Return a share with its 95 % score interval (Wilson 1927); all are nan where there are no trials."""
    if not trials:
        return Interval(float("nan"), float("nan"), float("nan"))
    ends = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(ends.low), float(ends.high))
