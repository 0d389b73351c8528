"""The analysis of a study: from its gathered tables to the tables that the report shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.analysis.comparisons import pairwise, tie_groups
from trainatlas.analysis.dead_units import dead_against_accuracy
from trainatlas.analysis.diagnosis import diagnoses, diagnosis_counts
from trainatlas.analysis.effects import (
    interaction_means,
    paired_differences,
    random_shares,
    variance_shares,
)
from trainatlas.analysis.importance import importance, parameter_columns
from trainatlas.analysis.layers import histogram_choice, layer_gains, layer_summaries
from trainatlas.analysis.order import TrialOrder
from trainatlas.analysis.performance_profiles import profiles
from trainatlas.analysis.ranks import ranks
from trainatlas.analysis.rates import range_edges, rate_laws
from trainatlas.analysis.robust import robust
from trainatlas.analysis.screening import Progress, abort_rule, screening
from trainatlas.analysis.search import search_tables
from trainatlas.analysis.search_rounds import read_regions, search_rounds
from trainatlas.analysis.stability import stability
from trainatlas.analysis.summaries import (
    cell_summaries,
    coverage,
    level_summaries,
    rate_sensitivity,
)
from trainatlas.analysis.survival import median_ratios, survival
from trainatlas.analysis.tables import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    read_table,
    scan_table,
    selected_columns,
    trial_columns,
    write_table,
)
from trainatlas.analysis.timing import read_timing, with_step_seconds
from trainatlas.analysis.training import (
    convergence,
    curve_summaries,
    steps_of_budget,
    unit_summaries,
)
from trainatlas.study.config import Study
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import Column, names


@dataclass(frozen=True)
class Gathered:
    """What the analysis needs of a study's gathered tables, checked.

    Attributes
    ----------
    trials
        Every trial.
    curves
        Losses of the final runs, on minibatches and on the validation part: trial_id, step, split and loss.
    layers
        Layers of the final runs: the columns that summaries read.
    histograms
        Histograms of the final runs before training.
    selected
        The rate chosen for each cell.
    epochs
        Validation accuracy after whole epochs, of tuning runs and random draws: trial_id, epoch and accuracy.
    rises
        By how much each trial's loss rose at most: trial_id and rise.
    regions
        What searches found of their ranges.
    timing
        Seconds of a step; without rows where steps have not been timed.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    layers: pd.DataFrame
    histograms: pd.DataFrame
    selected: pd.DataFrame
    epochs: pd.DataFrame
    rises: pd.DataFrame
    regions: pd.DataFrame
    timing: pd.DataFrame


_CURVES = ["step", "split", "loss"]
_LAYERS = [
    "step",
    "layer",
    "depth",
    "dead_fraction",
    "saturated_fraction",
    "activation_std",
    "gradient_norm",
    "backward_std",
]
_HISTOGRAMS = [name for name in names(HISTOGRAM_COLUMNS) if name != "trial_id"]


def read_gathered(study: Study, results: Path) -> Gathered:
    """Read what `trainatlas aggregate` and `trainatlas time` wrote; raises UserError naming file and column."""
    made_by = "trainatlas aggregate"
    trials = read_table(results / "trials.csv", trial_columns(study), made_by)
    final = TrialOrder(trials.loc[trials["stage"] == "final", "trial_id"])
    progress = Progress(trials)
    curves = progress.passing(scan_table(results / "curves.csv", CURVE_COLUMNS, made_by))
    layers = scan_table(results / "layers.csv", LAYER_COLUMNS, made_by)
    histograms = scan_table(results / "histograms.csv", HISTOGRAM_COLUMNS, made_by)
    return Gathered(
        trials,
        _of(final, (part[part["split"].isin(["train_batch", "validation"])] for part in curves), _CURVES),
        _of(final, layers, _LAYERS),
        _of(final, (part[part["step"] == 0] for part in histograms), _HISTOGRAMS),
        read_table(results / "selected.csv", selected_columns(study), made_by),
        progress.epochs,
        progress.rises,
        read_regions(results),
        read_timing(results),
    )


def _of(order: TrialOrder, parts: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Put the rows of the trials in `order` together, with `trial_id` and `columns`; texts as categories."""
    kept = []
    for part in parts:
        positions = order.positions(part["trial_id"])
        known = positions >= 0
        part = part.loc[known, columns].assign(trial_id=positions[known].astype("int32"))
        kept.append(part.astype({name: "category" for name in columns if part[name].dtype == "str"}))
    texts = [name for name in columns if kept[0][name].dtype == "category"]
    joined = {name: union_categoricals([part[name] for part in kept], sort_categories=True) for name in texts}
    table = pd.concat([part.drop(columns=texts) for part in kept], ignore_index=True)
    trial_ids = pd.Categorical.from_codes(table["trial_id"].to_numpy(), pd.Index(order.ids()))
    return table.assign(trial_id=trial_ids, **joined)


def analyse(study: Study, gathered: Gathered) -> dict[str, pd.DataFrame]:
    """Return every table of `ANALYSIS_TABLES`.

    A trial that failed has no accuracy; it is counted in the coverage and as wrong throughout.
    """
    accuracies = gathered.trials[["test_accuracy", "final_validation_accuracy"]].fillna(0.0)
    trials = gathered.trials.assign(**accuracies)
    levels = {factor: study.factors[factor] for factor in study.varied}
    final = trials[trials["stage"] == "final"].astype(dict.fromkeys(FACTORS, "category"))
    cells = cell_summaries(final, gathered.selected)
    draws = trials[trials["stage"] == "random"].sort_values("trial_id")
    tuning = trials[trials["stage"] == "tuning"]
    chance = 1 / study.facts.classes
    positions = _positions(study, draws)
    searches, search_differences = search_tables(gathered.trials, chance)
    timed = with_step_seconds(final, gathered.timing)
    budget = int(steps_of_budget(final, study.parts.train).max()) if len(final) else 0
    diagnosed = diagnoses(final.sort_values("trial_id"), gathered.curves)
    pairs = pairwise(final, levels)
    return {
        "effects": variance_shares(final),
        "random_effects": random_shares(draws, positions),
        "differences": paired_differences(final, levels),
        "pairwise": pairs,
        "tie_groups": tie_groups(pairs),
        "robust": robust(final, levels),
        "ranks": ranks(final, levels),
        "stability": stability(final, levels),
        "interactions": interaction_means(final, levels),
        "levels": level_summaries(final, cells, levels),
        "cells": cells,
        "rates": rate_sensitivity(tuning, gathered.selected, _beside("optimizer", study.varied)),
        "convergence": convergence(timed, study.targets, levels, study.parts.train),
        "curves": curve_summaries(final, gathered.curves, _best_trials(final, cells, levels), levels),
        "units": unit_summaries(final, gathered.layers),
        "dead_units": dead_against_accuracy(final),
        "layers": layer_summaries(final, gathered.layers),
        "layer_gains": layer_gains(final, gathered.layers),
        "histograms": histogram_choice(final, gathered.histograms, study.factors),
        "coverage": coverage(trials, levels),
        "search": searches,
        "search_differences": search_differences,
        "rate_laws": rate_laws(draws, chance),
        "range_edges": range_edges(tuning, chance),
        "importance": importance(
            draws[[*FACTORS, *parameter_columns(draws)]].assign(learning_rate=positions),
            draws["final_validation_accuracy"].to_numpy(),
        ),
        "screening": screening(gathered.trials, gathered.epochs, chance),
        "search_rounds": search_rounds(study, gathered.trials, chance),
        "search_regions": gathered.regions,
        "abort_rule": abort_rule(gathered.trials, gathered.rises, chance, study.parts.validation),
        "survival": survival(final, study.targets, levels, budget),
        "median_ratios": median_ratios(timed, study.targets, levels, budget),
        "diagnoses": diagnosed,
        "diagnosis_counts": diagnosis_counts(final, diagnosed, levels),
        "profiles": profiles(final, study.targets, levels),
    }


def write_analysis(tables: dict[str, pd.DataFrame], results: Path) -> None:
    """Write the analysis tables under `results/analysis`."""
    for name, columns in ANALYSIS_TABLES.items():
        write_table(_typed(tables[name], columns), results / "analysis" / f"{name}.csv", columns)


def read_analysis(results: Path) -> dict[str, pd.DataFrame]:
    """Read what `write_analysis` wrote; raises UserError naming file and column."""
    return {
        name: read_table(results / "analysis" / f"{name}.csv", columns, "trainatlas analyse")
        for name, columns in ANALYSIS_TABLES.items()
    }


def _typed(table: pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Return `table` with the dictionary's types, which an empty table would not have by itself."""
    kinds = {"text": "str", "whole": "int64", "number": "float64"}
    return table.astype({column.name: kinds[column.kind] for column in columns})


def _beside(factor: str, varied: Sequence[str]) -> list[str]:
    """Return the factors that vary beside one; where none does, the normalisation, whose one level stands for all."""
    return [other for other in varied if other != factor] or ["normalisation"]


def _positions(study: Study, draws: pd.DataFrame) -> pd.Series:
    """Return where each draw's rate lies in its optimizer's range, 0 to 1."""
    rates = zip(draws["optimizer"], draws["learning_rate"], strict=True)
    places = [study.rate_range(optimizer).share(rate) for optimizer, rate in rates]
    return pd.Series(places, index=draws.index, dtype="float64")


def _best_trials(
    final: pd.DataFrame, cells: pd.DataFrame, levels: dict[str, tuple[str, ...]]
) -> dict[tuple[str, str], set[str]]:
    """Return for each level the trials of its cell with the best validation accuracy."""
    best: dict[tuple[str, str], set[str]] = {}
    for factor, texts in levels.items():
        for text in texts:
            own = cells[cells[factor] == text]
            if len(own):
                in_cell = np.logical_and.reduce([final[name] == own[name].iloc[0] for name in FACTORS])
                best[factor, text] = set(final.loc[in_cell, "trial_id"])
    return best
