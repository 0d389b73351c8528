"""Time to target as a survival analysis, against a textbook's figures, statsmodels and slow versions.

The remission times are those of Freireich et al. (1963), weeks of 21 patients on 6-mercaptopurine and of 21 on placebo, as every
textbook on survival prints them; survival and its interval are those of Kalbfleisch and Prentice (2002, table 1.3 and
section 1.4), the log-rank statistic is that of Klein and Moeschberger (2003).
"""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from trainatlas.analysis.survival import (
    MAXIMUM_STEPS,
    kaplan_meier,
    log_rank,
    median_ratios,
    survival,
    thinned,
    times_to,
)
from trainatlas.study.config import Target
from trainatlas.study.trial import FACTORS

INF = math.inf
TARGET = Target(metric="validation_accuracy", value=0.9)
LEVELS = {"activation": ("relu", "tanh")}

WEEKS = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35])
RELAPSED = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23])

RUNS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40)


def final_runs(steps: dict[str, list[list[float]]], status: str = "ok", budget: int = 100) -> pd.DataFrame:
    """Return final runs: for each activation a list of seeds, each with the steps of its cells; inf: ended as `status`."""
    rows = [
        dict.fromkeys(FACTORS, "only")
        | {"activation": level, "init": f"init{cell}", "seed": seed, TARGET.column: value}
        for level, seeds in steps.items()
        for seed, values in enumerate(seeds)
        for cell, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    never = np.isinf(table[TARGET.column])
    return table.assign(status=np.where(never, status, "ok"), steps_run=budget, step_seconds=0.5)


def test_the_curve_of_the_remission_times_is_the_textbooks() -> None:
    table = kaplan_meier(WEEKS, RELAPSED).set_index("step")
    assert table.index.tolist() == [0, 6, 7, 10, 13, 16, 22, 23, 35]
    assert table.loc[6:23, "at_risk"].tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert table.loc[6:23, "reached"].tolist() == [3, 1, 1, 1, 1, 1, 1]
    known = {
        6: (0.857, 0.620, 0.952),
        7: (0.807, 0.563, 0.923),
        10: (0.753, 0.503, 0.889),
        13: (0.690, 0.432, 0.849),
        16: (0.627, 0.368, 0.805),
        22: (0.538, 0.268, 0.747),
        23: (0.448, 0.188, 0.680),
    }
    for week, figures in known.items():
        assert table.loc[week, ["survival", "low", "high"]].round(3).tolist() == list(figures), week


def test_the_log_rank_test_of_the_remission_times_is_the_textbooks() -> None:
    treated = pd.DataFrame({"step": WEEKS, "reached": RELAPSED, "seed": 0})
    placebo = pd.DataFrame({"step": PLACEBO, "reached": True, "seed": 0})
    assert stats.chi2.isf(log_rank(treated, placebo), 1) == pytest.approx(16.79, abs=0.005)


@given(runs=RUNS)
def test_the_curve_is_that_of_statsmodels_and_of_greenwoods_formula(runs: list[tuple[int, bool]]) -> None:
    steps, reached = np.array([step for step, _ in runs]), np.array([got for _, got in runs])
    table = kaplan_meier(steps, reached).set_index("step")
    assert table["reached"].sum() == reached.sum()
    assert table.index[0] == 0 and table.index[-1] == steps.max()
    other = SurvfuncRight(steps, reached.astype(int))
    summed = 0.0
    for step, share, risk, events in zip(other.surv_times, other.surv_prob, other.n_risk, other.n_events, strict=True):
        if not events:
            continue
        row = table.loc[step]
        assert (row["survival"], row["at_risk"], row["reached"]) == pytest.approx((share, risk, events))
        if row["survival"] > 0:
            summed += events / (risk * (risk - events))
            half = 1.959964 * math.sqrt(summed) / abs(math.log(share))
            assert row["low"] == pytest.approx(share ** math.exp(half), rel=1e-5)
            assert row["high"] == pytest.approx(share ** math.exp(-half), rel=1e-5)
        else:
            assert math.isnan(row["low"]) and math.isnan(row["high"])


@given(runs=RUNS)
def test_where_every_run_has_the_same_budget_the_curve_is_the_share_that_has_not_got_there(
    runs: list[tuple[int, bool]],
) -> None:
    steps = np.array([step if got else 12 for step, got in runs])
    reached = np.array([got for _, got in runs])
    for row in kaplan_meier(steps, reached).itertuples():
        assert row.survival == pytest.approx(1 - (reached & (steps <= row.step)).mean())


def test_a_run_that_was_lost_stays_at_risk_and_one_that_ended_ok_is_censored() -> None:
    final = pd.DataFrame(
        {
            TARGET.column: [20, INF, INF, INF, INF, np.nan],
            "status": ["ok", "ok", "diverged", "failed", "stopped_early", "ok"],
            "steps_run": [50, 50, 3, 0, 10, 50],
        }
    )
    table = times_to(final, TARGET.column, 80)
    assert table["step"].tolist() == [20, 50, 80, 80, 80]
    assert table["reached"].tolist() == [True, False, False, False, False]


def test_a_level_that_diverges_looks_no_better_for_it() -> None:
    steps = {"relu": [[30.0, INF, INF, INF]], "tanh": [[30.0, 100.0, 100.0, INF]]}
    final = final_runs(steps, status="diverged").assign(steps_run=1)
    table = survival(final, [TARGET], LEVELS, 100)
    last = table.groupby("level")["survival"].last()
    assert last.to_dict() == {"relu": 0.75, "tanh": 0.25}
    assert (table.loc[table["step"] > 0, "at_risk"] > 1).all()


@given(runs=st.lists(st.tuples(st.integers(0, 500), st.booleans()), min_size=80, max_size=200))
def test_a_thinned_curve_loses_no_run_and_keeps_its_ends(runs: list[tuple[int, bool]]) -> None:
    whole = kaplan_meier(np.array([step for step, _ in runs]), np.array([got for _, got in runs]))
    table = thinned(whole)
    assert len(table) <= MAXIMUM_STEPS
    assert table["reached"].sum() == whole["reached"].sum()
    assert table["step"].iloc[[0, -1]].tolist() == whole["step"].iloc[[0, -1]].tolist()
    kept = whole.set_index("step").loc[table["step"]]
    for name in ("at_risk", "survival"):
        assert table[name].tolist() == kept[name].tolist()


def test_every_level_and_target_has_its_curve() -> None:
    final = final_runs({"relu": [[10, 20], [30, INF]], "tanh": [[40, 50], [60, 70]]}).assign(other=np.nan)
    final = final.rename(columns={"other": "steps_to_train_error_0.1"})
    unwatched = Target(metric="train_error", value=0.1)
    table = survival(final, [TARGET, unwatched], {"activation": ("relu", "tanh", "elu")}, 100)
    assert set(table["target"]) == {TARGET.column}
    for level, own in table.groupby("level"):
        times = final.loc[final["activation"] == level, TARGET.column]
        expected = kaplan_meier(times.clip(upper=100).astype(int).to_numpy(), np.isfinite(times.to_numpy()))
        pd.testing.assert_frame_equal(own[list(expected)].reset_index(drop=True), expected)


# Ratios of medians.


def the_ratio(final: pd.DataFrame) -> pd.Series:
    table = median_ratios(final, [TARGET], LEVELS, 100)
    assert len(table) == 1
    return table.iloc[0]


def test_the_ratio_is_students_t_over_the_logarithms_of_seeds() -> None:
    relu = [[10, 20, 30], [12, 22, 40], [8, 16, 90], [10, 30, 31]]
    tanh = [[20, 50, 60], [20, 44, 80], [30, 40, 50], [20, 45, INF]]
    row = the_ratio(final_runs({"relu": relu, "tanh": tanh}))
    logs = np.log([50 / 20, 44 / 22, 40 / 16, 45 / 30])
    ends = stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs))
    assert (row["ratio"], row["low"], row["high"]) == pytest.approx((math.exp(logs.mean()), *np.exp(ends)))
    assert row[["reached_fraction", "reference_reached_fraction"]].tolist() == [11 / 12, 1.0]
    assert row[["seeds", "trials"]].tolist() == [4, 12]


def test_seconds_are_compared_as_steps_are() -> None:
    """Where all steps take equally long the ratios are the same; else they are those of steps counted in each level's seconds."""
    relu = [[10, 20, 30], [12, 22, 40], [8, 16, 90]]
    tanh = [[20, 50, 60], [20, 44, 80], [30, INF, INF]]
    of_seconds = ["seconds_ratio", "seconds_low", "seconds_high"]
    final = final_runs({"relu": relu, "tanh": tanh})
    even = the_ratio(final)
    np.testing.assert_array_equal(even[of_seconds].to_numpy(float), [INF, np.nan, INF])
    np.testing.assert_array_equal(even[["ratio", "low", "high"]].to_numpy(float), [INF, np.nan, INF])
    finite = final[final["seed"] < 2]
    dear = finite.assign(step_seconds=np.where(finite["activation"] == "tanh", 3.0, 2.0))
    steps, seconds = the_ratio(finite), the_ratio(dear)
    assert seconds[["ratio", "low", "high"]].tolist() == steps[["ratio", "low", "high"]].tolist()
    assert seconds[of_seconds].to_numpy(float) == pytest.approx(1.5 * steps[["ratio", "low", "high"]].to_numpy(float))


def test_the_median_is_of_each_runs_own_seconds() -> None:
    final = final_runs({"relu": [[10, 20, 30]] * 2, "tanh": [[20, 20, 20]] * 2})
    seconds = final["init"].map({"init0": 9.0, "init1": 1.0, "init2": 1.0})  # 90, 20, 30 and 180, 20, 20
    row = the_ratio(final.assign(step_seconds=seconds))
    assert (row["ratio"], row["seconds_ratio"]) == pytest.approx((1.0, 20 / 30))


def test_where_a_paired_run_was_not_timed_nothing_is_said_of_seconds() -> None:
    final = final_runs({"relu": [[10, 20]] * 2, "tanh": [[20, 40]] * 2})
    missing = final.assign(step_seconds=np.where(final.index == 0, np.nan, 1.0))
    row = the_ratio(missing)
    assert row["ratio"] == pytest.approx(2.0) and math.isnan(row["seconds_ratio"])
    unpaired = final.assign(
        init=np.where((final["activation"] == "relu") & (final["init"] == "init0"), "init9", final["init"])
    )
    assert the_ratio(unpaired.assign(step_seconds=missing["step_seconds"]))["seconds_ratio"] == pytest.approx(2.0)


def test_only_pairs_count() -> None:
    whole = final_runs({"relu": [[10, 20, 30]] * 2, "tanh": [[20, 40, 60]] * 2})
    alone = final_runs({"relu": [[1, 1, 1, 1, 1]] * 2})
    unpaired = alone[alone["init"].isin(["init3", "init4"])]
    pd.testing.assert_series_equal(the_ratio(pd.concat([whole, unpaired], ignore_index=True)), the_ratio(whole))


@pytest.mark.parametrize(
    ("relu", "tanh", "expected", "seeds"),
    [
        ([[10], [10]], [[20], [INF]], (INF, np.nan, INF), 2),
        ([[10], [INF]], [[20], [20]], (0.0, 0.0, np.nan), 2),
        ([[10], [INF]], [[INF], [20]], (np.nan, np.nan, np.nan), 2),
        ([[INF], [INF]], [[INF], [INF]], (np.nan, np.nan, np.nan), 0),
        ([[10], [INF]], [[20], [INF]], (2.0, np.nan, np.nan), 1),
        ([[0], [0]], [[3], [3]], (3.0, 3.0, 3.0), 2),
    ],
)
def test_what_never_happened_opens_the_ratio(
    relu: list[list[float]], tanh: list[list[float]], expected: tuple[float, ...], seeds: int
) -> None:
    row = the_ratio(final_runs({"relu": relu, "tanh": tanh}))
    np.testing.assert_allclose(row[["ratio", "low", "high"]].to_numpy(dtype=float), expected)
    assert row["seeds"] == seeds


@given(seed=st.integers(0, 50))
def test_the_log_rank_test_is_statsmodels_with_seeds_as_strata(seed: int) -> None:
    draw = np.random.default_rng(seed)
    steps = {level: draw.integers(1, 60, size=(3, 8)).astype(float) for level in ("relu", "tanh")}
    final = final_runs({level: values.tolist() for level, values in steps.items()})
    _, p = survdiff(
        final[TARGET.column].to_numpy(),
        np.ones(len(final)),
        final["activation"].to_numpy(),
        strata=final["seed"].to_numpy(),
    )
    assert the_ratio(final)["p"] == pytest.approx(p, abs=1e-9)


def test_the_log_rank_test_says_nothing_where_nothing_can_be_told() -> None:
    for steps in (INF, 10.0):
        assert math.isnan(the_ratio(final_runs({"relu": [[steps] * 3] * 2, "tanh": [[steps] * 3] * 2}))["p"])


def test_levels_without_runs_or_pairs_have_no_row() -> None:
    final = final_runs({"relu": [[10, 20]] * 2, "tanh": [[20, 40]] * 2})
    apart = final.assign(init=final["init"] + final["activation"])
    assert median_ratios(apart, [TARGET], LEVELS, 100).empty
    levels = {"activation": ("relu", "elu", "tanh")}
    assert median_ratios(final, [TARGET], levels, 100)["level"].tolist() == ["tanh"]
    assert median_ratios(final, [], levels, 100).empty and survival(final, [], levels, 100).empty
