"""The choice of each arm's learning rate and tuned parameters, on validation data alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trainatlas.analysis.parameters import parted
from trainatlas.analysis.tables import (
    PLAN_TABLE,
    SELECTED_COLUMNS,
    TRIAL_COLUMNS,
    read_packs,
    read_table,
    selected_columns,
)
from trainatlas.study.checksums import refuse_damaged
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.parameters import BATCH_SIZE, Value
from trainatlas.study.planning import plan_path
from trainatlas.study.samples import GridSample, Metric
from trainatlas.study.sampling import RATE, Setting
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

_CHOSEN_BY = [
    "trial_id",
    *FACTORS,
    RATE,
    BATCH_SIZE,
    "status",
    "final_validation_accuracy",
    "best_validation_accuracy",
    "final_validation_loss",
]
"""The columns of `TRIAL_COLUMNS` that a choice of settings rests on."""


def planned_trials(results: Path, rounds: Sequence[int]) -> pd.DataFrame:
    """Return the plans of `rounds`, each trial once, by trial_id: columns as in PLAN_COLUMNS, and `round`."""
    plans = [
        read_table(plan_path(results, number), PLAN_TABLE, "trainatlas plan").assign(round=number) for number in rounds
    ]
    plan = pd.concat(plans, ignore_index=True).drop_duplicates("trial_id")
    return plan.sort_values("trial_id", ignore_index=True)


def with_places(trials: pd.DataFrame, plan: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that stand in the plan, each once, with its sample and stage, by trial_id."""
    joined = plan.drop(columns="pack").merge(trials.drop_duplicates("trial_id"), on="trial_id")
    return joined.sort_values("trial_id", ignore_index=True)


def refuse_lost(lost: pd.Series, results: Path) -> None:
    """Raise UserError where there are planned trials, `lost`, without results: trials in must equal trials out."""
    if len(lost):
        raise UserError(
            f"{results}: {len(lost)} planned trials have no results, such as {lost.iloc[0]}; train their packs"
        )


def choose(
    trials: pd.DataFrame, parameters: Sequence[str] = (), metric: Metric = "validation_accuracy"
) -> pd.DataFrame:
    """Choose the learning rate, and the values of the parameters that were tuned, of every cell.

    The best mean of the metric over the tuning seeds wins; ties go to the smaller mean validation loss, then to the
    smaller rate. A diverged run counts with the accuracy it ended at.

    Parameters
    ----------
    trials
        Tuning trials: their factors, `learning_rate`, `status`, validation accuracies and loss, and `sample`.
    parameters
        Names of the columns of the parameters that were tuned.

    Returns
    -------
    pandas.DataFrame
        One row per sample and cell, columns as in `trainatlas.analysis.tables.selected_columns`.
    """
    keys, tried = ["sample", *FACTORS], [RATE, *parameters]
    table = trials.assign(
        accuracy=trials["final_validation_accuracy"].fillna(0.0),
        best=trials["best_validation_accuracy"].fillna(0.0),
        loss=trials["final_validation_loss"].fillna(float("inf")),
        diverged=(trials["status"] != "ok").astype("int64"),
    )
    settings = table.groupby([*keys, *tried], as_index=False, dropna=False).agg(
        validation_accuracy=("accuracy", "mean"), best=("best", "mean"), loss=("loss", "mean")
    )
    settings[["validation_accuracy", "best"]] = settings[["validation_accuracy", "best"]].round(
        9
    )  # last digits break no tie
    merit = {"validation_accuracy": "validation_accuracy", "best_validation_accuracy": "best"}.get(metric)
    order = [merit, "loss"] if merit else ["loss", "validation_accuracy"]
    ascending = [False, True] if merit else [True, False]
    ranked = settings.sort_values(
        [*keys, *order, *tried], ascending=[True] * len(keys) + ascending + [True] * len(tried)
    )
    chosen = ranked.drop_duplicates(keys).drop(columns=["best", "loss"])
    rates = table.groupby([*keys, RATE], as_index=False).agg(diverged=("diverged", "max"))
    ranges = rates.groupby(keys, as_index=False).agg(
        low=(RATE, "min"), high=(RATE, "max"), diverged_rates=("diverged", "sum")
    )
    result = chosen.merge(ranges, on=keys)
    ends = result[RATE].eq(result["low"]) | result[RATE].eq(result["high"])
    result["at_edge"] = (ends & result["low"].lt(result["high"])).astype("int64")
    return result[[*names(SELECTED_COLUMNS), *parameters]]


def selected(study: Study, results: Path) -> pd.DataFrame:
    """Return the values chosen for each cell of a study's grid from its tuning runs: columns as in `selected_columns`."""
    columns = selected_columns(study)
    grid = next((sample for sample in study.samples if isinstance(sample, GridSample)), None)
    if grid is None:
        kinds = {"text": "str", "whole": "int64", "number": "float64"}
        return pd.DataFrame({c.name: [] for c in columns}).astype({c.name: kinds[c.kind] for c in columns})
    plan = planned_trials(results, [1])
    tuning = plan[plan["stage"] == "tuning"]
    packs = sorted(set(tuning["pack"]))
    refuse_damaged(results, packs)
    trials = pd.concat(read_packs(results, packs, "trials", TRIAL_COLUMNS, _CHOSEN_BY), ignore_index=True)
    found = trials["trial_id"].tolist()  # pandas goes through a column of texts ten times as slowly as through a list
    refuse_lost(tuning.loc[~tuning["trial_id"].isin(found), "trial_id"], results)
    return choose(parted(with_places(trials, tuning), study), _tuned(study), grid.metric)


def chosen_settings(study: Study, results: Path) -> list[Setting]:
    """Return the same as settings, as `trainatlas.study.rounds.plan_of_round` takes them."""
    tuned = _tuned(study)
    return [
        Setting(
            {factor: row[factor] for factor in FACTORS},
            {RATE: row[RATE]} | {name: _value(study, name, row[name]) for name in tuned if not pd.isna(row[name])},
        )
        for row in selected(study, results).to_dict("records")
    ]


def _tuned(study: Study) -> list[str]:
    return [name for name in names(selected_columns(study)) if name not in names(SELECTED_COLUMNS)]


def _value(study: Study, name: str, cell: Any) -> Value:
    """Return a parameter's value as the study has it: a whole number that a table holds as another is one again."""
    law = study.parameters[name]
    if law.choices is not None:
        return next(choice for choice in law.choices if choice == cell)
    return int(cell) if law.whole else float(cell)
