"""Reading and writing the tables of verdicts, without torch, which reports do not need."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trainatlas.analysis.tables import read_table, write_table
from trainatlas.claims.columns import CLAIM_TABLES


def write_verdicts(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write the tables of `judge` to `folder`."""
    kinds = {"text": "str", "whole": "int64", "number": "float64"}
    for name, columns in CLAIM_TABLES.items():
        table = tables[name].astype({column.name: kinds[column.kind] for column in columns})
        write_table(table, folder / f"{name}.csv", columns)


def read_verdicts(folder: Path) -> dict[str, pd.DataFrame]:
    """Read what `write_verdicts` wrote; raises UserError naming file and column."""
    return {
        name: read_table(folder / f"{name}.csv", columns, "trainatlas claims judge")
        for name, columns in CLAIM_TABLES.items()
    }
