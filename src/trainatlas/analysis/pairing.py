"""Runs in pairs: the levels of a factor side by side, seed by seed and cell by cell of the other factors.

A pair is two final runs of one seed that agree in every other factor, each at its own tuned rate. What compares levels
(`comparisons`, `stability`, `robust`, `ranks`) starts from the arrays made here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainatlas.study.trial import FACTORS

DECIMALS = 12
"""Means are rounded to so many decimals: their last digits neither make nor break a tie."""


@dataclass(frozen=True)
class Pairing:
    """The runs of a factor's levels, aligned.

    Attributes
    ----------
    levels
        The levels that were run, in the study's order.
    seeds
        The seeds, ascending, shape (seeds,).
    values
        What was measured, shape (levels, seeds, cells); nan where there is no run, the mean where there are several.
    """

    levels: tuple[str, ...]
    seeds: np.ndarray
    values: np.ndarray

    def pairs(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield each level with each level before it, and the differences between them, (seeds, cells), nan for no pair.

        Two levels that share no pair are left out.
        """
        for other, level in itertools.combinations(range(len(self.levels)), 2):
            differences = self.values[level] - self.values[other]
            if not np.isnan(differences).all():
                yield self.levels[level], self.levels[other], differences


def pairing(runs: pd.DataFrame, factor: str, levels: tuple[str, ...], value: str = "test_accuracy") -> Pairing:
    """Return the runs of the `levels` of `factor`, aligned by seed and by cell of the other factors.

    Parameters
    ----------
    runs
        Final runs: the columns of FACTORS, `seed` and `value`.
    """
    runs = runs[runs[factor].isin(levels)]
    present = tuple(level for level in levels if (runs[factor] == level).any())
    rest = [name for name in FACTORS if name != factor]
    level = pd.Categorical(runs[factor].astype("str"), categories=present).codes.astype(np.int64)
    seeds, seed = np.unique(runs["seed"].to_numpy(), return_inverse=True)
    cell = runs.groupby(rest, observed=True, sort=True).ngroup().to_numpy()
    shape = (len(present), len(seeds), int(cell.max()) + 1 if len(runs) else 0)
    if not len(runs):
        return Pairing(present, seeds, np.empty(shape))
    places = np.ravel_multi_index((level, seed, cell), shape)
    size = int(np.prod(shape))
    sums = np.bincount(places, runs[value].to_numpy(dtype=float), minlength=size)
    counts = np.bincount(places, minlength=size)
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).reshape(shape)
    return Pairing(present, seeds, values)


def by_seed(differences: np.ndarray) -> np.ndarray:
    """Return each seed's mean over its pairs, shape (seeds that have pairs,), from differences of shape (seeds, cells)."""
    return _means(differences)


def by_cell(differences: np.ndarray) -> np.ndarray:
    """Return each cell's mean over its seeds, shape (cells that have pairs,), from differences of shape (seeds, cells)."""
    return _means(differences.T)


def _means(rows: np.ndarray) -> np.ndarray:
    known = ~np.isnan(rows)
    counts = known.sum(axis=1)
    sums = np.where(known, rows, 0.0).sum(axis=1)
    means: np.ndarray = np.round(sums[counts > 0] / counts[counts > 0], DECIMALS)
    return means
