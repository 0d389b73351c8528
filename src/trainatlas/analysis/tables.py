"""Reading and writing tables: every one is checked where a stage reads or writes it.

Schemas follow from the data dictionary in `trainatlas.train.records`; columns that later stages add
are declared here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.csv as arrow_csv

from trainatlas.study.config import Study, Target
from trainatlas.study.errors import UserError
from trainatlas.study.storage import atomic_write
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    QUANTITIES,
    SPLITS,
    STATUSES,
    TRIAL_COLUMNS,
    Column,
    Kind,
)

PLACE_COLUMNS = (
    Column("sample", "text", "name of the study's sample the trial belongs to"),
    Column("stage", "text", "tuning, final or random"),
)
"""What the plan knows of a trial; gathered tables carry it beside what training wrote."""

SELECTED_COLUMNS = (
    Column("sample", "text", "name of the study's grid sample"),
    *(Column(factor, "text", "level of the factor") for factor in FACTORS),
    Column("learning_rate", "number", "rate with the best mean validation accuracy on the tuning seeds"),
    Column("validation_accuracy", "number", "that mean"),
    Column("at_edge", "whole", "1 when the rate is the first or last of its range"),
    Column("diverged_rates", "whole", "rates of the range at which some tuning run diverged"),
)

_DTYPES: dict[Kind, pd.api.extensions.ExtensionDtype | str] = {
    "text": "str",
    "whole": "int64",
    "number": "float64",
}
_ARROW: dict[Kind, arrow.DataType] = {
    "text": arrow.string(),
    "whole": arrow.int64(),
    "number": arrow.float64(),
}
_ALLOWED = {"status": STATUSES, "split": SPLITS, "quantity": QUANTITIES}
_UNIT_INTERVAL = ("accuracy", "fraction")


def target_columns(targets: Sequence[Target]) -> tuple[Column, ...]:
    """Return the columns that say how many steps each target took."""
    return tuple(
        Column(target.column, "number", f"steps to {target.text}; inf: never; empty: not measured", optional=True)
        for target in targets
    )


def trial_columns(study: Study) -> tuple[Column, ...]:
    """Return the columns of a study's gathered trials.csv."""
    return (*TRIAL_COLUMNS, *PLACE_COLUMNS, *target_columns(study.targets))


def schema(columns: Iterable[Column]) -> pa.DataFrameSchema:
    """Return the pandera schema of a table: these columns, in this order, and no others."""
    return pa.DataFrameSchema(
        {column.name: _pandera_column(column) for column in columns}, strict=True, ordered=True, coerce=False
    )


def _pandera_column(column: Column) -> pa.Column:
    checks = []
    if column.name in _ALLOWED:
        checks.append(pa.Check.isin(_ALLOWED[column.name]))
    if column.name.endswith(_UNIT_INTERVAL):
        checks.append(pa.Check.in_range(0.0, 1.0))
    elif column.kind == "whole":
        checks.append(pa.Check.ge(0))
    return pa.Column(_DTYPES[column.kind], checks, nullable=column.optional or column.kind == "text")


def read_table(path: Path, columns: Sequence[Column], made_by: str) -> pd.DataFrame:
    """Read and check a table.

    Raises
    ------
    UserError
        One line naming the file, the column and what is wrong with it: missing file, missing or extra
        columns, a cell of the wrong kind or out of range.
    """
    options = arrow_csv.ConvertOptions(
        column_types={column.name: _ARROW[column.kind] for column in columns},
        strings_can_be_null=False,
        null_values=[""],
    )
    try:
        frame = arrow_csv.read_csv(path, convert_options=options).to_pandas()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{made_by}` makes it") from None
    except (OSError, arrow.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); delete it and run `{made_by}`") from None
    return checked(frame, columns, path)


def checked(frame: pd.DataFrame, columns: Sequence[Column], path: Path) -> pd.DataFrame:
    """Return `frame`, or raise UserError naming `path`, the column and the fault."""
    expected, found = [column.name for column in columns], list(frame.columns)
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing or extra:
        parts = [f"column '{name}' is missing" for name in missing] + [f"column '{name}' is unknown" for name in extra]
        raise UserError(f"{path}: {'; '.join(parts)}; allowed: {', '.join(expected)}")
    whole = {column.name: "int64" for column in columns if column.kind == "whole"}
    try:
        frame = frame[expected].astype(whole)
        schema(columns).validate(frame, lazy=False)
    except (pa.errors.SchemaError, ValueError, pd.errors.IntCastingNaNError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:300]}") from None
    return frame


def write_table(frame: pd.DataFrame, path: Path, columns: Sequence[Column]) -> None:
    """Check `frame` and write it to `path`, whole or not at all.

    Numbers are written in the shortest form that reads back the same, missing cells empty.
    """
    table = arrow.Table.from_pandas(checked(frame, columns, path), preserve_index=False)
    options = arrow_csv.WriteOptions(quoting_style="needed", quoting_header="none")
    with atomic_write(path, "wb") as file:
        arrow_csv.write_csv(table, file, options)


def read_packs(results: Path, packs: Sequence[str], table: str, columns: Sequence[Column]) -> pd.DataFrame:
    """Read one table of many packs, `results/raw/<pack>/<table>.csv`, into one frame."""
    if not packs:
        raise UserError(f"{results}: the study has no trial to gather; allowed: at least one that no rule excludes")
    frames = [read_table(results / "raw" / pack / f"{table}.csv", columns, "trainatlas train") for pack in packs]
    return pd.concat(frames, ignore_index=True)


__all__ = [
    "CURVE_COLUMNS",
    "HISTOGRAM_COLUMNS",
    "LAYER_COLUMNS",
    "PACK_COLUMNS",
    "PLACE_COLUMNS",
    "SELECTED_COLUMNS",
    "TRIAL_COLUMNS",
    "checked",
    "read_packs",
    "read_table",
    "schema",
    "target_columns",
    "trial_columns",
    "write_table",
]
