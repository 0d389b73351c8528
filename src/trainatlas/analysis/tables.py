"""Reading and writing tables: every one is checked where a stage reads or writes it.

Schemas follow from the data dictionary in `trainatlas.train.records`; columns that later stages add
are declared here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as arrow
import pyarrow.csv as arrow_csv

from trainatlas.analysis.table_rules import DTYPES, is_sound
from trainatlas.study.config import Study, Target
from trainatlas.study.errors import UserError
from trainatlas.study.parameters import BATCH_SIZE
from trainatlas.study.planning import PLAN_COLUMNS
from trainatlas.study.samples import GridSample
from trainatlas.study.storage import atomic_write
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    TRIAL_COLUMNS,
    Column,
    Kind,
)

PLACE_COLUMNS = (
    Column("sample", "text", "name of the study's sample the trial belongs to"),
    Column("stage", "text", "tuning, final, random, coarse, fine, rung, batch or winner"),
    Column("round", "whole", "round of planning, counted from 1"),
)
"""What the plan knows of a trial; gathered tables carry it beside what training wrote."""

_PLAN_MEANINGS = {
    "trial_id": "see trials.csv",
    "sample": "name of the study's sample",
    "stage": "see trials.csv",
    "pack": "pack that trains the trial",
}
PLAN_TABLE = tuple(Column(name, "text", _PLAN_MEANINGS[name]) for name in PLAN_COLUMNS)
"""Columns of plan-<n>.csv."""

SELECTED_COLUMNS = (
    Column("sample", "text", "name of the study's grid sample"),
    *(Column(factor, "text", "level of the factor") for factor in FACTORS),
    Column("learning_rate", "number", "rate that is best by the sample's metric, in the mean over the tuning seeds"),
    Column("validation_accuracy", "number", "mean validation accuracy at the end, over these runs"),
    Column("at_edge", "whole", "1 when the rate is the first or last of its range"),
    Column("diverged_rates", "whole", "rates of the range at which some tuning run diverged"),
)

_ARROW: dict[Kind, arrow.DataType] = {
    "text": arrow.string(),
    "whole": arrow.int64(),
    "number": arrow.float64(),
}
_BLOCK = 8 * 2**20
"""Bytes that `scan_table` reads at once."""


def target_columns(targets: Sequence[Target]) -> tuple[Column, ...]:
    """Return the columns that say how many steps each target took."""
    return tuple(
        Column(target.column, "number", f"steps to {target.text}; inf: never; empty: not measured", optional=True)
        for target in targets
    )


def trial_columns(study: Study) -> tuple[Column, ...]:
    """Return the columns of a study's gathered trials.csv."""
    return (*TRIAL_COLUMNS, *PLACE_COLUMNS, *parameter_columns(study), *target_columns(study.targets))


def parameter_columns(study: Study) -> tuple[Column, ...]:
    """Return the columns of a study's parameters, but for the batch size, which has one anyway."""
    return tuple(
        Column(name, "number" if law.numeric else "text", "value of the parameter; empty where there is none", True)
        for name, law in study.parameters.items()
        if name != BATCH_SIZE
    )


def selected_columns(study: Study) -> tuple[Column, ...]:
    """Return the columns of a study's selected.csv: after the others, the value chosen of each parameter that was tuned."""
    tuned = {name for sample in study.samples if isinstance(sample, GridSample) for name in sample.tune}
    chosen = [column for column in parameter_columns(study) if column.name in tuned]
    size = [Column(BATCH_SIZE, "whole", "value chosen of the parameter")] if BATCH_SIZE in tuned else []
    return (*SELECTED_COLUMNS, *size, *chosen)


def read_table(path: Path, columns: Sequence[Column], made_by: str, only: Collection[str] = ()) -> pd.DataFrame:
    """Read and check a table.

    Parameters
    ----------
    only
        Names of columns: these alone are read, and their cells checked; all of them where none are named.

    Raises
    ------
    UserError
        One line naming the file, the column and what is wrong with it: missing file, missing or extra
        columns, a cell of the wrong kind or out of range.
    """
    wanted = [column for column in columns if column.name in only] if only else columns
    with _reading(path, made_by):
        if only:
            _check_header(arrow_csv.open_csv(path, convert_options=_conversion(columns)).schema.names, columns, path)
        options = _conversion(wanted)
        options.include_columns = [column.name for column in wanted] if only else []
        frame = arrow_csv.read_csv(path, convert_options=options).to_pandas()
    return checked(frame, wanted, path)


def scan_table(path: Path, columns: Sequence[Column], made_by: str) -> Iterator[pd.DataFrame]:
    """Read and check a table in parts of some ten thousand rows, for tables too long to be held at once.

    Raises UserError as `read_table` does, when the part is reached.
    """
    with _reading(path, made_by):
        options = arrow_csv.ReadOptions(block_size=_BLOCK)
        reader = arrow_csv.open_csv(path, read_options=options, convert_options=_conversion(columns))
        empty = reader.schema.empty_table().to_pandas()
    yield checked(empty, columns, path)
    while True:
        with _reading(path, made_by):
            try:
                frame = reader.read_next_batch().to_pandas()
            except StopIteration:
                return
        yield checked(frame, columns, path)


def _conversion(columns: Sequence[Column]) -> arrow_csv.ConvertOptions:
    types = {column.name: _ARROW[column.kind] for column in columns}
    return arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False, null_values=[""])


@contextlib.contextmanager
def _reading(path: Path, made_by: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{made_by}` makes it") from None
    except (OSError, arrow.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); delete it and run `{made_by}`") from None


def checked(frame: pd.DataFrame, columns: Sequence[Column], path: Path) -> pd.DataFrame:
    """Return `frame`, or raise UserError naming `path`, the column and the fault."""
    expected = _check_header(list(frame.columns), columns, path)
    whole = {column.name: DTYPES["whole"] for column in columns if column.kind == "whole"}
    fault = ""
    try:
        frame = frame[expected].astype(whole)
    except (ValueError, pd.errors.IntCastingNaNError) as error:
        fault = str(error)
    if not fault and not is_sound(frame, columns):
        from trainatlas.analysis.table_schemas import fault_of

        fault = fault_of(frame, tuple(columns))
    if fault:
        raise UserError(f"{path}: {' '.join(fault.split())[:300]}")
    return frame


def _check_header(found: Sequence[str], columns: Sequence[Column], path: Path) -> list[str]:
    """Return the names of the columns; raise UserError where others are found."""
    expected = [column.name for column in columns]
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing or extra:
        parts = [f"column '{name}' is missing" for name in missing] + [f"column '{name}' is unknown" for name in extra]
        raise UserError(f"{path}: {'; '.join(parts)}; allowed: {', '.join(expected)}")
    return expected


@contextlib.contextmanager
def table_writer(path: Path, columns: Sequence[Column]) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Open the table `path`, to be written part by part; it takes its name when all parts are written.

    Yields a function that checks the next rows and writes them. Numbers are written in the shortest form that reads
    back the same, missing cells empty.
    """
    schema = arrow.schema([(column.name, _ARROW[column.kind]) for column in columns])
    options = arrow_csv.WriteOptions(quoting_style="needed", quoting_header="none")
    with atomic_write(path, "wb") as file, arrow_csv.CSVWriter(file, schema, write_options=options) as writer:

        def write(frame: pd.DataFrame) -> None:
            writer.write_table(arrow.Table.from_pandas(checked(frame, columns, path), schema, preserve_index=False))

        yield write


def write_table(frame: pd.DataFrame, path: Path, columns: Sequence[Column]) -> None:
    """Check `frame` and write it to `path`, whole or not at all, as `table_writer` does."""
    with table_writer(path, columns) as write:
        write(frame)


def read_packs(
    results: Path, packs: Sequence[str], table: str, columns: Sequence[Column], only: Collection[str] = ()
) -> Iterator[pd.DataFrame]:
    """Read one table of many packs, `results/raw/<pack>/<table>.csv`, one after the other, as `read_table` does."""
    if not packs:
        raise UserError(f"{results}: the study has no trial to gather; allowed: at least one that no rule excludes")
    return (read_table(results / "raw" / pack / f"{table}.csv", columns, "trainatlas train", only) for pack in packs)


__all__ = [
    "CURVE_COLUMNS",
    "HISTOGRAM_COLUMNS",
    "LAYER_COLUMNS",
    "PACK_COLUMNS",
    "PLACE_COLUMNS",
    "PLAN_TABLE",
    "SELECTED_COLUMNS",
    "TRIAL_COLUMNS",
    "checked",
    "read_packs",
    "read_table",
    "scan_table",
    "table_writer",
    "target_columns",
    "trial_columns",
    "write_table",
]
