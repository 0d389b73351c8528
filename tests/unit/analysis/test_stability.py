"""Leaving seeds out: the oracle does it one by one, with SciPy's t-interval."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.comparison_columns import STABILITY_COLUMNS
from trainatlas.analysis.comparisons import pairwise
from trainatlas.analysis.stability import stability
from trainatlas.train.records import names

Runs = Callable[..., pd.DataFrame]

LEVELS = {"activation": ("relu", "tanh", "elu"), "init": ("normal", "orthogonal")}


def conclusion(estimates: np.ndarray) -> str:
    low, high = stats.ttest_1samp(estimates, 0.0).confidence_interval(0.95)
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"


@pytest.mark.parametrize("seed", range(4))
def test_extremes_and_conclusions_are_those_of_studies_without_a_seed(seed: int, grid_runs: Runs) -> None:
    generator = np.random.default_rng(seed)
    step = {"relu": 0.0, "tanh": 0.02, "elu": 0.03}
    runs = grid_runs(LEVELS, range(5), lambda cell, _: 0.6 + step[cell["activation"]] + generator.normal(0, 0.015))
    table = stability(runs, LEVELS)
    assert tuple(table.columns) == names(STABILITY_COLUMNS)
    assert table["difference"].tolist() == pairwise(runs, LEVELS)["difference"].tolist()
    for row in table.itertuples():
        wide = runs.groupby([row.factor, "seed"])["test_accuracy"].mean()
        estimates = (wide[row.level] - wide[row.other]).to_numpy()
        without = [np.delete(estimates, left) for left in range(5)]
        assert row.smallest == pytest.approx(min(map(np.mean, without)))
        assert row.largest == pytest.approx(max(map(np.mean, without)))
        assert row.conclusion == conclusion(estimates)
        assert row.unstable == any(conclusion(rest) != row.conclusion for rest in without)


@pytest.mark.parametrize(
    ("per_seed", "expected", "unstable"),
    [
        ([0.01, 0.011, 0.012, 0.011], "better", 0),
        ([-0.01, -0.011, -0.012, -0.011], "worse", 0),
        ([0.01, 0.02, 0.03, 0.02], "better", 1),  # three seeds alone would not tell
        ([0.01, 0.011, 0.012, -0.011], "not told apart", 1),  # a single seed hides it
        ([0.02, -0.021, 0.019, -0.02], "not told apart", 0),
    ],
)
def test_conclusions_that_hang_on_one_seed_are_unstable(
    per_seed: list[float], expected: str, unstable: int, grid_runs: Runs
) -> None:
    levels = {"init": ("normal", "orthogonal")}
    runs = grid_runs(levels, range(4), lambda cell, seed: 0.5 + per_seed[seed] * (cell["init"] == "orthogonal"))
    (row,) = stability(runs, levels).itertuples()
    assert (row.conclusion, row.unstable) == (expected, unstable)


def test_of_one_seed_nothing_can_be_left_out(grid_runs: Runs) -> None:
    (row,) = stability(grid_runs({"init": ("a", "b")}, [3], lambda cell, seed: 0.5), {"init": ("a", "b")}).itertuples()
    assert np.isnan([row.smallest, row.largest]).all()
    assert (row.conclusion, row.unstable, row.seeds) == ("not told apart", 0, 1)
