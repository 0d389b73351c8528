"""What the searches of a study found, round by round, at what cost, and what random draws would have found for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import REGION_COLUMNS, SEARCH_ROUND_COLUMNS
from trainatlas.analysis.intervals import over_seeds
from trainatlas.analysis.search import chances_of_best, pools, search_accuracy
from trainatlas.study.config import Study
from trainatlas.study.planning import planned_rounds, read_summary
from trainatlas.study.samples import GridSample, RandomSample
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names


def search_rounds(study: Study, trials: pd.DataFrame, chance: float) -> pd.DataFrame:
    """Summarise each search of a study, round by round.

    Parameters
    ----------
    trials
        All trials of the study.
    chance
        Accuracy of a guess, 0 to 1.

    Returns
    -------
    pandas.DataFrame
        SEARCH_ROUND_COLUMNS: a row for each round of each search. The best trial of a round is the best by the search's own
        metric; of the winners, on fresh seeds, all are summarised together.
    """
    rows: list[tuple[object, ...]] = []
    for sample in study.samples:
        if isinstance(sample, GridSample | RandomSample):
            continue
        spent, rung = 0, 0
        own = trials[trials["sample"] == sample.name].sort_values("trial_id")
        for (number, stage), runs in own.groupby(["round", "stage"], sort=True):
            epochs = int((runs["epochs_run"] - (rung if stage == "rung" else 0)).clip(lower=0).sum())
            rung = int(runs["epochs_run"].max()) if stage == "rung" else 0
            spent += epochs
            accuracy = search_accuracy(runs, chance)
            place = int(_merit(runs, sample.metric, chance).to_numpy().argmax())
            best = runs.iloc[place]
            test = over_seeds(runs.groupby("seed")["test_accuracy"].mean().fillna(0.0)) if stage == "winner" else None
            rows.append(
                (
                    sample.name,
                    sample.strategy,
                    number,
                    stage,
                    len(runs),
                    int((~runs["status"].isin(["ok", "stopped_early"])).sum()),
                    spent,
                    float(accuracy.mean() if stage == "winner" else accuracy.iloc[place]),
                    _random_for(trials, spent / study.epochs, chance),
                    test.mean if test else best["test_accuracy"],
                    test.low if test else np.nan,
                    test.high if test else np.nan,
                    best["trial_id"],
                    setting_text(study, best),
                )
            )
    return pd.DataFrame(rows, columns=list(names(SEARCH_ROUND_COLUMNS)))


def _merit(runs: pd.DataFrame, metric: str, chance: float) -> pd.Series:
    if metric == "validation_accuracy":
        return search_accuracy(runs, chance)
    sound = runs["status"].isin(["ok", "stopped_early"])
    if metric == "validation_loss":
        return (-runs["final_validation_loss"]).where(sound).fillna(-np.inf)
    return runs["best_validation_accuracy"].where(sound).fillna(0.0)


def _random_for(trials: pd.DataFrame, budget: float, chance: float) -> float:
    """Return the validation accuracy that is expected of the best of as many random draws as a budget pays for.

    Mean over the random sample's seeds; nan where there is no such sample, or too few draws of a seed.
    """
    own = pools(trials[trials["stage"] == "random"], chance)
    draws = round(budget)
    if not own or not draws or min(len(pool.runs) for pool in own) < draws:
        return float("nan")
    return float(np.mean([chances_of_best(len(p.runs), draws) @ p.runs["accuracy"].to_numpy() for p in own]))


def setting_text(study: Study, trial: pd.Series) -> str:
    """Return the levels of a trial in the factors that vary, its rate and its parameters, in one line."""
    parts = [str(trial[factor]) for factor in FACTORS if len(study.factors[factor]) > 1]
    parts.append(f"rate {trial['learning_rate']:.3g}")
    for name in study.parameters:
        if name in trial and not pd.isna(trial[name]):
            value = trial[name]
            parts.append(f"{name.rpartition('.')[2]} {value if isinstance(value, str) else format(value, '.3g')}")
    return ", ".join(parts)


def read_regions(results: Path) -> pd.DataFrame:
    """Return what searches found of their ranges, from the plans of all rounds: columns as in REGION_COLUMNS."""
    rows = [
        {**region, "round": number}
        for number in planned_rounds(results)
        for region in read_summary(results, number)["regions"]
    ]
    return pd.DataFrame(rows, columns=list(names(REGION_COLUMNS)))
