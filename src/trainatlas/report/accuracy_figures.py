"""Figures of test accuracy: how runs of each level spread, arms with their intervals, and dead units beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from trainatlas.report.blocks import Figure
from trainatlas.report.drawing import (
    MARKERS,
    PALETTE,
    canvas_of,
    percent_axis,
    rows_by_factor,
    rows_high,
    svg_of,
)
from trainatlas.report.language import tr
from trainatlas.report.wording import factor_name, level_name, percent, percent_interval
from trainatlas.study.config import Study

FOREST_LABEL = 92
"""Letters of an arm's label at most, in a figure."""
SCATTERED = 1_500
"""Arms that are drawn one by one at most, evenly over their ranks: more would hide each other and swell the page."""


def distribution(final: pd.DataFrame, study: Study) -> Figure:
    """Draw the spread of test accuracy of each level's final runs as letter values (Hofmann, Wickham and Kafadar 2017)."""
    levels = [(factor, level) for factor in study.varied for level in study.factors[factor]]
    runs = {pair: final.loc[final[pair[0]] == pair[1], "test_accuracy"] for pair in levels}
    runs = {pair: accuracies for pair, accuracies in runs.items() if len(accuracies)}
    levels = list(runs)
    labels = [(factor, level_name(level)) for factor, level in levels]
    canvas, axes = canvas_of(1, 1, 0.8 + rows_high(labels), share=False)
    axis = axes[0, 0]
    places = rows_by_factor(axis, labels)
    tidy = pd.concat(
        [pd.DataFrame({"place": place, "accuracy": runs[pair]}) for place, pair in zip(places, levels, strict=True)]
    )
    sns.boxenplot(
        tidy, x="accuracy", y="place", orient="h", native_scale=True, ax=axis, color=PALETTE[0], width=0.72, linewidth=0.4,
        showfliers=False, k_depth="trustworthy", line_kws={"color": "white", "linewidth": 1.2},
    )  # fmt: skip
    means = [runs[pair].mean() for pair in levels]
    axis.plot(means, places, linestyle="none", marker="D", markersize=3.6, color="#222222", markerfacecolor="white")
    axis.set_ylabel("")
    axis.set_xlabel(tr("test accuracy of the final runs"))
    percent_axis(axis, "x")
    caption = [
        *_spread(runs),
        tr(
            "Letter values: the widest box holds the middle half of a level's final runs, each further pair of boxes half of "
            "what is left, as far as there are runs enough to tell; white line: median; diamond: mean."
        ),
        *_cut_scale([axis.get_xlim()]),
    ]
    alt = tr("Median test accuracy: {list}", list="; ".join(
        f"{_named(factor, level)} {percent(runs[factor, level].median())}" for factor, level in levels
    ))  # fmt: skip
    return Figure(
        "accuracy_distribution", svg_of(canvas), tr("How test accuracies spread"), " ".join(caption), alt, "trials"
    )


def _spread(runs: dict[tuple[str, str], pd.Series]) -> list[str]:
    """Return a sentence on the levels whose runs spread most and least; none where all do alike, as those of a single arm."""
    deciles = {pair: [float(own.quantile(share)) for share in (0.1, 0.9)] for pair, own in runs.items()}
    spread = {pair: high - low for pair, (low, high) in deciles.items()}
    widest, narrowest = max(spread, key=spread.__getitem__), min(spread, key=spread.__getitem__)
    if spread[widest] == spread[narrowest]:
        return []
    return [
        tr(
            "Runs spread most with {widest}, the middle 80% from {widest_low} to {widest_high}, and least with {narrowest}, "
            "from {narrowest_low} to {narrowest_high}.",
            widest=_named(*widest),
            widest_low=percent(deciles[widest][0]),
            widest_high=percent(deciles[widest][1]),
            narrowest=_named(*narrowest),
            narrowest_low=percent(deciles[narrowest][0]),
            narrowest_high=percent(deciles[narrowest][1]),
        )
    ]


def _named(factor: str, level: str) -> str:
    return f"{factor_name(factor)} {level_name(level)}"


def forest(cells: pd.DataFrame, study: Study, best: int, worst: int) -> Figure:
    """Draw test accuracy with its interval of the `best` first and the `worst` last arms.

    Parameters
    ----------
    cells
        Every arm, the best validation accuracy first: columns of the table cells.
    """
    cut = len(cells) > best + worst
    parts = [cells.head(best), cells.tail(worst)] if cut else [cells]
    canvas, axes = canvas_of(len(parts), 1, 0.9 + 0.3 * cut + 0.2 * sum(map(len, parts)), share=False)
    axes[0, 0].get_gridspec().set_height_ratios([len(part) for part in parts])
    for axis, part in zip(axes[:, 0], parts, strict=True):
        _arms_of(axis, part, study)
    axes[-1, 0].set_xlabel(tr("test accuracy: mean, and 95% interval over seeds"))
    if cells["behind_low"].notna().any():
        handles = [
            Line2D([], [], marker="o", markersize=5, color=PALETTE[0], label=tr("not told apart from the first")),
            Line2D([], [], marker="o", markersize=5, color=PALETTE[1], markerfacecolor="white", label=tr("told apart")),
        ]
        axes[0, 0].legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    shown = pd.concat(parts)
    first, compared = shown.iloc[0], int(cells["behind_low"].notna().sum()) - 1
    caption = [
        tr(
            "The arm with the best validation accuracy reaches {accuracy} on test data ({interval}).",
            accuracy=percent(first["test_accuracy"]),
            interval=percent_interval(first["low"], first["high"]),
        ),
        *(
            [
                tr(
                    "{tied:,} of {others:,} others cannot be told apart from it, one comparison at a time: the 95% interval of "
                    "the difference over shared seeds holds zero.",
                    tied=int(tied(cells).sum()) - 1,
                    others=compared,
                )
            ]
            if compared > 0
            else [tr("Of one seed nothing can be told apart.")] * (len(cells) > 1)
        ),
        tr(
            "The first {best} arms by validation accuracy and, on a scale of their own, the last {worst}.",
            best=best,
            worst=worst,
        )
        if cut
        else tr("In order of validation accuracy."),
        *_cut_scale(axis.get_xlim() for axis in axes[:, 0]),
    ]
    alt = "; ".join(
        f"#{rank} {_arm(row, study)}: {percent(row['test_accuracy'])} ({percent_interval(row['low'], row['high'])})"
        for rank, row in _ranked(shown)
    )
    return Figure("accuracy_forest", svg_of(canvas), tr("Arms with their intervals"), " ".join(caption), alt, "cells")


def _arms_of(axis: Axes, arms: pd.DataFrame, study: Study) -> None:
    for place, (alike, row) in enumerate(zip(tied(arms), arms.to_dict("records"), strict=True)):
        color = PALETTE[0] if alike else PALETTE[1]
        if not math.isnan(row["low"]):
            ends = [max(row["low"], 0), min(row["high"], 1)]
            axis.plot(ends, [place, place], color=color, linewidth=1.8, solid_capstyle="butt")
        inside = color if alike else "white"
        axis.plot(row["test_accuracy"], place, marker="o", markersize=5, color=color, markerfacecolor=inside)
    axis.set_yticks(range(len(arms)), [f"#{rank} {_arm(row, study)}" for rank, row in _ranked(arms)], fontsize=7)
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    percent_axis(axis, "x", 1 if np.ptp(axis.get_xlim()) < 0.05 else 0)


def _ranked(arms: pd.DataFrame) -> list[tuple[int, dict[Any, Any]]]:
    """Return arms with their ranks by validation accuracy, from 1: the table's row numbers."""
    return list(zip((arms.index + 1).tolist(), arms.to_dict("records"), strict=True))


def _arm(row: dict[Any, Any], study: Study) -> str:
    text = ", ".join(level_name(row[factor]) for factor in study.varied)
    return text if len(text) <= FOREST_LABEL else text[: FOREST_LABEL - 1] + "…"


def tied(cells: pd.DataFrame) -> np.ndarray:
    """Return which arms have a difference from the first whose interval holds zero; without an interval, none has."""
    return ((cells["behind_low"] <= 0) & (cells["behind_high"] >= 0)).to_numpy()


def dead_against_accuracy(cells: pd.DataFrame, table: pd.DataFrame, study: Study) -> Figure:
    """Draw every arm's dead share at the end against its test accuracy, a panel for each activation that has dead units.

    Parameters
    ----------
    cells
        Every arm: columns of the table cells.
    table
        The correlations: columns of the table dead_units, at least one row. Drawn are those that rest on the most seeds.
    """
    told = table[table["seeds"] == table["seeds"].max()].set_index("activation")
    correlations, shares = told["correlation"].to_dict(), told["dead_fraction"].to_dict()
    activations = [level for level in study.factors["activation"] if level in correlations]
    columns = min(len(activations), 3)
    rows = -(-len(activations) // columns)
    canvas, axes = canvas_of(rows, columns, 0.7 + 1.9 * rows)
    inits = study.factors["init"]
    shown = cells[cells["activation"].isin(activations)]
    thinned = shown.iloc[:: max(-(-len(shown) // SCATTERED), 1)]
    drawn = len(thinned)
    for axis, activation in zip(axes.flat, activations, strict=False):
        _scatter(axis, thinned[thinned["activation"] == activation], inits)
        axis.set_title(f"{level_name(activation)}: ρ {_signed(correlations[activation])}")
        percent_axis(axis, "x")
        percent_axis(axis, "y")
    for axis in axes.flat[len(activations) :]:
        axis.set_axis_off()
    for axis in axes[-1]:
        axis.set_xlabel(tr("dead units at the end"))
    for axis in axes[:, 0]:
        axis.set_ylabel(tr("test accuracy"))
    handles = [
        Line2D(
            [], [], linestyle="none", marker=MARKERS[i % 6], color=PALETTE[i % 5], markersize=4, label=level_name(init)
        )
        for i, init in enumerate(inits)
    ]
    canvas.legend(
        handles=handles, title=factor_name("init"), loc="outside lower center", ncols=min(len(inits), 5), frameon=False
    )
    left_out = [
        level_name(level) for level in study.factors["activation"] if level in {*table["activation"]} - {*told.index}
    ]
    strongest = max(activations, key=lambda level: abs(correlations[level]))
    low, high = told.loc[strongest, ["low", "high"]]
    caption = [
        tr(
            "The rank correlation over arms is strongest for {activation}: {correlation} ({interval}), where {dead} of the "
            "units are dead at the end on average. A point is an arm, mean over its seeds; ρ is Spearman's, mean over seeds. "
            "Arms differ in more than their dead units: this is no effect of these alone.",
            activation=level_name(strongest),
            correlation=_signed(correlations[strongest]),
            interval=_ends(float(low), float(high)),
            dead=percent(shares[strongest]),
        ),
        *([tr("Not drawn, since not every seed tells: {list}.", list=", ".join(left_out))] if left_out else []),
        *(
            [tr("Of many arms {shown:,} of {all:,} are drawn.", shown=drawn, all=len(shown))]
            if drawn < len(shown)
            else []
        ),
        *_cut_scale([axes[0, 0].get_ylim()]),
    ]
    alt = tr("Rank correlation of dead units and test accuracy: {list}", list="; ".join(
        f"{level_name(level)} {_signed(correlations[level])}" for level in activations
    ))  # fmt: skip
    return Figure("dead_units", svg_of(canvas), tr("Dead units and accuracy"), " ".join(caption), alt, "dead_units")


def _scatter(axis: Axes, arms: pd.DataFrame, inits: tuple[str, ...]) -> None:
    for position, init in enumerate(inits):
        own = arms[arms["init"] == init]
        axis.plot(
            own["dead_fraction"], own["test_accuracy"], linestyle="none", marker=MARKERS[position % 6], markersize=3,
            color=PALETTE[position % 5], alpha=0.6, markeredgewidth=0, rasterized=len(arms) > 300,
        )  # fmt: skip


def _cut_scale(limits: Iterable[tuple[float, float]]) -> list[str]:
    """Return what a caption says of scales of accuracy with these limits: a sentence where one leaves zero out."""
    return [tr("The scale of accuracy does not begin at zero.")] if any(low > 0 for low, _ in limits) else []


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _ends(low: float, high: float) -> str:
    if math.isnan(low):
        return tr("one seed: no interval")
    return tr("{low} to {high}", low=_signed(max(low, -1)), high=_signed(min(high, 1)))
