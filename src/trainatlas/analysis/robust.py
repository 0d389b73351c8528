"""Robust summaries of a factor's levels (Agarwal et al. 2021): interquartile mean, optimality gap, probability of improvement.

Agarwal et al. draw runs anew within each task, independently. Here a task is a cell of the other factors, and its runs share
their seeds with those of all other cells: of intervals that ignore this half held the interquartile mean of simulated studies,
of those with whole seeds drawn anew four fifths (four seeds; docs/calibration.md). So intervals are Student's t over the
jackknife's pseudo-values, a seed left out at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from trainatlas.analysis.comparison_columns import ROBUST_COLUMNS
from trainatlas.analysis.intervals import jackknife
from trainatlas.analysis.pairing import pairing
from trainatlas.train.records import names

GAMMA = 1.0
"""Accuracy from which on nothing is left to gain; the optimality gap is the mean shortfall from it."""


def robust(runs: pd.DataFrame, levels: dict[str, tuple[str, ...]], value: str = "test_accuracy") -> pd.DataFrame:
    """Summarise the final runs of each level of each factor so that few bad cells, or few good ones, count for little.

    Parameters
    ----------
    runs
        Final runs: the columns of FACTORS, `seed` and `value`, a share from 0 to 1.
    levels
        The study's levels by factor, the reference first.

    Returns
    -------
    pandas.DataFrame
        Columns as in ROBUST_COLUMNS. The probability of improvement is that over the factor's first level; it is
        missing for that one, and for a level that shares no cell with it.
    """
    rows = []
    for factor, texts in levels.items():
        paired = pairing(runs, factor, texts, value)
        for text, values in zip(paired.levels, paired.values, strict=True):
            with_runs = ~np.isnan(values).all(axis=1)
            summary = (
                *_over_seeds(interquartile_mean, values[with_runs]),
                *_over_seeds(optimality_gap, values[with_runs]),
            )
            better = (np.nan,) * 3
            if text != texts[0] and paired.levels[0] == texts[0]:
                both = np.stack([values, paired.values[0]], axis=1)
                better = _over_seeds(_improvement, both[~np.isnan(both).all(axis=(1, 2))])
            counts = int((~np.isnan(values)).sum()), int(with_runs.sum())
            rows.append((factor, text, *summary, *better, *counts))
    return pd.DataFrame(rows, columns=list(names(ROBUST_COLUMNS)))


def interquartile_mean(values: np.ndarray) -> float:
    """Return the mean of the middle half of `values`, of any shape, nan left out (Agarwal et al. 2021, section 4.3)."""
    return float(stats.trim_mean(values[~np.isnan(values)], 0.25))


def optimality_gap(values: np.ndarray) -> float:
    """Return by how much `values`, of any shape, nan left out, fall short of GAMMA on average (ibid.)."""
    return float(np.maximum(GAMMA - values[~np.isnan(values)], 0.0).mean())


def probability_of_improvement(level: np.ndarray, other: np.ndarray) -> float:
    """Return how likely a run of `level` beats one of `other` in the same cell, mean over cells; ties count half (ibid.).

    In each cell it is the Mann-Whitney U statistic over the number of pairs of runs, whatever their seeds.

    Parameters
    ----------
    level, other
        Shape (seeds, cells) each, nan for no run. nan where no cell has runs of both.
    """
    a, b = level[:, None], other[None]
    possible = ~np.isnan(a - b)
    wins = ((a > b) + (a == b) / 2).sum(axis=(0, 1))
    number = possible.sum(axis=(0, 1))
    return float((wins[number > 0] / number[number > 0]).mean()) if number.any() else float("nan")


def _improvement(both: np.ndarray) -> float:
    return probability_of_improvement(both[:, 0], both[:, 1])


def _over_seeds(statistic: Callable[[np.ndarray], float], values: np.ndarray) -> tuple[float, float, float]:
    """Return a share and its 95 % interval by the jackknife over the first axis of `values`, the seeds."""
    seeds = range(len(values))
    left_out = [statistic(np.delete(values, seed, axis=0)) if len(values) > 1 else np.nan for seed in seeds]
    estimate, low, high = jackknife(statistic(values), left_out)
    return estimate, float(np.maximum(low, 0.0)), float(np.minimum(high, 1.0))
