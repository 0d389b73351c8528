"""Ranks, Friedman's test and critical differences: Demsar's worked example, SciPy and scikit-posthocs."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats

from trainatlas.analysis.comparison_columns import RANK_COLUMNS
from trainatlas.analysis.ranks import average_ranks, critical_difference, friedman, ranks
from trainatlas.train.records import names

Runs = Callable[..., pd.DataFrame]

# Demsar (2006), "Statistical comparisons of classifiers over multiple data sets", table 6: areas under the curve of four
# classifiers on 14 data sets. Two that the table prints alike (0.975, next to last row) it ranks 2 and 3.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_average_ranks_are_those_of_demsars_example() -> None:
    average = average_ranks(DEMSAR)
    assert average.tolist() == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    chi_square = (
        12 * 14 / (4 * 5) * ((average**2).sum() - 4 * 5**2 / 4)
    )  # without the correction for ties, as Demsar has it
    assert chi_square == pytest.approx(9.28, abs=5e-3)
    assert friedman(DEMSAR) <= stats.chi2.sf(9.28, 3)


@pytest.mark.parametrize(
    ("levels", "quantile"),
    # Demsar (2006), table 5a: q at 0.05
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_critical_differences_are_those_of_demsars_table(levels: int, quantile: float) -> None:
    expected = quantile * np.sqrt(levels * (levels + 1) / (6 * 14))
    assert critical_difference(levels, 14) == pytest.approx(expected, rel=5e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_pairs_beyond_the_critical_difference_are_those_of_scikit_posthocs() -> None:
    generator = np.random.default_rng(0)
    blocks = generator.normal(size=(14, 5)) + np.linspace(0, 2, 5)
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(blocks).to_numpy()
    average = average_ranks(blocks)
    apart = np.abs(average[:, None] - average) >= critical_difference(5, 14)
    assert (apart == (p_values <= 0.05)).all() and 0 < apart.sum() < 20


@pytest.mark.parametrize("levels", [3, 4, 7])
def test_friedmans_test_is_that_of_scipy(levels: int) -> None:
    blocks = np.random.default_rng(levels).normal(size=(6, levels)).round(1)
    assert friedman(blocks) == stats.friedmanchisquare(*blocks.T).pvalue


def test_two_levels_have_the_sign_test() -> None:
    blocks = np.array([[1.0, 0.0]] * 6 + [[0.0, 1.0]] + [[1.0, 1.0]])
    assert friedman(blocks) == stats.binomtest(6, 7).pvalue


def test_ties_throughout_tell_nothing_apart_and_one_block_says_nothing() -> None:
    assert friedman(np.ones((4, 3))) == 1.0
    assert np.isnan(friedman(np.ones((1, 3))))


LEVELS = {
    "activation": ("relu", "tanh", "elu", "cos"),
    "init": ("normal", "orthogonal"),
    "optimizer": ("sgd", "adam", "lion"),
}
BETTER = {"relu": 0.02, "tanh": 0.0, "elu": 0.03, "cos": -0.02}


def test_the_table_ranks_seeds_by_their_means_over_shared_cells(grid_runs: Runs) -> None:
    generator = np.random.default_rng(0)
    runs = grid_runs(LEVELS, range(6), lambda cell, seed: 0.6 + BETTER[cell["activation"]] + generator.normal(0, 0.02))
    lost = runs[(runs["activation"] == "cos") & (runs["init"] == "normal") & (runs["optimizer"] == "sgd")].index
    table = ranks(runs.drop(lost), LEVELS)
    assert tuple(table.columns) == names(RANK_COLUMNS)
    shared = runs[(runs["init"] != "normal") | (runs["optimizer"] != "sgd")]
    wide = shared.pivot_table(index="seed", columns="activation", values="test_accuracy")
    own = table[table["factor"] == "activation"].set_index("level")
    expected = wide.rank(axis=1, ascending=False).mean()
    assert own["rank"].to_dict() == pytest.approx(expected.to_dict())
    assert own["rank"].is_monotonic_increasing and own.index[0] == "elu"
    cells = shared.pivot_table(index=["seed", "init", "optimizer"], columns="activation", values="test_accuracy")
    assert own["cell_rank"].to_dict() == pytest.approx(cells.rank(axis=1, ascending=False).mean().to_dict())
    assert own["friedman_p"].iloc[0] == stats.friedmanchisquare(*wide.to_numpy().T).pvalue
    assert own["seeds"].eq(6).all()
    for a in own.itertuples():
        for b in own.itertuples():
            assert bool(set(a.letters) & set(b.letters)) == (abs(a.rank - b.rank) < a.critical_difference)


def test_no_level_is_told_apart_where_friedmans_test_finds_no_difference(grid_runs: Runs) -> None:
    runs = grid_runs(
        {"init": ("normal", "orthogonal")}, range(4), lambda cell, seed: 0.5 + 0.1 * (cell["init"] == "normal")
    )
    table = ranks(runs, {"init": ("normal", "orthogonal")})
    assert table["rank"].tolist() == [1.0, 2.0] and table["critical_difference"].iloc[0] < 1
    assert table["friedman_p"].iloc[0] == 0.125 and set(table["letters"]) == {"a"}


def test_levels_without_a_cell_in_common_have_no_ranks(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS, range(2), lambda cell, seed: 0.5)
    split = runs[(runs["activation"] == "relu") == (runs["init"] == "normal")]
    assert set(ranks(split, {"activation": LEVELS["activation"]})["factor"]) == set()
    assert len(ranks(runs.iloc[:0], LEVELS)) == 0
