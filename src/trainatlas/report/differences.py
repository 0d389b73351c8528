"""Differences of accuracies as readers see them: percentage points to two digits, for what is told apart may differ by little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from trainatlas.report.language import tr
from trainatlas.report.wording import points, points_interval

Row = pd.Series | Mapping[Any, Any]
"""A row of a table of differences, with columns `low` and `high` for its interval."""


def difference_cells(row: Row, column: str = "difference") -> tuple[str, str]:
    """Return the cells of a difference and of its interval."""
    return points(row[column], 2), points_interval(row["low"], row["high"], 2)


def difference_in_words(row: Row, column: str = "difference") -> str:
    """Return a difference with its interval in brackets."""
    return with_interval(*difference_cells(row, column))


def with_interval(value: str, interval: str) -> str:
    """Return a value with its interval in brackets."""
    return tr("{value} ({interval})", value=value, interval=interval)


def seeds_and_pairs(row: Row) -> str:
    """Return the cell that counts what a difference rests on."""
    return f"{row['seeds']} · {row['pairs']:,}"
