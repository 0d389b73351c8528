"""The section on threats to validity: what could make the answers wrong here, with the numbers that say how much."""

from __future__ import annotations

import pandas as pd

from trainatlas.catalogue import TABLES
from trainatlas.report.blocks import Section, Table
from trainatlas.report.language import tr, trn
from trainatlas.report.wording import percent, points
from trainatlas.study.config import Study
from trainatlas.study.levels import full_text


def validity_section(study: Study, trials: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section: one row for each threat, what was seen of it here, and what was done or would help."""
    final = trials[trials["stage"] == "final"]
    rows = [_scope(study), _seeds(final, tables)]
    if len(tables["cells"]):
        rows.append(_edges(tables["cells"]))
    rows.append(_losses(trials))
    if len(tables["diagnoses"]):
        rows.append(_budget(study, tables["diagnoses"]))
    if len(tables["stability"]):
        rows.append(_stability(tables["stability"]))
    if len(tables["pairwise"]):
        rows.append(_comparisons(tables["pairwise"]))
    return Section(
        "validity",
        tr("Threats to validity"),
        [
            tr(
                "What could make an answer of this report wrong, or narrower than it sounds, and what was seen of it here."
            )
        ],
        [
            Table(
                tr("Threats, and what was seen of them"),
                (tr("threat"), tr("seen here"), tr("what helps")),
                rows,
                text_columns=3,
            )
        ],
    )


Row = tuple[str, str, str]


def _scope(study: Study) -> Row:
    return (
        tr("It holds here alone"),
        tr(
            "One data set ({data}), one network ({network}), one budget ({epochs} epochs).",
            data=study.data,
            network=full_text(study.network, TABLES["network"]),
            epochs=study.epochs,
        ),
        tr(
            "Run the same factors on other data, as the studies in benchmarks/ do; `make claims` sets several beside each other."
        ),
    )


def _seeds(final: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Row:
    smallest = tables["pairwise"]["smallest_detectable"].dropna()
    seen = trn("{number} seed of final runs.", "{number} seeds of final runs.", final["seed"].nunique())
    if len(smallest):
        power = tr(
            "Half of the pairs of levels could be told apart from {difference} on, with 80% power.",
            difference=points(smallest.median()),
        )
        seen = f"{seen} {power}"
    return tr("Too few seeds"), seen, tr("More seeds: results so far are kept, and only new ones are trained.")


def _edges(cells: pd.DataFrame) -> Row:
    return (
        tr("Rates at the end of their range"),
        tr(
            "{share} of {cells:,} cells chose the first or last of their rates, and might do better beyond it.",
            share=percent(cells["at_edge"].mean(), 0),
            cells=len(cells),
        ),
        tr("A wider `learning_rate` range for these optimizers."),
    )


def _losses(trials: pd.DataFrame) -> Row:
    lost = trials["status"].value_counts()
    return (
        tr("Runs that were lost"),
        tr(
            "{diverged:,} of {trials:,} trials diverged and {failed:,} failed; they count as wrong, not as missing.",
            diverged=int(lost.get("diverged", 0)),
            trials=len(trials),
            failed=int(lost.get("failed", 0)),
        ),
        tr("Design and coverage lists them; a level that diverges more pays for it in every mean."),
    )


def _budget(study: Study, diagnoses: pd.DataFrame) -> Row:
    share = (diagnoses["diagnosis"].isin(["still_improving", "too_slow"])).mean()
    return (
        tr("The budget ends the race"),
        tr(
            "{share} of the final runs were still improving, or too slow, when their {epochs} epochs were over.",
            share=percent(share, 0),
            epochs=study.epochs,
        ),
        tr("More `epochs`; slow starters gain most from them."),
    )


def _stability(stability: pd.DataFrame) -> Row:
    tested = stability[stability["seeds"] > 1]
    return (
        tr("A single seed decides"),
        tr(
            "{unstable:,} of {tested:,} conclusions on pairs of levels turn when one seed is left out.",
            unstable=int(tested["unstable"].sum()),
            tested=len(tested),
        ),
        tr("More seeds; those that turn are marked unstable."),
    )


def _comparisons(pairwise: pd.DataFrame) -> Row:
    return (
        tr("Many comparisons"),
        tr("{pairs:,} pairs of levels are compared.", pairs=len(pairwise)),
        tr(
            "P-values are corrected within each factor (Holm); intervals and shares of variance are not: of a hundred that hold "
            "nothing about five will look as if they did."
        ),
    )
