"""The section on accuracy: by level, by arm, and which arms cannot be told apart from the first."""

from __future__ import annotations

import pandas as pd

from trainatlas.report.accuracy_figures import distribution, forest, tied
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.language import tr
from trainatlas.report.wording import factor_name, level_name, percent, percent_interval, points
from trainatlas.study.config import Study

LISTED_ARMS = 16
"""Arms with the best validation accuracy that are shown, and twice as many as those with the worst."""


def accuracy_section(study: Study, final: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section from levels.csv and cells.csv.

    Parameters
    ----------
    final
        The final runs, failed ones at accuracy 0.
    """
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
            tr("{part:,} of {all:,}", part=row["diverged"], all=row["trials"]),
        )
        for _, row in levels.iterrows()
    ]
    listed = cells if len(cells) <= 2 * LISTED_ARMS else cells.head(LISTED_ARMS)
    blocks: list[Figure | Table] = [
        distribution(final, study),
        Table(
            tr("Test accuracy by level"),
            (
                tr("factor"),
                tr("level"),
                tr("mean"),
                tr("95% interval"),
                "10%",
                tr("median"),
                "90%",
                tr("best arm"),
                tr("dead units"),
                tr("diverged"),
            ),
            rows,
            tr(
                "Mean and interval over seeds; 10%, median and 90% over all final runs; best arm: the level's combination "
                "with the best validation accuracy."
            ),
            "levels",
            text_columns=2,
        ),
        forest(cells, study, LISTED_ARMS, LISTED_ARMS // 2),
        _arms(study, tr("The {number} arms with the best validation accuracy", number=len(listed)), listed, 1),
    ]
    if len(listed) < len(cells):
        tail = cells.tail(LISTED_ARMS // 2)
        title = tr("The {number} arms with the worst", number=len(tail))
        blocks.append(_arms(study, title, tail, len(cells) - len(tail) + 1))
    text = tr("All {arms:,} arms are in the table behind these: one row each.", arms=len(cells))
    return Section("accuracy", tr("Accuracy"), [text], blocks)


def _arms(study: Study, title: str, cells: pd.DataFrame, first: int) -> Table:
    rows = [
        (
            str(first + position),
            *(level_name(row[factor]) for factor in study.varied),
            f"{row['learning_rate']:.3g}" + (" *" if row["at_edge"] else ""),
            percent(row["validation_accuracy"]),
            percent(row["test_accuracy"]),
            percent_interval(row["low"], row["high"]),
            points(row["behind"]) + (" =" if alike else ""),
            percent(row["dead_fraction"]),
        )
        for position, (alike, (_, row)) in enumerate(zip(tied(cells), cells.iterrows(), strict=True))
    ]
    header = (
        "#",
        *map(factor_name, study.varied),
        tr("rate"),
        tr("validation"),
        tr("test"),
        tr("95% interval"),
        tr("behind #1"),
        tr("dead"),
    )
    note = tr(
        "* the rate lies at the end of its range. Behind #1: by how many points of test accuracy; = not told apart from it, the "
        "95% interval of the difference over shared seeds holds zero."
    )
    return Table(title, header, rows, note, "cells", text_columns=1 + len(study.varied))
