"""Which factors matter, by how much, and which levels differ: from the grid's final runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import linalg, sparse

from trainatlas.analysis.columns import DIFFERENCE_COLUMNS, EFFECT_COLUMNS, INTERACTION_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE, over_seeds, over_seeds_of_each
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
    times_drawn = (
        np.bincount(generator.integers(len(draws), size=len(draws)), minlength=len(draws)) for _ in range(resamples)
    )
    spread = pd.DataFrame([_shares(draws["test_accuracy"], levels, pairs=False, weights=w) for w in times_drawn])
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


def _shares(values: pd.Series, levels: pd.DataFrame, pairs: bool, weights: np.ndarray | None = None) -> pd.Series:
    """Divide the sum of squares of `values` among the columns of `levels`, their pairs where asked, and the rest.

    A term's sum of squares is what it takes off the residual sum of squares beside all terms that do not
    contain it (type II; Langsrud 2003). Every design can be fitted, those too with empty cells or without a
    degree of freedom to spare.

    Parameters
    ----------
    weights
        How often each row counts; once where not given.
    """
    weights = np.ones(len(values)) if weights is None else weights
    y = values.to_numpy(dtype=float)
    y = y - np.average(y, weights=weights)
    codes: dict[tuple[str, ...], np.ndarray] = {(str(factor),): _codes(levels[factor]) for factor in levels}
    if pairs:
        codes |= {a + b: _joined(codes[a], codes[b]) for a, b in itertools.combinations(list(codes), 2)}
    terms = list(codes)
    explained = _Explained(y, weights, [np.zeros(len(y), dtype=int), *codes.values()])

    def by(model: Iterable[tuple[str, ...]]) -> float:
        return explained.by((0, *(1 + terms.index(term) for term in model)))

    whole = by(terms)
    squares = {}
    for term in terms:
        beside = [other for other in terms if not set(term) <= set(other)]
        with_term = [other for other in terms if other in beside or other == term]
        squares[" x ".join(term)] = max((whole if with_term == terms else by(with_term)) - by(beside), 0.0)
    squares[REMAINDER] = max(float(weights @ y**2) - whole, 0.0)
    total = sum(squares.values())
    negligible = weights.sum() * (1e-12 * max(values.abs().max(), 1e-12)) ** 2  # rounding errors are no variance
    return pd.Series(squares) / total if total > negligible else pd.Series(squares) * 0.0


def _codes(column: pd.Series) -> np.ndarray:
    codes, _ = pd.factorize(column)
    return codes


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a code for each pair of codes that occurs, 0 for the first."""
    return np.unique(a * (b.max() + 1) + b, return_inverse=True)[1]


class _Explained:
    """Sums of squares that linear models in categories explain, from cross products alone.

    The products are formed once, from as many numbers as there are rows and terms, so the cost of a further model does not
    grow with the rows. A pivoted Cholesky decomposition leaves out columns that depend on others (Higham 1990).

    Parameters
    ----------
    values
        What is explained, shape (rows,).
    weights
        How often each row counts, shape (rows,).
    codes
        For each term the category of every row, counted from 0.
    """

    def __init__(self, values: np.ndarray, weights: np.ndarray, codes: Sequence[np.ndarray]) -> None:
        sizes = [int(column.max()) + 1 for column in codes]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        indices = np.stack(codes, axis=1) + starts[:-1]
        shape = (len(values), int(starts[-1]))
        pointers = np.arange(0, indices.size + 1, len(codes))
        design = sparse.csr_array((np.ones(indices.size), indices.ravel(), pointers), shape=shape)
        weighted = design.T * weights
        self._products: np.ndarray = (weighted @ design).toarray()
        self._targets: np.ndarray = weighted @ values
        self._columns = [np.arange(low, high) for low, high in itertools.pairwise(starts)]

    def by(self, terms: Sequence[int]) -> float:
        """Return the sum of squares that the model of these terms explains."""
        columns = np.concatenate([self._columns[term] for term in terms])
        products = self._products[np.ix_(columns, columns)]
        factor, order, rank, _ = linalg.lapack.dpstrf(products, tol=1e-9 * products.diagonal().max(), lower=1)
        targets = self._targets[columns[order[:rank] - 1]]
        solved = linalg.solve_triangular(factor[:rank, :rank], targets, lower=True, check_finite=False)
        return float(solved @ solved)


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
    tables = []
    for a, b in itertools.combinations(levels, 2):
        groups = trials.groupby([a, b, "seed"], observed=True)[value].agg(["mean", "size"]).reset_index()
        by_pair = groups.groupby([a, b], observed=True)
        table = over_seeds_of_each(by_pair["mean"]).assign(trials=by_pair["size"].sum())
        present = [pair for pair in itertools.product(levels[a], levels[b]) if pair in table.index]
        table = table.loc[present].rename_axis(index={a: "level_a", b: "level_b"}).reset_index()
        tables.append(table.assign(factor_a=a, factor_b=b))
    columns = [column.name for column in INTERACTION_COLUMNS]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
