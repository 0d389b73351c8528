"""The report on two runs of a study: what changed, by how much, how surely, and what was not the same to begin with."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from trainatlas.analysis.intervals import CONFIDENCE
from trainatlas.analysis.runs import Run, environment_changes, level_changes, setting_changes, status_counts
from trainatlas.analysis.runs_compared import Comparison
from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.report.differences import Row, difference_cells, seeds_and_pairs
from trainatlas.report.drawing import PALETTE, canvas_of, pages_of, rows_by_factor, rows_high, svg_of
from trainatlas.report.language import mark, tr, trn
from trainatlas.report.wording import (
    capital,
    factor_name,
    joined,
    level_name,
    p_value,
    percent,
    points,
    word,
)
from trainatlas.study.trial import FACTORS

LISTED_CHANGES = 20
"""Single pairs that are listed, those that changed most."""
NAMED_LEVELS = 4
"""Levels that a sentence of the answer names."""
DRAWN_ROWS = 36
"""Rows of a figure at most; more go on in another."""
SIGNS = {
    "worse": mark("▼ worse"),
    "better": mark("▲ better"),
    "alike": mark("= alike"),
    "open": mark("? open"),
    "no interval": mark("– no interval"),
}
"""Verdicts with a sign of their own: they are told apart without colour."""
_VERDICTS = {
    "worse": mark("worse"),
    "better": mark("better"),
    "alike": mark("alike"),
    "open": mark("open"),
    "no interval": mark("no interval"),
}
_OVERALL = {
    "worse": mark(
        "With a margin of {margin} the new run is worse than the old one by more than the margin: a regression."
    ),
    "better": mark("With a margin of {margin} the new run is better than the old one by more than the margin."),
    "alike": mark("With a margin of {margin} the new run is as good as the old one within the margin."),
    "open": mark(
        "With a margin of {margin} the new run is not told apart from one that is worse or better by the margin, nor surely "
        "within it."
    ),
    "no interval": mark(
        "With a margin of {margin} the new run is told without an interval, for pairs have one seed only: nothing is called a "
        "regression."
    ),
}
_METRICS = {
    "test_accuracy": mark("test accuracy"),
    "final_validation_accuracy": mark("final validation accuracy"),
    "best_validation_accuracy": mark("best validation accuracy"),
    "final_train_accuracy": mark("final train accuracy"),
}
TABLE_WORDS = (mark("digest of your own data"), mark("digests of your own code"), mark("unknown"))
"""What `trainatlas.analysis.runs` says in words: `tr` finds it in the catalogue."""


def compared_content(old: Run, new: Run, comparison: Comparison) -> Content:
    """Put the report on two runs together."""
    digests = [tr(run.fact("study_digest")) for run in (old, new)]
    overall = _overall(comparison)
    counts = {status: numbers for status, *numbers in status_counts(old.trials, new.trials)}
    return Content(
        title=tr("{title}: two runs compared", title=tr(new.study.get("title", new.folder.name))),
        question=tr(
            "Is {new} worse than {old} by more than {margin} of {metric}?",
            new=new.folder,
            old=old.folder,
            margin=_margin(comparison),
            metric=_metric(comparison),
        ),
        findings=_findings(old, new, comparison),
        counts=[
            (tr("pairs"), f"{overall['pairs']:,}"),
            (tr("seeds"), f"{overall['seeds']:,}"),
            (tr("old run alone"), f"{sum(alone for _, alone, _ in comparison.only.values()):,}"),
            (tr("new run alone"), f"{sum(alone for _, _, alone in comparison.only.values()):,}"),
            *((word(status), " → ".join(f"{n:,}" for n in both)) for status, both in counts.items() if any(both)),
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
    return tr(_METRICS[comparison.metric])


def _margin(comparison: Comparison) -> str:
    points_of_it = f"{comparison.margin * 100:g}"
    return trn("{points} point", "{points} points", 1 if points_of_it == "1" else 2, points=points_of_it)


def _name(row: Row) -> str:
    """Return what a row is about in words."""
    return f"{factor_name(row['factor'])} {_label(row)}".strip()


def _label(row: Row) -> str:
    """Return the same without the name of its factor."""
    if row["factor"] == "stage":
        return word(row["level"])
    return level_name(row["level"]) if row["factor"] else tr("all pairs")


def _in_words(row: Row) -> str:
    """Return a row's difference with its interval, or why there is none."""
    difference, interval = difference_cells(row)
    if math.isnan(row["low"]):
        return tr("{difference} points ({why})", difference=difference, why=interval)
    return tr("{difference} points (95% interval {interval})", difference=difference, interval=interval)


def _findings(old: Run, new: Run, comparison: Comparison) -> list[str]:
    rows, pairs = comparison.rows, comparison.pairs
    overall = _overall(comparison)
    change = tr(
        "Over {pairs:,} pairs of {seeds} seeds {metric} changed by {difference}.",
        pairs=overall["pairs"],
        seeds=overall["seeds"],
        metric=_metric(comparison),
        difference=_in_words(overall),
    )
    found = [f"{change} {tr(_OVERALL[overall['verdict']], margin=_margin(comparison))}"]
    by_level = rows.iloc[1:]
    for verdict in ("worse", "better"):
        beyond = by_level[by_level["verdict"] == verdict]
        if len(beyond):
            order = beyond["difference"].abs().sort_values(ascending=False, kind="stable").index
            parts = [
                f"{_name(row)} {_in_words(row)}" for row in beyond.loc[order].head(NAMED_LEVELS).to_dict("records")
            ]
            found.append(_beyond_in_words(verdict, len(beyond), len(by_level), "; ".join(parts)))
    if len(by_level) and not by_level["verdict"].isin(["worse", "better"]).any():
        found.append(
            tr("None of {levels} levels is surely worse or better by more than the margin.", levels=len(by_level))
        )
    same = int((pairs["difference"] == 0).sum())
    found.append(
        tr(
            "{same:,} of {pairs:,} pairs have the same {metric}.",
            same=same,
            pairs=len(pairs),
            metric=_metric(comparison),
        )
    )
    found.append(_same_to_begin_with(old, new))
    return found


def _beyond_in_words(verdict: str, number: int, levels: int, listed: str) -> str:
    if verdict == "worse":
        return trn(
            "{number} of {levels} levels is worse by more than the margin, corrected for their number: {list}.",
            "{number} of {levels} levels are worse by more than the margin, corrected for their number: {list}.",
            number,
            levels=levels,
            list=listed,
        )
    return trn(
        "{number} of {levels} levels is better by more than the margin, corrected for their number: {list}.",
        "{number} of {levels} levels are better by more than the margin, corrected for their number: {list}.",
        number,
        levels=levels,
        list=listed,
    )


def _setting(key: str) -> str:
    """Return a key of the study as it stands in the file; what is told in words, in the language spoken."""
    return tr(key) if key in TABLE_WORDS else key


def _same_to_begin_with(old: Run, new: Run) -> str:
    """Say whether study and environment were the same."""
    differing = []
    if levels := level_changes(old, new):
        names = joined([factor_name(factor) for factor, *_ in levels])
        differing.append(tr("levels of the study ({list})", list=names))
    if settings := setting_changes(old, new):
        differing.append(tr("its settings ({list})", list=joined([_setting(key) for key, *_ in settings])))
    if surroundings := environment_changes(old, new):
        names = joined([key for key, *_ in surroundings])
        differing.append(tr("code, packages and hardware ({list})", list=names))
    if not differing:
        return tr("Study, code, packages and hardware are the same.")
    return tr("Not the same to begin with: {list}.", list="; ".join(differing))


def _differences(comparison: Comparison) -> Section:
    rows = [
        (
            factor_name(row["factor"]) or tr("all"),
            _label(row),
            percent(row["old"], 2),
            percent(row["new"], 2),
            *difference_cells(row),
            p_value(row["p_holm"]),
            tr(SIGNS[row["verdict"]]),
            seeds_and_pairs(row),
        )
        for row in comparison.rows.to_dict("records")
    ]
    header = (
        tr("factor"),
        tr("level"),
        tr("old"),
        tr("new"),
        tr("new − old"),
        tr("95% interval"),
        tr("p (Holm)"),
        tr("verdict"),
        tr("seeds · pairs"),
    )
    note = tr(
        "{metric}; differences in percentage points. Worse, better: the interval lies wholly beyond the margin of {margin}, also "
        "corrected for the number of levels; alike: wholly within it; open: neither.",
        metric=capital(_metric(comparison)),
        margin=_margin(comparison),
    )
    return Section(
        "differences",
        tr("What changed in the results"),
        [
            tr(
                "A pair is a trial of each run that agree in data, network, levels and seed. The mean over a seed's pairs is one "
                "value."
            )
        ],
        [*_forest(comparison), Table(tr("Differences by level"), header, rows, note, "compare", text_columns=2)],
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
        axis.set_xlabel(
            tr(
                "new minus old, {metric}, percentage points (left of 0: the new run is worse)",
                metric=_metric(comparison),
            )
        )
        caption = tr(
            "{worse} of {rows} rows are worse by more than the margin of {margin} (shaded: within it). Points: mean over seeds; "
            "lines: 95% intervals over seeds, not corrected; filled: worse or better beyond the margin after correction.",
            worse=sum(row["verdict"] == "worse" for row in rows),
            rows=len(rows),
            margin=_margin(comparison),
        )
        alt = "; ".join(f"{_name(row)}: {_in_words(row)}, {tr(_VERDICTS[row['verdict']])}" for row in rows)
        heading = tr("Differences between the runs") + title
        figures.append(Figure(f"run_differences{name}", svg_of(canvas), heading, caption, alt, "compare"))
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
            word(row["stage"]),
            ", ".join(level_name(row[factor]) for factor in varied) or level_name(row["activation"]),
            f"{row['seed']}",
            f"{row['old_rate']:.3g}" + ("" if row["old_rate"] == row["new_rate"] else f" → {row['new_rate']:.3g}"),
            percent(row["old"]),
            percent(row["new"]),
            points(row["difference"]),
            " → ".join(dict.fromkeys(word(row[column]) for column in ("old_status", "new_status"))),
        )
        for row in listed.to_dict("records")
    ]
    header = (
        tr("stage"),
        tr("arm"),
        tr("seed"),
        tr("rate"),
        tr("old"),
        tr("new"),
        tr("new − old"),
        tr("how it ended"),
    )
    note = tr(
        "{listed:,} of {changed:,} pairs that changed; {unchanged:,} did not.",
        listed=len(listed),
        changed=len(changed),
        unchanged=len(pairs) - len(changed),
    )
    blocks: list[Figure | Table] = []
    if rows:
        blocks.append(Table(tr("The pairs that changed most"), header, rows, note, "pairs", text_columns=2))
        text = tr(
            "Single trials vary by chance alone where anything differs between the runs: look for what these have in common."
        )
    else:
        text = tr(
            "All {pairs:,} pairs have the same {metric} and ended in the same way.",
            pairs=len(pairs),
            metric=_metric(comparison),
        )
    return Section("single-changes", tr("Largest single changes"), [text], blocks)


def _coverage(old: Run, new: Run, comparison: Comparison) -> Section:
    stages = [(word(stage), *(f"{number:,}" for number in numbers)) for stage, numbers in comparison.only.items()]
    endings = [
        (word(status), f"{before:,}", f"{after:,}", f"{after - before:+,}".replace("-", "−"))
        for status, before, after in status_counts(old.trials, new.trials)
    ]
    return Section(
        "coverage",
        tr("Trials"),
        [
            tr(
                "Trials that only one run has are counted here and enter no difference. Trials that diverged count with what "
                "they ended at."
            )
        ],
        [
            Table(
                tr("Pairs, and trials of one run alone"),
                (tr("stage"), tr("pairs"), tr("only old"), tr("only new")),
                stages,
            ),
            Table(
                tr("How trials ended"),
                (tr("status"), tr("old"), tr("new"), tr("new − old")),
                endings,
                tr("All trials of every stage."),
            ),
        ],
    )


def _configuration(old: Run, new: Run) -> Section:
    levels = [
        (factor_name(factor), ", ".join(map(level_name, gone)) or "–", ", ".join(map(level_name, added)) or "–")
        for factor, gone, added in level_changes(old, new)
    ]
    settings = [(_setting(key), before, after) for key, before, after in setting_changes(old, new)]
    blocks: list[Figure | Table] = []
    if levels:
        header = (tr("factor"), tr("only old"), tr("only new"))
        blocks.append(Table(tr("Levels"), header, levels, text_columns=3))
    if settings:
        header = (tr("setting"), tr("old"), tr("new"))
        blocks.append(Table(tr("Settings"), header, settings, text_columns=3))
    differing = tr("What the studies say that is not the same.")
    text = differing if blocks else tr("Both runs are of the same study: no setting and no level differs.")
    return Section("configuration", tr("Configuration"), [text], blocks)


def _environment(old: Run, new: Run) -> Section:
    runs = [(tr("results"), str(old.folder), str(new.folder))]
    for what, part, key in (
        (tr("study digest"), "study_digest", ""),
        (tr("trained from"), "training", "first_start"),
        (tr("trained to"), "training", "last_end"),
        (tr("commit"), "source", "commit"),
    ):
        before, after = (tr(run.fact(part, key)) for run in (old, new))
        runs.append((what, before, after))
    changes = environment_changes(old, new)
    header = (tr("what"), tr("old"), tr("new"))
    blocks: list[Figure | Table] = [Table(tr("The two runs"), header, runs, text_columns=3)]
    if changes:
        blocks.append(Table(tr("What differs"), header, changes, text_columns=3))
    differing = tr("Code, packages and hardware differ in what is listed.")
    text = differing if changes else tr("Code, packages and hardware are the same.")
    return Section("environment", tr("Environment"), [text], blocks)


def _methods(comparison: Comparison) -> Section:
    return Section(
        "methods",
        tr("How to read this"),
        [
            tr(
                "Pairs. Trials of the final stage pair by data, network, levels and seed, each at its own tuned rate; random "
                "draws and winners of searches must agree in their rate and parameters too."
            ),
            tr(
                "Intervals. The seed is the unit of replication: the mean over a seed's pairs is one value, and the 95% interval "
                "is Student's t over these. With one seed there is no interval, and nothing is called a regression."
            ),
            tr(
                "Regressions. The new run is worse where the interval lies wholly below −{margin}. For single levels the "
                "one-sided p-value of this, corrected for the number of levels by Holm's method, must be {alpha:.3f} at most.",
                margin=_margin(comparison),
                alpha=(1 - CONFIDENCE) / 2,
            ),
            tr(
                "Limits. Where data, split, seeds or budget of the study were edited, a difference is that edit's and no fault "
                "of the code. A run that is not worse by more than the margin may still be worse by less."
            ),
        ],
    )
