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
from scipy import stats

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
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
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
