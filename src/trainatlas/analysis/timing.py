"""Seconds of an optimizer step, from the timing stage, beside the runs whose steps they are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trainatlas.analysis.tables import read_table
from trainatlas.study.errors import UserError
from trainatlas.study.planning import timing_path
from trainatlas.train.records import TIMED_BY, TIMING_COLUMNS, names

_MADE_BY = "trainatlas time"


def read_timing(results: Path) -> pd.DataFrame:
    """Read what `trainatlas time` wrote: TIMING_COLUMNS, no rows where it has not run.

    Raises UserError naming the file and what is wrong with it.
    """
    path = timing_path(results)
    if not path.exists():
        return pd.DataFrame(columns=list(names(TIMING_COLUMNS)))
    table = read_table(path, TIMING_COLUMNS, _MADE_BY)
    twice = table[table.duplicated(list(TIMED_BY))]
    if len(twice):
        row = ", ".join(str(twice.iloc[0][name]) for name in TIMED_BY)
        raise UserError(
            f"{path}: {row} is listed twice; allowed: each combination once; delete it and run `{_MADE_BY}`"
        )
    return table


def with_step_seconds(runs: pd.DataFrame, timing: pd.DataFrame) -> pd.DataFrame:
    """Return runs with `step_seconds`: what an optimizer step of each takes, trained alone; missing where nobody timed it.

    Parameters
    ----------
    runs
        With the columns of TIMED_BY.
    timing
        TIMING_COLUMNS, each combination of TIMED_BY once.
    """
    found = timing.set_index(list(TIMED_BY))["step_seconds"].astype("float64")
    wanted = pd.MultiIndex.from_arrays([runs[name].astype(timing[name].dtype) for name in TIMED_BY])
    return runs.assign(step_seconds=found.reindex(wanted).to_numpy())
