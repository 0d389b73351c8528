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
from trainatlas.report.accuracy import accuracy_section
from trainatlas.report.accuracy_figures import dead_against_accuracy
from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.report.comparisons import pairwise_section
from trainatlas.report.data import data_table, split_in_words
from trainatlas.report.depth import layer_section
from trainatlas.report.diagnosis import diagnosis_section
from trainatlas.report.findings import arm_name, counts, findings
from trainatlas.report.language import tr
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
    word,
)
from trainatlas.study.config import Study
from trainatlas.study.levels import full_text, name_of, split_parts
from trainatlas.study.samples import GridSample
from trainatlas.study.sampling import grid_cells

LISTED_TRIALS = 30
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
    makers: list[Callable[[], Section]] = [lambda: _design(study, trials, tables, provenance, data)]
    if len(final):
        makers += [
            *([lambda: _what_matters(study, tables)] if len(tables["effects"]) else []),
            lambda: _loss_curves(study, tables),
            *([lambda: diagnosis_section(tables)] if len(tables["diagnoses"]) else []),
            *([lambda: _units(study, tables)] if len(tables["units"]) else []),
            lambda: _convergence(study, final, tables),
            *([lambda: time_section(study, tables)] if len(tables["survival"]) else []),
            lambda: accuracy_section(study, final, tables),
            *([lambda: pairwise_section(tables)] if len(tables["pairwise"]) else []),
            *([lambda: stability_section(tables["stability"])] if len(tables["stability"]) else []),
            lambda: _rates(study, tables),
        ]
    if len(draws):
        makers.append(lambda: _random(study, draws, tables))
    if can_be_fed(tables):
        makers.append(lambda: search_section(study, tables))
    if len(final) and len(tables["layer_gains"]):
        makers.append(lambda: layer_section(study, tables))
    makers += [
        lambda: trials_section(study, trials),
        lambda: validity_section(study, trials, tables),
        lambda: _methods(study),
        lambda: provenance_section(study, provenance, origin),
    ]
    return Content(
        title=tr(study.title),  # in the catalogue, where the study is one of ours
        question=tr(study.question),
        findings=findings(study, final, draws, tables),
        counts=counts(trials, provenance),
        sections=[_shortened(make()) for make in makers],
        digest=study.digest(),
    )


def _shortened(section: Section) -> Section:
    """Cut tables that are longer than LISTED_ROWS, and say so."""
    return replace(section, blocks=[_cut(block) if isinstance(block, Table) else block for block in section.blocks])


def _cut(table: Table) -> Table:
    if len(table.rows) <= LISTED_ROWS:
        return table
    cut = tr("The first {shown} of {all:,} rows.", shown=LISTED_ROWS, all=len(table.rows))
    return replace(table, rows=table.rows[:LISTED_ROWS], note=f"{table.note} {cut}".lstrip())


def _what_matters(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    effects, differences = tables["effects"], tables["differences"]
    blocks: list[Figure | Table] = [figures.variance_shares(effects, tables["random_effects"])]
    if len(differences):
        blocks.append(figures.differences(differences))
    if (effects["order"] == 2).any():
        blocks.append(figures.interactions(effects, tables["interactions"], study))
    return Section(
        "what-matters",
        tr("What matters"),
        [
            tr(
                "How much of the spread of results each choice accounts for, which levels differ, and which choices cannot be "
                "judged one at a time."
            )
        ],
        blocks,
    )


def _loss_curves(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    curves = tables["curves"]
    return Section(
        "loss-curves",
        tr("Loss curves"),
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
        tr("Dead and saturated units"),
        [],
        [
            figures.units(table, study),
            *(
                [dead_against_accuracy(tables["cells"], tables["dead_units"], study)]
                if len(tables["dead_units"])
                else []
            ),
            Table(
                tr("Dead and saturated shares by layer"),
                (
                    tr("activation"),
                    tr("initialisation"),
                    tr("layer"),
                    tr("dead at start"),
                    tr("dead at end"),
                    tr("saturated at start"),
                    tr("at end"),
                ),
                rows,
                tr(
                    "Means over the final runs. Measured on the training part, on 512 of its examples where it has more; with "
                    "BatchNorm, the start is measured with those examples' own statistics."
                ),
                "units",
                text_columns=2,
            ),
        ],
    )


def _convergence(study: Study, final: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Section:
    if not study.targets:
        return Section("convergence", tr("Convergence speed"), [tr("The study states no targets.")])
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
    header = [tr("factor"), tr("level")]
    for target in study.targets:
        header += [tr("{target}: reached", target=target_mark(target)), tr("median"), tr("3rd quartile")]
    varied = [factor for factor in ("optimizer", "normalisation", "activation") if len(study.factors[factor]) > 1]
    return Section(
        "convergence",
        tr("Convergence speed"),
        [
            tr(
                "Steps to targets that were stated before the runs. A run that never gets there needs infinitely many steps "
                "and stays in every count and quantile."
            )
        ],
        [
            figures.time_to_target(final, study, varied or ["optimizer"]),
            Table(
                tr("Optimizer steps to each target"),
                tuple(header),
                rows,
                tr(
                    "Median and third quartile over all final runs of the level, in optimizer steps; never: more than that "
                    "share of the runs did not reach the target within its budget. Resolution: one epoch."
                ),
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
            tr("Seconds to each target"),
            (tr("factor"), tr("level"), *map(target_mark, study.targets)),
            rows,
            tr(
                "Median over all final runs of the level. A run's seconds are its steps times what a step of such a network "
                "takes when it is trained alone on this machine, without evaluation and loading of data: they weigh steps by "
                "what these cost, and say nothing of how long the study took, whose networks are trained side by side."
            ),
            "convergence",
            text_columns=2,
        )
    ]


def _rates(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    cells = tables["cells"]
    edge = cells["at_edge"].mean()
    by = cells.groupby("optimizer", observed=True)["at_edge"].mean()
    parts = ", ".join(f"{level_name(o)} {percent(by[o], 0)}" for o in study.factors["optimizer"] if o in by)
    return Section(
        "learning-rates",
        tr("Learning rates"),
        [
            tr(
                "Every cell's rate was chosen on validation data of the tuning seeds alone. {share} of the cells chose the "
                "first or last rate of their range ({list}): for these a wider range may do better.",
                share=percent(edge, 0),
                list=parts,
            )
        ],
        [*figures.rate_sensitivity(tables["rates"], study)],
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
                tr("Shares of the variance of test accuracy in the random sample"),
                (tr("term"), tr("share"), tr("95% interval")),
                rows,
                tr(
                    "Main effects; the rate enters as fifths of its optimizer's range. Intervals: bootstrap over draws."
                ),
                "random_effects",
            )
        )
    return Section(
        "random-sample",
        tr("The random sample"),
        [
            tr(
                "Here the rate is drawn, not tuned, so that it competes with the other choices: what a first guess is worth, "
                "and whether the grid's picture holds away from it."
            )
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
        (word(str(row["stage"])), *(f"{row[column]:,}" for column in columns))
        for _, row in table[table["factor"] == ""].iterrows()
    ]
    troubled = table[(table["factor"] != "") & (table["diverged"] + table["failed"] > 0)]
    by_level = [
        (
            word(str(row["stage"])),
            factor_name(row["factor"]),
            level_name(row["level"]),
            *(f"{row[column]:,}" for column in ("trials", "diverged", "failed")),
        )
        for _, row in troubled.iterrows()
    ]
    reasons = [(str(rule["reason"]), int(rule["cells"])) for rule in provenance["excluded_cells"]]
    excluded = [(tr(reason), f"{cells:,}") for reason, cells in reasons]
    blocks: list[Figure | Table] = [
        data_table(data),
        Table(
            tr("Factors and levels"),
            (tr("factor"), tr("levels; the first is the reference")),
            factors,
            text_columns=2,
        ),
        Table(
            tr("Trials by stage and how they ended"),
            (tr("stage"), tr("trials"), tr("ok"), tr("diverged"), tr("stopped early"), tr("failed")),
            stages,
        ),
    ]
    if by_level:
        blocks.append(
            Table(
                tr("Where trials diverged or failed"),
                (tr("stage"), tr("factor"), tr("level"), tr("trials"), tr("diverged"), tr("failed")),
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
                word(row["stage"]),
                arm_name(study, row),
                f"{row['learning_rate']:.3g}",
                word(row["status"]) + (f": {row['error']}" if row["error"] else ""),
                f"{row['steps_run']:,}",
            )
            for _, row in lost.head(LISTED_TRIALS).iterrows()
        ]
        note = ""
        if len(lost) > LISTED_TRIALS:
            note = tr("The first {shown} of {all:,}; all are in trials.csv.", shown=LISTED_TRIALS, all=len(lost))
        blocks.append(
            Table(
                tr("Trials that diverged or failed"),
                (tr("trial"), tr("stage"), tr("arm"), tr("rate"), tr("how it ended"), tr("after steps")),
                rows,
                note,
                text_columns=3,
            )
        )
    if excluded:
        blocks.append(Table(tr("Combinations not run"), (tr("reason"), tr("cells")), excluded))
    sentences = [
        tr(
            "Data: {data}. Network: {network}. Budget: {epochs} epochs of batches of {batch_size}.",
            data=study.data,
            network=full_text(study.network, TABLES["network"]),
            epochs=study.epochs,
            batch_size=study.batch_size,
        ),
        split_in_words(study),
        tr("Excluded combinations are listed with their reason.")
        if excluded
        else tr("No combination of levels is excluded."),
        _fraction_in_words(study, provenance),
    ]
    return Section("design", tr("Design and coverage"), [" ".join(filter(None, sentences))], blocks)


def _fraction_in_words(study: Study, provenance: dict[str, Any]) -> str:
    """Say which part of the combinations a grid runs; nothing where it runs them all."""
    grid = next((sample for sample in study.samples if isinstance(sample, GridSample)), None)
    if grid is None or grid.resolution is None:
        return ""
    run = sum(1 for _ in grid_cells(study, grid))
    return tr(
        "The grid runs {run:,} of {all:,} combinations, a fraction of resolution {resolution}: any {factors} factors show every "
        "combination of their levels equally often, but for those excluded.",
        run=run,
        all=provenance["cells"],
        resolution={3: "III", 4: "IV", 5: "V"}[grid.resolution],
        factors=grid.resolution - 1,
    )


def _methods(study: Study) -> Section:
    rows = []
    for factor in study.stated:
        for text in study.factors[factor]:
            parts = [TABLES[factor].get(name_of(part)) for part in split_parts(text)]
            formula = "; ".join(tr(part.formula) if part else tr("the study's own file") for part in parts)
            source = "; ".join(part.source if part else text for part in parts)
            rows.append((factor_name(factor), level_name(text), formula, source))
    return Section(
        "methods",
        tr("How to read this"),
        [
            tr(
                "Pairing. A seed fixes the split, the order of the data and the initial draws, so runs that differ in one choice "
                "see the same examples in the same order from comparable starts."
            ),
            tr(
                "Fairness. Every cell of the grid has its learning rate tuned on validation data, on seeds of its own; the final "
                "runs use other seeds. Test data are looked at once, at the end of a run. Preprocessing is fitted on training "
                "data."
            ),
            tr(
                "Intervals. The seed is the unit of replication: an estimate is made once for each seed, and the 95% interval is "
                "Student's t over these. With few seeds intervals are wide; that is the price of honesty, not a fault of the "
                "runs."
            ),
            tr(
                "Failure counts. A run whose loss stops being finite has diverged: its accuracy is what it was then (an output "
                "that is not finite is wrong), and it reaches a target never."
            ),
            tr(
                "Limits. One data set, one network, one budget: rankings may differ elsewhere. Rates at the end of their range "
                "are marked. Comparisons are not corrected for their number, except those of pairs of levels."
            ),
        ],
        [
            Table(
                tr("What the levels are"),
                (tr("factor"), tr("level"), tr("formula"), tr("source")),
                rows,
                text_columns=4,
            )
        ],
    )
