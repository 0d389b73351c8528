"""Which factors matter, by how much, and which levels differ: from the grid's final runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import DIFFERENCE_COLUMNS, EFFECT_COLUMNS, INTERACTION_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE, over_seeds
from trainatlas.study.trial import FACTORS

REMAINDER = "remainder"
MINIMUM_DRAWS = 100
"""Fewer random draws than this say too little to divide their variance."""


def variance_shares(trials: pd.DataFrame, value: str = "test_accuracy") -> pd.DataFrame:
    """Divide the variance of `value` over the grid among factors and pairs of factors.

    For each seed an analysis of variance with all main effects and two-way interactions (type II sums
    of squares, so neither an unbalanced grid nor an excluded cell is an obstacle); a term's share is its
    sum of squares over the total of all terms and the remainder.

    Parameters
    ----------
    trials
        Final runs: the columns of FACTORS, `seed` and `value`.

    Returns
    -------
    pandas.DataFrame
        Columns as in EFFECT_COLUMNS, largest share first within each order.
    """
    varied = [factor for factor in FACTORS if trials[factor].nunique() > 1]
    if not varied or trials.empty:
        return pd.DataFrame(columns=[column.name for column in EFFECT_COLUMNS])
    shares = {seed: _shares(rows[value], rows[varied], pairs=True) for seed, rows in trials.groupby("seed")}
    table = pd.DataFrame(shares).fillna(0.0)
    rows = []
    for term, values in table.iterrows():
        interval = over_seeds(values.to_numpy())
        order = 0 if term == REMAINDER else str(term).count(" x ") + 1
        rows.append((term, order, interval.mean, max(interval.low, 0.0), min(interval.high, 1.0)))
    result = pd.DataFrame(rows, columns=[column.name for column in EFFECT_COLUMNS])
    rank = result["order"].map({1: 0, 2: 1, 0: 2})
    return result.assign(rank=rank).sort_values(["rank", "share"], ascending=[True, False]).drop(columns="rank")


def random_shares(draws: pd.DataFrame, positions: pd.Series, resamples: int = 200, seed: int = 0) -> pd.DataFrame:
    """Divide the variance of test accuracy over the random sample among factors and learning rate.

    Main effects only, type II; the learning rate enters as fifths of its optimizer's range on the log
    scale. Draws are independent of each other, so intervals are percentiles over bootstrap samples
    of draws (Efron 1979).

    Parameters
    ----------
    draws
        The random sample's trials.
    positions
        Where each draw's rate lies in its optimizer's log range, 0 to 1, aligned with `draws`.

    Returns
    -------
    pandas.DataFrame
        Columns as in EFFECT_COLUMNS.
    """
    columns = [column.name for column in EFFECT_COLUMNS]
    varied = [factor for factor in FACTORS if draws[factor].nunique() > 1]
    if len(draws) < MINIMUM_DRAWS or not varied:
        return pd.DataFrame(columns=columns)
    fifth = np.minimum((positions * 5).astype(int), 4)
    levels = draws[varied].assign(learning_rate=fifth)
    estimate = _shares(draws["test_accuracy"], levels, pairs=False)
    generator = np.random.default_rng(seed)
    samples = [generator.integers(len(draws), size=len(draws)) for _ in range(resamples)]
    spread = pd.DataFrame(
        [_shares(draws["test_accuracy"].iloc[rows], levels.iloc[rows], pairs=False) for rows in samples]
    )
    low, high = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    table = pd.DataFrame(
        {
            "term": estimate.index,
            "order": [0 if term == REMAINDER else 1 for term in estimate.index],
            "share": estimate.to_numpy(),
            "low": spread.quantile(low)[estimate.index].to_numpy(),
            "high": spread.quantile(high)[estimate.index].to_numpy(),
        }
    )
    return table.sort_values(["order", "share"], ascending=False, ignore_index=True)[columns]


def _shares(values: pd.Series, levels: pd.DataFrame, pairs: bool) -> pd.Series:
    """Divide the sum of squares of `values` among the columns of `levels`, their pairs where asked, and the rest.

    A term's sum of squares is what it takes off the residual sum of squares beside all terms that do not
    contain it (type II; Langsrud 2003). Least squares of minimum norm fit every design, those too
    with empty cells or without a degree of freedom to spare.
    """
    factors = [str(factor) for factor in levels]
    terms: list[tuple[str, ...]] = [(factor,) for factor in factors]
    terms += list(itertools.combinations(factors, 2)) if pairs else []
    dummies = {factor: pd.get_dummies(levels[factor], drop_first=True).to_numpy(dtype=float) for factor in factors}
    columns = {term: _products([dummies[factor] for factor in term]) for term in terms}
    centred = (values - values.mean()).to_numpy()

    def residual(model: Sequence[tuple[str, ...]]) -> float:
        design = np.hstack([np.ones((len(centred), 1)), *(columns[term] for term in model)])
        fit: np.ndarray = design @ np.linalg.lstsq(design, centred, rcond=None)[0]
        return float(((centred - fit) ** 2).sum())

    squares = {}
    for term in terms:
        beside = [other for other in terms if not set(term) <= set(other)]
        squares[" x ".join(term)] = max(residual(beside) - residual([*beside, term]), 0.0)
    squares[REMAINDER] = residual(terms)
    total = sum(squares.values())
    negligible = len(centred) * (1e-12 * max(values.abs().max(), 1e-12)) ** 2  # rounding errors are no variance
    return pd.Series(squares) / total if total > negligible else pd.Series(squares) * 0.0


def _products(blocks: list[np.ndarray]) -> np.ndarray:
    """Return every product of a column of each block, (rows, product of the blocks' columns)."""
    result = blocks[0]
    for block in blocks[1:]:
        result = (result[:, :, None] * block[:, None, :]).reshape(len(result), -1)
    return result


def paired_differences(
    trials: pd.DataFrame, levels: dict[str, tuple[str, ...]], value: str = "test_accuracy"
) -> pd.DataFrame:
    """Compare each level with its factor's first, everything else equal.

    A pair is two final runs of one seed that agree in every other factor, each at its own tuned rate.
    A seed's estimate is the mean over its pairs; see `trainatlas.analysis.intervals`.

    Parameters
    ----------
    levels
        The study's levels by factor, the reference first.

    Returns
    -------
    pandas.DataFrame
        Columns as in DIFFERENCE_COLUMNS.
    """
    rows = []
    for factor, (reference, *others) in levels.items():
        rest = [other for other in FACTORS if other != factor]
        wide = trials.pivot_table(index=["seed", *rest], columns=factor, values=value, aggfunc="mean", observed=True)
        for level in others:
            if level not in wide or reference not in wide:
                continue
            pairs = (wide[level] - wide[reference]).dropna()
            if pairs.empty:
                continue
            interval = over_seeds(pairs.groupby(level="seed").mean().to_numpy())
            better = float((pairs > 0).mean() + (pairs == 0).mean() / 2)
            rows.append((factor, level, reference, *interval, better, len(pairs)))
    return pd.DataFrame(rows, columns=[column.name for column in DIFFERENCE_COLUMNS])


def interaction_means(
    trials: pd.DataFrame, levels: dict[str, tuple[str, ...]], value: str = "test_accuracy"
) -> pd.DataFrame:
    """Return the mean of `value` for each pair of levels of each two factors, with intervals."""
    rows = []
    for a, b in itertools.combinations(levels, 2):
        cells = dict(list(trials.groupby([a, b], observed=True)))
        for pair in itertools.product(levels[a], levels[b]):
            if pair in cells:
                runs = cells[pair]
                interval = over_seeds(runs.groupby("seed")[value].mean().to_numpy())
                rows.append((a, pair[0], b, pair[1], *interval, len(runs)))
    return pd.DataFrame(rows, columns=[column.name for column in INTERACTION_COLUMNS])
