"""The section on search: what a budget finds, what may be screened or stopped early, and which parameters matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from trainatlas.analysis.screening import NEAR
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.drawing import MARKERS, canvas_of, line_of, percent_axis, share_bars, svg_of
from trainatlas.report.wording import capital, joined, percent, percent_interval, points, points_interval, term_name
from trainatlas.study.config import Study

TABLES = (
    "search_rounds",
    "search_regions",
    "search",
    "search_differences",
    "rate_laws",
    "range_edges",
    "importance",
    "screening",
    "abort_rule",
)
"""The tables of the analysis that the section rests on."""
TOLD_BUDGET = 16
"""Runs of a search, or settings where their rates are tuned, that sentences speak of, at most."""
RULE = 3.0
"""The rise of the loss at which the rule of the textbooks stops a run."""
SHOWN_TERMS = 12

_RUNS = {
    "tuning": "a grid's tuning runs",
    "final": "settings with tuned rates",
    "random": "the random sample",
}
_ORDER = [("tuning", "grid"), ("tuning", "random"), ("random", "random"), ("final", "grid"), ("final", "random")]
_STAGES = {"tuning": "tuning runs", "random": "random draws", "final": "final runs", "all": "all"}


def search_section(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section; a study that cannot feed a part of it is told so in a line."""
    searches = _by_search(tables["search_rounds"], tables["search_regions"])
    paragraphs = [
        _grid_or_random(tables["search_differences"]),
        _log_or_linear(study, tables["rate_laws"]),
        _edges(tables["range_edges"]),
        _what_matters(tables["importance"]),
        _early_looks(tables["screening"]),
        _stopping(tables["abort_rule"]),
    ]
    blocks: list[Figure | Table] = []
    if len(tables["search_rounds"]):
        blocks.append(_rounds_table(tables["search_rounds"]))
    if len(tables["search_regions"]):
        blocks.append(_regions_table(tables["search_regions"]))
    if len(tables["search"]):
        blocks.append(best_found(tables["search"]))
    if len(tables["search_differences"]):
        blocks.append(_differences_table(tables["search_differences"]))
    if (tables["rate_laws"]["budget"] > 0).any():
        blocks.append(_laws_table(tables["rate_laws"]))
    if len(tables["range_edges"]):
        blocks.append(_edges_table(tables["range_edges"]))
    if len(tables["importance"]):
        blocks.append(importance_bars(tables["importance"]))
    if len(tables["screening"]):
        blocks.append(early_looks(tables["screening"]))
    if len(tables["abort_rule"]):
        blocks.append(_abort_table(tables["abort_rule"]))
    introduction = (
        "What follows is simulated on the runs of this study. A search sees the validation accuracy of one seed's runs and takes "
        "the best; budgets count every run that is trained, those that tune a rate among them."
    )
    return Section("search", "Search", [*searches, introduction, *paragraphs], blocks)


def _by_search(rounds: pd.DataFrame, regions: pd.DataFrame) -> list[str]:
    """Say of each search what it found, and of a search from coarse to fine whether that was an improvement."""
    said = []
    for sample, rows in rounds.groupby("sample", sort=False):
        before = rows[rows["stage"] != "winner"]
        best = _row(before, int(before["validation_accuracy"].to_numpy().argmax()))
        text = (
            f"Search {sample} ({best['strategy'].replace('_', ' ')}). {before['trials'].sum():,} trials, "
            f"{before['epochs'].max():,} epochs in all: validation accuracy {percent(best['validation_accuracy'])} with "
            f"{best['setting']}"
        )
        stages = before.groupby("stage")["validation_accuracy"].max()
        if "fine" in stages:
            text += f"; the best of the coarse stage ended at {percent(stages['coarse'])}"
        last = _row(before, -1)
        if not math.isnan(last["random_accuracy"]):
            text += f"; random draws for as many epochs are expected to find {percent(last['random_accuracy'])}"
        for _, row in rows[rows["stage"] == "winner"].iterrows():
            interval = percent_interval(row["test_low"], row["test_high"])
            text += f". On fresh seeds the best reaches a test accuracy of {percent(row['test_accuracy'])} ({interval})"
        edges = regions[(regions["sample"] == sample) & (regions["edge"] != "")]
        if len(edges):
            told = joined([f"{row['name']} (best {row['best']:.3g})" for _, row in edges.iterrows()])
            text += f". A best value lay at the edge of its range: {told}"
        said.append(f"{text}.")
    return said


def _rounds_table(rounds: pd.DataFrame) -> Table:
    rows = [
        (
            row["sample"],
            row["stage"],
            f"{row['round']}",
            f"{row['trials']:,}",
            f"{row['lost']:,}",
            f"{row['epochs']:,}",
            percent(row["validation_accuracy"]),
            percent(row["random_accuracy"]),
            percent(row["test_accuracy"])
            + ("" if math.isnan(row["test_low"]) else f" ({percent_interval(row['test_low'], row['test_high'])})"),
        )
        for _, row in rounds.iterrows()
    ]
    return Table(
        "What each search found, round by round",
        ("search", "stage", "round", "trials", "lost", "epochs", "validation", "random", "test"),
        rows,
        "Epochs: of all trials so far. Validation: of the round's best trial, at its own end. Random: expected of the best of as "
        "many draws of the random sample as these epochs pay for. Test: of that trial, flattered by having been chosen; of "
        "winners the mean over fresh seeds, which is not, with its 95% interval. Settings are in the table behind.",
        "search_rounds",
        text_columns=2,
    )


def _regions_table(regions: pd.DataFrame) -> Table:
    rows = [
        (
            row["sample"],
            row["name"],
            f"{row['round']}",
            f"{row['searched_low']:.3g} to {row['searched_high']:.3g}",
            f"{row['best']:.3g}",
            {"": "inside", "low": "at the low edge", "high": "at the high edge"}[row["edge"]],
            f"{row['low']:.3g} to {row['high']:.3g}",
        )
        for _, row in regions.iterrows()
    ]
    return Table(
        "Where searches went",
        ("search", "range", "for round", "searched", "best value", "where", "next"),
        rows,
        "At an edge: within a tenth of the range's length, on its scale, from its end.",
        "search_regions",
        text_columns=2,
    )


def _grid_or_random(differences: pd.DataFrame) -> str:
    if differences.empty:
        return "Random or grid. Not compared: it takes a grid whose tuning or final runs are many more than a search."
    parts = []
    for of, what in (
        ("tuning", "of the same tuning runs"),
        ("random", "of the random sample, against that grid"),
        ("final", "where every setting comes with its tuned rate"),
    ):
        row = _told(differences[differences["of"] == of])
        if row is not None:
            parts.append(
                f"{_gain(row)} with {row['budget']:,} runs {what}, random the better in {percent(row['share_better'], 0)} of "
                f"searches{_verdict(row)}"
            )
    return f"Random or grid. Points of validation accuracy of the best run found, random search minus grid: {'; '.join(parts)}."


def _told(rows: pd.DataFrame) -> pd.Series | None:
    """Return the row of the largest budget that is not above TOLD_BUDGET times what one setting costs."""
    if rows.empty:
        return None
    ordered = rows.sort_values("budget")
    return _row(ordered, int((ordered["budget"] <= TOLD_BUDGET * ordered["budget"].iloc[0]).sum()) - 1)


def _row(rows: pd.DataFrame, place: int) -> pd.Series:
    row: pd.Series = rows.iloc[place]
    return row


def _verdict(row: pd.Series) -> str:
    """Say where an interval holds zero."""
    return " (not told apart)" if row["low"] <= 0 <= row["high"] else ""


def _log_or_linear(study: Study, laws: pd.DataFrame) -> str:
    if laws.empty:
        return "Log or linear. Not compared: it takes a random sample."
    laws = laws.sort_values("budget")
    first, last = _row(laws, 0), _row(laws, -1)
    if last["budget"] == 0:
        return (
            f"Log or linear. Too few draws: weighed as if rates were even on a linear scale, those of a seed are worth "
            f"{last['effective_draws']:.1f}."
        )
    decades = sorted(math.log10(each.high / each.low) for each in map(study.rate_range, study.factors["optimizer"]))
    width = f"{decades[0]:.1f}" + (f" to {decades[-1]:.1f}" if decades[-1] - decades[0] > 0.05 else "")
    parts = [
        f"{_gain(row)} with {int(row['budget'])} run{'s' if row['budget'] > 1 else ''}{_verdict(row)}"
        for row in (last, first)
    ]
    return (
        "Log or linear. Points of validation accuracy of the best run found, rates even on a log scale minus rates even on a "
        f"linear scale over the same ranges ({width} decades): {', '.join(parts)}."
    )


def _fine(value: float) -> str:
    """Return a difference in percentage points with two digits: a search's gains are small."""
    return points(value, 2)


def _fine_interval(low: float, high: float) -> str:
    return points_interval(low, high, 2)


def _gain(row: pd.Series, column: str = "difference") -> str:
    return f"{_fine(row[column])} ({_fine_interval(row['low'], row['high'])})"


def _edges(edges: pd.DataFrame) -> str:
    found = {row["where"]: row for _, row in edges.iterrows()}
    if len(found) < 2:
        return "Edges of ranges. Not looked at: it takes three rates or more, and settings whose best lies inside."
    edge, inside = found["edge"], found["inside"]
    return (
        "Edges of ranges. With the last rate of the range cut off at either end, it would have been better than all others "
        f"for {percent(edge['share'])} ({percent_interval(edge['share_low'], edge['share_high'])}) of the settings whose best "
        f"remaining rate lay next to the cut, for {percent(inside['share'])} "
        f"({percent_interval(inside['share_low'], inside['share_high'])}) of the others; on average it gains "
        f"{_gain(edge, 'gain')} points there and {_gain(inside, 'gain')} elsewhere."
    )


def _what_matters(importance: pd.DataFrame) -> str:
    if importance.empty:
        return "Importance. Not told: it takes a random sample of at least 100 draws."
    alone, pairs = (importance[importance["order"] == order] for order in (1, 2))
    top = alone.iloc[0]
    text = (
        f"Importance. Of the variance that a forest learns from {top['trials']:,} random draws, {term_name(top['term'])} carries "
        f"most by itself: {percent(top['share'])} ({percent_interval(top['low'], top['high'])})"
    )
    if len(pairs):
        pair = pairs.iloc[0]
        text += (
            f"; the strongest pair is {term_name(pair['term'])} with {percent(pair['share'])} "
            f"({percent_interval(pair['low'], pair['high'])}) beyond what its two carry alone"
        )
    return f"{text}. The forest explains {percent(top['explained'], 0)} of the variance of draws it has not seen."


def _early_looks(screening: pd.DataFrame) -> str:
    if screening.empty:
        return "Screening. Not looked at: it takes more than one epoch, and several tuning runs or draws of a seed."
    parts = []
    for stage, rows in screening.groupby("stage", sort=False):
        budget = rows["epochs"].iloc[0]
        row = rows.loc[(rows["epoch"] - max(round(budget / 4), 1)).abs().idxmin()]
        cost = row["epoch"] / budget + (1 - row["epoch"] / budget) / 3
        parts.append(
            f"after {row['epoch']} of {budget} epochs validation accuracy ranks {_STAGES[str(stage)]} as it does at the end with "
            f"Spearman's correlation {row['spearman']:.2f} ({row['spearman_low']:.2f} to {row['spearman_high']:.2f}), and going "
            f"on with the best third of {row['searched']} takes {percent(cost, 0)} of the epochs and loses "
            f"{_loss(row['regret_third'])} points of the best on average, no more than {_loss(row['regret_third_worst'])} in "
            f"nineteen of twenty searches"
        )
    return f"Screening. {capital('; '.join(parts))}."


def _loss(value: float) -> str:
    return f"{value * 100:.2f}"


def _stopping(table: pd.DataFrame) -> str:
    rows = table[table["rise"] == RULE]
    if rows.empty:
        return "Stopping. Not looked at: no run has a loss to watch."
    row = rows.iloc[-1]  # all stages together come last
    text = f"Stopping. Of {row['runs']:,} runs, none of which was stopped, "
    if not row["stopped"]:
        return f"{text}none had a loss above {RULE:g} times its first value; {row['bad']:,} ended badly all the same."
    text += (
        f"{row['stopped']:,} would have been by the rule of a loss above {RULE:g} times its first value; of these "
        f"{row['recovered']:,} ({percent(row['recovered_share'])}, "
        f"{percent_interval(row['recovered_low'], row['recovered_high'])}) went on to end "
        f"healthy and clearly above chance, {row['near']:,} ({percent(row['near_share'])}, "
        f"{percent_interval(row['near_low'], row['near_high'])}) within {NEAR * 100:g} points of their stage's median or above"
    )
    if not row["bad"]:
        return f"{text}. No run ended badly."
    return (
        f"{text}. The rule catches {percent(row['recall'])} ({percent_interval(row['recall_low'], row['recall_high'])}) of "
        f"{row['bad']:,} runs that ended badly."
    )


def best_found(search: pd.DataFrame) -> Figure:
    """Draw the validation accuracy of the best run found against the budget, for searches by grid and at random."""
    lines = [
        ("grid", ("tuning", "grid"), ("final", "grid")),
        ("random, of the same runs", ("tuning", "random"), ("final", "random")),
        ("random sample (other seeds)", ("random", "random"), ("", "")),
    ]
    found = {(str(of), str(how)): rows.sort_values("budget") for (of, how), rows in search.groupby(["of", "search"])}
    panels = [
        (title, [(i, name, found[line[column]]) for i, (name, *line) in enumerate(lines) if line[column] in found])
        for column, title in enumerate(("every run at one rate", "every setting with its tuned rate"))
    ]
    panels = [panel for panel in panels if panel[1]]
    canvas, axes = canvas_of(1, len(panels), 2.9, share=False)
    for axis, (title, drawn) in zip(axes[0], panels, strict=True):
        for position, name, rows in drawn:
            line = line_of(position)
            axis.fill_between(
                rows["budget"], rows["decile_1"], rows["decile_9"], color=line["color"], alpha=0.13, linewidth=0
            )
            axis.plot(rows["budget"], rows["median"], marker=MARKERS[position], markersize=4, label=name, **line)
        _budget_axis(axis, pd.concat([rows["budget"] for _, _, rows in drawn]))
        shown = pd.concat([rows for _, _, rows in drawn])
        lowest = shown.loc[shown["budget"] >= 4 * shown["budget"].min(), "decile_1"].min()
        if not math.isnan(lowest):
            axis.set_ylim(lowest - 0.01, min(shown["decile_9"].max() + 0.005, 1.0))
        percent_axis(axis, "y", 0 if axis.get_ylim()[1] - axis.get_ylim()[0] > 0.1 else 1)
        axis.set_title(title)
        axis.set_xlabel("runs trained (log)")
        axis.legend(frameon=False, loc="lower right", handlelength=3.2)
    axes[0, 0].set_ylabel("validation accuracy of the best run")
    title = "What a budget finds"
    told = {key: row for key in _ORDER if key in found and (row := _told(found[key])) is not None}
    parts = [
        f"with {row['budget']:,} runs {how} search over {_RUNS[of]} finds {percent(row['median'])}"
        for (of, how), row in told.items()
    ]
    caption = (
        f"At the median, {joined(parts)}. Lines: median of all searches of a budget, mean over seeds; bands: the middle 80% of "
        "searches. A grid is a product of some of the levels and rates, all shapes that use the budget alike. The scale "
        "does not begin at zero, but where four runs stand."
    )
    return Figure("best_found", svg_of(canvas), title, caption, f"{title}: {joined(parts)}.", "search")


def _budget_axis(axis: Axes, budgets: pd.Series) -> None:
    axis.set_xscale("log", base=2)
    ticks = sorted(set(budgets))
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def _differences_table(differences: pd.DataFrame) -> Table:
    smallest = differences.groupby("of")["budget"].transform("min")
    shown = differences[differences["budget"] >= 4 * smallest]
    rows = [
        (
            _RUNS[row["of"]],
            f"{row['budget']:,}",
            _fine(row["difference"]),
            _fine_interval(row["low"], row["high"]),
            percent(row["share_better"], 0),
            _fine(row["test_difference"]),
        )
        for _, row in shown.iterrows()
    ]
    return Table(
        "Random search minus grid, at the same number of runs",
        (
            "runs that are searched",
            "runs trained",
            "validation, points",
            "95% interval",
            "random better",
            "test, points",
        ),
        rows,
        "Expected accuracy of the best run found, in percentage points; test: of the same run. Intervals over seeds; where the "
        "random sample has other seeds than the grid, both groups of seeds are taken to have the same spread, so that the "
        "luck of a split is within the interval. Ties count half as better. Smaller budgets are in the table behind.",
        "search_differences",
    )


def _laws_table(laws: pd.DataFrame) -> Table:
    rows = [
        (
            f"{int(row['budget'])}",
            percent(row["log"]),
            percent(row["linear"]),
            _fine(row["difference"]),
            _fine_interval(row["low"], row["high"]),
        )
        for _, row in laws.iterrows()
    ]
    effective, each = laws["effective_draws"].iloc[0], laws["draws"].iloc[0] / laws["seeds"].iloc[0]
    return Table(
        "Rates even on a log scale against rates even on a linear one",
        ("runs trained", "log", "linear", "log minus linear, points", "95% interval"),
        rows,
        "Expected validation accuracy of the best of so many draws. The linear scale weighs the same draws in proportion to "
        f"their rates, after which the {each:g} of a seed are worth {effective:.1f}; intervals over draws.",
        "rate_laws",
        text_columns=0,
    )


def _edges_table(edges: pd.DataFrame) -> Table:
    rows = [
        (
            {"edge": "next to the cut", "inside": "elsewhere"}[row["where"]],
            f"{row['settings']:,}",
            f"{row['improved']:,}",
            percent(row["share"]),
            percent_interval(row["share_low"], row["share_high"]),
            _fine(row["gain"]),
            _fine_interval(row["low"], row["high"]),
        )
        for _, row in edges.iterrows()
    ]
    return Table(
        "Whether a best rate at the edge is a warning",
        ("best remaining rate", "settings", "cut rate better", "share", "95% interval", "gain, points", "95% interval"),
        rows,
        "Each setting of the grid twice: without the lowest rate, and without the highest. Gain: of validation accuracy by the "
        "rate that was cut off, 0 where it is no better; the best of few noisy runs, so even a flat curve gains a little.",
        "range_edges",
    )


def importance_bars(importance: pd.DataFrame) -> Figure:
    """Draw the shares of parameters and pairs in the variance of a forest, with intervals."""
    shown = importance[importance["order"] > 0].nlargest(SHOWN_TERMS, "share")[::-1]
    canvas, axes = canvas_of(1, 1, 0.9 + 0.27 * len(shown), share=False)
    share_bars(axes[0, 0], shown, "a parameter by itself", "two parameters together")
    axes[0, 0].set_xlabel("share of the variance that the forest learnt; line: 95% interval over draws")
    top, rest = shown.iloc[-1], importance[importance["order"] == 0]["share"].sum()
    caption = (
        f"{capital(term_name(top['term']))} carries the largest share, {percent(top['share'])} "
        f"({percent_interval(top['low'], top['high'])}). Functional analysis of variance of a random forest that learns "
        f"validation accuracy from {top['trials']:,} random draws; the learning rate is its place in its optimizer's range. "
        f"Three and more parameters together carry {percent(rest)}; a parameter that a level does not have stands at one value. "
        f"The forest explains {percent(top['explained'], 0)} of the variance of draws it has not seen."
    )
    alt = "Bars: " + "; ".join(
        f"{term_name(row['term'])} {percent(row['share'])} ({percent_interval(row['low'], row['high'])})"
        for _, row in shown[::-1].iterrows()
    )
    return Figure("importance", svg_of(canvas), "Importance in the random sample", caption, alt, "importance")


def early_looks(screening: pd.DataFrame) -> Figure:
    """Draw the rank correlation between early and final accuracy, and what screening loses, against epochs."""
    canvas, axes = canvas_of(1, 2, 2.7, share=False)
    ranks, regrets = axes[0]
    handles = []
    for position, (stage, rows) in enumerate(screening.groupby("stage", sort=False)):
        line, marker = line_of(position), MARKERS[position]
        ranks.fill_between(
            rows["epoch"], rows["spearman_low"], rows["spearman_high"], color=line["color"], alpha=0.15, linewidth=0
        )
        ranks.plot(rows["epoch"], rows["spearman"], marker=marker, markersize=4, **line)
        regrets.plot(rows["epoch"], rows["regret_third"], marker=marker, markersize=4, **line)
        regrets.plot(
            rows["epoch"], rows["regret_third_worst"], marker=marker, markersize=3, **(line | {"linewidth": 0.7})
        )
        handles.append(Line2D([], [], marker=marker, markersize=4, label=_STAGES[str(stage)], **line))
    ranks.set_ylim(min(0.0, screening["spearman_low"].min()), 1.0)
    ranks.set_ylabel("rank correlation with the end")
    regrets.set_ylabel("points of validation accuracy lost")
    regrets.set_ylim(bottom=0.0)
    regrets.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}"))
    for axis in axes[0]:
        axis.set_xlabel(f"epochs before the look, of {screening['epochs'].iloc[0]}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    ranks.legend(handles=handles, frameon=False, loc="lower right", handlelength=3.2)
    parts = [
        f"{row['spearman']:.2f} ({row['spearman_low']:.2f} to {row['spearman_high']:.2f}) among {_STAGES[row['stage']]}"
        for _, row in screening[screening["epoch"] == screening["epoch"].min()].iterrows()
    ]
    first = screening["epoch"].min()
    searched = joined([str(number) for number in sorted(set(screening["searched"]))])
    caption = (
        f"After {first} epoch{'s' if first > 1 else ''} the correlation is {joined(parts)}. Left: Spearman's, of validation "
        "accuracy then and at the end, within seeds, with 95% intervals over trials. Right: what the best third then has less at "
        f"its end than the best of all, in searches of {searched} runs; thick: mean, thin: nineteen of twenty searches lose no "
        "more."
    )
    alt = f"Rank correlation and loss by screening against epochs; after {first}: {joined(parts)}."
    return Figure("screening", svg_of(canvas), "What a few epochs tell", caption, alt, "screening")


def _abort_table(table: pd.DataFrame) -> Table:
    last = table["stage"].iloc[-1]
    chosen = pd.concat([table[(table["rise"] == RULE) & (table["stage"] != last)], table[table["stage"] == last]])
    rows = [
        (
            _STAGES[row["stage"]],
            f"{row['rise']:g}",
            f"{row['runs']:,}",
            f"{row['stopped']:,}",
            _share(row["recovered"], row["stopped"], row["recovered_low"], row["recovered_high"]),
            _share(row["near"], row["stopped"], row["near_low"], row["near_high"]),
            f"{row['bad']:,}",
            _share(
                round(row["recall"] * row["bad"]) if row["bad"] else 0,
                row["bad"],
                row["recall_low"],
                row["recall_high"],
            ),
        )
        for _, row in chosen.iterrows()
    ]
    return Table(
        "Stopping a run whose loss exceeds so many times its first value",
        (
            "runs", "times", "watched", "stopped", "of these: recovered", f"within {NEAR * 100:g} points", "ended badly",
            "of these: stopped",
        ),
        rows,
        "Tried on runs that went on. The loss is that of the minibatches that are kept (the first ten, then at steps a tenth "
        "apart), and a loss that is not finite exceeds every limit. Recovered: healthy at the end and above chance by more than "
        f"three standard errors; within {NEAR * 100:g} points: of the median of the stage, or above it. Ended badly: not so. In "
        "brackets: shares with Wilson's 95% intervals.",
        "abort_rule",
    )  # fmt: skip


def _share(count: int, of: int, low: float, high: float) -> str:
    return "–" if not of else f"{count:,} ({percent(count / of, 0)}, {percent_interval(low, high)})"


def can_be_fed(tables: dict[str, pd.DataFrame], names: Sequence[str] = TABLES) -> bool:
    """Return whether any of the section's tables says something."""
    return any(len(tables[name]) for name in names)
