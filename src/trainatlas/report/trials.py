"""The trials one by one: the best and the worst, for print and for readers without JavaScript.

Besides, the page has an explorer of all of them (`trainatlas.report.explorer`).
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from trainatlas.report.blocks import Section, Table
from trainatlas.report.findings import arm_name
from trainatlas.report.language import mark, tr
from trainatlas.report.wording import percent, word
from trainatlas.study.config import Study
from trainatlas.study.planning import MEASURED_STAGES

EXPLORER = "explorer"
"""Anchor of the section, and of the explorer's links."""

LISTED = 10
"""Trials of each end that are listed."""

_HEADER = (
    "#", mark("trial"), mark("stage"), mark("arm"), mark("status"), mark("rate"), mark("seed"), mark("validation"), mark("test"),
)  # fmt: skip


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
        tables = [
            _table(study, tr("The {number:,} trials by validation accuracy", number=len(ranked)), ranked.iterrows())
        ]
    else:
        best, worst = (list(rows.iterrows()) for rows in (ranked.head(LISTED), ranked.tail(LISTED)))
        tables = [
            _table(study, tr("The {number} trials with the best validation accuracy", number=LISTED), best),
            _table(study, tr("The {number} with the worst", number=LISTED), worst),
        ]
    numbers = {"all": len(trials), "ranked": len(ranked)}
    if len(measured):
        text = tr(
            "Every trial by itself. Where scripts run, the page shows all {all:,} of them; tables, for print and for readers "
            "without scripts, rank the {ranked:,} final runs, random draws and winners of searches.",
            **numbers,
        )
    else:
        text = tr(
            "Every trial by itself. Where scripts run, the page shows all {all:,} of them; tables, for print and for readers "
            "without scripts, rank the {ranked:,} runs.",
            **numbers,
        )
    return Section(EXPLORER, tr("Trials"), [text], [*tables])


def _table(study: Study, title: str, rows: Iterable[tuple[object, pd.Series]]) -> Table:
    cells = [
        (
            f"{int(str(position)) + 1:,}",
            row["trial_id"],
            word(row["stage"]),
            arm_name(study, row),
            word(row["status"]),
            f"{row['learning_rate']:.3g}",
            str(row["seed"]),
            percent(row["final_validation_accuracy"]),
            percent(row["test_accuracy"]),
        )
        for position, row in rows
    ]
    return Table(title, tuple(map(tr, _HEADER)), cells, data="trials", text_columns=5)
