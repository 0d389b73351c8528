"""Small multiples of step functions: the levels of a factor in a panel, and under it what they are at each tick.

The rows of numbers under the axis are the key as well: each has its curve's stroke beside its level's name, so that names
stand where they are looked for and never on a curve. A panel has five hues at most and no dash twice; a factor of many levels
has several panels, and each after the first shows the factor's first level once more, in grey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2DBase, ScaledTranslation

from trainatlas.report.drawing import canvas_of, line_of, part_of, percent_axis
from trainatlas.report.wording import capital, factor_name, level_name

PANEL_LEVELS = 6
"""Levels of a panel, at most: as many as there are dashes."""
PANELS = 6
"""Panels of a figure, at most: as many as fit a page."""
_WRAPPED = 22
_PANEL = 1.5
"""Inches of a panel with its title and ticks: three rows of six levels leave room for a section's head on their page."""
_LINE = 0.135
"""Inches from one row under the axis to the next."""
_FIRST = 0.5
"""Inches from the axis down to the first of them."""
_GREY: dict[str, Any] = {"color": "#777777", "linestyle": (0, (1, 1.5)), "linewidth": 1.0}


@dataclass(frozen=True)
class StepCurve:
    """A level's step function, constant up to the next `x`.

    Attributes
    ----------
    level
        The level.
    x, y
        Shape (steps,), `x` ascending, `y` 0 to 1.
    low, high
        Ends of a band, the same shape, nan for none there; None for no band at all.
    texts
        What stands below each tick.
    note
        What stands behind the level's name.
    """

    level: str
    x: np.ndarray
    y: np.ndarray
    texts: tuple[str, ...]
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    note: str = ""

    @property
    def name(self) -> list[str]:
        """The lines of the level's name in the key."""
        return textwrap.wrap(f"{level_name(self.level)}{self.note}", _WRAPPED)


@dataclass(frozen=True)
class StepPanel:
    """Some levels of a factor.

    Attributes
    ----------
    curves
        Each with its place among the factor's levels, which gives its stroke; None for the one that is shown once more.
    """

    title: str
    curves: Sequence[tuple[int | None, StepCurve]]

    @property
    def lines(self) -> int:
        """Lines of text under the axis, their heading included."""
        return 1 + sum(len(curve.name) for _, curve in self.curves)


def panels_by_factor(table: pd.DataFrame, curve: Callable[[str, pd.DataFrame], StepCurve]) -> list[StepPanel]:
    """Divide the levels of each factor among panels.

    Parameters
    ----------
    table
        Columns factor and level and those that `curve` reads.
    curve
        Takes a level and its rows.
    """
    panels = []
    for factor, rows in table.groupby("factor", sort=False):
        curves = [curve(str(level), own) for level, own in rows.groupby("level", sort=False)]
        number = -(-len(curves) // PANEL_LEVELS)
        for part, places in enumerate(np.array_split(np.arange(len(curves)), number)):
            title = capital(factor_name(str(factor))) + (f" {part_of(part + 1, number)}" if number > 1 else "")
            again: list[tuple[int | None, StepCurve]] = [(None, curves[0])] if part else []
            panels.append(StepPanel(title, again + [(int(place), curves[place]) for place in places]))
    return panels


def draw_panels(
    panels: Sequence[StepPanel], ticks: Sequence[float], x_label: str, y_label: str, heading: str
) -> Canvas:
    """Draw panels, two beside each other.

    Parameters
    ----------
    ticks
        Where the axis has numbers, ascending; the first and last are its ends.
    heading
        What the numbers under the axis are.
    """
    columns = min(len(panels), 2)
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    deepest = [max(panel.lines for panel in row) for row in rows]
    canvas, axes = canvas_of(len(rows), columns, sum(_PANEL + _LINE * lines for lines in deepest), share=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        for place, curve in panel.curves:
            _draw(axis, curve, _GREY if place is None else line_of(place))
        axis.set_title(panel.title)
        axis.set_xlim(ticks[0], ticks[-1])
        axis.set_ylim(0, 1.02)
        axis.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        axis.set_xlabel(x_label)
        percent_axis(axis, "y")
        _key(canvas, axis, panel, ticks, heading)
    for axis in axes[:, 0]:
        axis.set_ylabel(y_label)
    return canvas


def _draw(axis: Axes, curve: StepCurve, line: dict[str, Any]) -> None:
    if curve.low is not None and curve.high is not None:
        axis.fill_between(curve.x, curve.low, curve.high, step="post", color=line["color"], alpha=0.14, linewidth=0)
    (drawn,) = axis.plot(curve.x, curve.y, drawstyle="steps-post", **line)
    drawn.set_gid(f"curve-{curve.level}")


def _key(canvas: Canvas, axis: Axes, panel: StepPanel, ticks: Sequence[float], heading: str) -> None:
    """Write the rows under the axis: stroke, level and a text for each tick."""
    inches = canvas.dpi_scale_trans + ScaledTranslation(0, 0, cast("Affine2DBase", axis.transAxes))
    _write(axis, heading, -0.2, -_FIRST, style="italic")
    depth = _FIRST + _LINE
    for place, curve in panel.curves:
        line = _GREY if place is None else line_of(place)
        stroke = Line2D([-0.48, -0.2], [-depth, -depth], transform=inches, clip_on=False, **line)
        axis.add_artist(stroke)
        _write(axis, "\n".join(curve.name), -0.53, -depth - _LINE * (len(curve.name) - 1) / 2)
        for tick, text in zip(ticks, curve.texts, strict=True):
            axis.annotate(
                text, (tick, 0), xycoords=("data", "axes fraction"), xytext=(0, -72 * depth), textcoords="offset points",
                ha="center", va="center", fontsize=7, annotation_clip=False, in_layout=False,
            )  # fmt: skip
        depth += _LINE * len(curve.name)


def _write(axis: Axes, text: str, right: float, height: float, **style: Any) -> None:
    axis.annotate(
        text, (0, 0), xycoords="axes fraction", xytext=(72 * right, 72 * height), textcoords="offset points", ha="right",
        va="center", fontsize=7, annotation_clip=False, **style,
    )  # fmt: skip
