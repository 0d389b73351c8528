"""Two runs compared: the oracles are SciPy's paired t-test, statsmodels' Holm, and differences that were planted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cases import naming
from trainatlas.analysis.compared_columns import COMPARE_COLUMNS, PAIR_COLUMNS
from trainatlas.analysis.runs import Run, environment_changes, level_changes, setting_changes, status_counts
from trainatlas.analysis.runs_compared import compare_runs, compared, paired_trials, verdict
from trainatlas.study.errors import UserError
from trainatlas.train.records import names

LEVELS = {"activation": ("relu", "tanh", "elu"), "optimizer": ("sgd", "adam")}
Trials = Callable[..., pd.DataFrame]


@pytest.fixture
def trials(grid_runs: Any) -> Trials:
    """Return a function that makes the final trials of a grid, with noise of their own; `planted` is added by cell."""

    def make(
        planted: Callable[[dict[str, str]], float] = lambda cell: 0.0, seeds: Any = range(5), noise: int = 0
    ) -> pd.DataFrame:
        base, own = np.random.default_rng(0), np.random.default_rng(noise)

        def accuracy(cell: dict[str, str], seed: int) -> float:
            chance = own.normal(0, 0.004) if noise else 0.0
            return base.uniform(0.6, 0.9) + planted(cell) + chance

        table = grid_runs(LEVELS, seeds, accuracy)
        return table.assign(
            trial_id=[f"{noise}-{row}" for row in range(len(table))], data="digits", network="mlp()", stage="final",
            learning_rate=0.1 + noise, batch_size=64, status="ok", data_digest="", user_code="",
        )  # fmt: skip

    return make


def run(table: pd.DataFrame, name: str = "old", **study: Any) -> Run:
    told = {"factors": {factor: list(levels) for factor, levels in LEVELS.items()}, **study}
    return Run(Path(name), table, {"study": told, "packages": {}})


def rows_of(comparison: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["factor"], row["level"]): row for row in comparison.rows.to_dict("records")}


def test_differences_intervals_and_p_values_are_those_of_a_paired_t_test(trials: Trials) -> None:
    old, new = trials(), trials(noise=1)
    comparison = compare_runs(run(old), run(new.sample(frac=1, random_state=1)))
    assert list(comparison.rows.columns) == list(names(COMPARE_COLUMNS))
    assert list(comparison.pairs.columns) == list(names(PAIR_COLUMNS))
    found = rows_of(comparison)
    assert list(found) == [("", ""), *((factor, level) for factor, levels in LEVELS.items() for level in levels)]
    for (factor, level), row in found.items():
        sides = [side[side[factor] == level] if factor else side for side in (old, new)]
        before, after = (side.groupby("seed")["test_accuracy"].mean() for side in sides)
        oracle = stats.ttest_rel(after, before)
        with naming(factor, level):
            assert row["difference"] == pytest.approx((after - before).mean())
            assert (row["old"], row["new"]) == pytest.approx((before.mean(), after.mean()))
            assert (row["low"], row["high"]) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
            assert row["p"] == pytest.approx(oracle.pvalue)
            sign = "less" if row["difference"] < 0 else "greater"
            beyond = stats.ttest_1samp(after - before, np.copysign(0.01, row["difference"]), alternative=sign)
            assert row["p_beyond"] == pytest.approx(beyond.pvalue)
            assert (row["pairs"], row["seeds"]) == (len(sides[0]), 5)


def test_levels_are_corrected_for_their_number_and_all_pairs_are_not(trials: Trials) -> None:
    rows = compare_runs(run(trials()), run(trials(noise=1))).rows
    for name in ("p", "p_beyond"):
        assert rows[f"{name}_holm"].iloc[0] == rows[name].iloc[0]
        corrected = multipletests(rows[name].iloc[1:], method="holm")[1]
        assert rows[f"{name}_holm"].iloc[1:].to_numpy() == pytest.approx(corrected)


def test_a_planted_regression_is_found_where_it_was_planted(trials: Trials) -> None:
    new = trials(lambda cell: -0.03 if cell["activation"] == "tanh" else 0.0, noise=1)
    found = rows_of(compare_runs(run(trials()), run(new)))
    assert found["activation", "tanh"]["verdict"] == "worse"
    assert found["activation", "tanh"]["difference"] == pytest.approx(-0.03, abs=0.01)
    assert {found["activation", level]["verdict"] for level in ("relu", "elu")} == {"alike"}


@pytest.mark.parametrize(("planted", "expected"), [(-0.05, "worse"), (0.05, "better"), (-0.002, "alike")])
def test_what_holds_everywhere_is_found_over_all_pairs(planted: float, expected: str, trials: Trials) -> None:
    comparison = compare_runs(run(trials()), run(trials(lambda cell: planted, noise=1)))
    assert comparison.rows["verdict"].iloc[0] == expected
    assert bool(len(comparison.regressions)) == (expected == "worse")


def test_a_margin_that_is_wide_enough_forgives(trials: Trials) -> None:
    new = trials(lambda cell: -0.05, noise=1)
    assert compare_runs(run(trials()), run(new), margin=0.1).regressions.empty


def test_equal_runs_differ_by_exactly_nothing(trials: Trials) -> None:
    for margin in (0.0, 0.01):
        rows = compare_runs(run(trials()), run(trials()), margin=margin).rows
        assert (rows[["difference", "low", "high"]] == 0).all(axis=None)
        assert (rows["p"] == 1).all() and set(rows["verdict"]) == {"alike"}


def test_swapped_sides_turn_the_sign(trials: Trials) -> None:
    old, new = run(trials()), run(trials(lambda cell: -0.05, noise=1))
    there, back = compare_runs(old, new).rows, compare_runs(new, old).rows
    pd.testing.assert_series_equal(there["difference"], -back["difference"])
    pd.testing.assert_series_equal(there["low"], -back["high"], check_names=False)
    for name in ("p", "p_holm", "p_beyond_holm"):
        pd.testing.assert_series_equal(there[name], back[name])
    assert list(back["verdict"]) == [{"worse": "better"}.get(verdict, verdict) for verdict in there["verdict"]]


def test_trials_of_one_run_alone_are_counted_and_enter_nothing(trials: Trials) -> None:
    old = trials()
    new = trials(noise=1)
    lost = old[(old["seed"] != 4) & (old["activation"] != "elu")]
    comparison = compare_runs(run(lost), run(new[new["optimizer"] == "sgd"]))
    assert comparison.only == {"final": (8, 8, 7)}
    assert len(comparison.pairs) == 8 and set(comparison.pairs["seed"]) == set(range(4))
    assert ("activation", "elu") not in rows_of(comparison)
    assert not [row for row in rows_of(comparison) if row[0] == "optimizer"], "of one level there is nothing to tell"


def test_one_seed_has_no_interval_and_is_never_a_regression(trials: Trials) -> None:
    comparison = compare_runs(run(trials(seeds=[1])), run(trials(lambda cell: -0.5, seeds=[1])))
    assert set(comparison.rows["verdict"]) == {"no interval"}
    assert comparison.rows["difference"].iloc[0] == pytest.approx(-0.5)
    assert comparison.rows[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert comparison.regressions.empty


def test_runs_without_a_trial_in_common_are_refused(trials: Trials) -> None:
    with pytest.raises(
        UserError, match=r"^old and new: no trial in common \(old: 30 final; new: 30 final\); allowed: "
    ):
        compare_runs(run(trials()), run(trials(seeds=range(9, 14)), "new"))


@pytest.mark.parametrize("margin", [-0.1, 1.5, float("nan")])
def test_margins_and_metrics_that_make_no_sense_are_refused(margin: float, trials: Trials) -> None:
    with pytest.raises(UserError, match=r"--margin is .*; allowed: 0 to 1"):
        compare_runs(run(trials()), run(trials()), margin=margin)
    with pytest.raises(UserError, match=r"--metric is 'test_loss'; allowed: test_accuracy, "):
        compare_runs(run(trials()), run(trials()), metric="test_loss")


def test_final_runs_pair_at_their_own_rates_and_draws_at_the_same(trials: Trials) -> None:
    old, new = trials(), trials(noise=1)
    assert len(paired_trials(old, new, "test_accuracy")[0]) == 30
    drawn = [side.assign(stage="random") for side in (old, new)]
    assert paired_trials(*drawn, "test_accuracy")[1] == {"random": (0, 30, 30)}
    assert len(paired_trials(drawn[0], drawn[0], "test_accuracy")[0]) == 30
    other = drawn[0].assign(batch_size=128)
    assert len(paired_trials(drawn[0], other, "test_accuracy")[0]) == 30, "the study's, not the draw's"
    assert not len(paired_trials(drawn[0], other, "test_accuracy", ["batch_size"])[0])
    momentum = drawn[0].assign(**{"optimizer.momentum": "0.5"})
    assert not len(paired_trials(drawn[0], momentum, "test_accuracy", ["optimizer.momentum"])[0])
    assert paired_trials(old.assign(stage="tuning"), new, "test_accuracy")[1] == {"final": (0, 0, 30)}


def test_trials_that_were_lost_count_as_wrong(trials: Trials) -> None:
    old = trials()
    new = old.assign(
        test_accuracy=old["test_accuracy"].mask(old.index == 7),
        status=["failed" if row == 7 else "ok" for row in old.index],
    )
    pairs, _ = paired_trials(old, new, "test_accuracy")
    changed = pairs[pairs["difference"] != 0]
    assert changed["difference"].tolist() == [-old["test_accuracy"][7]]
    assert changed[["old_status", "new_status"]].to_numpy().tolist() == [["ok", "failed"]]
    assert status_counts(old, new)[0] == ("ok", 30, 29) and ("failed", 0, 1) in status_counts(old, new)


def test_levels_without_pairs_have_no_row(trials: Trials) -> None:
    pairs, _ = paired_trials(trials(), trials(), "test_accuracy")
    rows = compared(pairs, {"activation": ("selu", "relu"), "stage": ("final", "random")}, 0.01)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.05, -0.011, 0.001, "worse"), (-0.05, -0.011, 0.04, "open"), (-0.05, -0.01, 0.025, "open"),
        (0.011, 0.05, 0.001, "better"), (-0.01, 0.01, 0.9, "alike"), (-0.011, 0.005, 0.9, "open"),
        (float("nan"), float("nan"), float("nan"), "no interval"),
    ],
)  # fmt: skip
def test_a_verdict_needs_interval_and_corrected_p_value(low: float, high: float, p: float, expected: str) -> None:
    assert verdict(low, high, p, 0.01) == expected


def test_what_differs_between_studies_is_told_leaf_by_leaf(trials: Trials) -> None:
    sample = {"name": "grid", "seeds": [1, 2]}
    old = run(trials(), epochs=12, samples=[sample], targets=[1], profiles={"quick": 1})
    new = run(
        trials().assign(user_code="abc"),
        epochs=20,
        samples=[sample | {"seeds": [1, 2, 3]}, {"name": "more"}],
        targets=[1],
        language="ko",  # no part of what is measured
    )
    assert setting_changes(old, new) == [
        ("epochs", "12", "20"),
        ("samples.grid.seeds", "[1, 2]", "[1, 2, 3]"),
        ("samples.more", "–", '{"name": "more"}'),
        ("digests of your own code", "–", "abc"),
    ]
    assert setting_changes(old, old) == [] == level_changes(old, old)
    new.study["factors"]["activation"] = ["relu", "tanh", "gelu"]
    assert level_changes(old, new) == [("activation", ["elu"], ["gelu"])]


def test_what_differs_between_machines_is_told(trials: Trials) -> None:
    sides = [run(trials()), run(trials())]
    for side, torch, dirty in zip(sides, ("2.12", "2.13"), (False, True), strict=True):
        side.provenance.update(
            packages={"torch": torch, "numpy": "2"}, source={"commit": "c", "dirty": dirty}, python="3.11"
        )
    assert environment_changes(*sides) == [("source.dirty", "false", "true"), ("packages.torch", "2.12", "2.13")]
