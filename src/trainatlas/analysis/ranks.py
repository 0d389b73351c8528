"""Ranks of a factor's levels: Friedman's test and Nemenyi's critical difference (Demsar 2006)."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy import stats

from trainatlas.analysis.comparison_columns import RANK_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE
from trainatlas.analysis.letters import letters
from trainatlas.analysis.pairing import DECIMALS, pairing
from trainatlas.train.records import names


def ranks(runs: pd.DataFrame, levels: dict[str, tuple[str, ...]], value: str = "test_accuracy") -> pd.DataFrame:
    """Rank the levels of each factor within seeds, and group those that are not told apart.

    A block is a seed: its levels are ranked by their means over the cells of the other factors that all of them share.
    Friedman's and Nemenyi's tests need blocks that are independent of each other, and only seeds are: cells share their
    seeds, and with cells as blocks up to a third of simulated studies without any difference found one (docs/calibration.md).
    `cell_rank`, the mean rank within seed and cell, is a description without a test.

    Parameters
    ----------
    runs
        Final runs: the columns of FACTORS, `seed` and `value`.
    levels
        The study's levels by factor. A factor of one level, or whose levels share no cell, has no rows.

    Returns
    -------
    pandas.DataFrame
        Columns as in RANK_COLUMNS, best rank first; rank 1 is the best.
    """
    rows = []
    for factor, texts in levels.items():
        paired = pairing(runs, factor, texts, value)
        shared = ~np.isnan(paired.values).any(axis=0)
        used = shared.any(axis=1)
        if len(paired.levels) < 2 or not used.any():
            continue
        sums = np.where(shared, paired.values, 0.0).sum(axis=2)[:, used]
        means = np.round(sums / shared.sum(axis=1)[used], DECIMALS).T
        in_cells = average_ranks(np.round(paired.values[:, shared], DECIMALS).T)
        average, seeds = average_ranks(means), len(means)
        p_value, critical = friedman(means), critical_difference(len(texts := paired.levels), seeds)
        order = sorted(range(len(texts)), key=lambda index: (average[index], in_cells[index]))
        letter = letters([texts[index] for index in order], _apart(texts, average, p_value, critical))
        for index in order:
            text = texts[index]
            rows.append((factor, text, average[index], in_cells[index], p_value, critical, letter[text], seeds))
    return pd.DataFrame(rows, columns=list(names(RANK_COLUMNS)))


def average_ranks(blocks: np.ndarray) -> np.ndarray:
    """Return the mean rank of each level over blocks, 1 for the largest value; ties share the mean of their ranks.

    Parameters
    ----------
    blocks
        Shape (blocks, levels).
    """
    mean: np.ndarray = stats.rankdata(-blocks, axis=1).mean(axis=0)
    return mean


def friedman(blocks: np.ndarray) -> float:
    """Return the p-value of Friedman's test (1937) that all levels rank alike; of two levels, the sign test's.

    Parameters
    ----------
    blocks
        Shape (blocks, levels); nan for a single block, 1 where all levels tie in every block.
    """
    if len(blocks) < 2:
        return float("nan")
    if (np.ptp(blocks, axis=1) == 0).all():
        return 1.0
    if blocks.shape[1] > 2:
        return float(stats.friedmanchisquare(*blocks.T).pvalue)
    wins, losses = int((blocks[:, 0] > blocks[:, 1]).sum()), int((blocks[:, 0] < blocks[:, 1]).sum())
    return float(stats.binomtest(wins, wins + losses).pvalue)


def critical_difference(levels: int, blocks: int) -> float:
    """Return by how much mean ranks must differ to be told apart at 5 % (Nemenyi 1963; Demsar 2006, section 3.2.2).

    Parameters
    ----------
    levels
        Number of levels compared, >= 2.
    blocks
        Number of blocks, >= 1.
    """
    quantile = stats.studentized_range.ppf(CONFIDENCE, levels, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(levels * (levels + 1) / (6 * blocks)))


def _apart(texts: tuple[str, ...], average: np.ndarray, p_value: float, critical: float) -> list[tuple[str, str]]:
    """Return the pairs that are told apart: none unless Friedman's test says that levels differ."""
    if not p_value <= 1 - CONFIDENCE:
        return []
    pairs = itertools.combinations(range(len(texts)), 2)
    return [(texts[a], texts[b]) for a, b in pairs if abs(average[a] - average[b]) >= critical]
