"""The report on two runs of a study: what changed, by how much, how surely, and what was not the same to begin with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from trainatlas.analysis.intervals import CONFIDENCE
from trainatlas.analysis.runs import Run, environment_changes, level_changes, setting_changes, status_counts
from trainatlas.analysis.runs_compared import Comparison
from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.report.drawing import PALETTE, canvas_of, pages_of, rows_by_factor, rows_high, svg_of
from trainatlas.report.wording import (
    capital,
    factor_name,
    joined,
    level_name,
    p_value,
    percent,
    points,
    points_interval,
)
from trainatlas.study.trial import FACTORS

Row = Mapping[Any, Any]
"""A row of compare.csv, by column."""

LISTED_CHANGES = 20
"""Single pairs that are listed, those that changed most."""
NAMED_LEVELS = 4
"""Levels that a sentence of the answer names."""
DRAWN_ROWS = 36
"""Rows of a figure at most; more go on in another."""
SIGNS = {
    "worse": "▼ worse",
    "better": "▲ better",
    "alike": "= alike",
    "open": "? open",
    "no interval": "– no interval",
}
"""Verdicts with a sign of their own: they are told apart without colour."""


def compared_content(old: Run, new: Run, comparison: Comparison) -> Content:
    """Put the report on two runs together."""
    digests = [run.fact("study_digest") for run in (old, new)]
    overall = _overall(comparison)
    counts = {status: numbers for status, *numbers in status_counts(old.trials, new.trials)}
    return Content(
        title=f"{new.study.get('title', new.folder.name)}: two runs compared",
        question=f"Is {new.folder} worse than {old.folder} by more than {_margin(comparison)} of {_metric(comparison)}?",
        findings=_findings(old, new, comparison),
        counts=[
            ("pairs", f"{overall['pairs']:,}"),
            ("seeds", f"{overall['seeds']:,}"),
            ("old run alone", f"{sum(alone for _, alone, _ in comparison.only.values()):,}"),
            ("new run alone", f"{sum(alone for _, _, alone in comparison.only.values()):,}"),
            *(
                (status.replace("_", " "), " → ".join(f"{n:,}" for n in both))
                for status, both in counts.items()
                if any(both)
            ),
        ],
        sections=[
            _differences(comparison),
            _single_changes(comparison),
            _coverage(old, new, comparison),
            _configuration(old, new),
            _environment(old, new),
            _methods(comparison),
        ],
        digest=" → ".join(dict.fromkeys(digests)),
    )


def _overall(comparison: Comparison) -> Row:
    """Return the row of all pairs."""
    return comparison.rows.to_dict("records")[0]


def summary(old: Run, new: Run, comparison: Comparison) -> list[str]:
    """Return what the terminal is told, a few lines."""
    overall = _overall(comparison)
    lines = [
        f"{old.folder} -> {new.folder}: {overall['pairs']:,} pairs, {overall['seeds']} seeds; "
        + "; ".join(
            f"{stage}: {pairs:,} pairs, {before:,} only old, {after:,} only new"
            for stage, (pairs, before, after) in comparison.only.items()
        ),
        f"{_metric(comparison)}, new minus old: {_in_words(overall)}; margin {_margin(comparison)}",
    ]
    lines += [
        f"{'regression' if row['verdict'] == 'worse' else row['verdict']}: {_name(row)}: {_in_words(row)}"
        for row in comparison.rows.to_dict("records")
        if row["verdict"] in ("worse", "better")
    ]
    return [*lines, _conclusion(comparison)]


def _conclusion(comparison: Comparison) -> str:
    if (comparison.rows["verdict"] == "no interval").iloc[0]:
        return "fewer than two seeds: no interval, so nothing is called a regression"
    found = len(comparison.regressions)
    return f"{found} regression{'s' if found > 1 else ''}" if found else "no regression"


def _metric(comparison: Comparison) -> str:
    return comparison.metric.replace("_", " ")


def _margin(comparison: Comparison) -> str:
    points_of_it = f"{comparison.margin * 100:g}"
    return f"{points_of_it} point{'' if points_of_it == '1' else 's'}"


def _name(row: Row) -> str:
    """Return what a row is about in words."""
    return f"{factor_name(row['factor'])} {_label(row)}".strip()


def _label(row: Row) -> str:
    """Return the same without the name of its factor."""
    if row["factor"] == "stage":
        return str(row["level"])
    return level_name(row["level"]) if row["factor"] else "all pairs"


def _in_words(row: Row) -> str:
    """Return a row's difference with its interval, or why there is none."""
    inside = (
        "one seed: no interval"
        if math.isnan(row["low"])
        else f"95% interval {points_interval(row['low'], row['high'], 2)}"
    )
    return f"{points(row['difference'], 2)} points ({inside})"


def _findings(old: Run, new: Run, comparison: Comparison) -> list[str]:
    rows, pairs = comparison.rows, comparison.pairs
    overall = _overall(comparison)
    said = {
        "worse": "worse than the old one by more than the margin: a regression",
        "better": "better than the old one by more than the margin",
        "alike": "as good as the old one within the margin",
        "open": "not told apart from one that is worse or better by the margin, nor surely within it",
        "no interval": "told without an interval, for pairs have one seed only: nothing is called a regression",
    }[overall["verdict"]]
    found = [
        f"Over {overall['pairs']:,} pairs of {overall['seeds']} seeds {_metric(comparison)} changed by {_in_words(overall)}. "
        f"With a margin of {_margin(comparison)} the new run is {said}."
    ]
    by_level = rows.iloc[1:]
    for verdict in ("worse", "better"):
        beyond = by_level[by_level["verdict"] == verdict]
        if len(beyond):
            order = beyond["difference"].abs().sort_values(ascending=False, kind="stable").index
            parts = [
                f"{_name(row)} {_in_words(row)}" for row in beyond.loc[order].head(NAMED_LEVELS).to_dict("records")
            ]
            found.append(
                f"{len(beyond)} of {len(by_level)} levels {'are' if len(beyond) > 1 else 'is'} {verdict} by more than the "
                f"margin, corrected for their number: {'; '.join(parts)}."
            )
    if len(by_level) and not by_level["verdict"].isin(["worse", "better"]).any():
        found.append(f"None of {len(by_level)} levels is surely worse or better by more than the margin.")
    same = int((pairs["difference"] == 0).sum())
    found.append(f"{same:,} of {len(pairs):,} pairs have the same {_metric(comparison)}.")
    found.append(_same_to_begin_with(old, new))
    return found


def _same_to_begin_with(old: Run, new: Run) -> str:
    """Say whether study and environment were the same."""
    levels = [factor_name(factor) for factor, *_ in level_changes(old, new)]
    differing = [
        f"{what} ({joined(changes)})"
        for what, changes in (
            ("levels of the study", levels),
            ("its settings", [key for key, *_ in setting_changes(old, new)]),
            ("code, packages and hardware", [key for key, *_ in environment_changes(old, new)]),
        )
        if changes
    ]
    if not differing:
        return "Study, code, packages and hardware are the same."
    return f"Not the same to begin with: {'; '.join(differing)}."


def _differences(comparison: Comparison) -> Section:
    rows = [
        (
            factor_name(row["factor"]) or "all",
            _label(row),
            percent(row["old"], 2),
            percent(row["new"], 2),
            points(row["difference"], 2),
            points_interval(row["low"], row["high"], 2),
            p_value(row["p_holm"]),
            SIGNS[row["verdict"]],
            f"{row['seeds']} · {row['pairs']:,}",
        )
        for row in comparison.rows.to_dict("records")
    ]
    header = ("factor", "level", "old", "new", "new − old", "95% interval", "p (Holm)", "verdict", "seeds · pairs")
    note = (
        f"{capital(_metric(comparison))}; differences in percentage points. Worse, better: the interval lies wholly beyond the "
        f"margin of {_margin(comparison)}, also corrected for the number of levels; alike: wholly within it; open: neither."
    )
    return Section(
        "differences",
        "What changed in the results",
        [
            "A pair is a trial of each run that agree in data, network, levels and seed. The mean over a seed's pairs is one "
            "value."
        ],
        [*_forest(comparison), Table("Differences by level", header, rows, note, "compare", text_columns=2)],
    )


def _forest(comparison: Comparison) -> list[Figure]:
    """Draw the difference of all pairs, and of each level, with intervals; the margin is shaded."""
    figures = []
    for name, title, part in pages_of(len(comparison.rows), DRAWN_ROWS):
        rows = comparison.rows.iloc[part].to_dict("records")
        labels = [(row["factor"] or "all", _label(row)) for row in rows]
        canvas, axes = canvas_of(1, 1, 0.8 + rows_high(labels), share=False)
        axis = axes[0, 0]
        for place, row in zip(rows_by_factor(axis, labels), rows, strict=True):
            _drawn(axis, float(place), row)
        margin = comparison.margin
        axis.axvspan(-margin, margin, color="#888888", alpha=0.15, linewidth=0)
        axis.axvline(0, color="#222222", linewidth=0.8)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:+g}" if value else "0"))
        axis.set_xlabel(f"new minus old, {_metric(comparison)}, percentage points (left of 0: the new run is worse)")
        worse = sum(row["verdict"] == "worse" for row in rows)
        caption = (
            f"{worse} of {len(rows)} rows are worse by more than the margin of {_margin(comparison)} (shaded: within it). "
            "Points: mean over seeds; lines: 95% intervals over seeds, not corrected; filled: worse or better beyond the margin "
            "after correction."
        )
        alt = "; ".join(f"{_name(row)}: {_in_words(row)}, {row['verdict']}" for row in rows)
        figures.append(
            Figure(
                f"run_differences{name}",
                svg_of(canvas),
                f"Differences between the runs{title}",
                caption,
                alt,
                "compare",
            )
        )
    return figures


def _drawn(axis: Axes, place: float, row: Row) -> None:
    beyond = row["verdict"] in ("worse", "better")
    color = PALETTE[3] if row["verdict"] == "worse" else PALETTE[0] if beyond else "#666666"
    if not math.isnan(row["low"]):
        axis.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.8, solid_capstyle="butt")
    marker = {"worse": "v", "better": "^"}.get(row["verdict"], "o")
    axis.plot(
        row["difference"], place, marker=marker, markersize=5, color=color, markerfacecolor=color if beyond else "white"
    )


def _single_changes(comparison: Comparison) -> Section:
    pairs = comparison.pairs
    varied = [factor for factor in FACTORS if pairs[factor].nunique() > 1]
    changed = pairs[(pairs["difference"] != 0) | (pairs["old_status"] != pairs["new_status"])]
    order = changed["difference"].abs().sort_values(ascending=False, kind="stable").index
    listed = changed.loc[order].head(LISTED_CHANGES)
    rows = [
        (
            row["stage"],
            ", ".join(level_name(row[factor]) for factor in varied) or level_name(row["activation"]),
            f"{row['seed']}",
            f"{row['old_rate']:.3g}" + ("" if row["old_rate"] == row["new_rate"] else f" → {row['new_rate']:.3g}"),
            percent(row["old"]),
            percent(row["new"]),
            points(row["difference"]),
            row["new_status"]
            if row["old_status"] == row["new_status"]
            else f"{row['old_status']} → {row['new_status']}",
        )
        for row in listed.to_dict("records")
    ]
    header = ("stage", "arm", "seed", "rate", "old", "new", "new − old", "how it ended")
    note = f"{len(listed):,} of {len(changed):,} pairs that changed; {len(pairs) - len(changed):,} did not."
    blocks: list[Figure | Table] = []
    if rows:
        blocks.append(Table("The pairs that changed most", header, rows, note, "pairs", text_columns=2))
    return Section(
        "single-changes",
        "Largest single changes",
        [
            "Single trials vary by chance alone where anything differs between the runs: look for what these have in common."
        ]
        if rows
        else [f"All {len(pairs):,} pairs have the same {_metric(comparison)} and ended in the same way."],
        blocks,
    )


def _coverage(old: Run, new: Run, comparison: Comparison) -> Section:
    stages = [(stage, *(f"{number:,}" for number in numbers)) for stage, numbers in comparison.only.items()]
    endings = [
        (status.replace("_", " "), f"{before:,}", f"{after:,}", f"{after - before:+,}".replace("-", "−"))
        for status, before, after in status_counts(old.trials, new.trials)
    ]
    return Section(
        "coverage",
        "Trials",
        [
            "Trials that only one run has are counted here and enter no difference. Trials that diverged count with what they "
            "ended at."
        ],
        [
            Table("Pairs, and trials of one run alone", ("stage", "pairs", "only old", "only new"), stages),
            Table(
                "How trials ended",
                ("status", "old", "new", "new − old"),
                endings,
                "All trials of every stage.",
            ),
        ],
    )


def _configuration(old: Run, new: Run) -> Section:
    levels = [
        (factor_name(factor), ", ".join(map(level_name, gone)) or "–", ", ".join(map(level_name, added)) or "–")
        for factor, gone, added in level_changes(old, new)
    ]
    settings = setting_changes(old, new)
    blocks: list[Figure | Table] = []
    if levels:
        blocks.append(Table("Levels", ("factor", "only old", "only new"), levels, text_columns=3))
    if settings:
        blocks.append(Table("Settings", ("setting", "old", "new"), settings, text_columns=3))
    text = (
        "What the studies say that is not the same."
        if blocks
        else "Both runs are of the same study: no setting and no level differs."
    )
    return Section("configuration", "Configuration", [text], blocks)


def _environment(old: Run, new: Run) -> Section:
    runs = [("results", str(old.folder), str(new.folder))]
    for what, part, key in (
        ("study digest", "study_digest", ""),
        ("trained from", "training", "first_start"),
        ("trained to", "training", "last_end"),
        ("commit", "source", "commit"),
    ):
        before, after = (run.fact(part, key) for run in (old, new))
        runs.append((what, before, after))
    changes = environment_changes(old, new)
    blocks: list[Figure | Table] = [Table("The two runs", ("what", "old", "new"), runs, text_columns=3)]
    if changes:
        blocks.append(Table("What differs", ("what", "old", "new"), changes, text_columns=3))
    text = "Code, packages and hardware" + (" differ in what is listed." if changes else " are the same.")
    return Section("environment", "Environment", [text], blocks)


def _methods(comparison: Comparison) -> Section:
    alpha = (1 - CONFIDENCE) / 2
    return Section(
        "methods",
        "How to read this",
        [
            "Pairs. Trials of the final stage pair by data, network, levels and seed, each at its own tuned rate; random draws "
            "and winners of searches must agree in their rate and parameters too.",
            "Intervals. The seed is the unit of replication: the mean over a seed's pairs is one value, and the 95% interval is "
            "Student's t over these. With one seed there is no interval, and nothing is called a regression.",
            f"Regressions. The new run is worse where the interval lies wholly below −{_margin(comparison)}. For single levels "
            f"the one-sided p-value of this, corrected for the number of levels by Holm's method, must be {alpha:.3f} at most.",
            "Limits. Where data, split, seeds or budget of the study were edited, a difference is that edit's and no fault of "
            "the code. A run that is not worse by more than the margin may still be worse by less.",
        ],
    )
