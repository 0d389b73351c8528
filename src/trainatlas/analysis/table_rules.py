"""The rules that cells of a table keep, by column, and a quick look whether they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainatlas.train.records import COMPOSED, MEASURED, QUANTITIES, SPLITS, STATUSES, Column, Kind

DTYPES: dict[Kind, str] = {"text": "str", "whole": "int64", "number": "float64"}
_ALLOWED = {"status": STATUSES, "split": SPLITS, "quantity": QUANTITIES, "how": (MEASURED, COMPOSED)}
_POSITIVE = ("step_seconds",)
_UNIT_INTERVAL = ("accuracy", "fraction")


@dataclass(frozen=True)
class Bounds:
    """What numbers of a column lie between; `with_low`: the lowest value is one of them, as the highest always is."""

    low: float
    high: float = math.inf
    with_low: bool = True


def bounds(column: Column) -> Bounds | None:
    """Return what the numbers of a column lie between, None for any."""
    if column.name.endswith(_UNIT_INTERVAL):
        return Bounds(0.0, 1.0)
    if column.name in _POSITIVE:
        return Bounds(0.0, with_low=False)
    return Bounds(0) if column.kind == "whole" else None


def allowed_texts(column: Column) -> tuple[str, ...] | None:
    """Return the texts that a column may hold, None for any."""
    return _ALLOWED.get(column.name)


def is_sound(frame: pd.DataFrame, columns: Sequence[Column]) -> bool:
    """Return whether a table with these columns, in this order, keeps every rule.

    No means that it takes a closer look: that of `trainatlas.analysis.table_schemas`, which also says what is wrong.
    """
    names = [column.name for column in columns]
    return list(frame.columns) == names and all(_is_sound(frame[column.name], column) for column in columns)


def _is_sound(cells: pd.Series, column: Column) -> bool:
    if cells.dtype != DTYPES[column.kind]:
        return False
    if column.kind == "text":
        texts = allowed_texts(column)
        return texts is None or bool((cells.isin(texts) | cells.isna()).all())
    values = cells.to_numpy()
    if not column.optional and np.isnan(values).any():
        return False
    limits = bounds(column)
    if limits is None:
        return True
    below = values < limits.low if limits.with_low else values <= limits.low
    return not (below.any() or (values > limits.high).any())
