"""Effects that were planted are found: shares of variance, paired differences, interactions."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from trainatlas.analysis.columns import DIFFERENCE_COLUMNS, EFFECT_COLUMNS, INTERACTION_COLUMNS
from trainatlas.analysis.effects import (
    MINIMUM_DRAWS,
    REMAINDER,
    interaction_means,
    paired_differences,
    random_shares,
    variance_shares,
)
from trainatlas.analysis.intervals import over_seeds
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

Runs = Callable[..., pd.DataFrame]

LEVELS = {
    "activation": ("relu", "tanh", "sigmoid"),
    "init": ("kaiming_normal", "normal"),
    "normalisation": ("none", "batch"),
    "optimizer": ("sgd", "adam"),
    "preprocessing": ("raw", "standardize", "zca_whitening"),
}
# Main effects, each summing to zero over its factor's levels, and one interaction that sums to zero both ways.
EFFECTS = {
    "relu": 0.06, "tanh": 0.0, "sigmoid": -0.06,
    "kaiming_normal": 0.03, "normal": -0.03,
    "none": 0.0, "batch": 0.0,
    "sgd": -0.01, "adam": 0.01,
    "raw": -0.02, "standardize": 0.01, "zca_whitening": 0.01,
}  # fmt: skip


def crossed(cell: dict[str, str]) -> float:
    """An interaction of init and optimizer alone."""
    return 0.02 * (1 if (cell["init"] == "normal") == (cell["optimizer"] == "adam") else -1)


def planted(cell: dict[str, str], seed: int) -> float:
    return 0.8 + 0.005 * seed + sum(EFFECTS[cell[factor]] for factor in LEVELS) + crossed(cell)


def known_shares() -> dict[str, float]:
    """Sums of squares of a balanced design add up, so each share is its term's variance over all of them."""
    variances = {factor: np.mean([EFFECTS[level] ** 2 for level in levels]) for factor, levels in LEVELS.items()}
    variances["init x optimizer"] = 0.02**2
    total = sum(variances.values())
    return {term: variance / total for term, variance in variances.items()}


def test_shares_of_variance_are_the_planted_ones(grid_runs: Runs) -> None:
    table = variance_shares(grid_runs(LEVELS, range(3), planted)).set_index("term")
    known = known_shares()
    for term, row in table.iterrows():
        expected = known.get(str(term), 0.0)
        for column in ("share", "low", "high"):  # the seed shifts all cells alike, so seeds agree
            assert row[column] == pytest.approx(expected, abs=1e-9), term
    assert table["share"].sum() == pytest.approx(1.0)


def test_every_factor_and_every_pair_has_its_row(grid_runs: Runs) -> None:
    table = variance_shares(grid_runs(LEVELS, range(2), planted))
    assert list(table.columns) == list(names(EFFECT_COLUMNS))
    assert table["order"].value_counts().to_dict() == {1: 5, 2: 10, 0: 1}
    assert set(table.loc[table["order"] == 1, "term"]) == set(LEVELS)
    assert table.loc[table["order"] == 0, "term"].tolist() == [REMAINDER]
    for _, rows in table.groupby("order"):
        assert rows["share"].is_monotonic_decreasing


def test_what_no_pair_explains_is_the_remainder(grid_runs: Runs) -> None:
    def three_way(cell: dict[str, str], seed: int) -> float:
        signs = [1 if cell[factor] == LEVELS[factor][0] else -1 for factor in ("init", "normalisation", "optimizer")]
        return 0.5 + 0.1 * math.prod(signs)

    table = variance_shares(grid_runs(LEVELS, range(2), three_way)).set_index("term")
    assert table.loc[REMAINDER, "share"] == pytest.approx(1.0)


def test_a_grid_with_holes_still_finds_the_larger_effect(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS, range(3), planted)
    holes = (runs["preprocessing"] == "zca_whitening") & (runs["activation"] == "sigmoid")
    table = variance_shares(runs[~holes]).set_index("term")
    assert table["share"].between(0, 1).all()
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["share"].idxmax() == "activation"


def by_statsmodels(runs: pd.DataFrame) -> pd.Series:
    """The same analysis of variance by statsmodels, which needs every combination of two levels to be there."""
    formula = f"test_accuracy ~ ({' + '.join(f'C({factor})' for factor in LEVELS)})**2"
    squares = sm.stats.anova_lm(smf.ols(formula, runs).fit(), typ=2)["sum_sq"]
    squares.index = [
        REMAINDER if name == "Residual" else name.replace("C(", "").replace(")", "").replace(":", " x ")
        for name in squares.index
    ]
    return squares / squares.sum()


@pytest.mark.parametrize("lost", [0, 1, 10])
def test_shares_are_those_of_statsmodels_balanced_or_not(lost: int, grid_runs: Runs) -> None:
    generator = np.random.default_rng(lost)
    runs = grid_runs(LEVELS, [0], lambda cell, seed: planted(cell, seed) + generator.normal(0, 0.05))
    runs = runs.drop(generator.choice(runs.index, lost, replace=False))
    table = variance_shares(runs).set_index("term")["share"]
    pd.testing.assert_series_equal(table.sort_index(), by_statsmodels(runs).sort_index(), check_names=False, rtol=1e-8)


def test_shares_vary_with_the_seeds_as_their_interval_says(grid_runs: Runs) -> None:
    generator = np.random.default_rng(0)
    runs = grid_runs(LEVELS, range(4), lambda cell, seed: planted(cell, seed) + generator.normal(0, 0.02))
    table = variance_shares(runs).set_index("term")
    single = pd.concat(
        variance_shares(rows).set_index("term")["share"].rename(seed) for seed, rows in runs.groupby("seed")
    )
    for term in ("activation", "init", REMAINDER):
        interval = over_seeds(single[term].to_numpy())
        assert tuple(table.loc[term, ["share", "low", "high"]]) == pytest.approx(tuple(interval), rel=1e-9)


@pytest.mark.parametrize(
    "levels", [{}, {"activation": ("relu", "tanh")}, {"init": ("a", "b"), "optimizer": ("x", "y")}]
)
def test_factors_that_do_not_vary_have_no_share(levels: dict[str, tuple[str, ...]], grid_runs: Runs) -> None:
    generator = np.random.default_rng(0)
    table = variance_shares(grid_runs(levels, range(2), lambda cell, seed: generator.uniform()))
    assert set(table.loc[table["order"] == 1, "term"]) == set(levels)


def test_results_that_are_all_the_same_share_nothing(grid_runs: Runs) -> None:
    table = variance_shares(grid_runs(LEVELS, range(2), lambda cell, seed: 0.5))
    assert table["share"].abs().max() < 1e-12 or table["share"].between(0, 1).all()
    assert table["share"].notna().all()


# The random sample.


def random_draws(number: int, noise: float, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    generator = np.random.default_rng(seed)
    draws = pd.DataFrame({factor: generator.choice(levels, number) for factor, levels in LEVELS.items()})
    draws = draws.assign(**{factor: "only" for factor in FACTORS if factor not in LEVELS})
    positions = pd.Series(generator.uniform(size=number))
    effects = sum(draws[factor].map(EFFECTS) for factor in LEVELS)
    draws["test_accuracy"] = 0.7 + effects + 0.1 * np.minimum(np.floor(positions * 5), 4) / 4
    draws["test_accuracy"] += generator.normal(0, noise, number)
    return draws, positions


def test_random_draws_yield_the_planted_shares_of_factors_and_rate() -> None:
    noise = 0.02
    table = random_shares(*random_draws(6000, noise), resamples=5).set_index("term")
    variances = {factor: np.mean([EFFECTS[level] ** 2 for level in levels]) for factor, levels in LEVELS.items()}
    variances["learning_rate"] = 0.1**2 * np.var(np.arange(5) / 4)
    variances[REMAINDER] = noise**2
    total = sum(variances.values())
    assert set(table.index) == set(variances)
    for term, variance in variances.items():
        assert table.loc[term, "share"] == pytest.approx(variance / total, abs=0.02), term
    assert table.loc["learning_rate", "order"] == 1 and table.loc[REMAINDER, "order"] == 0


def test_the_same_draws_yield_the_same_intervals() -> None:
    draws, positions = random_draws(200, 0.02)
    first, again = (random_shares(draws.copy(), positions.copy(), resamples=20) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_intervals_of_random_draws_are_percentiles_over_draws_drawn_anew() -> None:
    draws, positions = random_draws(150, 0.05)
    table = random_shares(draws, positions, resamples=30, seed=3).set_index("term")
    generator = np.random.default_rng(3)
    anew = [generator.integers(150, size=150) for _ in range(30)]
    shares = pd.DataFrame(
        [random_shares(draws.iloc[rows], positions.iloc[rows], resamples=1).set_index("term")["share"] for rows in anew]
    )
    for term in table.index:
        expected = np.quantile(shares[term], [0.025, 0.975])
        assert table.loc[term, ["low", "high"]].tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("number", [0, 1, MINIMUM_DRAWS - 1])
def test_too_few_draws_say_nothing(number: int) -> None:
    draws, positions = random_draws(200, 0.02)
    table = random_shares(draws.iloc[:number], positions.iloc[:number])
    assert len(table) == 0
    assert list(table.columns) == list(names(EFFECT_COLUMNS))


# Paired differences.


def test_a_planted_difference_is_recovered_exactly_where_there_is_no_noise(grid_runs: Runs) -> None:
    table = paired_differences(grid_runs(LEVELS, range(3), planted), LEVELS).set_index(["factor", "level"])
    assert list(paired_differences(grid_runs(LEVELS, range(3), planted), LEVELS).columns) == list(
        names(DIFFERENCE_COLUMNS)
    )
    assert len(table) == sum(len(levels) - 1 for levels in LEVELS.values())
    for (factor, level), row in table.iterrows():
        reference = LEVELS[factor][0]
        expected = EFFECTS[level] - EFFECTS[reference]
        assert row["reference"] == reference
        assert row["pairs"] == 3 * 72 / len(LEVELS[factor])
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((expected,) * 3, abs=1e-9)
    assert table.loc[("activation", "tanh"), "share_better"] == 0.0
    assert table.loc[("preprocessing", "standardize"), "share_better"] == 1.0


def test_pairs_that_tie_count_half(grid_runs: Runs) -> None:
    runs = grid_runs({"normalisation": ("none", "batch")}, range(4), lambda cell, seed: 0.5)
    (row,) = paired_differences(runs, {"normalisation": ("none", "batch")}).itertuples()
    assert (row.difference, row.share_better) == (0.0, 0.5)


def test_a_pair_with_one_run_missing_is_no_pair(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS, range(2), planted)
    lost = runs[(runs["activation"] == "tanh") & (runs["init"] == "normal")].index
    table = paired_differences(runs.drop(lost), LEVELS).set_index(["factor", "level"])
    assert table.loc[("activation", "tanh"), "pairs"] == 2 * 12
    assert table.loc[("activation", "sigmoid"), "pairs"] == 2 * 24
    assert table.loc[("activation", "tanh"), "difference"] == pytest.approx(-0.06)


def test_a_level_that_was_never_run_has_no_difference(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS | {"activation": ("relu", "tanh")}, range(2), planted)
    table = paired_differences(runs, LEVELS)
    assert "sigmoid" not in set(table["level"])
    assert len(paired_differences(runs.iloc[:0], LEVELS)) == 0


@pytest.mark.slow
def test_intervals_of_differences_hold_the_truth_95_times_in_100(grid_runs: Runs) -> None:
    """600 small studies: seeds shift both arms alike, and each seed has its own taste for an arm."""
    seeds, difference = 4, 0.03
    levels = {"activation": ("relu", "tanh"), "init": ("normal", "kaiming_normal")}
    generator = np.random.default_rng(0)
    covered, estimates = [], []
    for _ in range(600):
        shift = generator.normal(0, 0.1, seeds)
        taste = generator.normal(0, 0.02, seeds)
        noise = iter(generator.normal(0, 0.01, 4 * seeds))

        def accuracy(cell: dict[str, str], seed: int) -> float:
            tanh = (difference + taste[seed]) * (cell["activation"] == "tanh")  # noqa: B023
            return 0.8 + shift[seed] + tanh + next(noise)  # noqa: B023

        (row,) = paired_differences(
            grid_runs(levels, range(seeds), accuracy), {"activation": levels["activation"]}
        ).itertuples()
        covered.append(row.low <= difference <= row.high)
        estimates.append(row.difference)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(estimates) == pytest.approx(difference, abs=4 * np.std(estimates) / math.sqrt(len(estimates)))


# Interactions.


def test_interaction_means_are_the_means_over_everything_else(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS, range(3), planted)
    table = interaction_means(runs, LEVELS)
    assert list(table.columns) == list(names(INTERACTION_COLUMNS))
    assert len(table) == sum(
        len(LEVELS[a]) * len(LEVELS[b]) for i, a in enumerate(LEVELS) for b in list(LEVELS)[i + 1 :]
    )
    for row in table.itertuples():
        own = runs[(runs[row.factor_a] == row.level_a) & (runs[row.factor_b] == row.level_b)]
        interval = over_seeds([rows["test_accuracy"].mean() for _, rows in own.groupby("seed")])
        assert (row.mean, row.low, row.high) == pytest.approx(tuple(interval))
        assert row.trials == len(own)


def test_interactions_of_combinations_that_were_not_run_are_left_out(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS, range(2), planted)
    runs = runs[(runs["activation"] != "tanh") | (runs["init"] != "normal")]
    table = interaction_means(runs, LEVELS)
    assert not ((table["level_a"] == "tanh") & (table["level_b"] == "normal")).any()
    assert ((table["level_a"] == "tanh") & (table["level_b"] == "kaiming_normal")).any()
