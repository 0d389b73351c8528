"""How rates were drawn and bounded: on a log or a linear scale, and what a best rate at a range's end warns of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import RANGE_EDGE_COLUMNS, RATE_LAW_COLUMNS
from trainatlas.analysis.importance import parameter_columns
from trainatlas.analysis.intervals import wilson
from trainatlas.analysis.search import BAND, BUDGETS, ENDS, RESAMPLES, pools, quantiles_of_best, search_accuracy
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

FEW_DRAWS = 8.0
"""With fewer draws in effect, nothing is said of the other law of rates."""


def rate_laws(draws: pd.DataFrame, chance: float, seed: int = 0) -> pd.DataFrame:
    """Compare drawing rates evenly on a log scale with drawing them evenly on a linear one, over the same ranges.

    The random sample's rates are log-uniform; weighed in proportion to themselves they stand for uniform ones (importance
    sampling). The weights of an optimizer's draws sum to their number, so optimizers keep their share. The best of k is
    that of k draws with replacement from the weighed draws of a seed, F^k, for both laws; both use the same draws, so
    their difference is paired, with a percentile interval over draws with replacement (Efron 1979).

    Returns
    -------
    pandas.DataFrame
        RATE_LAW_COLUMNS: one row a budget, up to the smallest number of draws in effect, (sum of weights)^2 / sum of
        squared weights (Kish 1965), among seeds. Where that is under FEW_DRAWS, one row of budget 0 tells it.
    """
    columns = list(names(RATE_LAW_COLUMNS))
    own = pools(draws, chance)
    if not own:
        return pd.DataFrame(columns=columns)
    weights = [_linear_weights(pool.runs) for pool in own]
    effective = min(float(weight.sum() ** 2 / (weight**2).sum()) for weight in weights)
    facts = {"effective_draws": effective, "draws": len(draws), "seeds": len(own)}
    if effective < FEW_DRAWS:
        return pd.DataFrame([dict.fromkeys(columns, np.nan) | {"budget": 0} | facts])[columns]
    budgets = [budget for budget in BUDGETS if budget <= effective]
    generator = np.random.default_rng(seed)
    drawn = np.zeros((RESAMPLES, len(budgets)))
    found = np.zeros((len(budgets), 8))
    for pool, weight in zip(own, weights, strict=True):
        accuracy, even = pool.accuracy, np.ones(len(weight))
        for row, budget in enumerate(budgets):
            for column, law in ((0, even), (4, weight)):
                chances = _chances_with_replacement(law, budget)
                found[row, column] += chances @ accuracy
                found[row, column + 1 : column + 4] += quantiles_of_best(accuracy, chances, BAND)
        for row in range(RESAMPLES):
            times = np.bincount(generator.integers(len(weight), size=len(weight)), minlength=len(weight))
            for column, budget in enumerate(budgets):
                gain = _chances_with_replacement(times, budget) - _chances_with_replacement(times * weight, budget)
                drawn[row, column] += gain @ accuracy
    found, drawn = found / len(own), drawn / len(own)
    low, high = np.quantile(drawn, ENDS, axis=0)
    stems = [f"{law}{end}" for law in ("log", "linear") for end in ("", "_decile_1", "_median", "_decile_9")]
    table = pd.DataFrame(found, columns=stems).assign(budget=budgets, low=low, high=high, **facts)
    return table.assign(difference=table["log"] - table["linear"])[columns]


def _linear_weights(runs: pd.DataFrame) -> np.ndarray:
    rates = runs["learning_rate"]
    weights: np.ndarray = (rates / rates.groupby(runs["optimizer"], observed=True).transform("mean")).to_numpy(float)
    return weights


def _chances_with_replacement(weights: np.ndarray, budget: int) -> np.ndarray:
    """Return how likely the best of `budget` draws is each run, of runs in ascending order drawn by weight."""
    below = np.cumsum(weights)
    return np.diff((below / below[-1]) ** budget, prepend=0.0)


def range_edges(tuning: pd.DataFrame, chance: float, seed: int = 0) -> pd.DataFrame:
    """Tell whether a best rate at the edge of its range is a warning: cut the range by a rate, then look at it after all.

    For each setting the first rate is taken away, then the last instead; accuracies are means over the tuning seeds.

    Returns
    -------
    pandas.DataFrame
        RANGE_EDGE_COLUMNS: a row for settings whose best of the remaining rates lies next to the cut, one for all
        others; the share that the cut rate would have improved with Wilson's interval, and the mean gain (0 where there
        is none) with a percentile interval over settings drawn with replacement. Empty with fewer than three rates.
    """
    columns = list(names(RANGE_EDGE_COLUMNS))
    cells = [*FACTORS, *parameter_columns(tuning)]
    runs = tuning.assign(
        accuracy=search_accuracy(tuning, chance), loss=tuning["final_validation_loss"].fillna(np.inf)
    ).groupby([*cells, "learning_rate"], observed=True, dropna=False)[["accuracy", "loss"]]
    means = runs.mean().reset_index()
    means["rank"] = means.sort_values(["accuracy", "loss"], ascending=[True, False]).assign(n=range(len(means)))["n"]
    by_cell = means.groupby(cells, observed=True, dropna=False)
    means["place"] = by_cell["learning_rate"].rank("dense").astype(int) - 1
    means["cell"] = by_cell.ngroup()
    rates = int(means["place"].max()) + 1 if len(means) else 0
    if rates < 3:
        return pd.DataFrame(columns=columns)
    ranks, accuracy = (
        means.pivot_table(index="cell", columns="place", values=v).dropna() for v in ("rank", "accuracy")
    )
    rank, value = ranks.to_numpy(), accuracy.to_numpy()
    next_to, gains = [], []
    for end in (1, -1):
        cut, rest = rank[:, ::end][:, 0], rank[:, ::end][:, 1:]
        best = rest.argmax(axis=1)
        gain = value[:, ::end][:, 0] - value[:, ::end][np.arange(len(value)), best + 1]
        next_to.append(best == 0)
        gains.append(np.where(cut > rest.max(axis=1), gain, np.nan))
    edge, gain = np.concatenate(next_to), np.concatenate(gains)
    generator = np.random.default_rng(seed)
    rows = []
    for where, chosen in (("edge", gain[edge]), ("inside", gain[~edge])):
        if not len(chosen):
            continue
        better, filled = ~np.isnan(chosen), np.nan_to_num(chosen)
        resampled = [filled[generator.integers(len(filled), size=len(filled))].mean() for _ in range(RESAMPLES)]
        rows.append(
            (where, len(chosen), int(better.sum()), *wilson(int(better.sum()), len(chosen)), filled.mean(),
             *np.quantile(resampled, ENDS))
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
