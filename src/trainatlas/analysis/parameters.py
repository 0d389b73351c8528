"""Levels and parameters of trials, taken apart: tables then know a cell by the levels that the study writes."""

from __future__ import annotations

import pandas as pd

from trainatlas.study.config import Study
from trainatlas.study.parameters import BATCH_SIZE
from trainatlas.study.trial import FACTORS


def parted(trials: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return trials with the study's own levels in the columns of FACTORS, and a column for each of its parameters.

    Parameters
    ----------
    trials
        With the columns of FACTORS, where a level's text holds what a parameter set, and `batch_size`.

    Returns
    -------
    pandas.DataFrame
        The same rows. A parameter that a trial does not have is missing there.
    """
    if not study.parameters:
        return trials
    keys = [*FACTORS, BATCH_SIZE]
    kinds = trials[keys].drop_duplicates()
    names = [name for name in study.space.laws if name != BATCH_SIZE]
    cells, values = [], []
    for row in kinds.itertuples(index=False):
        cell, found = study.space.parted(dict(zip(FACTORS, row, strict=False)), int(row[-1]))
        cells.append([cell[factor] for factor in FACTORS])
        values.append([found.get(name) for name in names])
    by_kind = pd.MultiIndex.from_frame(kinds)
    places = by_kind.get_indexer(pd.MultiIndex.from_frame(trials[keys]))
    levels = pd.DataFrame(cells, columns=list(FACTORS), dtype="str")
    parameters = pd.DataFrame(values, columns=names)
    numeric = {name: "float64" if study.parameters[name].numeric else "str" for name in names}
    columns = pd.concat([levels, parameters.astype(numeric)], axis=1).iloc[places].set_axis(trials.index)
    return trials.assign(**{str(name): columns[name] for name in columns})
