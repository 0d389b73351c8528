"""The figure of each claim: effects with their intervals and seeds, beside what the claim expects of them."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from trainatlas.claims.config import Claim
from trainatlas.report.blocks import Figure
from trainatlas.report.drawing import PALETTE, canvas_of, svg_of
from trainatlas.report.language import retold, tr

TITLE_WIDTH = 122
"""Letters that a row's title in a figure has on a line; those of Korean count twice."""


def forest(claim: Claim, own: pd.DataFrame, evidence: pd.DataFrame) -> Figure:
    """Draw each row's effect with its interval and the effects of its seeds; what is expected is shaded."""
    titles = [_filled(f"{tr(row['what'])} – {retold(row['case'])}") for row in own.to_dict("records")]
    lines = sum(1 + title.count("\n") for title in titles)
    canvas, axes = canvas_of(len(own), 1, 0.1 + 0.7 * len(own) + 0.14 * lines, share=False)
    for axis, row, title in zip(axes[:, 0], own.to_dict("records"), titles, strict=True):
        own_rows = evidence[
            (evidence["claim"] == claim.id)
            & (evidence["part"] == row["part"])
            & (evidence["study"] == row["study"])
            & (evidence["case"] == row["case"])
        ]
        _strip(axis, row, own_rows.groupby("seed")["effect"].mean().to_numpy())
        axis.set_title(title, loc="left", fontsize=7.5)
    supported, refuted = ((own["verdict"] == verdict).sum() for verdict in ("supported", "refuted"))
    caption = tr(
        "Each row: the effect with its 95 % interval (line), the mean of each seed (dots), and where the claim expects the "
        "effect (shaded). {supported} of {rows} rows support the claim, {refuted} refute it.",
        supported=supported,
        rows=len(own),
        refuted=refuted,
    )
    title = tr("Effects and what is expected")
    return Figure(f"claim_{claim.id}", svg_of(canvas), title, caption, caption, "evidence")


def _filled(text: str) -> str:
    """Break a text into lines of TITLE_WIDTH."""
    width = sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)
    return textwrap.fill(text, TITLE_WIDTH * len(text) // width)


def _strip(axis: Axes, row: Mapping[Any, Any], by_seed: np.ndarray) -> None:
    ratio = row["scale"] == "ratio"
    factor = 100.0 if row["unit"] == "points" else 1.0
    values = [float(row[name]) for name in ("effect", "low", "high", "expected_low", "expected_high")]
    shown = (lambda v: np.exp(v)) if ratio else (lambda v: np.asarray(v) * factor)
    effect, low, high, start, end = (float(shown(value)) for value in values)
    points = shown(by_seed)
    finite = [value for value in (start, end) if math.isfinite(value) and (value > 0 or not ratio)]
    every = np.concatenate([[effect, low, high], points, finite, [1.0 if ratio else 0.0]])
    if ratio:
        axis.set_xscale("log")
        edges = np.exp(np.array([-0.06, 1.06]) * np.ptp(np.log(every)) + np.log(every.min()))
    else:
        edges = np.array([-0.06, 1.06]) * (np.ptp(every) or 1.0) + every.min()
    left, right = float(edges[0]), float(edges[1])
    inside = row["direction"] != "differs"
    spans = [(max(start, left), min(end, right))] if inside else [(left, start), (end, right)]
    for span in spans:
        axis.axvspan(*span, color=PALETTE[2], alpha=0.16, linewidth=0)
    axis.plot(points, np.full(len(points), 0.3), "o", markersize=3, color=PALETTE[0], alpha=0.7, markeredgewidth=0)
    axis.plot([low, high], [0.7, 0.7], color="#222222", linewidth=1.6)
    axis.plot([effect], [0.7], "D", color="#222222", markersize=4.5)
    axis.axvline(1.0 if ratio else 0.0, color="#888888", linewidth=0.8, linestyle=(0, (3, 2)))
    axis.set_xlim(left, right)
    if ratio:
        _plain_ticks(axis, math.log10(right / left))
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    unit = tr("ratio") if ratio else tr("percentage points") if factor != 1 else tr("difference")
    axis.set_xlabel(unit, labelpad=1)


def _plain_ticks(axis: Axes, decades: float) -> None:
    """Write numbers on a log axis out, unless it spans more than three decades."""
    if decades > 3:
        return
    axis.xaxis.set_major_locator(MaxNLocator(6) if decades < 1 else LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
