"""Pairs of levels: SciPy, statsmodels and brute force say what every column must be."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from trainatlas.analysis.comparison_columns import PAIRWISE_COLUMNS, TIE_GROUP_COLUMNS
from trainatlas.analysis.comparisons import (
    MARGIN,
    equivalence_test,
    holm,
    pairwise,
    seed_interaction,
    sign_flips,
    signed_rank,
    t_test,
    tie_groups,
)
from trainatlas.analysis.effects import paired_differences
from trainatlas.analysis.intervals import over_seeds
from trainatlas.analysis.power import seeds_needed
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

Runs = Callable[..., pd.DataFrame]

LEVELS = {
    "activation": ("relu", "tanh", "elu", "sigmoid"),
    "init": ("normal", "orthogonal"),
    "optimizer": ("sgd", "adam", "lion"),
}
STEP = {"relu": 0.0, "tanh": 0.02, "elu": 0.021, "sigmoid": -0.03}


@pytest.fixture
def runs(grid_runs: Runs) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return grid_runs(LEVELS, range(5), lambda cell, seed: 0.6 + STEP[cell["activation"]] + generator.normal(0, 0.01))


def per_seed(runs: pd.DataFrame, factor: str, level: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of pairs over cells and over seeds, by pandas."""
    rest = [name for name in FACTORS if name != factor]
    wide = runs.pivot_table(index=["seed", *rest], columns=factor, values="test_accuracy")
    pairs = (wide[level] - wide[other]).dropna()
    return pairs.groupby("seed").mean().to_numpy(), pairs.groupby(rest).mean().to_numpy()


@pytest.mark.parametrize("lost", [0, 12])
def test_every_pair_is_compared_as_scipy_and_statsmodels_would(lost: int, runs: pd.DataFrame) -> None:
    runs = runs.drop(np.random.default_rng(1).choice(runs.index, lost, replace=False))
    table = pairwise(runs, LEVELS)
    assert tuple(table.columns) == names(PAIRWISE_COLUMNS)
    assert len(table) == 6 + 1 + 3
    for row in table.itertuples():
        of_seeds, of_cells = per_seed(runs, row.factor, row.level, row.other)
        assert (row.difference, row.low, row.high) == pytest.approx(tuple(over_seeds(of_seeds)))
        assert row.p == pytest.approx(stats.ttest_1samp(of_seeds, 0).pvalue)
        assert row.p_wilcoxon == pytest.approx(stats.wilcoxon(of_cells, zero_method="pratt").pvalue)
        assert row.p_equivalence == pytest.approx(DescrStatsW(of_seeds).ttost_mean(-MARGIN, MARGIN)[0])
        spread = of_seeds.std(ddof=1)
        detectable = TTestPower().solve_power(None, nobs=5, alpha=0.05, power=0.8) * spread
        assert row.smallest_detectable == pytest.approx(detectable, rel=1e-6)
        assert row.seeds_needed == seeds_needed(row.difference / spread)  # its oracle: test_power.py
        assert row.bca_low < row.difference < row.bca_high
        assert row.seeds == 5
    for _, family in table.groupby("factor"):
        assert family["p_holm"].tolist() == pytest.approx(multipletests(family["p"], method="holm")[1].tolist())
        assert family["tied"].eq((family["p_holm"] > 0.05).astype(int)).all()
        equivalent = multipletests(family["p_equivalence"], method="holm")[0]
        assert family["equivalent"].tolist() == equivalent.astype(int).tolist()


def test_pairs_with_the_first_level_are_those_of_the_differences(runs: pd.DataFrame) -> None:
    pairs = pairwise(runs, LEVELS).set_index(["factor", "level", "other"])
    for row in paired_differences(runs, LEVELS).itertuples():
        own = pairs.loc[(row.factor, row.level, row.reference)]
        assert own[["difference", "low", "high", "pairs"]].tolist() == pytest.approx(
            [row.difference, row.low, row.high, row.pairs]
        )


def test_rows_in_another_order_say_the_same(runs: pd.DataFrame) -> None:
    shuffled = runs.sample(frac=1, random_state=0).astype(dict.fromkeys(FACTORS, "category"))
    pd.testing.assert_frame_equal(pairwise(runs, LEVELS), pairwise(shuffled, LEVELS))


def test_one_seed_tells_nothing_apart(runs: pd.DataFrame) -> None:
    table = pairwise(runs[runs["seed"] == 0], LEVELS)
    columns = ["low", "p", "p_holm", "p_permutation", "p_equivalence", "smallest_detectable", "seeds_needed"]
    assert table[columns].isna().all(axis=None)
    assert table["tied"].eq(1).all() and table["equivalent"].eq(0).all()


def test_levels_that_always_come_to_the_same_are_tied_and_equivalent(grid_runs: Runs) -> None:
    table = pairwise(grid_runs(LEVELS, range(3), lambda cell, seed: 0.1 * seed), LEVELS)
    assert table["p"].eq(1).all() and table["p_wilcoxon"].eq(1).all() and table["p_permutation"].eq(1).all()
    assert table["tied"].eq(1).all() and table["equivalent"].eq(1).all()
    assert table[["seeds_needed", "seed_interaction"]].isna().all(axis=None)


def test_a_study_without_two_levels_or_without_runs_has_no_pairs(runs: pd.DataFrame) -> None:
    assert len(pairwise(runs, {"activation": ("relu",)})) == 0
    empty = pairwise(runs.iloc[:0], LEVELS)
    assert len(empty) == 0 and tuple(empty.columns) == names(PAIRWISE_COLUMNS)
    assert tuple(tie_groups(empty).columns) == names(TIE_GROUP_COLUMNS)


# The tests one by one.

VALUES = st.lists(st.integers(-9, 9), min_size=2, max_size=9)


@given(values=VALUES, centre=st.sampled_from([0.0, 0.5]), alternative=st.sampled_from(["two-sided", "less", "greater"]))
def test_the_t_test_is_that_of_scipy(values: list[int], centre: float, alternative: str) -> None:
    estimates = np.array(values) / 10
    found = t_test(estimates, centre, alternative)
    if np.ptp(values):
        assert found == pytest.approx(stats.ttest_1samp(estimates, centre, alternative=alternative).pvalue, abs=1e-12)
    elif estimates[0] != centre:
        far = {"two-sided": True, "less": estimates[0] < centre, "greater": estimates[0] > centre}[alternative]
        assert found == (0.0 if far else 1.0)


@pytest.mark.parametrize("mean", [0.0, 0.3, 0.9, 1.1])
def test_equivalence_is_that_of_statsmodels(mean: float) -> None:
    estimates = np.random.default_rng(0).normal(mean, 0.2, 6)
    assert equivalence_test(estimates, 1.0) == pytest.approx(DescrStatsW(estimates).ttost_mean(-1, 1)[0])


@given(values=VALUES)
def test_flips_are_those_of_brute_force_and_of_scipy(values: list[int]) -> None:
    flipped = [abs(np.dot(signs, values)) for signs in itertools.product([-1, 1], repeat=len(values))]
    expected = np.mean(np.array(flipped) >= abs(sum(values)))
    assert sign_flips(np.array(values) / 10) == pytest.approx(expected)
    scipy = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert sign_flips(np.array(values) / 10) == pytest.approx(scipy.pvalue)


def test_flips_of_many_values_are_drawn_and_come_close_to_all() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 16)
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert sign_flips(values) == pytest.approx(exact.pvalue, abs=4 * math.sqrt(exact.pvalue / 9999))
    assert sign_flips(values) == sign_flips(values.copy())


@given(values=st.lists(st.integers(-5, 5), min_size=2, max_size=8))
def test_signed_ranks_of_few_values_are_counted_by_brute_force(values: list[int]) -> None:
    signed = np.sign(values) * stats.rankdata(np.abs(values))
    flipped = [abs(np.dot(signs, signed)) for signs in itertools.product([-1, 1], repeat=len(values))]
    assert signed_rank(np.array(values) / 10) == pytest.approx(np.mean(np.array(flipped) >= abs(signed.sum()) - 1e-9))


@pytest.mark.parametrize("size", [5, 13, 14, 40, 200])
def test_signed_ranks_are_those_of_scipy(size: int) -> None:
    values = np.random.default_rng(size).normal(0.2, 1, size)
    assert signed_rank(values) == pytest.approx(stats.wilcoxon(values, zero_method="pratt").pvalue)
    tied = values.round(1)
    if size > 13:
        assert signed_rank(tied) == pytest.approx(stats.wilcoxon(tied, zero_method="pratt").pvalue)


@given(values=st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=12))
def test_holms_correction_is_that_of_statsmodels(values: list[float]) -> None:
    p_values = np.array(values)
    known = ~np.isnan(p_values)
    found = holm(p_values)
    assert np.isnan(found[~known]).all()
    if known.any():
        assert found[known].tolist() == pytest.approx(multipletests(p_values[known], method="holm")[1].tolist())


def test_the_interaction_with_seeds_is_the_f_statistic_of_statsmodels() -> None:
    generator = np.random.default_rng(0)
    differences = generator.normal(size=(4, 9)) + generator.normal(size=(4, 1))
    frame = pd.DataFrame([(s, c, differences[s, c]) for s in range(4) for c in range(9)], columns=["seed", "cell", "y"])
    expected = anova_lm(smf.ols("y ~ C(seed) + C(cell)", frame).fit()).loc["C(seed)", "F"]
    assert seed_interaction(differences) == pytest.approx(expected)
    holed = np.c_[differences, np.where(np.arange(4) == 1, np.nan, 1.0)]  # a cell that lacks a seed is left out
    assert seed_interaction(np.r_[holed, np.full((1, 10), np.nan)]) == pytest.approx(expected)
    assert math.isnan(seed_interaction(differences[:1])) and math.isnan(seed_interaction(differences[:, :1]))


# How often they err. Levels by seeds, each with a taste of its own: what is left of a study when cells are averaged.

FAMILIES = 1500


def false_families(test: Callable[[np.ndarray], float], seeds: int, apart: float = 0.0) -> int:
    """Count the families of six pairs of four levels of which `test`, after Holm's correction, takes any for true."""
    generator = np.random.default_rng(0)
    means = generator.normal(0, 0.01, (FAMILIES, 4, seeds)) + generator.normal(0, 0.02, (FAMILIES, 1, seeds))
    means[:, ::2] += apart
    pairs = [(a, b) for a, b in itertools.combinations(range(4), 2) if not apart or (a + b) % 2]
    return sum(min(holm(np.array([test(each[a] - each[b]) for a, b in pairs]))) <= 0.05 for each in means)


@pytest.mark.parametrize("seeds", [2, 3, 4, 8])
@pytest.mark.parametrize("test", [t_test, sign_flips])
def test_fewer_than_one_study_in_twenty_without_differences_tells_levels_apart(
    test: Callable[[np.ndarray], float], seeds: int
) -> None:
    assert false_families(test, seeds) <= stats.binom.ppf(0.999, FAMILIES, 0.05)


@pytest.mark.parametrize("seeds", [3, 8])
def test_levels_that_differ_by_the_margin_are_seldom_called_equivalent(seeds: int) -> None:
    wrong = false_families(lambda estimates: equivalence_test(estimates, 0.03), seeds, apart=0.03)
    assert wrong <= stats.binom.ppf(0.999, FAMILIES, 0.05)
    assert false_families(lambda estimates: equivalence_test(estimates, 0.06), seeds, apart=0.03) > wrong


# Groups of levels.


def test_groups_say_of_every_two_levels_whether_they_are_tied(runs: pd.DataFrame) -> None:
    pairs = pairwise(runs, LEVELS)
    table = tie_groups(pairs)
    assert tuple(table.columns) == names(TIE_GROUP_COLUMNS)
    of = table.set_index(["factor", "level"])
    for row in pairs.itertuples():
        shared = set(of.loc[(row.factor, row.level), "letters"]) & set(of.loc[(row.factor, row.other), "letters"])
        assert bool(shared) == bool(row.tied)
    activation = table[table["factor"] == "activation"]
    assert activation["level"].tolist() == ["elu", "tanh", "relu", "sigmoid"]
    assert activation["place"].tolist() == [1, 2, 3, 4]
    assert activation["letters"].tolist() == ["a", "a", "b", "c"]
    assert activation["among_best"].tolist() == [1, 1, 0, 0]
    means = runs.groupby("activation")["test_accuracy"].mean()
    for row in activation.itertuples():  # in a whole grid the mean difference to the others follows from the means
        assert row.advantage == pytest.approx(means[row.level] - means.drop(row.level).mean(), abs=1e-8)


def test_the_first_level_leads_where_none_is_better(grid_runs: Runs) -> None:
    table = tie_groups(pairwise(grid_runs(LEVELS, range(3), lambda cell, seed: 0.5), LEVELS))
    for factor, rows in table.groupby("factor"):
        assert rows["level"].tolist() == list(LEVELS[factor])
        assert set(rows["letters"]) == {"a"} and rows["among_best"].eq(1).all()
