"""What a search may spare: parameters of no weight, runs that look bad after a few epochs, runs whose loss soars."""

from __future__ import annotations

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from trainatlas.analysis.screening import NEAR
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.differences import with_interval
from trainatlas.report.drawing import MARKERS, canvas_of, line_of, share_bars, svg_of
from trainatlas.report.language import mark, tr, trn
from trainatlas.report.wording import capital, joined, percent, percent_interval, term_name

TABLES = ("importance", "screening", "abort_rule")
"""The tables of the analysis that this rests on."""
RULE = 3.0
"""The rise of the loss at which the rule of the textbooks stops a run."""
SHOWN_TERMS = 12

_STAGES = {
    "tuning": mark("tuning runs"),
    "random": mark("random draws"),
    "final": mark("final runs"),
    "all": mark("all"),
}


def spared_in_words(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return a paragraph on each table; one that a study cannot fill is told so in a line."""
    return [_what_matters(tables["importance"]), _early_looks(tables["screening"]), _stopping(tables["abort_rule"])]


def spared_blocks(tables: dict[str, pd.DataFrame]) -> list[Figure | Table]:
    """Return a figure or table of each table that has rows."""
    blocks: list[Figure | Table] = []
    if len(tables["importance"]):
        blocks.append(importance_bars(tables["importance"]))
    if len(tables["screening"]):
        blocks.append(early_looks(tables["screening"]))
    if len(tables["abort_rule"]):
        blocks.append(_abort_table(tables["abort_rule"]))
    return blocks


def _what_matters(importance: pd.DataFrame) -> str:
    if importance.empty:
        return tr("Importance. Not told: it takes a random sample of at least 100 draws.")
    alone, pairs = (importance[importance["order"] == order] for order in (1, 2))
    top = alone.iloc[0]
    told = {
        "trials": top["trials"],
        "term": term_name(top["term"]),
        "share": percent(top["share"]),
        "interval": percent_interval(top["low"], top["high"]),
    }
    if len(pairs):
        pair = pairs.iloc[0]
        text = tr(
            "Importance. Of the variance that a forest learns from {trials:,} random draws, {term} carries most by itself: "
            "{share} ({interval}); the strongest pair is {pair} with {pair_share} ({pair_interval}) beyond what its two carry "
            "alone.",
            **told,
            pair=term_name(pair["term"]),
            pair_share=percent(pair["share"]),
            pair_interval=percent_interval(pair["low"], pair["high"]),
        )
    else:
        text = tr(
            "Importance. Of the variance that a forest learns from {trials:,} random draws, {term} carries most by itself: "
            "{share} ({interval}).",
            **told,
        )
    return f"{text} {_explained(top)}"


def _explained(row: pd.Series) -> str:
    return tr(
        "The forest explains {share} of the variance of draws it has not seen.", share=percent(row["explained"], 0)
    )


def _early_looks(screening: pd.DataFrame) -> str:
    if screening.empty:
        return tr("Screening. Not looked at: it takes more than one epoch, and several tuning runs or draws of a seed.")
    parts = []
    for stage, rows in screening.groupby("stage", sort=False):
        budget = rows["epochs"].iloc[0]
        row = rows.loc[(rows["epoch"] - max(round(budget / 4), 1)).abs().idxmin()]
        cost = row["epoch"] / budget + (1 - row["epoch"] / budget) / 3
        parts.append(
            tr(
                "after {epoch} of {budget} epochs validation accuracy ranks {runs} as it does at the end with Spearman's "
                "correlation {correlation}, and going on with the best third of {searched} takes {cost} of the epochs and loses "
                "{loss} points of the best on average, no more than {worst} in nineteen of twenty searches",
                epoch=row["epoch"],
                budget=budget,
                runs=tr(_STAGES[str(stage)]),
                correlation=_correlation(row),
                searched=row["searched"],
                cost=percent(cost, 0),
                loss=f"{row['regret_third'] * 100:.2f}",
                worst=f"{row['regret_third_worst'] * 100:.2f}",
            )
        )
    return tr("Screening. {looks}.", looks=capital("; ".join(parts)))


def _correlation(row: pd.Series) -> str:
    interval = tr("{low} to {high}", low=f"{row['spearman_low']:.2f}", high=f"{row['spearman_high']:.2f}")
    return with_interval(f"{row['spearman']:.2f}", interval)


def _stopping(table: pd.DataFrame) -> str:
    rows = table[table["rise"] == RULE]
    if rows.empty:
        return tr("Stopping. Not looked at: no run has a loss to watch.")
    row = rows.iloc[-1]  # all stages together come last
    if not row["stopped"]:
        return tr(
            "Stopping. Of {runs:,} runs, none of which was stopped, none had a loss above {rise:g} times its first value; "
            "{bad:,} ended badly all the same.",
            runs=row["runs"],
            rise=RULE,
            bad=row["bad"],
        )
    text = tr(
        "Stopping. Of {runs:,} runs, none of which was stopped, {stopped:,} would have been by the rule of a loss above "
        "{rise:g} times its first value; of these {recovered:,} ({recovered_share}, {recovered_interval}) went on to end "
        "healthy and clearly above chance, {near:,} ({near_share}, {near_interval}) within {margin:g} points of their stage's "
        "median or above.",
        runs=row["runs"],
        stopped=row["stopped"],
        rise=RULE,
        recovered=row["recovered"],
        recovered_share=percent(row["recovered_share"]),
        recovered_interval=percent_interval(row["recovered_low"], row["recovered_high"]),
        near=row["near"],
        near_share=percent(row["near_share"]),
        near_interval=percent_interval(row["near_low"], row["near_high"]),
        margin=NEAR * 100,
    )
    if not row["bad"]:
        none = tr("No run ended badly.")
        return f"{text} {none}"
    caught = tr(
        "The rule catches {share} ({interval}) of {bad:,} runs that ended badly.",
        share=percent(row["recall"]),
        interval=percent_interval(row["recall_low"], row["recall_high"]),
        bad=row["bad"],
    )
    return f"{text} {caught}"


def importance_bars(importance: pd.DataFrame) -> Figure:
    """Draw the shares of parameters and pairs in the variance of a forest, with intervals."""
    shown = importance[importance["order"] > 0].nlargest(SHOWN_TERMS, "share")[::-1]
    canvas, axes = canvas_of(1, 1, 0.9 + 0.27 * len(shown), share=False)
    share_bars(axes[0, 0], shown, tr("a parameter by itself"), tr("two parameters together"))
    axes[0, 0].set_xlabel(tr("share of the variance that the forest learnt; line: 95% interval over draws"))
    top, rest = shown.iloc[-1], importance[importance["order"] == 0]["share"].sum()
    caption = tr(
        "{term} carries the largest share, {share} ({interval}). Functional analysis of variance of a random forest that learns "
        "validation accuracy from {trials:,} random draws; the learning rate is its place in its optimizer's range. Three and "
        "more parameters together carry {rest}; a parameter that a level does not have stands at one value.",
        term=capital(term_name(top["term"])),
        share=percent(top["share"]),
        interval=percent_interval(top["low"], top["high"]),
        trials=top["trials"],
        rest=percent(rest),
    )
    bars = [
        f"{term_name(row['term'])} {with_interval(percent(row['share']), percent_interval(row['low'], row['high']))}"
        for _, row in shown[::-1].iterrows()
    ]
    alt = tr("Bars: {list}", list="; ".join(bars))
    title = tr("Importance in the random sample")
    return Figure("importance", svg_of(canvas), title, f"{caption} {_explained(top)}", alt, "importance")


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
        handles.append(Line2D([], [], marker=marker, markersize=4, label=tr(_STAGES[str(stage)]), **line))
    ranks.set_ylim(min(0.0, screening["spearman_low"].min()), 1.0)
    ranks.set_ylabel(tr("rank correlation with the end"))
    regrets.set_ylabel(tr("points of validation accuracy lost"))
    regrets.set_ylim(bottom=0.0)
    regrets.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}"))
    for axis in axes[0]:
        axis.set_xlabel(tr("epochs before the look, of {epochs}", epochs=screening["epochs"].iloc[0]))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    ranks.legend(handles=handles, frameon=False, loc="lower right", handlelength=3.2)
    first = screening["epoch"].min()
    told = joined(
        [
            tr("{correlation} among {runs}", correlation=_correlation(row), runs=tr(_STAGES[row["stage"]]))
            for _, row in screening[screening["epoch"] == first].iterrows()
        ]
    )
    finding = trn(
        "After {number} epoch the correlation is {list}.",
        "After {number} epochs the correlation is {list}.",
        int(first),
        list=told,
    )
    reading = tr(
        "Left: Spearman's, of validation accuracy then and at the end, within seeds, with 95% intervals over trials. Right: what "
        "the best third then has less at its end than the best of all, in searches of {searched} runs; thick: mean, thin: "
        "nineteen of twenty searches lose no more.",
        searched=joined([str(number) for number in sorted(set(screening["searched"]))]),
    )
    alt = tr("Rank correlation and loss by screening against epochs; after {epochs}: {list}.", epochs=first, list=told)
    title = tr("What a few epochs tell")
    return Figure("screening", svg_of(canvas), title, f"{finding} {reading}", alt, "screening")


def _abort_table(table: pd.DataFrame) -> Table:
    last = table["stage"].iloc[-1]
    chosen = pd.concat([table[(table["rise"] == RULE) & (table["stage"] != last)], table[table["stage"] == last]])
    rows = [
        (
            tr(_STAGES[row["stage"]]),
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
        tr("Stopping a run whose loss exceeds so many times its first value"),
        (
            tr("runs"),
            tr("times"),
            tr("watched"),
            tr("stopped"),
            tr("of these: recovered"),
            tr("within {margin:g} points", margin=NEAR * 100),
            tr("ended badly"),
            tr("of these: stopped"),
        ),
        rows,
        tr(
            "Tried on runs that went on. The loss is that of the minibatches that are kept (the first ten, then at steps a "
            "tenth apart), and a loss that is not finite exceeds every limit. Recovered: healthy at the end and above chance by "
            "more than three standard errors; within {margin:g} points: of the median of the stage, or above it. Ended badly: "
            "not so. In brackets: shares with Wilson's 95% intervals.",
            margin=NEAR * 100,
        ),
        "abort_rule",
    )


def _share(count: int, of: int, low: float, high: float) -> str:
    return "–" if not of else f"{count:,} ({percent(count / of, 0)}, {percent_interval(low, high)})"
