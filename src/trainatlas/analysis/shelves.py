"""Rows of many packs in the order of their trials, whatever their number.

Trial ids are digests, so the trials of a pack lie anywhere in the order. As packs are read, rows are shelved by ranges of
trials, on disk where there is more than one range; then each range is sorted by itself. Memory follows the range, not
the study.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as arrow

from trainatlas.analysis.order import TrialOrder
from trainatlas.study.errors import UserError
from trainatlas.train.records import QUANTITIES, SPLITS

SHELF_TRIALS = 8_000
"""Trials a shelf holds: about half a million rows of curves of the default study."""

SHELVES = 256
"""Shelves at most, each an open file; past two million trials they grow instead."""

_POSITION = "position"
_WORDS = {"split": SPLITS, "quantity": QUANTITIES}


class Shelves:
    """The planned trials' rows of one table.

    Parameters
    ----------
    order
        The planned trials.
    folder
        Where shelves may be put, a folder of their own; it is only made where there are several.
    """

    def __init__(self, order: TrialOrder, folder: Path, trials: int = SHELF_TRIALS) -> None:
        self._order, self._folder = order, folder
        self._trials = max(trials, math.ceil(len(order) / SHELVES))
        self._held: list[arrow.Table] = []
        self._schema = arrow.schema([])
        self.number = max(math.ceil(len(order) / self._trials), 1)
        """How many shelves there are."""
        self.found = np.zeros(len(order), dtype=bool)
        """For each planned trial whether it has a row."""

    def fill(self, frames: Iterable[pd.DataFrame]) -> None:
        """Take the rows of planned trials from `frames`, at least one; drop the others.

        Raises UserError naming the folder where the disk is full.
        """
        try:
            with contextlib.ExitStack() as stack:
                writers: dict[int, arrow.ipc.RecordBatchFileWriter] = {}
                for frame in frames:
                    table, shelves = self._planned(frame)
                    if self.number == 1:
                        self._held.append(table)
                        continue
                    table = table.take(np.argsort(shelves, kind="stable"))
                    numbers, sizes = np.unique(shelves, return_counts=True)
                    for shelf, start, size in zip(numbers, np.cumsum(sizes) - sizes, sizes, strict=True):
                        if shelf not in writers:
                            self._folder.mkdir(parents=True, exist_ok=True)
                            writer = arrow.ipc.new_file(str(self._path(shelf)), table.schema)
                            writers[shelf] = stack.enter_context(writer)
                        writers[shelf].write_table(table.slice(start, size))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(f"{self._folder}: cannot be written: {reason}") from None

    def _planned(self, frame: pd.DataFrame) -> tuple[arrow.Table, np.ndarray]:
        """Return the rows of planned trials, by position instead of by id, and the shelf of each."""
        positions = self._order.positions(frame["trial_id"])
        planned = positions >= 0
        positions = positions[planned]
        self.found[positions] = True
        kept = frame[planned].drop(columns="trial_id").assign(**{_POSITION: positions})
        table = arrow.Table.from_pandas(kept, preserve_index=False)
        self._schema = table.schema
        return table, positions // self._trials

    def span(self, shelf: int) -> slice:
        """Return where the trials of a shelf stand in the order."""
        return slice(shelf * self._trials, (shelf + 1) * self._trials)

    def take(self, shelf: int, by: Sequence[str] = ()) -> pd.DataFrame:
        """Take the rows of a shelf, 0 to `number` - 1, by trial and for each trial by the columns `by`; once.

        Rows alike in all of these keep the order in which they came. Splits and quantities come in their own order.
        """
        frame: pd.DataFrame = self._rows(shelf).to_pandas()
        keys = [_sortable(frame[name]) for name in (*by[::-1], _POSITION)]
        frame = frame.iloc[np.lexsort(keys)].reset_index(drop=True)
        frame.insert(0, "trial_id", self._order.ids(frame.pop(_POSITION).to_numpy()))
        return frame

    def _rows(self, shelf: int) -> arrow.Table:
        if self.number == 1:
            held, self._held = self._held, []
            return arrow.concat_tables(held)
        path = self._path(shelf)
        if not path.exists():
            return self._schema.empty_table()
        with arrow.OSFile(str(path)) as file:
            table = arrow.ipc.open_file(file).read_all()
        path.unlink()
        return table

    def _path(self, shelf: int) -> Path:
        return self._folder / f"{shelf}.arrow"


@contextlib.contextmanager
def shelf_folder(folder: Path) -> Iterator[Path]:
    """Yield `folder`, empty, and remove it in the end; what a killed process left there goes as well."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sortable(column: pd.Series) -> np.ndarray:
    words = _WORDS.get(str(column.name))
    return column.to_numpy() if words is None else pd.Index(words).get_indexer(pd.Index(column))
