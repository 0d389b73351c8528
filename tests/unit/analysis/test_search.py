"""Simulated searches find what order statistics, brute force and Bergstra and Bengio (2012) say."""

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.columns import RANGE_EDGE_COLUMNS, RATE_LAW_COLUMNS, SEARCH_COLUMNS, SEARCH_DIFFERENCE_COLUMNS
from trainatlas.analysis.intervals import between_groups, wilson
from trainatlas.analysis.rates import FEW_DRAWS, range_edges, rate_laws
from trainatlas.analysis.search import (
    chances_of_best,
    grid_shapes,
    pools,
    quantiles_of_best,
    random_search,
    search_accuracy,
    search_tables,
)
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

CHANCE = 0.1
Surface = Callable[[dict[str, int], float, int], float]


def table_of(rows: Iterable[dict[str, object]], stage: str) -> pd.DataFrame:
    table = pd.DataFrame(list(rows))
    table = table.assign(**{factor: "only" for factor in FACTORS if factor not in table}, stage=stage, sample=stage)
    table["test_accuracy"] = table["final_validation_accuracy"] - 0.01
    table["final_validation_loss"] = 1 - table["final_validation_accuracy"]
    table["trial_id"] = [f"{stage}{number:05d}" for number in range(len(table))]
    return table.assign(status="ok")


def grid(
    sizes: dict[str, int], rates: int, seeds: Iterable[int], surface: Surface, stage: str = "tuning"
) -> pd.DataFrame:
    """Every combination of numbered levels and rates."""
    rows = []
    for seed, places in itertools.product(seeds, itertools.product(*map(range, sizes.values()))):
        cell = dict(zip(sizes, places, strict=True))
        for rate in range(rates):
            levels = {factor: f"level {place}" for factor, place in cell.items()}
            value = surface(cell, rate / max(rates - 1, 1), seed)
            rows.append(levels | {"learning_rate": 10.0**rate, "seed": seed, "final_validation_accuracy": value})
    return table_of(rows, stage)


def draws(number: int, seeds: Iterable[int], surface: Surface) -> pd.DataFrame:
    """Draws with rates log-uniform from 0.01 to 1."""
    rng = np.random.default_rng(0)
    rows = [
        {"learning_rate": 10 ** (2 * place - 2), "seed": seed, "final_validation_accuracy": surface({}, place, seed)}
        for seed in seeds
        for place in rng.uniform(size=number)
    ]
    return table_of(rows, "random")


@pytest.mark.parametrize(("values", "budget"), [([1, 2, 3, 4, 5, 6], 1), ([1, 2, 2, 4, 5, 5], 3), ([3, 3, 7], 3)])
def test_the_best_of_k_is_that_of_all_ways_to_draw_k(values: list[int], budget: int) -> None:
    ways = [max(way) for way in itertools.combinations(values, budget)]
    accuracy, chances = np.array(values, dtype=float), chances_of_best(len(values), budget)
    assert chances @ accuracy == pytest.approx(np.mean(ways))
    for value in set(values):
        assert chances[accuracy <= value].sum() == pytest.approx(np.mean([best <= value for best in ways]))
    for share in (0.1, 0.5, 0.9):
        expected = np.quantile(ways, share, method="inverted_cdf")
        assert quantiles_of_best(accuracy, chances, [share])[0] == expected


def test_a_run_that_counts_twice_is_as_two_runs() -> None:
    chances = chances_of_best(np.array([1, 0, 3]), 2)
    assert chances.tolist() == pytest.approx([0.0, 0.0, 1.0])  # two of three alike and one worse
    assert chances_of_best(np.array([2, 1]), 2).tolist() == pytest.approx([1 / 3, 2 / 3])


def test_a_budget_beyond_the_pool_finds_the_best_for_certain() -> None:
    assert chances_of_best(3, 5).tolist() == pytest.approx([0, 0, 1])


def test_sixty_draws_find_one_of_the_best_twentieth_with_probability_95_percent() -> None:
    """1 - 0.95^60 = 0.954 for draws with replacement, the rule of thumb of Bergstra and Bengio 2012."""
    runs = 100_000
    assert chances_of_best(runs, 60)[-runs // 20 :].sum() == pytest.approx(1 - 0.95**60, abs=2e-4)


def test_lost_runs_count_as_chance_at_most_and_are_never_dropped() -> None:
    trials = table_of([{"final_validation_accuracy": value, "seed": 0} for value in (0.9, 0.8, 0.05, np.nan)], "tuning")
    trials["status"] = ["diverged", "ok", "diverged", "failed"]
    assert search_accuracy(trials, CHANCE).tolist() == [CHANCE, 0.8, 0.05, 0.0]
    (pool,) = pools(trials, CHANCE)
    assert pool.accuracy.tolist() == [0.0, 0.05, CHANCE, 0.8]


def test_ties_go_to_the_smaller_loss_and_its_test_accuracy_is_told() -> None:
    trials = table_of([{"final_validation_accuracy": 0.8, "seed": 0} for _ in range(3)], "random")
    trials["final_validation_loss"] = [0.3, 0.1, 0.2]
    trials["test_accuracy"] = [0.5, 0.9, 0.7]
    table = random_search(pools(trials, CHANCE), budgets=[1, 3, 4])
    assert table["budget"].tolist() == [1, 3]
    assert table["test_accuracy"].tolist() == pytest.approx([0.7, 0.9])


def test_intervals_of_random_search_hold_the_truth_about_as_often_as_they_say() -> None:
    """Uniform accuracies: the best of k has mean k / (k + 1) and median 0.5^(1/k)."""
    rng, budgets, held = np.random.default_rng(3), [1, 4, 16], []
    for _ in range(60):
        trials = table_of([{"final_validation_accuracy": v, "seed": 0} for v in rng.uniform(size=400)], "random")
        table = random_search(pools(trials, CHANCE), budgets)
        truth = table["budget"] / (table["budget"] + 1)
        held.append((table["low"] < truth) & (truth < table["high"]))
        assert ((table["decile_1"] < table["median"]) & (table["median"] < table["decile_9"])).all()
        assert table["median"].tolist() == pytest.approx((0.5 ** (1 / table["budget"])).tolist(), abs=0.1)
        assert table["runs"].eq(400).all()
    assert (np.mean(held, axis=0) > 0.85).all()


def test_shapes_of_grids_use_the_budget_as_far_as_they_can() -> None:
    assert sorted(map(tuple, grid_shapes([3, 2], 4))) == [(2, 2)]
    assert sorted(map(tuple, grid_shapes([4, 4], 4))) == [(1, 4), (2, 2), (4, 1)]
    assert {tuple(shape) for shape in grid_shapes([3, 3, 3], 16)} == {(2, 2, 3), (2, 3, 2), (3, 2, 2)}


def one_matters(cell: dict[str, int], rate: float, seed: int) -> float:
    return 0.5 + 0.05 * cell["activation"] + 0.001 * seed


def test_where_one_factor_matters_random_beats_grids_as_theory_says() -> None:
    """Bergstra and Bengio 2012: a grid of k runs tries few values of what matters, random search up to k of them.

    With eight levels of the one that matters, m of them at random have their best at place 9 m / (m + 1) of eight.
    """
    sizes = {"activation": 8, "init": 4, "normalisation": 4, "optimizer": 4}
    runs = grid(sizes, 1, [0, 1], one_matters)
    curves, differences = search_tables(runs, CHANCE)
    found = curves.set_index(["of", "search", "budget"])["accuracy"]
    copies = np.repeat(np.arange(8), 64)
    for budget in (8, 16):
        shapes = grid_shapes([8, 4, 4, 4], budget)
        expected = np.mean([0.5 + 0.05 * (9 * m / (m + 1) - 1) for m in shapes[:, 0]]) + 0.0005
        assert found["tuning", "grid", budget] == pytest.approx(expected, abs=0.004)
        exact = 0.5 + 0.05 * (chances_of_best(512, budget) @ copies) + 0.0005
        assert found["tuning", "random", budget] == pytest.approx(exact)
        row = differences.set_index(["of", "budget"]).loc[("tuning", budget)]
        assert row["difference"] == pytest.approx(exact - expected, abs=0.004)
        assert row["low"] < row["difference"] < row["high"] and row["low"] > 0
        assert row["share_better"] > 0.7
        assert row["test_difference"] == pytest.approx(row["difference"])
    gains = differences.set_index("budget")["difference"]
    assert gains[64] < gains[8]  # with enough runs the grid has all levels of what matters


def test_where_nothing_matters_neither_search_is_better() -> None:
    rng = np.random.default_rng(0)
    runs = grid({"activation": 4, "init": 4, "optimizer": 3}, 4, range(6), lambda *_: rng.uniform())
    _, differences = search_tables(runs, CHANCE)
    assert differences["difference"].abs().max() < 0.02
    assert differences["share_better"].between(0.45, 0.55).all()
    assert ((differences["low"] < 0) & (differences["high"] > 0)).mean() > 0.7


def test_settings_with_tuned_rates_cost_the_runs_that_tuned_them() -> None:
    sizes = {"activation": 4, "init": 3}
    tuning = grid(sizes, 5, [0], one_matters)
    final = grid(sizes, 1, [1, 2], one_matters, "final")
    curves, _ = search_tables(pd.concat([tuning, final]), CHANCE)
    budgets = curves[(curves["of"] == "final") & (curves["search"] == "random")]["budget"]
    assert budgets.tolist() == [6, 12, 24, 48]


def test_searches_see_one_seed_at_a_time() -> None:
    """A seed whose split is easier by far must not lend its luck to the others."""
    runs = draws(30, [1, 2], lambda cell, place, seed: 0.2 + 0.6 * (seed == 2))
    curves, _ = search_tables(runs, CHANCE)
    assert curves["accuracy"].tolist() == pytest.approx([0.5] * len(curves))


def test_the_random_sample_is_compared_with_the_grid_of_other_seeds() -> None:
    runs = pd.concat([grid({"activation": 4, "init": 4}, 4, [0], one_matters), draws(20, [1, 2, 3], lambda *_: 0.9)])
    curves, differences = search_tables(runs, CHANCE)
    assert tuple(curves) == names(SEARCH_COLUMNS) and tuple(differences) == names(SEARCH_DIFFERENCE_COLUMNS)
    own = differences[differences["of"] == "random"]
    assert own["budget"].max() == 16 and own["other_seeds"].eq(1).all() and own["seeds"].eq(3).all()
    assert own["share_better"].eq(1).all()
    assert differences.loc[differences["of"] == "tuning", "low"].isna().all()  # one seed: no interval


def test_excluded_cells_and_runs_that_are_no_grid_are_left_alone() -> None:
    runs = grid({"activation": 4, "init": 4}, 4, [0], one_matters)
    holes = runs[~((runs["activation"] == "level 3") & (runs["init"] == "level 0"))]
    curves, _ = search_tables(holes, CHANCE)
    found = curves[curves["search"] == "grid"]
    assert len(found) and (found["searches"] < 4000).any()
    scattered = draws(40, [0], lambda *_: 0.5).assign(stage="tuning", sample="tuning")
    scattered["activation"] = [f"level {number}" for number in range(40)]
    assert search_tables(scattered, CHANCE)[1].empty


def test_a_study_without_trials_has_empty_tables() -> None:
    empty = draws(5, [0], lambda *_: 0.5).iloc[:0]
    assert all(
        table.empty for table in (*search_tables(empty, CHANCE), rate_laws(empty, CHANCE), range_edges(empty, CHANCE))
    )


def test_linear_rates_are_those_of_uniform_draws() -> None:
    """Accuracy is a known function of the rate, so that what truly uniform rates find can be drawn directly."""

    def peak(rate: np.ndarray) -> np.ndarray:
        return np.exp(-((np.log10(rate) + 1.5) ** 2) / 0.1)

    runs = draws(2000, [0, 1], lambda cell, place, seed: float(peak(np.array(10 ** (2 * place - 2)))))
    table = rate_laws(runs, 0.0).set_index("budget")
    assert tuple(table.reset_index()) == names(RATE_LAW_COLUMNS)
    rng = np.random.default_rng(1)
    for budget in (1, 4, 16):
        direct = peak(rng.uniform(0.01, 1, size=(20_000, budget))).max(axis=1).mean()
        assert table.loc[budget, "linear"] == pytest.approx(direct, abs=0.02)
        assert table.loc[budget, "difference"] == pytest.approx(table.loc[budget, "log"] - table.loc[budget, "linear"])
        assert 0 < table.loc[budget, "low"] < table.loc[budget, "difference"] < table.loc[budget, "high"]
    share = 2 * 0.99 / (math.log(100) * 1.01)  # E[x]^2 / E[x^2] of a log-uniform rate over two decades
    assert table["effective_draws"].iloc[0] == pytest.approx(2000 * share, rel=0.1)


def test_too_few_draws_in_effect_are_said_to_be_too_few() -> None:
    table = rate_laws(draws(10, [0, 1], lambda *_: 0.5), CHANCE)
    assert table["budget"].tolist() == [0]
    assert table["effective_draws"].iloc[0] < FEW_DRAWS and table["draws"].iloc[0] == 20
    assert table[["log", "linear", "difference"]].isna().all(axis=None)


def test_a_best_rate_at_the_edge_is_a_warning_where_the_optimum_lies_beyond() -> None:
    def rising(cell: dict[str, int], rate: float, seed: int) -> float:
        return 0.5 + 0.1 * rate if cell["init"] == 0 else 0.8 - (rate - 0.5) ** 2

    table = range_edges(grid({"activation": 5, "init": 2}, 5, [0, 1], rising), CHANCE).set_index("where")
    assert tuple(table.reset_index()) == names(RANGE_EDGE_COLUMNS)
    # Five settings rise throughout: cut at the high end their best is at the edge, and the cut rate is better.
    assert table.loc["edge", ["settings", "improved"]].tolist() == [5, 5]
    assert table.loc["edge", ["gain", "low", "high"]].tolist() == pytest.approx([0.025] * 3)
    assert table.loc["inside", ["settings", "improved", "gain"]].tolist() == [15, 0, 0]


def test_two_rates_say_nothing_of_edges() -> None:
    assert range_edges(grid({"activation": 5}, 2, [0], one_matters), CHANCE).empty


def test_the_interval_between_groups_of_seeds_is_students() -> None:
    a, b = [0.5, 0.7, 0.6, 0.9], [0.4, 0.5, 0.3]
    ends = stats.ttest_ind(a, b).confidence_interval()
    assert between_groups(a, b)[1:] == pytest.approx((ends.low, ends.high))
    alone = between_groups(a, [0.4])
    half = stats.t.ppf(0.975, 3) * np.std(a, ddof=1) * math.sqrt(1 + 1 / 4)
    assert alone == pytest.approx((0.275, 0.275 - half, 0.275 + half))
    assert np.isnan(between_groups([0.5], [0.4]).low)


def test_wilsons_interval_is_the_formulas() -> None:
    z, p, n = stats.norm.ppf(0.975), 0.3, 10
    centre, half = (p + z**2 / (2 * n)), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [end / (1 + z**2 / n) for end in (centre - half, centre + half)]
    assert wilson(3, 10) == pytest.approx((0.3, *expected))
    assert np.isnan(wilson(0, 0)).all()
