"""The section on threats to validity: what could make the answers wrong here, with the numbers that say how much."""

from __future__ import annotations

import pandas as pd

from trainatlas.catalogue import TABLES
from trainatlas.report.blocks import Section, Table
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
        "Threats to validity",
        ["What could make an answer of this report wrong, or narrower than it sounds, and what was seen of it here."],
        [Table("Threats, and what was seen of them", ("threat", "seen here", "what helps"), rows, text_columns=3)],
    )


Row = tuple[str, str, str]


def _scope(study: Study) -> Row:
    return (
        "It holds here alone",
        f"One data set ({study.data}), one network ({full_text(study.network, TABLES['network'])}), one budget "
        f"({study.epochs} epochs).",
        "Run the same factors on other data, as the studies in benchmarks/ do; `make claims` sets several beside each other.",
    )


def _seeds(final: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Row:
    seeds = final["seed"].nunique()
    smallest = tables["pairwise"]["smallest_detectable"].dropna()
    seen = f"{seeds} seed{'s' * (seeds != 1)} of final runs."
    if len(smallest):
        seen += f" Half of the pairs of levels could be told apart from {points(smallest.median())} on, with 80% power."
    return "Too few seeds", seen, "More seeds: results so far are kept, and only new ones are trained."


def _edges(cells: pd.DataFrame) -> Row:
    return (
        "Rates at the end of their range",
        f"{percent(cells['at_edge'].mean(), 0)} of {len(cells):,} cells chose the first or last of their rates, "
        "and might do better beyond it.",
        "A wider `learning_rate` range for these optimizers.",
    )


def _losses(trials: pd.DataFrame) -> Row:
    lost = trials["status"].value_counts()
    diverged, failed = int(lost.get("diverged", 0)), int(lost.get("failed", 0))
    return (
        "Runs that were lost",
        f"{diverged:,} of {len(trials):,} trials diverged and {failed:,} failed; they count as wrong, not as missing.",
        "Design and coverage lists them; a level that diverges more pays for it in every mean.",
    )


def _budget(study: Study, diagnoses: pd.DataFrame) -> Row:
    share = (diagnoses["diagnosis"].isin(["still_improving", "too_slow"])).mean()
    return (
        "The budget ends the race",
        f"{percent(share, 0)} of the final runs were still improving, or too slow, when their {study.epochs} epochs were over.",
        "More `epochs`; slow starters gain most from them.",
    )


def _stability(stability: pd.DataFrame) -> Row:
    tested = stability[stability["seeds"] > 1]
    return (
        "A single seed decides",
        f"{int(tested['unstable'].sum()):,} of {len(tested):,} conclusions on pairs of levels turn when one seed is left out.",
        "More seeds; those that turn are marked unstable.",
    )


def _comparisons(pairwise: pd.DataFrame) -> Row:
    return (
        "Many comparisons",
        f"{len(pairwise):,} pairs of levels are compared.",
        "P-values are corrected within each factor (Holm); intervals and shares of variance are not: of a hundred that hold "
        "nothing about five will look as if they did.",
    )
