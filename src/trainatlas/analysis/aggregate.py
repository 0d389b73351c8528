"""Gathering: the tables of all packs become the study's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from trainatlas.analysis.provenance import provenance
from trainatlas.analysis.selection import planned_trials, with_places
from trainatlas.analysis.tables import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    TRIAL_COLUMNS,
    read_packs,
    trial_columns,
    write_table,
)
from trainatlas.study.checksums import refuse_damaged
from trainatlas.study.config import Study, Target
from trainatlas.study.storage import write_json
from trainatlas.train.records import SPLITS


def aggregate(study: Study, results: Path) -> None:
    """Gather a study's tables under `results`: exactly the trials that are planned now.

    Rows are sorted, so that the tables do not depend on how trials were packed.
    """
    plan = planned_trials(results, ("first", "final"))
    packs = sorted(set(plan["pack"]))
    refuse_damaged(results, packs)
    trials = with_places(read_packs(results, packs, "trials", TRIAL_COLUMNS), plan, results)
    curves = _of(trials, read_packs(results, packs, "curves", CURVE_COLUMNS))
    layers = _of(trials, read_packs(results, packs, "layers", LAYER_COLUMNS))
    histograms = _of(trials, read_packs(results, packs, "histograms", HISTOGRAM_COLUMNS))
    split = curves["split"].map({name: position for position, name in enumerate(SPLITS)})
    curves = (
        curves.assign(order=split).sort_values(["trial_id", "step", "order"], ignore_index=True).drop(columns="order")
    )
    layers = layers.sort_values(["trial_id", "step", "depth"], ignore_index=True)
    histograms = histograms.sort_values(["trial_id", "step", "depth", "quantity", "low"], ignore_index=True)
    for target in study.targets:
        trials[target.column] = steps_to_target(trials, curves, target)
    columns = trial_columns(study)
    write_table(curves, results / "curves.csv", CURVE_COLUMNS)
    write_table(layers, results / "layers.csv", LAYER_COLUMNS)
    write_table(histograms, results / "histograms.csv", HISTOGRAM_COLUMNS)
    times = read_packs(results, packs, "pack", PACK_COLUMNS)
    write_table(times, results / "packs.csv", PACK_COLUMNS)
    write_json(results / "provenance.json", provenance(study, results, times))
    write_table(trials[[column.name for column in columns]], results / "trials.csv", columns)


def _of(trials: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["trial_id"].isin(trials["trial_id"])]


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
