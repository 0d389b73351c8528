"""What pandera says of a table: loaded where a table is not plainly sound, for it takes its time to load and to look."""

from __future__ import annotations

import functools

import pandas as pd
import pandera.pandas as pa

from trainatlas.analysis.table_rules import DTYPES, allowed_texts, bounds
from trainatlas.train.records import Column


@functools.cache
def schema(columns: tuple[Column, ...]) -> pa.DataFrameSchema:
    """Return the pandera schema of a table: these columns, in this order, and no others."""
    return pa.DataFrameSchema(
        {column.name: _pandera_column(column) for column in columns}, strict=True, ordered=True, coerce=False
    )


def _pandera_column(column: Column) -> pa.Column:
    checks = []
    if (texts := allowed_texts(column)) is not None:
        checks.append(pa.Check.isin(texts))
    if (limits := bounds(column)) is not None:
        checks.append(pa.Check.in_range(limits.low, limits.high, include_min=limits.with_low))
    return pa.Column(DTYPES[column.kind], checks, nullable=column.optional or column.kind == "text")


def fault_of(frame: pd.DataFrame, columns: tuple[Column, ...]) -> str:
    """Return what is wrong with a table, in pandera's words; nothing where it is sound."""
    try:
        schema(columns).validate(frame, lazy=False)
    except pa.errors.SchemaError as error:
        return str(error)
    return ""
