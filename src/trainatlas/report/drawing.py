"""How figures are drawn: one style, SVG.

Five hues of seaborn's colour-blind-safe palette at most, told apart by dashes and markers as well.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from trainatlas.report.language import tr
from trainatlas.report.wording import factor_name, level_name, term_name

WIDTH = 7.1
"""Inches: the text width of an A4 page with the document's margins."""

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trainatlas",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.6,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "figure.dpi": 100,
}
_LATIN, _HANGUL = "DejaVu Sans", "NanumGothic"
"""Families that drawings are measured and shown with: letters that the first lacks come from the second."""
_SEMIBOLD, _BOLD = 600, 700
_HUES = sns.color_palette("colorblind")
PALETTE = [_HUES[i] for i in (0, 1, 2, 3, 4)]
_DASHES: list[tuple[int, tuple[float, ...]]] = [
    (0, ()), (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (7, 2)), (0, (2, 2)),
]  # fmt: skip
MARKERS = "osD^vX"
WRAPPED = 34
"""Characters of a label, at most, before it goes on in another line."""


def canvas_of(rows: int, columns: int, height: float, share: bool | Literal["row"] = True) -> tuple[Canvas, np.ndarray]:
    """Return a canvas of the page's width, `height` inches high, and its axes; `share` scales of all, or y by row."""
    sns.set_theme(style="whitegrid", rc=_STYLE | {"font.family": _fonts()})
    canvas, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height), sharex=bool(share), sharey=share, squeeze=False, layout="constrained"
    )
    return canvas, axes


def _fonts() -> list[str]:
    """Return the families that are installed here; of any other matplotlib complains at every text."""
    if _HANGUL not in fontManager.get_font_names():
        return [_LATIN]
    # The bold of this family calls itself semibold, of which matplotlib complains as well.
    fontManager.ttflist = [
        replace(font, weight=_BOLD) if (font.name, font.weight) == (_HANGUL, _SEMIBOLD) else font
        for font in fontManager.ttflist
    ]
    return [_LATIN, _HANGUL]


def svg_of(canvas: Canvas) -> str:
    """Return the drawing as SVG, the same bytes each time, and close the canvas."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches=None)
    plt.close(canvas)
    return buffer.getvalue()


def line_of(position: int) -> dict[str, Any]:
    """Return the line style of a factor's level, by its position."""
    return {"color": PALETTE[position % 5], "linestyle": _DASHES[position % 6]}


def percent_axis(axis: Axes, which: str, decimals: int = 0) -> None:
    """Show an axis, "x" or "y", in per cent."""
    getattr(axis, f"{which}axis").set_major_formatter(PercentFormatter(1.0, decimals=decimals, symbol="%"))


def level_legend(axis: Axes, levels: Sequence[str], **where: Any) -> None:
    """Explain the lines of a factor's levels; `where` as for matplotlib's legend."""
    handles = [Line2D([], [], label=level_name(level), **line_of(i)) for i, level in enumerate(levels)]
    axis.legend(handles=handles, frameon=False, handlelength=2.6, **where)


def share_bars(axis: Axes, shown: pd.DataFrame, alone: str, together: str) -> None:
    """Draw shares of a variance as bars with intervals, the largest on top; a label for each order explains its hue.

    Parameters
    ----------
    shown
        The largest share last: columns term, order (1 or 2), share, low and high.
    """
    rows = np.arange(len(shown))
    axis.barh(
        rows, shown["share"], color=[PALETTE[0] if order == 1 else PALETTE[1] for order in shown["order"]], height=0.62
    )
    axis.hlines(rows, shown["low"], shown["high"], color="#222222", linewidth=1.1)
    labels = [f"{term_name(term)}   {share:.1%}" for term, share in zip(shown["term"], shown["share"], strict=True)]
    axis.set_yticks(rows, labels)
    axis.set_xlim(0, max(shown["high"].max(), shown["share"].max(), 0.01) * 1.05)
    percent_axis(axis, "x")
    axis.grid(axis="y", visible=False)
    handles = [
        Line2D([], [], marker="s", linestyle="none", color=PALETTE[i], label=label)
        for i, label in enumerate((alone, together))
    ]
    axis.legend(handles=handles, loc="lower right", frameon=True, edgecolor="none")


def rows_by_factor(axis: Axes, labels: Sequence[tuple[str, str]]) -> np.ndarray:
    """Set an axis out in rows, the first on top: a heading in bold for each factor, and under it a row for each label.

    Parameters
    ----------
    labels
        A factor and a text for each row; rows of a factor follow each other.

    Returns
    -------
    numpy.ndarray
        Where each row is, shape (rows,). The axis begins at -0.7 and ends 0.7 below the last row.
    """
    places: list[int] = []
    ticks: list[str] = []
    headings: list[int] = []
    for number, (factor, label) in enumerate(labels):
        if number == 0 or labels[number - 1][0] != factor:
            headings.append(len(ticks))
            ticks.append(factor_name(factor))
        places.append(len(ticks))
        ticks.append(textwrap.fill(label, WRAPPED))
    axis.set_yticks(range(len(ticks)), ticks)
    for heading in headings:
        axis.get_yticklabels()[heading].set_fontweight("bold")
    axis.set_ylim(len(ticks) - 0.3, -0.7)
    axis.grid(axis="y", visible=False)
    return np.array(places)


def rows_high(labels: Sequence[tuple[str, str]]) -> float:
    """Return how many inches `rows_by_factor` needs for these labels."""
    lines = sum(len(textwrap.wrap(label, WRAPPED)) for _, label in labels)
    return 0.16 * (lines + 1.3 * len({factor for factor, _ in labels}))


def pages_of(number: int, most: int) -> Iterator[tuple[str, str, slice]]:
    """Divide what is too much for one figure; yield what each figure's name and title have at their ends, and its part."""
    pages = -(-number // most)
    for page in range(pages):
        name, title = (f"_{page + 1}", f" {part_of(page + 1, pages)}") if pages > 1 else ("", "")
        yield name, title, slice(page * most, (page + 1) * most)


def part_of(number: int, all_: int) -> str:
    """Return which part of several a figure or a panel is, as its title ends."""
    return tr("({number} of {all})", number=number, all=all_)
