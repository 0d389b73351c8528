"""The trials one by one: the best and the worst, for print and for readers without JavaScript.

Besides, the page has an explorer of all of them (`trainatlas.report.explorer`).
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from trainatlas.report.blocks import Section, Table
from trainatlas.report.findings import arm_name
from trainatlas.report.wording import percent
from trainatlas.study.config import Study
from trainatlas.study.planning import MEASURED_STAGES

EXPLORER = "explorer"
"""Anchor of the section, and of the explorer's links."""

LISTED = 10
"""Trials of each end that are listed."""

_HEADER = ("#", "trial", "stage", "arm", "status", "rate", "seed", "validation", "test")


def trials_section(study: Study, trials: pd.DataFrame) -> Section:
    """List the best and the worst trials by validation accuracy.

    Parameters
    ----------
    trials
        The gathered trials.csv. Runs that only chose others are left out, unless there are no others. A trial without an
        accuracy counts as the worst.
    """
    measured = trials[trials["stage"].isin(MEASURED_STAGES)]
    shown = measured if len(measured) else trials
    ranked = shown.sort_values(
        ["final_validation_accuracy", "trial_id"], ascending=[False, True], na_position="last", ignore_index=True
    )
    if len(ranked) <= 2 * LISTED:
        tables = [_table(study, f"The {len(ranked):,} trials by validation accuracy", ranked.iterrows())]
    else:
        best, worst = (list(rows.iterrows()) for rows in (ranked.head(LISTED), ranked.tail(LISTED)))
        tables = [
            _table(study, f"The {LISTED} trials with the best validation accuracy", best),
            _table(study, f"The {LISTED} with the worst", worst),
        ]
    which = "final runs, random draws and winners of searches" if len(measured) else "runs"
    return Section(
        EXPLORER,
        "Trials",
        [
            f"Every trial by itself. Where scripts run, the page shows all {len(trials):,} of them; tables, for print and for "
            f"readers without scripts, rank the {len(ranked):,} {which}."
        ],
        [*tables],
    )


def _table(study: Study, title: str, rows: Iterable[tuple[object, pd.Series]]) -> Table:
    cells = [
        (
            f"{int(str(position)) + 1:,}",
            row["trial_id"],
            row["stage"],
            arm_name(study, row),
            row["status"].replace("_", " "),
            f"{row['learning_rate']:.3g}",
            str(row["seed"]),
            percent(row["final_validation_accuracy"]),
            percent(row["test_accuracy"]),
        )
        for position, row in rows
    ]
    return Table(title, _HEADER, cells, data="trials", text_columns=5)
