"""Gathering: the tables of all packs become the study's own."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from trainatlas.analysis.order import TrialOrder
from trainatlas.analysis.parameters import parted
from trainatlas.analysis.provenance import provenance
from trainatlas.analysis.selection import planned_trials, refuse_lost, selected, with_places
from trainatlas.analysis.shelves import SHELF_TRIALS, Shelves, shelf_folder
from trainatlas.analysis.tables import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    TRIAL_COLUMNS,
    read_packs,
    selected_columns,
    table_writer,
    trial_columns,
    write_table,
)
from trainatlas.study.checksums import refuse_damaged
from trainatlas.study.config import Study, Target
from trainatlas.study.planning import planned_rounds, selected_path
from trainatlas.study.storage import write_json
from trainatlas.train.records import Column, names


@dataclass(frozen=True)
class PackTable:
    """A table that every pack has a part of: its columns, and the columns that put a trial's rows in order."""

    columns: tuple[Column, ...]
    order: tuple[str, ...]


GATHERED = {
    "curves": PackTable(CURVE_COLUMNS, ("step", "split")),
    "layers": PackTable(LAYER_COLUMNS, ("step", "depth")),
    "histograms": PackTable(HISTOGRAM_COLUMNS, ("step", "depth", "quantity", "low")),
}
"""What is gathered beside trials.csv, by the name of its file."""


def aggregate(study: Study, results: Path, shelf_trials: int = SHELF_TRIALS) -> None:
    """Gather a study's tables under `results`: exactly the trials that are planned now.

    Rows are sorted, so that the tables do not depend on how trials were packed.

    Parameters
    ----------
    shelf_trials
        How many trials' rows are held in memory at a time.
    """
    plan = planned_trials(results, planned_rounds(results) or [1])
    packs = sorted(set(plan["pack"]))
    refuse_damaged(results, packs)
    order = TrialOrder(plan["trial_id"])
    columns = trial_columns(study)
    with shelf_folder(results / ".aggregate") as folder, contextlib.ExitStack() as stack:
        rows = Shelves(order, folder / "trials", shelf_trials)
        rows.fill(read_packs(results, packs, "trials", TRIAL_COLUMNS))
        refuse_lost(plan.loc[~rows.found[order.positions(plan["trial_id"])], "trial_id"], results)
        tables = {name: Shelves(order, folder / name, shelf_trials) for name in GATHERED}
        for name, table in GATHERED.items():
            tables[name].fill(read_packs(results, packs, name, table.columns))
        times = pd.concat(read_packs(results, packs, "pack", PACK_COLUMNS), ignore_index=True)
        # Entered first, trials.csv takes its name last: where it stands, all the others do.
        write_trials = stack.enter_context(table_writer(results / "trials.csv", columns))
        write_table(times, results / "packs.csv", PACK_COLUMNS)
        write_table(selected(study, results), selected_path(results), selected_columns(study))
        write_json(results / "provenance.json", provenance(study, results, times))
        writers = {
            name: stack.enter_context(table_writer(results / f"{name}.csv", table.columns))
            for name, table in GATHERED.items()
        }
        for shelf in range(rows.number):
            trials = parted(with_places(rows.take(shelf), plan[rows.span(shelf)]), study)
            parts = {name: tables[name].take(shelf, table.order) for name, table in GATHERED.items()}
            for name, part in parts.items():
                writers[name](part)
            for target in study.targets:
                trials[target.column] = steps_to_target(trials, parts["curves"], target)
            write_trials(trials[list(names(columns))])


def steps_to_target(trials: pd.DataFrame, curves: pd.DataFrame, target: Target) -> pd.Series:
    """Return the step of the first whole-part evaluation that meets `target`, for each trial.

    Returns
    -------
    pandas.Series
        Aligned with `trials`; infinite where the target was never met, missing where the metric was
        measured at the ends of training only (light probes) and so says nothing of when.
    """
    split = "train" if target.metric == "train_error" else "validation"
    rows = curves[curves["split"] == split]
    met = rows["accuracy"] >= (1 - target.value if split == "train" else target.value) - 1e-9
    first = rows[met].groupby("trial_id")["step"].min()
    steps = trials["trial_id"].map(first).astype("float64").fillna(np.inf)
    readings = trials["trial_id"].map(rows.groupby("trial_id").size()).fillna(0)
    watched = (readings >= 3) | (trials["epochs_run"] <= 1) | (trials["status"] != "ok")
    return steps.where(watched)
