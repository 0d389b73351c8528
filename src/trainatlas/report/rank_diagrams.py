"""Critical-difference diagrams: the levels of a factor by mean rank, with bars over those that are not told apart.

As Demsar (2006, "Statistical comparisons of classifiers over multiple data sets", figure 1) draws them, but for what bars
rest on: the analysis' own groups, made by t-tests over seeds with Holm's correction, in place of Nemenyi's test, whose
critical difference is drawn beside them. Such groups need not be neighbours in rank, so a dot marks every member of a bar.
"""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trainatlas.analysis.letters import bearers
from trainatlas.report.blocks import Figure
from trainatlas.report.drawing import WRAPPED, canvas_of, svg_of
from trainatlas.report.language import tr, trn
from trainatlas.report.wording import capital, factor_name, joined, level_name, p_value

INK, SOFT = "#222222", "#777777"
_SCALE, _TOP = 3.1, 4.1
"""Where the critical difference is drawn, and where the drawing ends, in lines above the axis of ranks."""


def rank_diagram(factor: str, ranks: pd.DataFrame, groups: pd.DataFrame) -> Figure:
    """Draw one factor's diagram.

    Parameters
    ----------
    factor
        The factor.
    ranks, groups
        Its rows of ranks.csv, best first, and of tie_groups.csv.
    """
    letters = groups.set_index("level")["letters"].reindex(ranks["level"]).fillna("")
    places = dict(zip(ranks["level"], ranks["rank"], strict=True))
    tied = {
        letter: levels for letter, levels in bearers({str(k): v for k, v in letters.items()}).items() if len(levels) > 1
    }
    labels = {
        level: textwrap.wrap(f"{level_name(level)}  {place:.2f}  {letters[level]}".rstrip(), WRAPPED)
        for level, place in places.items()
    }
    left = list(places)[: (len(places) + 1) // 2]
    right = list(places)[len(left) :][::-1]
    top = 0.9 + 0.55 * len(tied)
    heights = _heights(left, labels, top) | _heights(right, labels, top)
    bottom = max(height + len(labels[level]) for level, height in heights.items())
    canvas, axes = canvas_of(1, 1, 0.2 + 0.165 * (bottom + _TOP), share=False)
    axis = axes[0, 0]
    edges = _rank_axis(axis, len(places), bottom, int(ranks["seeds"].iloc[0]))
    _critical_difference(axis, float(ranks["critical_difference"].iloc[0]), len(places))
    for side, edge, align in ((left, edges[0], "right"), (right, edges[1], "left")):
        for level in side:
            x, y = places[level], -heights[level]
            axis.plot([x, x, edge], [0, y, y], color=SOFT, linewidth=0.8, solid_joinstyle="miter")
            axis.annotate(
                "\n".join(labels[level]), (edge, y), xytext=(-4 if align == "right" else 4, 0),
                textcoords="offset points", ha=align, va="center", fontsize=8, annotation_clip=False,
            )  # fmt: skip
    for number, (letter, levels) in enumerate(tied.items()):
        _bar(axis, letter, [places[level] for level in levels], -0.7 - 0.55 * number)
    return _described(factor, svg_of(canvas), ranks, groups, tied)


def _heights(side: list[str], labels: dict[str, list[str]], top: float) -> dict[str, float]:
    """Return how far below the axis each label of a side is, the outermost level first: so no two lines cross."""
    found, height = {}, top
    for level in side:
        lines = len(labels[level])
        found[level] = height + (lines - 1) / 2
        height += lines
    return found


def _rank_axis(axis: Axes, levels: int, bottom: float, seeds: int) -> tuple[float, float]:
    """Draw the scale of ranks on top, and return where labels begin on its left and right."""
    pad = 0.05 * (levels - 1)
    axis.set_xlim(1 - pad, levels + pad)
    axis.set_ylim(-bottom, _TOP)
    axis.grid(visible=False)
    axis.set_yticks([])
    for side in ("left", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["top"].set_position(("data", 0.0))
    axis.spines["top"].set_bounds(1, levels)
    axis.xaxis.set_label_position("top")
    axis.tick_params(axis="x", top=True, bottom=False, labeltop=True, labelbottom=False, length=3, pad=1)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=min(levels, 11), integer=True, steps=[1, 2, 5, 10]))
    axis.set_xlabel(
        trn(
            "mean rank over {number} seed (1: the best in every seed)",
            "mean rank over {number} seeds (1: the best in every seed)",
            seeds,
        )
    )
    return 1 - pad, levels + pad


def _critical_difference(axis: Axes, critical: float, levels: int) -> None:
    """Draw Nemenyi's critical difference as a scale above the ranks, cut where it is wider than they are."""
    wider = critical > levels - 1
    end = 1 + min(critical, levels - 1)
    axis.plot([1, end], [_SCALE, _SCALE], color=SOFT, linewidth=1.2, solid_capstyle="butt")
    ends = [1] if wider else [1, end]
    axis.plot(ends, [_SCALE] * len(ends), linestyle="none", marker="|", color=SOFT, markersize=6)
    if wider:
        text = tr("Nemenyi's critical difference: {ranks:.2f}, wider than this scale", ranks=critical)
    else:
        text = tr("Nemenyi's critical difference: {ranks:.2f}", ranks=critical)
    axis.annotate(
        text, (1 + (end - 1) / 2 if end - 1 > 0.6 * (levels - 1) else 1, _SCALE), xytext=(0, 3), textcoords="offset points",
        ha="center" if end - 1 > 0.6 * (levels - 1) else "left", va="bottom", fontsize=7, color="#555555",
    )  # fmt: skip


def _bar(axis: Axes, letter: str, ranks: list[float], height: float) -> None:
    """Draw one group: a bar from its best to its worst rank, a dot at every member, its letter at the left."""
    (line,) = axis.plot(
        sorted(ranks), [height] * len(ranks), color=INK, linewidth=2.6, marker="o", markersize=5, markerfacecolor="white",
        markeredgewidth=1.1, zorder=3,
    )  # fmt: skip
    line.set_gid(f"tied-{letter}")
    axis.annotate(
        letter, (min(ranks), height), xytext=(-5, 0), textcoords="offset points", ha="right", va="center", fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4}, zorder=4,
    )  # fmt: skip


def _described(factor: str, svg: str, ranks: pd.DataFrame, groups: pd.DataFrame, tied: dict[str, list[str]]) -> Figure:
    first = ranks.iloc[0]
    friedman = float(ranks["friedman_p"].iloc[0])
    told = [f"{letter}: {joined([level_name(level) for level in levels])}" for letter, levels in tied.items()]
    listed = tr("Not told apart: {list}.", list="; ".join(told))
    finding = listed if told else tr("Every level is told apart from every other.")
    sentences = [
        tr("{level} ranks best, {rank:.2f} on average.", level=level_name(first["level"]), rank=first["rank"]),
        finding,
        tr("Bars: t-tests over seeds with Holm's correction (tie_groups.csv)."),
        tr("Friedman's test that all rank alike: not possible with one seed.")
        if math.isnan(friedman)
        else tr("Friedman's test that all rank alike: p {p}.", p=p_value(friedman)),
    ]
    left_out = [level_name(level) for level in groups["level"] if level not in set(ranks["level"])]
    if left_out:
        sentences.append(tr("Without a rank, for want of runs beside all others: {list}.", list=joined(left_out)))
    places = [f"{level_name(row['level'])} {row['rank']:.2f}" for _, row in ranks.iterrows()]
    alt = tr("Mean ranks: {list}.", list="; ".join(places))
    return Figure(
        f"ranks_{factor}",
        svg,
        tr("{factor}: mean ranks of levels", factor=capital(factor_name(factor))),
        " ".join(sentences),
        f"{alt} {finding}",
        "ranks",
    )
