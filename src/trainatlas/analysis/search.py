"""Searching for a good setting: what is found for a budget, by grids and at random.

No search is run anew: searches are simulated on the runs of a study. What a random search of k runs finds follows exactly
from order statistics; grids are drawn as products of some of the levels. A search sees the validation accuracy of one
seed; what the setting it found does on test data is told beside it. A run that was lost counts as no better than
chance, and a tie goes to the smaller validation loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from trainatlas.analysis.columns import SEARCH_COLUMNS, SEARCH_DIFFERENCE_COLUMNS
from trainatlas.analysis.importance import parameter_columns
from trainatlas.analysis.intervals import CONFIDENCE, between_groups, over_seeds
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

BUDGETS = (1, 2, 4, 8, 16, 32, 64)
"""Runs that a search may train."""

SUBGRIDS = 4_000
"""Grids drawn for each budget."""
FEW_SUBGRIDS = 50
"""With fewer grids that lack no run, nothing is said of that budget."""
RESAMPLES = 200
"""Of draws, for an interval by their percentiles."""

ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
"""The quantiles between which a confidence interval lies."""
BAND = (0.1, 0.5, 0.9)
"""The quantiles that tell how what searches find is spread."""


def search_accuracy(trials: pd.DataFrame, chance: float) -> pd.Series:
    """Return the validation accuracy that a search sees of each trial, 0 to 1.

    A trial that diverged or failed counts with what it ended at, but with no more than `chance`.
    """
    accuracy = trials["final_validation_accuracy"].fillna(0.0)
    return accuracy.where(trials["status"].isin(["ok", "stopped_early"]), accuracy.clip(upper=chance))


@dataclass(frozen=True)
class Pool:
    """The runs of one seed that a search may find, the worst first.

    Attributes
    ----------
    seed
        The seed that all runs share.
    runs
        The trials, with `accuracy`: what the search sees.
    """

    seed: int
    runs: pd.DataFrame

    @property
    def accuracy(self) -> np.ndarray:
        """What the search sees, ascending, shape (runs,)."""
        return self.runs["accuracy"].to_numpy(dtype=float)

    @property
    def test(self) -> np.ndarray:
        """The test accuracy of the same runs."""
        return self.runs["test_accuracy"].fillna(0.0).to_numpy(dtype=float)


def pools(trials: pd.DataFrame, chance: float) -> list[Pool]:
    """Return the pools of a stage's trials, one for each seed and sample."""
    runs = trials.assign(
        accuracy=search_accuracy(trials, chance), loss=trials["final_validation_loss"].fillna(np.inf).mul(-1)
    ).sort_values(["accuracy", "loss", "trial_id"])
    return [Pool(int(str(seed)), own) for (seed, _), own in runs.groupby(["seed", "sample"], sort=True, observed=True)]


def chances_of_best(runs: np.ndarray | int, budget: int) -> np.ndarray:
    """Return for each place in ascending order how likely the best of `budget` runs, drawn without replacement, is it.

    P(best is not above place i) = C(i, k) / C(n, k), i counted from 1 (order statistics of a finite population; David and
    Nagaraja 2003, "Order statistics", section 3.7). What follows for independent draws is without bias for a search of k draws
    that are yet to be made (a U-statistic; Hoeffding 1948).

    Parameters
    ----------
    runs
        How many runs there are; or how often each of them counts, shape (runs,), for a pool drawn with replacement.
    budget
        At least 1; where there are no more runs than that, the best of all is certain.
    """
    below = np.arange(1, runs + 1) if isinstance(runs, int) else np.cumsum(runs)
    total = int(below[-1])
    table = _log_choices(total, min(budget, total))
    return np.diff(np.exp(table[below] - table[total]), prepend=0.0)


def _log_choices(total: int, budget: int) -> np.ndarray:
    """Return log C(i, budget) for i = 0 to total, minus infinity below the budget."""
    i = np.arange(budget, total + 1, dtype=float)
    logs = special.gammaln(i + 1) - special.gammaln(i - budget + 1)
    return np.concatenate([np.full(budget, -np.inf), logs])


def quantiles_of_best(accuracy: np.ndarray, chances: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the smallest accuracies, ascending in `accuracy`, that the best does not exceed with each probability."""
    places = np.searchsorted(np.cumsum(chances), np.asarray(shares) - 1e-12)
    result: np.ndarray = accuracy[np.minimum(places, len(accuracy) - 1)]
    return result


def random_search(own: Sequence[Pool], budgets: Sequence[int] = BUDGETS, seed: int = 0) -> pd.DataFrame:
    """Return what a random search finds for each budget, mean over pools; budgets above the smallest pool are left out.

    Returns
    -------
    pandas.DataFrame
        One row a budget: budget, accuracy (expected), low and high (the 95 % interval: percentiles over pools drawn anew
        with replacement, Efron 1979), decile_1, median and decile_9 of searches, test_accuracy (expected, of the
        run found), searches and runs.
    """
    within = [budget for budget in budgets if own and budget <= min(len(pool.runs) for pool in own)]
    found = np.zeros((len(within), 5))
    for pool in own:
        for row, budget in enumerate(within):
            chances = chances_of_best(len(pool.runs), budget)
            band = quantiles_of_best(pool.accuracy, chances, BAND)
            found[row] += [chances @ pool.accuracy, *band, chances @ pool.test]
    generator = np.random.default_rng(seed)
    drawn = np.zeros((RESAMPLES, len(within)))
    for pool in own if within else ():
        count = len(pool.runs)
        values, times = np.unique(pool.accuracy, return_counts=True)  # runs alike need not be told apart
        below = generator.multinomial(count, times / count, size=RESAMPLES).cumsum(axis=1)
        for column, budget in enumerate(within):
            logs = _log_choices(count, budget)
            drawn[:, column] += np.diff(np.exp(logs[below] - logs[-1]), prepend=0.0) @ values
    found, drawn = found / max(len(own), 1), drawn / max(len(own), 1)
    table = pd.DataFrame(found, columns=["accuracy", "decile_1", "median", "decile_9", "test_accuracy"])
    low, high = np.quantile(drawn, ENDS, axis=0)
    runs = sum(len(pool.runs) for pool in own)
    return table.assign(budget=within, low=low, high=high, searches=np.nan, runs=runs)


@dataclass(frozen=True)
class _Grids:
    """What grids drawn from one pool found.

    Attributes
    ----------
    budget
        Runs that each of the grids has.
    accuracy, test
        Of the run that each grid found, shape (grids,).
    """

    seed: int
    budget: int
    accuracy: np.ndarray
    test: np.ndarray


def grid_axes(runs: pd.DataFrame, with_rates: bool) -> list[np.ndarray]:
    """Return where each run stands on every axis of its grid, counted from 0, for axes with more than one value.

    The axes are factors, parameters, and with `with_rates` the learning rate: its rank among its optimizer's.
    """
    columns = [runs[name] for name in (*FACTORS, *parameter_columns(runs))]
    axes = [pd.factorize(column, sort=True)[0].clip(min=0) for column in columns]
    if with_rates:
        axes.append(runs.groupby("optimizer", observed=True)["learning_rate"].rank("dense").to_numpy(dtype=int) - 1)
    return [axis for axis in axes if axis.max(initial=0) > 0]


def grid_shapes(sizes: Sequence[int], budget: int) -> np.ndarray:
    """Return every shape of a grid, at most `sizes`, of the largest number of runs that is within `budget`.

    Returns
    -------
    numpy.ndarray
        Levels on each axis, shape (shapes, axes).
    """
    shapes: list[tuple[int, tuple[int, ...]]] = [(1, ())]
    for size in sizes:
        shapes = [
            (product * levels, (*shape, levels))
            for product, shape in shapes
            for levels in range(1, min(size, budget // product) + 1)
        ]
    most = max(product for product, _ in shapes)
    return np.array([shape for product, shape in shapes if product == most])


def _grid_searches(pool: Pool, with_rates: bool, seed: int) -> Iterator[_Grids]:
    """Draw grids from a pool: for each budget any of the shapes, then any levels, all equally likely."""
    axes = grid_axes(pool.runs, with_rates)
    sizes = [int(axis.max()) + 1 for axis in axes]
    if not axes or np.prod(sizes, dtype=float) > 4 * len(pool.runs):
        return  # these runs are no grid
    places = np.full(int(np.prod(sizes)), -1)
    places[np.ravel_multi_index(axes, sizes)] = np.arange(len(pool.runs))  # the better run of two takes the place
    generator = np.random.default_rng(seed)
    accuracy, test, done = pool.accuracy, pool.test, set[int]()
    for budget in BUDGETS:
        shapes = grid_shapes(sizes, budget)
        runs = int(shapes[0].prod())
        if runs in done or runs > len(pool.runs) / 2:  # a search of nearly all runs says nothing of searching
            continue
        done.add(runs)
        shape = shapes[generator.integers(len(shapes), size=SUBGRIDS)]
        point = np.arange(runs)[None, :]
        flat, stride = np.zeros((SUBGRIDS, runs), dtype=np.int64), np.ones((SUBGRIDS, 1), dtype=np.int64)
        for axis, size in enumerate(sizes):
            chosen = generator.random((SUBGRIDS, size)).argsort(axis=1)
            digit = point // stride % shape[:, [axis]]
            flat = flat * size + np.take_along_axis(chosen, digit, axis=1)
            stride *= shape[:, [axis]]
        found = places[flat]
        best = found.max(axis=1)[(found >= 0).all(axis=1)]  # a grid with an excluded cell has a smaller budget
        if len(best) >= FEW_SUBGRIDS:
            yield _Grids(pool.seed, runs, accuracy[best], test[best])


def search_tables(trials: pd.DataFrame, chance: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare searches by grid and at random, at the same number of trained runs.

    Three times: both on the tuning runs of a seed, where every run is one setting at one rate; both on its final runs, where
    every setting comes with its tuned rate and costs the runs that tuned it as well; and the grid on the tuning runs
    against the random sample, whose rates lie between those of the grid but whose seeds are others.

    Parameters
    ----------
    trials
        All trials, with `stage`, `sample` and `seed`.
    chance
        Accuracy of a guess, 0 to 1.

    Returns
    -------
    tuple
        Tables with SEARCH_COLUMNS and SEARCH_DIFFERENCE_COLUMNS. On the same runs, intervals of differences are Student's t
        over seeds of per-seed differences; else of two groups of seeds with the same spread (see `between_groups`).
    """
    staged = {stage: pools(trials[trials["stage"] == stage], chance) for stage in ("tuning", "final", "random")}
    cost = {"tuning": 1, "final": _cost_of_a_cell(trials), "random": 1}
    curves, differences = [], []
    grids = {stage: _by_budget(staged[stage], stage == "tuning", seed) for stage in ("tuning", "final")}
    for stage, own in staged.items():
        table = random_search(own, seed=seed)
        curves.append(table.assign(of=stage, search="random", budget=table["budget"] * cost[stage]))
    for stage, by_budget in grids.items():
        rows = [_grid_row(drawn, cost[stage], sum(len(pool.runs) for pool in staged[stage])) for drawn in by_budget]
        curves.append(pd.DataFrame(rows).assign(of=stage, search="grid"))
        by_seed = {pool.seed: pool for pool in staged[stage]}
        for drawn in by_budget:
            gains, tests, better = np.array([_compared(by_seed[grid.seed], grid) for grid in drawn]).T
            differences.append(
                (stage, drawn[0].budget * cost[stage], *over_seeds(gains), better.mean(), tests.mean(), 0)
            )
    smallest = min((len(pool.runs) for pool in staged["random"]), default=0)
    for drawn in grids["tuning"]:
        budget = drawn[0].budget
        if budget > smallest:
            continue
        pairs = np.array([_compared(pool, grid) for pool in staged["random"] for grid in drawn])
        chances = [(pool, chances_of_best(len(pool.runs), budget)) for pool in staged["random"]]
        interval = between_groups([c @ p.accuracy for p, c in chances], [grid.accuracy.mean() for grid in drawn])
        differences.append(("random", budget, *interval, pairs[:, 2].mean(), pairs[:, 1].mean(), 1))
    columns = ["of", "budget", "difference", "low", "high", "share_better", "test_difference", "other_seeds"]
    compared = pd.DataFrame(differences, columns=columns)
    counts = {stage: len(own) for stage, own in staged.items()}
    compared["seeds"] = [counts[of] for of in compared["of"]]
    wide = pd.concat([curve for curve in curves if len(curve)] or [pd.DataFrame(columns=list(names(SEARCH_COLUMNS)))])
    wide["seeds"] = [counts[of] for of in wide["of"]]
    return (
        wide[list(names(SEARCH_COLUMNS))].reset_index(drop=True),
        compared[list(names(SEARCH_DIFFERENCE_COLUMNS))],
    )


def _cost_of_a_cell(trials: pd.DataFrame) -> int:
    """Return how many runs a setting with a tuned rate takes: those that tuned it and itself."""
    tuning = trials[trials["stage"] == "tuning"]
    cells = tuning.groupby([*FACTORS], observed=True).size()
    return 1 + (round(cells.mean()) if len(cells) else 0)


def _by_budget(own: Sequence[Pool], with_rates: bool, seed: int) -> list[list[_Grids]]:
    """Return what the grids of every pool found, a list for each budget at which all pools have grids."""
    found: dict[int, list[_Grids]] = {}
    for number, pool in enumerate(own):
        for grids in _grid_searches(pool, with_rates, seed + number):
            found.setdefault(grids.budget, []).append(grids)
    return [found[budget] for budget in sorted(found) if len(found[budget]) == len(own)]


def _grid_row(drawn: Sequence[_Grids], cost: int, runs: int) -> dict[str, float]:
    quantiles = np.mean([np.quantile(grid.accuracy, BAND, method="inverted_cdf") for grid in drawn], axis=0)
    over = over_seeds([grid.accuracy.mean() for grid in drawn])
    return {
        "budget": drawn[0].budget * cost,
        "accuracy": over.mean, "low": over.low, "high": over.high,
        "decile_1": quantiles[0], "median": quantiles[1], "decile_9": quantiles[2],
        "test_accuracy": float(np.mean([grid.test.mean() for grid in drawn])),
        "searches": sum(len(grid.accuracy) for grid in drawn), "runs": runs,
    }  # fmt: skip


def _compared(pool: Pool, grids: _Grids) -> tuple[float, float, float]:
    """Return by how much random search beats grids of the same budget, on validation and test data, and how often."""
    chances = chances_of_best(len(pool.runs), grids.budget)
    below = np.concatenate([[0.0], np.cumsum(chances)])
    accuracy = pool.accuracy
    worse, not_better = (below[np.searchsorted(accuracy, grids.accuracy, side=side)] for side in ("left", "right"))
    better = 1 - (worse + not_better).mean() / 2
    return chances @ accuracy - grids.accuracy.mean(), chances @ pool.test - grids.test.mean(), float(better)
