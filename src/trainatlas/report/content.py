"""What the report says: findings, figures and tables, put together from the analysis.

Pure functions from tables to text; the sentences of the answer are in `trainatlas.report.findings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from trainatlas.catalogue import TABLES
from trainatlas.report import figures
from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.report.comparisons import pairwise_section
from trainatlas.report.data import data_table, split_in_words
from trainatlas.report.depth import layer_section
from trainatlas.report.diagnosis import diagnosis_section
from trainatlas.report.findings import arm_name, counts, findings
from trainatlas.report.provenance import NOTHING_MORE, Origin, provenance_section
from trainatlas.report.search import can_be_fed, search_section
from trainatlas.report.stability import stability_section
from trainatlas.report.time_to_target import time_section
from trainatlas.report.trials import trials_section
from trainatlas.report.validity import validity_section
from trainatlas.report.wording import (
    factor_name,
    level_name,
    percent,
    percent_interval,
    seconds,
    steps,
    target_mark,
    term_name,
)
from trainatlas.study.config import Study
from trainatlas.study.levels import full_text, name_of, split_parts
from trainatlas.study.samples import GridSample
from trainatlas.study.sampling import grid_cells

LISTED_TRIALS = 30
LISTED_ARMS = 16
LISTED_ROWS = 200
"""Rows that any table of the report has at most; the rest is in the tables beside it."""


def build_content(
    study: Study,
    trials: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
    provenance: dict[str, Any],
    data: dict[str, Any],
    origin: Origin = NOTHING_MORE,
) -> Content:
    """Put the report together.

    Parameters
    ----------
    trials
        The study's gathered trials.csv.
    tables
        The analysis, by name.
    provenance
        As `trainatlas aggregate` wrote it.
    data
        What `trainatlas prepare` wrote of the data.
    origin
        What is known of the tables' making beyond that.
    """
    final = trials[trials["stage"] == "final"].assign(test_accuracy=lambda t: t["test_accuracy"].fillna(0.0))
    draws = trials[trials["stage"] == "random"].assign(test_accuracy=lambda t: t["test_accuracy"].fillna(0.0))
    makers: list[Callable[[], Section]] = []
    if len(final):
        if len(tables["effects"]):
            makers.append(lambda: _what_matters(study, tables))
        makers += [
            *([lambda: pairwise_section(tables)] if len(tables["pairwise"]) else []),
            *([lambda: stability_section(tables["stability"])] if len(tables["stability"]) else []),
            lambda: _loss_curves(study, tables),
            *([lambda: diagnosis_section(tables)] if len(tables["diagnoses"]) else []),
            *([lambda: _units(study, tables)] if len(tables["units"]) else []),
            *([lambda: layer_section(study, tables)] if len(tables["layer_gains"]) else []),
            lambda: _convergence(study, final, tables),
            *([lambda: time_section(study, tables)] if len(tables["survival"]) else []),
            lambda: _accuracy(study, tables),
            lambda: _rates(study, tables, provenance),
        ]
    if len(draws):
        makers.append(lambda: _random(study, draws, tables))
    if can_be_fed(tables):
        makers.append(lambda: search_section(study, tables))
    makers += [
        lambda: trials_section(study, trials),
        lambda: _design(study, trials, tables, provenance, data),
        lambda: validity_section(study, trials, tables),
        lambda: _methods(study),
        lambda: provenance_section(study, provenance, origin),
    ]
    return Content(
        title=study.title,
        question=study.question,
        findings=findings(study, final, draws, tables),
        counts=counts(trials, provenance),
        sections=[_shortened(make()) for make in makers],
        digest=study.digest(),
    )


def _shortened(section: Section) -> Section:
    """Cut tables that are longer than LISTED_ROWS, and say so."""
    blocks = [
        replace(
            block,
            rows=block.rows[:LISTED_ROWS],
            note=f"{block.note} The first {LISTED_ROWS} of {len(block.rows):,} rows.".lstrip(),
        )
        if isinstance(block, Table) and len(block.rows) > LISTED_ROWS
        else block
        for block in section.blocks
    ]
    return replace(section, blocks=blocks)


def _what_matters(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    effects, differences = tables["effects"], tables["differences"]
    blocks: list[Figure | Table] = [figures.variance_shares(effects, tables["random_effects"])]
    if len(differences):
        blocks.append(figures.differences(differences))
    if (effects["order"] == 2).any():
        blocks.append(figures.interactions(effects, tables["interactions"], study))
    return Section(
        "what-matters",
        "What matters",
        [
            "How much of the spread of results each choice accounts for, which levels differ, and which choices cannot be "
            "judged one at a time."
        ],
        blocks,
    )


def _loss_curves(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    curves = tables["curves"]
    return Section(
        "loss-curves",
        "Loss curves",
        [],
        [figures.loss_curves(curves, study, "level"), figures.loss_curves(curves, study, "best")],
    )


def _units(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    table = tables["units"]
    shown = table[table["by"] == "init"]
    ends = shown[shown["step"].isin([shown["step"].min(), shown["step"].max()])]
    found = {(row["activation"], row["level"], row["depth"], row["step"]): row for _, row in ends.iterrows()}
    first, last = ends["step"].min(), ends["step"].max()
    rows = []
    for activation in study.factors["activation"]:
        for init in study.factors["init"]:
            for depth in sorted(ends["depth"].unique()):
                pair = [found.get((activation, init, depth, step)) for step in (first, last)]
                if any(row is None for row in pair):
                    continue
                cells = [
                    row[column] for column in ("dead_fraction", "saturated_fraction") for row in pair if row is not None
                ]
                rows.append((level_name(activation), level_name(init), str(depth), *map(percent, cells)))
    return Section(
        "units",
        "Dead and saturated units",
        [],
        [
            figures.units(table, study),
            Table(
                "Dead and saturated shares by layer",
                (
                    "activation",
                    "initialisation",
                    "layer",
                    "dead at start",
                    "dead at end",
                    "saturated at start",
                    "at end",
                ),
                rows,
                "Means over the final runs. Measured on the training part, on 512 of its examples where it has more; with "
                "BatchNorm, the start is measured with those examples' own statistics.",
                "units",
                text_columns=2,
            ),
        ],
    )


def _convergence(study: Study, final: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Section:
    if not study.targets:
        return Section("convergence", "Convergence speed", ["The study states no targets."])
    found = {(row["factor"], row["level"], row["target"]): row for _, row in tables["convergence"].iterrows()}
    rows = []
    for factor in study.varied:
        for level in study.factors[factor]:
            cells: list[str] = []
            for target in study.targets:
                row = found.get((factor, level, target.column))
                if row is None:
                    cells += ["–"] * 3
                else:
                    cells += [percent(row["reached_fraction"], 0), steps(row["median"]), steps(row["quartile_3"])]
            rows.append((factor_name(factor), level_name(level), *cells))
    header = ["factor", "level"]
    for target in study.targets:
        mark = target_mark(target)
        header += [f"{mark}: reached", "median", "3rd quartile"]
    varied = [factor for factor in ("optimizer", "normalisation", "activation") if len(study.factors[factor]) > 1]
    return Section(
        "convergence",
        "Convergence speed",
        [
            "Steps to targets that were stated before the runs. A run that never gets there needs infinitely many steps and "
            "stays in every count and quantile."
        ],
        [
            figures.time_to_target(final, study, varied or ["optimizer"]),
            Table(
                "Optimizer steps to each target",
                tuple(header),
                rows,
                "Median and third quartile over all final runs of the level, in optimizer steps; never: more than that share "
                "of the runs did not reach the target within its budget. Resolution: one epoch.",
                "convergence",
                text_columns=2,
            ),
            *_seconds(study, tables["convergence"]),
        ],
    )


def _seconds(study: Study, convergence: pd.DataFrame) -> list[Table]:
    """Return the table of median seconds to each target; none where steps were not timed."""
    found = convergence.set_index(["factor", "level", "target"])["median_seconds"].dropna()
    if found.empty:
        return []
    rows = [
        (
            factor_name(factor),
            level_name(level),
            *(seconds(found.get((factor, level, target.column), float("nan"))) for target in study.targets),
        )
        for factor in study.varied
        for level in study.factors[factor]
    ]
    return [
        Table(
            "Seconds to each target",
            ("factor", "level", *map(target_mark, study.targets)),
            rows,
            "Median over all final runs of the level. A run's seconds are its steps times what a step of such a network takes "
            "when it is trained alone on this machine, without evaluation and loading of data: they weigh steps by what these "
            "cost, and say nothing of how long the study took, whose networks are trained side by side.",
            "convergence",
            text_columns=2,
        )
    ]


def _accuracy(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    levels, cells = tables["levels"], tables["cells"]
    rows = [
        (
            factor_name(row["factor"]),
            level_name(row["level"]),
            percent(row["mean"]),
            percent_interval(row["low"], row["high"]),
            percent(row["decile_1"]),
            percent(row["median"]),
            percent(row["decile_9"]),
            percent(row["best_cell"]),
            percent(row["dead_fraction"]),
            f"{row['diverged']:,} of {row['trials']:,}",
        )
        for _, row in levels.iterrows()
    ]
    listed = cells if len(cells) <= 2 * LISTED_ARMS else cells.head(LISTED_ARMS)
    blocks: list[Figure | Table] = [
        Table(
            "Test accuracy by level",
            (
                "factor",
                "level",
                "mean",
                "95% interval",
                "10%",
                "median",
                "90%",
                "best arm",
                "dead units",
                "diverged",
            ),
            rows,
            "Mean and interval over seeds; 10%, median and 90% over all final runs; best arm: the level's combination "
            "with the best validation accuracy.",
            "levels",
            text_columns=2,
        ),
        _arms(study, f"The {len(listed)} arms with the best validation accuracy", listed, 1),
    ]
    if len(listed) < len(cells):
        tail = cells.tail(LISTED_ARMS // 2)
        blocks.append(_arms(study, f"The {len(tail)} arms with the worst", tail, len(cells) - len(tail) + 1))
    return Section(
        "accuracy", "Accuracy", [f"All {len(cells):,} arms are in the table behind these: one row each."], blocks
    )


def _arms(study: Study, title: str, cells: pd.DataFrame, first: int) -> Table:
    rows = [
        (
            str(first + position),
            *(level_name(row[factor]) for factor in study.varied),
            f"{row['learning_rate']:.3g}" + (" *" if row["at_edge"] else ""),
            percent(row["validation_accuracy"]),
            percent(row["test_accuracy"]),
            percent_interval(row["low"], row["high"]),
            percent(row["dead_fraction"]),
        )
        for position, (_, row) in enumerate(cells.iterrows())
    ]
    header = ("#", *map(factor_name, study.varied), "rate", "validation", "test", "95% interval", "dead")
    return Table(
        title, header, rows, "* the rate lies at the end of its range.", "cells", text_columns=1 + len(study.varied)
    )


def _rates(study: Study, tables: dict[str, pd.DataFrame], provenance: dict[str, Any]) -> Section:
    cells = tables["cells"]
    edge = cells["at_edge"].mean()
    by = cells.groupby("optimizer", observed=True)["at_edge"].mean()
    parts = ", ".join(f"{level_name(o)} {percent(by[o], 0)}" for o in study.factors["optimizer"] if o in by)
    return Section(
        "learning-rates",
        "Learning rates",
        [
            f"Every cell's rate was chosen on validation data of the tuning seeds alone. {percent(edge, 0)} of the cells chose "
            f"the first or last rate of their range ({parts}): for these a wider range may do better."
        ],
        [figures.rate_sensitivity(tables["rates"], study)],
    )


def _random(study: Study, draws: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Section:
    effects = tables["random_effects"]
    blocks: list[Figure | Table] = [figures.random_sample(draws, study)]
    if len(effects):
        rows = [
            (term_name(row["term"]), percent(row["share"]), percent_interval(row["low"], row["high"]))
            for _, row in effects.iterrows()
        ]
        blocks.append(
            Table(
                "Shares of the variance of test accuracy in the random sample",
                ("term", "share", "95% interval"),
                rows,
                "Main effects; the rate enters as fifths of its optimizer's range. Intervals: bootstrap over draws.",
                "random_effects",
            )
        )
    return Section(
        "random-sample",
        "The random sample",
        [
            "Here the rate is drawn, not tuned, so that it competes with the other choices: what a first guess is worth, "
            "and whether the grid's picture holds away from it."
        ],
        blocks,
    )


def _design(
    study: Study,
    trials: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
    provenance: dict[str, Any],
    data: dict[str, Any],
) -> Section:
    factors = [
        (
            factor_name(factor),
            ", ".join(map(level_name, study.factors[factor])),
        )
        for factor in study.stated
    ]
    table = tables["coverage"]
    columns = ["trials", "ok", "diverged", "stopped_early", "failed"]
    stages = [
        (str(row["stage"]), *(f"{row[column]:,}" for column in columns))
        for _, row in table[table["factor"] == ""].iterrows()
    ]
    troubled = table[(table["factor"] != "") & (table["diverged"] + table["failed"] > 0)]
    by_level = [
        (
            str(row["stage"]),
            factor_name(row["factor"]),
            level_name(row["level"]),
            *(f"{row[column]:,}" for column in ("trials", "diverged", "failed")),
        )
        for _, row in troubled.iterrows()
    ]
    excluded = [(rule["reason"], f"{rule['cells']:,}") for rule in provenance["excluded_cells"]]
    blocks: list[Figure | Table] = [
        data_table(data),
        Table("Factors and levels", ("factor", "levels; the first is the reference"), factors, text_columns=2),
        Table(
            "Trials by stage and how they ended",
            ("stage", "trials", "ok", "diverged", "stopped early", "failed"),
            stages,
        ),
    ]
    if by_level:
        blocks.append(
            Table(
                "Where trials diverged or failed",
                ("stage", "factor", "level", "trials", "diverged", "failed"),
                by_level,
                data="coverage",
                text_columns=3,
            )
        )
    lost = trials[trials["status"].isin(["diverged", "failed"])].sort_values(["stage", "trial_id"])
    if len(lost):
        rows = [
            (
                row["trial_id"],
                row["stage"],
                arm_name(study, row),
                f"{row['learning_rate']:.3g}",
                row["status"] + (f": {row['error']}" if row["error"] else ""),
                f"{row['steps_run']:,}",
            )
            for _, row in lost.head(LISTED_TRIALS).iterrows()
        ]
        note = (
            "" if len(lost) <= LISTED_TRIALS else f"The first {LISTED_TRIALS} of {len(lost):,}; all are in trials.csv."
        )
        blocks.append(
            Table(
                "Trials that diverged or failed",
                ("trial", "stage", "arm", "rate", "how it ended", "after steps"),
                rows,
                note,
                text_columns=3,
            )
        )
    if excluded:
        blocks.append(Table("Combinations not run", ("reason", "cells"), excluded))
    return Section(
        "design",
        "Design and coverage",
        [
            f"Data: {study.data}. Network: {full_text(study.network, TABLES['network'])}. "
            f"Budget: {study.epochs} epochs of batches of {study.batch_size}. "
            + split_in_words(study)
            + (
                "No combination of levels is excluded."
                if not excluded
                else "Excluded combinations are listed with their reason."
            )
            + _fraction_in_words(study, provenance)
        ],
        blocks,
    )


def _fraction_in_words(study: Study, provenance: dict[str, Any]) -> str:
    """Say which part of the combinations a grid runs; nothing where it runs them all."""
    grid = next((sample for sample in study.samples if isinstance(sample, GridSample)), None)
    if grid is None or grid.resolution is None:
        return ""
    run = sum(1 for _ in grid_cells(study, grid))
    roman = {3: "III", 4: "IV", 5: "V"}[grid.resolution]
    return (
        f" The grid runs {run:,} of {provenance['cells']:,} combinations, a fraction of resolution {roman}: any "
        f"{grid.resolution - 1} factors show every combination of their levels equally often, but for those excluded."
    )


def _methods(study: Study) -> Section:
    rows = []
    for factor in study.stated:
        for text in study.factors[factor]:
            parts = [TABLES[factor].get(name_of(part)) for part in split_parts(text)]
            formula = "; ".join(part.formula if part else "the study's own file" for part in parts)
            source = "; ".join(part.source if part else text for part in parts)
            rows.append((factor_name(factor), level_name(text), formula, source))
    return Section(
        "methods",
        "How to read this",
        [
            "Pairing. A seed fixes the split, the order of the data and the initial draws, so runs that differ in one choice "
            "see the same examples in the same order from comparable starts.",
            "Fairness. Every cell of the grid has its learning rate tuned on validation data, on seeds of its own; the final "
            "runs use other seeds. Test data are looked at once, at the end of a run. Preprocessing is fitted on training data.",
            "Intervals. The seed is the unit of replication: an estimate is made once for each seed, and the 95% interval is "
            "Student's t over these. With few seeds intervals are wide; that is the price of honesty, not a fault of the runs.",
            "Failure counts. A run whose loss stops being finite has diverged: its accuracy is what it was then (an output "
            "that is not finite is wrong), and it reaches a target never.",
            "Limits. One data set, one network, one budget: rankings may differ elsewhere. Rates at the end of their range are "
            "marked. Comparisons are not corrected for their number, except those of pairs of levels.",
        ],
        [Table("What the levels are", ("factor", "level", "formula", "source"), rows, text_columns=4)],
    )
