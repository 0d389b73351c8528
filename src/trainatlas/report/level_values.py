"""A share of each level in words: of all levels, and of the factor whose levels lie farthest apart.

Tables here have columns factor, level and value, a row a level, levels of a factor in the study's order.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trainatlas.report.language import tr
from trainatlas.report.wording import factor_name, level_name, percent


@dataclass(frozen=True)
class Extremes:
    """A factor's levels with the smallest and the largest value."""

    factor: str
    lowest: str
    low: float
    highest: str
    high: float


def listed(values: pd.DataFrame) -> str:
    """Return the value of every level, factor by factor, in per cent."""
    parts = []
    for factor, own in values.groupby("factor", sort=False):
        told = (
            f"{level_name(level)} {percent(value)}" for level, value in zip(own["level"], own["value"], strict=True)
        )
        parts.append(f"{factor_name(str(factor))}: {', '.join(told)}")
    return "; ".join(parts)


def extremes(values: pd.DataFrame) -> list[Extremes]:
    """Return the extremes of each factor, of equal values the first."""
    found = []
    for factor, own in values.groupby("factor", sort=False):
        smallest, largest = int(own["value"].to_numpy().argmin()), int(own["value"].to_numpy().argmax())
        low, high = own.iloc[smallest], own.iloc[largest]
        found.append(Extremes(str(factor), low["level"], float(low["value"]), high["level"], float(high["value"])))
    return found


def farthest_apart(values: pd.DataFrame, what: str) -> str:
    """Say for the factor whose levels lie farthest apart between which shares of its runs are `what`, translated already."""
    most = max(extremes(values), key=lambda each: each.high - each.low)
    if most.high == most.low:
        return tr("Levels do not differ: {what} are {share} of the runs with each.", what=what, share=percent(most.low))
    return tr(
        "Levels lie farthest apart for {factor}: {what} are {low} of the runs with {lowest} and {high} with {highest}.",
        factor=factor_name(most.factor),
        what=what,
        low=percent(most.low),
        lowest=level_name(most.lowest),
        high=percent(most.high),
        highest=level_name(most.highest),
    )
