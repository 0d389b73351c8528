"""Whether runs with more dead units end worse: rank correlation, activation by activation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from trainatlas.analysis.columns import DEAD_UNIT_COLUMNS
from trainatlas.analysis.intervals import over_seeds
from trainatlas.train.records import names


def dead_against_accuracy(final: pd.DataFrame) -> pd.DataFrame:
    """Return how the dead share of units at the end goes with test accuracy, over the cells of each activation.

    The estimate of a seed is Spearman's rank correlation (1904) over its cells. Cells of an activation differ in their other
    levels and in their rates too: it is an association, and no effect of dead units by themselves.

    Parameters
    ----------
    final
        Final runs: activation, seed, final_dead_fraction (0 to 1, nan where it was not measured) and test_accuracy.

    Returns
    -------
    pandas.DataFrame
        Columns as in DEAD_UNIT_COLUMNS. Activations are left out of which no seed has three runs and dead shares that differ.
    """
    measured = final[final["final_dead_fraction"].notna()]
    rows = []
    for activation, own in measured.groupby("activation", sort=True, observed=True):
        found = [_correlation(runs) for _, runs in own.groupby("seed", sort=True)]
        known = [value for value in found if not np.isnan(value)]
        if known:
            dead = own["final_dead_fraction"]
            rows.append((activation, *over_seeds(known), float(dead.mean()), float(dead.max()), len(own), len(known)))
    return pd.DataFrame(rows, columns=list(names(DEAD_UNIT_COLUMNS)))


def _correlation(runs: pd.DataFrame) -> float:
    dead, accuracy = runs["final_dead_fraction"], runs["test_accuracy"]
    if len(runs) < 3 or dead.nunique() < 2 or accuracy.nunique() < 2:
        return float("nan")
    return float(stats.spearmanr(dead, accuracy).statistic)
