"""The choice of each arm's learning rate, on validation data alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trainatlas.analysis.tables import (
    PLAN_TABLE,
    SELECTED_COLUMNS,
    TRIAL_COLUMNS,
    read_packs,
    read_table,
    write_table,
)
from trainatlas.study.checksums import refuse_damaged
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.planning import Stage, plan_path, selected_path
from trainatlas.study.trial import FACTORS

_CHOSEN_BY = [
    "trial_id",
    *FACTORS,
    "learning_rate",
    "status",
    "final_validation_accuracy",
    "final_validation_loss",
]
"""The columns of `TRIAL_COLUMNS` that a choice of rates rests on."""


def planned_trials(results: Path, stages: tuple[Stage, ...]) -> pd.DataFrame:
    """Return the plans of `stages`, each trial once, by trial_id: columns as in PLAN_COLUMNS."""
    plans = [read_table(plan_path(results, stage), PLAN_TABLE, "trainatlas plan") for stage in stages]
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


def choose_rates(trials: pd.DataFrame) -> pd.DataFrame:
    """Choose the learning rate of every cell.

    The best mean final validation accuracy over the tuning seeds wins; ties go to the smaller mean
    validation loss, then to the smaller rate. A diverged run counts with the accuracy it ended at.

    Parameters
    ----------
    trials
        Tuning trials: their factors, `learning_rate`, `status`, final validation accuracy and loss, and `sample`.

    Returns
    -------
    pandas.DataFrame
        One row per sample and cell, columns as in `SELECTED_COLUMNS`.
    """
    keys = ["sample", *FACTORS]
    table = trials.assign(
        accuracy=trials["final_validation_accuracy"].fillna(0.0),
        loss=trials["final_validation_loss"].fillna(float("inf")),
        diverged=(trials["status"] != "ok").astype("int64"),
    )
    rates = table.groupby([*keys, "learning_rate"], as_index=False).agg(
        validation_accuracy=("accuracy", "mean"), loss=("loss", "mean"), diverged=("diverged", "max")
    )
    rates["validation_accuracy"] = rates["validation_accuracy"].round(9)  # a mean's last digits break no tie
    ranked = rates.sort_values(
        [*keys, "validation_accuracy", "loss", "learning_rate"],
        ascending=[True] * len(keys) + [False, True, True],
    )
    chosen = ranked.drop_duplicates(keys).drop(columns=["loss", "diverged"])
    ranges = rates.groupby(keys, as_index=False).agg(
        low=("learning_rate", "min"), high=("learning_rate", "max"), diverged_rates=("diverged", "sum")
    )
    result = chosen.merge(ranges, on=keys)
    ends = result["learning_rate"].eq(result["low"]) | result["learning_rate"].eq(result["high"])
    result["at_edge"] = (ends & result["low"].lt(result["high"])).astype("int64")
    return result[[column.name for column in SELECTED_COLUMNS]]


def select(study: Study, results: Path) -> list[tuple[str, dict[str, str], float]]:
    """Choose the rates of a study's grid samples, write selected.csv, and return them.

    Returns
    -------
    list
        (sample, levels by factor, rate) for every cell, as `trainatlas.study.sampling.final_stage` takes it.
    """
    plan = planned_trials(results, ("first",))
    tuning = plan[plan["stage"] == "tuning"]
    if tuning.empty:
        chosen = pd.DataFrame({column.name: [] for column in SELECTED_COLUMNS}).astype(
            {
                column.name: {"text": "str", "whole": "int64", "number": "float64"}[column.kind]
                for column in SELECTED_COLUMNS
            }
        )
    else:
        packs = sorted(set(tuning["pack"]))
        refuse_damaged(results, packs)
        trials = pd.concat(
            [pack[_CHOSEN_BY] for pack in read_packs(results, packs, "trials", TRIAL_COLUMNS)], ignore_index=True
        )
        refuse_lost(tuning.loc[~tuning["trial_id"].isin(trials["trial_id"]), "trial_id"], results)
        chosen = choose_rates(with_places(trials, tuning))
    write_table(chosen, selected_path(results), SELECTED_COLUMNS)
    rows = chosen.to_dict("records")
    return [(row["sample"], {factor: row[factor] for factor in FACTORS}, row["learning_rate"]) for row in rows]
