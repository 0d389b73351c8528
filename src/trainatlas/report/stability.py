"""The section on stability: which conclusions about pairs of levels would be others without one of the seeds."""

from __future__ import annotations

import pandas as pd

from trainatlas.report.blocks import Section, Table
from trainatlas.report.wording import factor_name, joined, level_name, points, points_interval

_NAMED = 6
"""Pairs that the sentence names, at most."""
SIGNS = {True: "⚠\u00a0unstable", False: "✓\u00a0holds"}
UNTESTED = "–\u00a0one\u00a0seed"


def stability_section(stability: pd.DataFrame) -> Section:
    """Return the section from stability.csv, which must have rows; conclusions that do not hold come first."""
    tested = stability["seeds"] > 1
    ordered = stability.assign(tested=tested).sort_values(["unstable", "tested"], ascending=False, kind="stable")
    return Section(
        "stability",
        "Do conclusions hold without one seed?",
        [_in_words(stability[tested], len(stability))],
        [_table(ordered)],
    )


def _in_words(tested: pd.DataFrame, pairs: int) -> str:
    if tested.empty:
        return f"Not looked at: each of the {pairs:,} pairs of levels has one seed, and none can be left out."
    unstable = tested[tested["unstable"] == 1]
    text = "Each difference between two levels once more without each of the seeds in turn, and what its 95% interval then says. "
    if unstable.empty:
        held = "The one conclusion holds" if len(tested) == 1 else f"All {len(tested):,} conclusions hold"
        return f"{text}{held}, whichever seed is left out."
    named = [
        f"{level_name(row['level'])} {_concluded(row)} {level_name(row['other'])}"
        for _, row in unstable.head(_NAMED).iterrows()
    ]
    more = f" and {len(unstable) - _NAMED:,} more" if len(unstable) > _NAMED else ""
    listed = f"{'; '.join(named)}{more}" if more or len(named) == 1 else joined(named)
    return (
        f"{text}Of {len(tested):,}, {len(unstable):,} would be {'others' if len(unstable) > 1 else 'another'} without some "
        f"seed ({SIGNS[True]}): {listed}. With few seeds this is common: leaving one out also widens the interval."
    )


def _concluded(row: pd.Series) -> str:
    return {"better": "better than", "worse": "worse than"}.get(row["conclusion"], "not told apart from")


def _table(stability: pd.DataFrame) -> Table:
    rows = [
        (
            factor_name(row["factor"]),
            level_name(row["level"]),
            level_name(row["other"]),
            row["conclusion"],
            SIGNS[bool(row["unstable"])] if row["seeds"] > 1 else UNTESTED,
            points(row["difference"], 2),
            points_interval(row["smallest"], row["largest"], 2) if row["seeds"] > 1 else "–",
            f"{row['seeds']}",
        )
        for _, row in stability.iterrows()
    ]
    return Table(
        "Conclusions without one seed",
        (
            "factor",
            "level",
            "against",
            "by all seeds",
            "without one",
            "difference, points",
            "without one: from, to",
            "seeds",
        ),
        rows,
        "By all seeds: whether the level is better or worse by the 95% interval of its mean paired difference in test "
        "accuracy, not corrected for the number of pairs. Without one, from, to: smallest and largest difference when a "
        "seed is left out. Of two seeds one is left, which tells nothing apart.",
        "stability",
        text_columns=5,
    )
