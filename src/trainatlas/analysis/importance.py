"""Which parameters of a random sample matter, alone and in pairs: functional analysis of variance over a forest.

A random forest learns validation accuracy from the parameters; each of its trees is constant on boxes, so the variance
of what it says can be divided among parameters and pairs exactly, by integrating boxes (Hutter, Hoos and
Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance", sections 3.2 and 3.3).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from trainatlas.analysis.columns import IMPORTANCE_COLUMNS
from trainatlas.analysis.effects import MINIMUM_DRAWS, REMAINDER
from trainatlas.analysis.intervals import CONFIDENCE
from trainatlas.study.lazy import LazyModule
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

if TYPE_CHECKING:
    from sklearn import ensemble
else:
    ensemble = LazyModule("sklearn.ensemble")

FOREST_TRIALS = 2_000
"""Draws that the forest learns from, at most."""
TREES, RESAMPLES, TREES_PER_RESAMPLE = 64, 60, 6
LEAVES, LEAF_TRIALS = 128, 3
"""Leaves a tree has at most, and trials a leaf has at least."""

Law = Callable[[np.ndarray], np.ndarray]
"""A parameter's cumulative distribution: the probability of at most each of the values given, at infinity too."""


def empirical_law(values: np.ndarray) -> Law:
    """Return the cumulative distribution of `values`, shape (trials,)."""
    ordered = np.sort(values)
    return lambda at: np.searchsorted(ordered, at, side="right") / len(ordered)


def tree_shares(tree: Any, laws: Sequence[Law]) -> np.ndarray:
    """Divide the variance of one regression tree among its features and their pairs, without sampling.

    The variance of a marginal over features U is that of a_U(x) = sum over leaves of value x probability of the leaf's
    box in all features but U x whether x lies in the box; what its smaller subsets hold is taken off (equations 4
    to 6 of Hutter, Hoos and Leyton-Brown 2014, for features independent of each other with the laws given).

    Parameters
    ----------
    tree
        A fitted scikit-learn tree (`DecisionTreeRegressor.tree_`) of one output.
    laws
        The distribution of each feature.

    Returns
    -------
    numpy.ndarray
        Shares of the tree's variance, shape (features, features): alone on the diagonal, pairs above it, 0 below;
        all 0 for a tree that is constant.
    """
    count = len(laws)
    shares = np.zeros((count, count))
    lower, upper, leaves = _boxes(tree)
    values = tree.value[leaves, 0, 0]
    chances = np.stack([law(upper[:, i]) - law(lower[:, i]) for i, law in enumerate(laws)], axis=1)
    whole = chances.prod(axis=1)
    mean = whole @ values
    values = values - mean
    total = whole @ values**2
    if total <= 1e-12 * max(mean**2, 1e-12):
        return shares
    cells = {i: _cells(lower[:, i], upper[:, i], law) for i, law in enumerate(laws) if np.isfinite(upper[:, i]).any()}
    for i, (inside, weights) in cells.items():
        rest = np.delete(chances, i, axis=1).prod(axis=1)
        shares[i, i] = weights @ ((values * rest) @ inside) ** 2
    for i, j in itertools.combinations(cells, 2):
        (inside_i, weights_i), (inside_j, weights_j) = cells[i], cells[j]
        rest = np.delete(chances, (i, j), axis=1).prod(axis=1)
        marginal = (inside_i * (values * rest)[:, None]).T @ inside_j
        shares[i, j] = weights_i @ marginal**2 @ weights_j - shares[i, i] - shares[j, j]
    result: np.ndarray = np.maximum(shares, 0.0) / total
    return result


def _boxes(tree: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each leaf the bounds of its box, (leaves, features) twice, above and up to; and the leaves' nodes."""
    lower = np.full((tree.node_count, tree.n_features), -np.inf)
    upper = np.full((tree.node_count, tree.n_features), np.inf)
    left, right, feature, threshold = tree.children_left, tree.children_right, tree.feature, tree.threshold
    for node in np.flatnonzero(left >= 0):  # a node comes before its children
        for child in (left[node], right[node]):
            lower[child], upper[child] = lower[node], upper[node]
        upper[left[node], feature[node]] = threshold[node]
        lower[right[node], feature[node]] = threshold[node]
    leaves = np.flatnonzero(left < 0)
    return lower[leaves], upper[leaves], leaves


def _cells(lower: np.ndarray, upper: np.ndarray, law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells between a feature's thresholds each leaf covers, (leaves, cells), and the cells' probabilities."""
    edges = np.unique(np.concatenate([[-np.inf, np.inf], lower, upper]))
    starts, ends = np.searchsorted(edges, lower), np.searchsorted(edges, upper)
    cell = np.arange(len(edges) - 1)
    inside = (cell >= starts[:, None]) & (cell < ends[:, None])
    return inside.astype(float), np.diff(law(edges))


def parameter_columns(draws: pd.DataFrame) -> list[str]:
    """Return the columns of parameters beside the factors and the rate: `batch_size`, `optimizer.momentum` and the like."""
    owners = (*FACTORS, "network")
    dotted = [str(name) for name in draws if "." in str(name) and str(name).split(".")[0] in owners]
    return [name for name in ("batch_size", *dotted) if name in draws]


def encoded(parameters: pd.DataFrame) -> pd.DataFrame:
    """Return parameters as the forest takes them, those left out that never change.

    Levels become their number in alphabetical order: with a code of one column, boxes are products of sets of levels, so
    that marginals are exact. A missing number, of a parameter that another level does not have, becomes one value below
    all others, so that a tree can set it apart.
    """
    columns: dict[str, np.ndarray] = {}
    for name in parameters:
        column = parameters[name]
        if pd.api.types.is_numeric_dtype(column):
            numbers = column.to_numpy(dtype=float)
            low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
            columns[str(name)] = np.where(np.isnan(numbers), low - max(high - low, 1.0), numbers)
        else:
            columns[str(name)] = pd.factorize(column.astype("str"), sort=True)[0].astype(float)
    return pd.DataFrame({name: values for name, values in columns.items() if len(np.unique(values)) > 1})


def importance(parameters: pd.DataFrame, accuracy: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Divide the variance of accuracy, as a forest sees it, among parameters and pairs of parameters.

    The forest's shares are the means of its trees'. Intervals come from learning small forests anew on trials drawn
    with replacement: the estimate and 1.96 standard deviations of their shares to either side, within 0 and 1 (Efron
    1979). A small forest's own chance is in them, so they err on the wide side.

    Parameters
    ----------
    parameters
        One row a trial, one column a parameter: levels (text) or numbers; missing numbers are allowed. The first
        FOREST_TRIALS rows are used.
    accuracy
        Shape (trials,), 0 to 1.
    seed
        Of the forests and of the draws with replacement.

    Returns
    -------
    pandas.DataFrame
        IMPORTANCE_COLUMNS: single parameters first, then pairs, then the remainder, largest share first within each.
        Empty where there are fewer than MINIMUM_DRAWS trials, none of the parameters changes or the accuracy does not.
    """
    table = encoded(parameters.iloc[:FOREST_TRIALS])
    columns, trials = [str(name) for name in table], len(table)
    y = np.asarray(accuracy, dtype=float)[:FOREST_TRIALS]
    empty = pd.DataFrame(columns=list(names(IMPORTANCE_COLUMNS)))
    if trials < MINIMUM_DRAWS or not columns or np.ptp(y) == 0:
        return empty
    X = table.to_numpy(dtype="float32")  # trees compare in single precision, and so must the laws
    laws = [empirical_law(X[:, i]) for i in range(len(columns))]
    forest = _forest(len(columns), TREES, seed, oob_score=True).fit(X, y)
    estimate = _forest_shares(forest, laws)
    generator = np.random.default_rng(seed)
    replicates = []
    for number in range(RESAMPLES):
        drawn = generator.integers(trials, size=trials)
        small = _forest(len(columns), TREES_PER_RESAMPLE, seed + 1 + number).fit(X[drawn], y[drawn])
        replicates.append(_forest_shares(small, laws))
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.std(replicates, axis=0, ddof=1)
    rows = []
    for terms in (*((i,) for i in range(len(columns))), *itertools.combinations(range(len(columns)), 2)):
        place = (terms[0], terms[-1])
        ends = np.clip([estimate[place] - half[place], estimate[place] + half[place]], 0.0, 1.0)
        rows.append((" x ".join(columns[i] for i in terms), len(terms), estimate[place], *ends))
    rows.append((REMAINDER, 0, max(1 - estimate.sum(), 0.0), np.nan, np.nan))
    result = pd.DataFrame(rows, columns=["term", "order", "share", "low", "high"])
    result = result.assign(explained=max(forest.oob_score_, 0.0), trials=trials)
    rank = result["order"].map({1: 0, 2: 1, 0: 2})
    ordered = result.assign(rank=rank).sort_values(["rank", "share", "term"], ascending=[True, False, True])
    return ordered[list(names(IMPORTANCE_COLUMNS))].reset_index(drop=True)


def _forest(features: int, trees: int, seed: int, oob_score: bool = False) -> ensemble.RandomForestRegressor:
    """Return a forest; a split is chosen among about half of the features, or pairs that do nothing alone stay unseen."""
    return ensemble.RandomForestRegressor(
        n_estimators=trees,
        max_features=features // 2 + 1,
        min_samples_leaf=LEAF_TRIALS,
        max_leaf_nodes=LEAVES,
        oob_score=oob_score,
        random_state=seed,
    )


def _forest_shares(forest: ensemble.RandomForestRegressor, laws: Sequence[Law]) -> np.ndarray:
    result: np.ndarray = np.mean([tree_shares(tree.tree_, laws) for tree in forest.estimators_], axis=0)
    return result
