"""The section on stability: which conclusions about pairs of levels would be others without one of the seeds."""

from __future__ import annotations

import pandas as pd

from trainatlas.report.blocks import Section, Table
from trainatlas.report.language import mark, tr, trn
from trainatlas.report.wording import factor_name, joined, level_name, points, points_interval

_NAMED = 6
"""Pairs that the sentence names, at most."""
SIGNS = {True: mark("⚠\u00a0unstable"), False: mark("✓\u00a0holds")}
UNTESTED = mark("–\u00a0one\u00a0seed")
CONCLUSIONS = {"better": mark("better than"), "worse": mark("worse than")}
_OPEN = mark("not told apart from")


def stability_section(stability: pd.DataFrame) -> Section:
    """Return the section from stability.csv, which must have rows; conclusions that do not hold come first."""
    tested = stability["seeds"] > 1
    ordered = stability.assign(tested=tested).sort_values(["unstable", "tested"], ascending=False, kind="stable")
    return Section(
        "stability",
        tr("Do conclusions hold without one seed?"),
        [_in_words(stability[tested], len(stability))],
        [_table(ordered)],
    )


def _in_words(tested: pd.DataFrame, pairs: int) -> str:
    if tested.empty:
        return tr(
            "Not looked at: each of the {pairs:,} pairs of levels has one seed, and none can be left out.", pairs=pairs
        )
    unstable = tested[tested["unstable"] == 1]
    text = tr(
        "Each difference between two levels once more without each of the seeds in turn, and what its 95% interval then says."
    )
    if unstable.empty:
        held = trn(
            "The one conclusion holds, whichever seed is left out.",
            "All {number:,} conclusions hold, whichever seed is left out.",
            len(tested),
        )
        return f"{text} {held}"
    named = [_named(row) for _, row in unstable.head(_NAMED).iterrows()]
    if len(unstable) > _NAMED:
        listed = tr("{list} and {number:,} more", list="; ".join(named), number=len(unstable) - _NAMED)
    else:
        listed = joined(named)
    changed = trn(
        "Of {tested:,}, {number:,} would be another without some seed ({sign}): {list}.",
        "Of {tested:,}, {number:,} would be others without some seed ({sign}): {list}.",
        len(unstable),
        tested=len(tested),
        sign=tr(SIGNS[True]),
        list=listed,
    )
    common = tr("With few seeds this is common: leaving one out also widens the interval.")
    return f"{text} {changed} {common}"


def _named(row: pd.Series) -> str:
    conclusion = CONCLUSIONS.get(row["conclusion"], _OPEN)
    return tr(
        "{level} {conclusion} {other}",
        level=level_name(row["level"]),
        conclusion=tr(conclusion),
        other=level_name(row["other"]),
    )


def _sign(row: pd.Series) -> str:
    sign = SIGNS[bool(row["unstable"])] if row["seeds"] > 1 else UNTESTED
    return tr(sign)


def _table(stability: pd.DataFrame) -> Table:
    rows = [
        (
            factor_name(row["factor"]),
            level_name(row["level"]),
            level_name(row["other"]),
            tr(conclusion),
            _sign(row),
            points(row["difference"], 2),
            points_interval(row["smallest"], row["largest"], 2) if row["seeds"] > 1 else "–",
            f"{row['seeds']}",
        )
        for conclusion, (_, row) in zip(stability["conclusion"], stability.iterrows(), strict=True)
    ]
    return Table(
        tr("Conclusions without one seed"),
        (
            tr("factor"),
            tr("level"),
            tr("against"),
            tr("by all seeds"),
            tr("without one"),
            tr("difference, points"),
            tr("without one: from, to"),
            tr("seeds"),
        ),
        rows,
        tr(
            "By all seeds: whether the level is better or worse by the 95% interval of its mean paired difference in test "
            "accuracy, not corrected for the number of pairs. Without one, from, to: smallest and largest difference when a "
            "seed is left out. Of two seeds one is left, which tells nothing apart."
        ),
        "stability",
        text_columns=5,
    )
