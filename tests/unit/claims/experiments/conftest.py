"""What tests of experiments share: budgets of seconds, and what every table of observations must be."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from trainatlas.claims.experiments.runs import DIGITS
from trainatlas.claims.observations import OBSERVATION_COLUMNS
from trainatlas.study.trial import Trial


@pytest.fixture
def short() -> Trial:
    """Two layers of eight units for two epochs."""
    return DIGITS._replace(network="mlp(depth=2, width=8)", epochs=2)


@pytest.fixture
def well_formed() -> Callable[[pd.DataFrame, Sequence[int], Sequence[str]], None]:
    """Return a check: one finite effect for every case, seed and pair, in the columns that verdicts read."""

    def check(table: pd.DataFrame, seeds: Sequence[int], pairs: Sequence[str]) -> None:
        assert tuple(table.columns) == OBSERVATION_COLUMNS
        assert np.isfinite(table["effect"]).all()
        for _, rows in table.groupby("case"):
            assert sorted(zip(rows["seed"], rows["pair"], strict=True)) == sorted((s, p) for s in seeds for p in pairs)

    return check
