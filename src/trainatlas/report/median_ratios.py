"""Ratios of median steps to a target: a forest plot on a log axis, and the table of all targets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from trainatlas.report.blocks import Figure, Table
from trainatlas.report.drawing import PALETTE, canvas_of, pages_of, rows_by_factor, rows_high, svg_of
from trainatlas.report.language import tr
from trainatlas.report.wording import factor_name, level_name, p_value, percent, target_mark
from trainatlas.study.config import Study

_ROWS = 34
"""Rows of a forest plot, at most: as many as fit a page."""
_REACH = 8.0
"""A forest plot's axis ends at this many times the largest ratio, or the inverse of the smallest, at most."""


def ratio_figures(ratios: pd.DataFrame, target: str) -> list[Figure]:
    """Draw ratios of median steps to one target as a forest plot on a log axis.

    Parameters
    ----------
    ratios
        Rows of median_ratios.csv of one target, at least one.
    target
        The target in words.
    """
    left, right = ratio_limits(ratios)
    found = []
    for name, number, rows in pages_of(len(ratios), _ROWS):
        part = ratios.iloc[rows]
        labels = [
            (
                row["factor"],
                tr("{level}  vs  {reference}", level=level_name(row["level"]), reference=level_name(row["reference"])),
            )
            for _, row in part.iterrows()
        ]
        canvas, axes = canvas_of(1, 1, 0.7 + rows_high(labels), share=False)
        axis = axes[0, 0]
        axis.set_xscale("log")
        axis.set_xlim(left, right)
        for place, (_, row) in zip(rows_by_factor(axis, labels), part.iterrows(), strict=True):
            _ratio_row(axis, float(place), row, left, right)
        axis.axvline(1, color="#222222", linewidth=0.8)
        axis.xaxis.set_major_locator(_ratio_ticks(right / left))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
        axis.set_xlabel(tr("median steps over those of the factor's first level (log; left of ×1: sooner)"))
        how = tr(
            "Target: {target}. Points: ratio of the two medians over pairs of runs of a seed, geometric mean over seeds; lines: "
            "95% intervals over seeds, not corrected for the number of comparisons. An arrow leads to what lies beyond the "
            "axis, or to an end that is open, because half of some seed's runs never get there.",
            target=target,
        )
        caption = f"{_sure_in_words(ratios)} {how}"
        alt = "; ".join(
            tr(
                "{level} against {reference} {ratio} ({interval})",
                level=level_name(row["level"]),
                reference=level_name(row["reference"]),
                ratio=ratio_in_words(row["ratio"]),
                interval=ratio_interval(row),
            )
            for _, row in part.iterrows()
        )
        title = tr("Median steps to the target against each factor's first level") + number
        found.append(Figure(f"median_ratios{name}", svg_of(canvas), title, caption, alt, "median_ratios"))
    return found


def _ratio_ticks(width: float) -> Locator:
    """Return where ticks of a log axis of so wide a range of ratios stand: ×1 and its like on either side, where they can."""
    if width < 1.8:
        return MaxNLocator(5)
    if width < 12:
        return FixedLocator([0.125, 0.25, 0.5, 0.7, 1, 1.4, 2, 4, 8])
    return LogLocator(10, subs=(1, 2, 5) if width < 200 else (1,))


def told_apart(ratios: pd.DataFrame) -> pd.Series:
    """Return whose interval excludes 1."""
    return (ratios["low"] > 1) | (ratios["high"] < 1)


def _sure_in_words(ratios: pd.DataFrame) -> str:
    """Say how many levels differ from their factor's first beyond chance, and which of them saves most steps."""
    sure = ratios[told_apart(ratios)]
    sooner = sure[sure["high"] < 1]
    numbers = {"sure": len(sure), "levels": len(ratios)}
    if sooner.empty:
        return tr(
            "{sure} of {levels} levels take another number of steps than their factor's first beyond chance (filled).",
            **numbers,
        )
    row = sooner.iloc[int(sooner["ratio"].to_numpy().argmin())]
    return tr(
        "{sure} of {levels} levels take another number of steps than their factor's first beyond chance (filled); {level} saves "
        "most against {reference}: {ratio} ({interval}).",
        level=level_name(row["level"]),
        reference=level_name(row["reference"]),
        ratio=ratio_in_words(row["ratio"]),
        interval=ratio_interval(row),
        **numbers,
    )


def ratio_limits(ratios: pd.DataFrame) -> tuple[float, float]:
    """Return where the axis of a forest plot ends: beyond all ratios, and beyond intervals that are not too wide."""

    def positive(column: str) -> np.ndarray:
        values = ratios[column].to_numpy()
        return np.append(values[np.isfinite(values) & (values > 0)], 1.0)

    smallest, largest = positive("ratio").min(), positive("ratio").max()
    left = max(min(positive("low").min(), smallest), smallest / _REACH)
    right = min(max(positive("high").max(), largest), largest * _REACH)
    margin = max((right / left) ** 0.06, 1.03)
    return float(left / margin), float(right * margin)


def _ratio_row(axis: Axes, place: float, row: pd.Series, left: float, right: float) -> None:
    """Draw one ratio with its interval, and both in numbers at the right."""
    ratio, low, high = (float(row[name]) for name in ("ratio", "low", "high"))
    sure = low > 1 or high < 1
    color = PALETTE[0] if sure else "#777777"
    open_low, open_high = ratio == 0 or low < left, math.isinf(ratio) or high > right
    if not math.isnan(ratio):
        point = min(max(ratio, left), right)
        start = left if open_low else point if math.isnan(low) else low
        end = right if open_high else point if math.isnan(high) else high
        axis.plot([start, end], [place, place], color=color, linewidth=1.8, solid_capstyle="butt")
        for is_open, edge, marker in ((open_low, left, "<"), (open_high, right, ">")):
            if is_open:
                axis.plot(edge, place, marker=marker, color=color, markersize=5, clip_on=False)
        if 0 < ratio < math.inf:
            axis.plot(point, place, marker="o", markersize=5, color=color, markerfacecolor=color if sure else "white")
    axis.annotate(
        f"{ratio_in_words(ratio)}  ({ratio_interval(row)})", (1.02, place), xycoords=("axes fraction", "data"), va="center",
        fontsize=7.5,
    )  # fmt: skip


def ratio_in_words(ratio: float) -> str:
    """Return a ratio of medians, which is 0 or infinite where one of the two is infinite in some seed."""
    if math.isnan(ratio):
        return "–"
    return "×∞" if math.isinf(ratio) else "×0" if ratio == 0 else _times(ratio)


def ratio_interval(row: pd.Series) -> str:
    """Return the interval of a ratio of medians, with words for ends that are open."""
    ratio, low, high = row["ratio"], row["low"], row["high"]
    if math.isnan(ratio):
        return tr("not defined")
    if math.isinf(ratio) or ratio == 0:
        return tr("open")
    if math.isnan(low):
        return tr("one seed: no interval")
    return tr("{low} to {high}", low=_times(low), high=_times(high))


def _times(value: float) -> str:
    return f"×{value:.2f}" if 0.1 <= value < 100 else f"×{value:.2g}"


def ratio_table(study: Study, ratios: pd.DataFrame) -> Table:
    """Return median_ratios.csv as a table: every level and every target."""
    texts = {target.column: target_mark(target).replace(" ", "\u00a0") for target in study.targets}
    rows = [
        (
            factor_name(row["factor"]),
            tr("{level} vs {reference}", level=level_name(row["level"]), reference=level_name(row["reference"])),
            texts.get(row["target"], row["target"]),
            ratio_in_words(row["ratio"]),
            ratio_interval(row),
            f"{percent(row['reached_fraction'], 0)}, {percent(row['reference_reached_fraction'], 0)}",
            p_value(row["p"]),
            f"{row['seeds']} · {row['trials']:,}",
        )
        for _, row in ratios.iterrows()
    ]
    return Table(
        tr("Ratios of median steps, all targets"),
        (
            tr("factor"),
            tr("levels"),
            tr("target"),
            tr("ratio"),
            tr("95% interval"),
            tr("got there"),
            tr("p (log-rank)"),
            tr("seeds · pairs"),
        ),
        rows,
        tr(
            "Ratio: median steps of the level over those of the other, geometric mean over seeds. ×∞: in some seed half of the "
            "level's runs or more do not get there; ×0: of the other's; –: of both, or seeds contradict each other. Got there: "
            "share of the paired runs of the level, of the other. Log-rank test stratified by seed, not corrected; it takes "
            "runs of a seed as independent."
        ),
        "median_ratios",
        text_columns=3,
    )
