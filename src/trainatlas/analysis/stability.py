"""Whether a conclusion hangs on a single seed: every paired difference once more without each seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from trainatlas.analysis.comparison_columns import STABILITY_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE
from trainatlas.analysis.pairing import by_seed, pairing
from trainatlas.train.records import names

CONCLUSIONS = {1: "better", 0: "not told apart", -1: "worse"}


def stability(runs: pd.DataFrame, levels: dict[str, tuple[str, ...]], value: str = "test_accuracy") -> pd.DataFrame:
    """Leave each seed out of each pair of levels, and see how far the difference moves and whether the conclusion holds.

    The conclusion is that of the 95 % t-interval over seeds: better or worse where it excludes 0. It is unstable where it is
    another one without some seed, be it that a difference turns round, is no longer told apart, or only now is. One
    seed fewer also widens the interval, so a difference that was just told apart may be unstable for that reason alone.

    Parameters
    ----------
    runs
        Final runs: the columns of FACTORS, `seed` and `value`.
    levels
        The study's levels by factor.

    Returns
    -------
    pandas.DataFrame
        Columns as in STABILITY_COLUMNS, rows as in `comparisons.pairwise`.
    """
    rows = [
        (factor, level, other, *_without_each(by_seed(differences)))
        for factor, texts in levels.items()
        for level, other, differences in pairing(runs, factor, texts, value).pairs()
    ]
    return pd.DataFrame(rows, columns=list(names(STABILITY_COLUMNS)))


def _without_each(estimates: np.ndarray) -> tuple[float, float, float, str, int, int]:
    """Return the difference, its extremes without a seed, the conclusion, whether that is unstable, and the number of seeds."""
    seeds = len(estimates)
    conclusion = int(_conclusions(estimates[None])[0])
    difference, text = float(estimates.mean()), CONCLUSIONS[conclusion]
    if seeds < 2:
        return difference, float("nan"), float("nan"), text, 0, seeds
    rest = np.stack([np.delete(estimates, seed) for seed in range(seeds)])
    means = rest.mean(axis=1)
    unstable = int((_conclusions(rest) != conclusion).any())
    return difference, float(means.min()), float(means.max()), text, unstable, seeds


def _conclusions(estimates: np.ndarray) -> np.ndarray:
    """Return -1, 0 or 1, the sign of what is told apart, for each row of estimates of shape (rows, seeds)."""
    seeds = estimates.shape[1]
    if seeds < 2:
        return np.zeros(len(estimates), dtype=int)
    means, spread = estimates.mean(axis=1), estimates.std(axis=1, ddof=1)
    half = special.stdtrit(seeds - 1, (1 + CONFIDENCE) / 2) * spread / np.sqrt(seeds)
    return np.where(np.abs(means) > half, np.sign(means), 0).astype(int)
