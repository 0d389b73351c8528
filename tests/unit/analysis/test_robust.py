"""Robust summaries: SciPy's trimmed mean and Mann-Whitney U, and the jackknife done by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.comparison_columns import ROBUST_COLUMNS
from trainatlas.analysis.robust import interquartile_mean, optimality_gap, probability_of_improvement, robust
from trainatlas.train.records import names

Runs = Callable[..., pd.DataFrame]

LEVELS = {"activation": ("relu", "tanh", "elu"), "init": ("normal", "orthogonal"), "optimizer": ("sgd", "adam", "lion")}


@pytest.fixture
def runs(grid_runs: Runs) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    whole = grid_runs(
        LEVELS, range(4), lambda cell, seed: round(generator.beta(8, 2), 2) - 0.1 * (cell["activation"] == "elu")
    )
    return whole.drop(generator.choice(whole.index, 5, replace=False))


def by_mann_whitney(runs: pd.DataFrame, factor: str, level: str, first: str) -> float:
    rest = [name for name in LEVELS if name != factor]
    shares = []
    for _, cell in runs.groupby(rest):
        a, b = (cell.loc[cell[factor] == text, "test_accuracy"] for text in (level, first))
        if len(a) and len(b):
            shares.append(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    return float(np.mean(shares))


def test_summaries_are_those_of_scipy(runs: pd.DataFrame) -> None:
    table = robust(runs, LEVELS)
    assert tuple(table.columns) == names(ROBUST_COLUMNS)
    assert len(table) == 8
    for row in table.itertuples():
        own = runs.loc[runs[row.factor] == row.level, "test_accuracy"]
        assert row.iqm == pytest.approx(stats.trim_mean(own, 0.25))
        assert row.optimality_gap == pytest.approx(1 - own.mean())  # no accuracy is above 1
        assert (row.runs, row.seeds) == (len(own), 4)
        first = LEVELS[row.factor][0]
        if row.level == first:
            assert np.isnan([row.improvement, row.improvement_low, row.improvement_high]).all()
        else:
            assert row.improvement == pytest.approx(by_mann_whitney(runs, row.factor, row.level, first))


def test_intervals_are_the_jackknife_over_seeds(runs: pd.DataFrame) -> None:
    def summary(table: pd.DataFrame) -> np.ndarray:
        own = table.loc[table["activation"] == "tanh", "test_accuracy"]
        return np.array(
            [stats.trim_mean(own, 0.25), 1 - own.mean(), by_mann_whitney(table, "activation", "tanh", "relu")]
        )

    whole = summary(runs)
    pseudo = np.array([4 * whole - 3 * summary(runs[runs["seed"] != seed]) for seed in range(4)])
    half = stats.t.ppf(0.975, 3) * pseudo.std(axis=0, ddof=1) / 2
    row = robust(runs, LEVELS).set_index(["factor", "level"]).loc[("activation", "tanh")]
    for place, (low, high) in enumerate(
        [("iqm_low", "iqm_high"), ("gap_low", "gap_high"), ("improvement_low", "improvement_high")]
    ):
        ends = np.clip([whole[place] - half[place], whole[place] + half[place]], 0, 1)
        assert row[[low, high]].tolist() == pytest.approx(ends.tolist())


def test_the_middle_half_ignores_the_rest() -> None:
    values = np.array([[0.5, 0.6, np.nan], [0.0, 1.0, np.nan]])
    assert interquartile_mean(values) == pytest.approx(0.55)
    assert optimality_gap(np.array([0.5, 1.0, np.nan])) == 0.25


def test_improvement_counts_ties_half_and_cells_alike() -> None:
    level = np.array([[0.9, 0.5, 0.7], [0.9, 0.5, np.nan]])
    other = np.array([[0.1, 0.5, np.nan], [0.1, 0.5, np.nan]])
    assert probability_of_improvement(level, other) == 0.75
    assert probability_of_improvement(other, level) == 0.25
    assert np.isnan(probability_of_improvement(level, np.full((2, 3), np.nan)))


def test_one_seed_has_summaries_and_no_intervals(grid_runs: Runs) -> None:
    table = robust(grid_runs(LEVELS, [0], lambda cell, seed: 0.5), LEVELS)
    assert table["iqm"].eq(0.5).all() and table[["iqm_low", "gap_high", "improvement_low"]].isna().all(axis=None)


def test_without_runs_of_the_first_level_nothing_improves_on_it(runs: pd.DataFrame) -> None:
    table = robust(runs[runs["activation"] != "relu"], LEVELS)
    own = table[table["factor"] == "activation"]
    assert own["level"].tolist() == ["tanh", "elu"] and own["improvement"].isna().all()
    assert len(robust(runs.iloc[:0], LEVELS)) == 0
