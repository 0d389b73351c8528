"""Performance profiles, against the definition taken literally, what Dolan and Moré (2002) prove, and an example by hand."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import integrate

from trainatlas.analysis.performance_profiles import LARGEST_TAU, TAUS, performance_ratios, profile, profiles, scores
from trainatlas.study.config import Target
from trainatlas.study.trial import FACTORS

INF = math.inf
TARGET = Target(metric="validation_accuracy", value=0.9)
LEVELS = {"activation": ("relu", "tanh", "elu")}
TIMES = arrays.arrays(
    float,
    st.tuples(st.integers(1, 12), st.integers(2, 4)),
    elements=st.one_of(st.integers(1, 40).map(float), st.just(INF)),
)

# By hand: problem 1 takes A 10, B 20, C for ever; problem 2: 30, 10, 30; problem 3: nobody; problem 4: 10, 10, 25.
EXAMPLE = np.array([[10, 20, INF], [30, 10, 30], [INF, INF, INF], [10, 10, 25]], dtype=float)


def final_runs(times: np.ndarray, levels: tuple[str, ...] = LEVELS["activation"]) -> pd.DataFrame:
    """Return final runs: a seed a problem, a level a solver."""
    rows = [
        dict.fromkeys(FACTORS, "only") | {"activation": level, "seed": seed, TARGET.column: time}
        for seed, problem in enumerate(times)
        for level, time in zip(levels, problem, strict=True)
    ]
    return pd.DataFrame(rows)


def test_the_example_is_as_by_hand() -> None:
    ratios = performance_ratios(EXAMPLE)
    assert ratios.tolist() == [[1, 2, INF], [3, 1, 3], [INF, INF, INF], [1, 1, 2.5]]
    shares = profile(ratios, np.array([1.0, 2.0, 2.5, 3.0, 4.0]))
    assert shares.tolist() == [[0.5, 0.5, 0], [0.5, 0.75, 0], [0.5, 0.75, 0.25], [0.75, 0.75, 0.5], [0.75, 0.75, 0.5]]
    assert scores(ratios).tolist() == pytest.approx([(3 + 1 + 3) / 12, (2 + 3 + 3) / 12, (1 + 1.5) / 12])


@given(times=TIMES)
def test_profiles_are_their_definition(times: np.ndarray) -> None:
    """In exact fractions, problem by problem (equation 2.1)."""
    found = profile(performance_ratios(times), TAUS)
    exact_taus = [1 + Fraction(i, 20) for i in range(61)]
    assert [float(tau) for tau in exact_taus] == pytest.approx(TAUS.tolist())
    for solver in range(times.shape[1]):
        for row, tau in enumerate(exact_taus):
            solved = [
                math.isfinite(problem[solver]) and Fraction(problem[solver]) <= tau * Fraction(problem.min())
                for problem in times
            ]
            assert found[row, solver] == sum(solved) / len(times)


@given(times=TIMES)
def test_the_score_is_the_area_under_the_profile(times: np.ndarray) -> None:
    ratios = performance_ratios(times)
    fine = np.linspace(1, LARGEST_TAU, 6001)
    area = integrate.trapezoid(profile(ratios, fine), fine, axis=0) / (LARGEST_TAU - 1)
    np.testing.assert_allclose(scores(ratios), area, atol=1e-3)


@given(times=TIMES)
def test_a_profile_begins_with_the_share_of_wins_and_ends_with_the_share_solved(times: np.ndarray) -> None:
    """Dolan and Moré, section 2: rho(1) and the limit of rho."""
    ratios = performance_ratios(times)
    best = times.min(axis=1, keepdims=True)
    first, last = profile(ratios, np.array([1.0, 1e9]))
    assert first.tolist() == ((times == best) & np.isfinite(times)).mean(axis=0).tolist()
    assert last.tolist() == np.isfinite(times).mean(axis=0).tolist()


@given(times=TIMES, data=st.data())
def test_a_problem_more_or_less_changes_little(times: np.ndarray, data: st.DataObject) -> None:
    """Dolan and Moré, section 3: other times on k of n problems move a profile by k / n at most."""
    changed = times.copy()
    changed[0] = data.draw(arrays.arrays(float, times.shape[1], elements=st.integers(1, 40).map(float)))
    before, after = (profile(performance_ratios(each), TAUS) for each in (times, changed))
    assert np.abs(before - after).max() <= 1 / len(times) + 1e-12


def test_the_table_tells_the_profile_where_it_rises() -> None:
    table = profiles(final_runs(EXAMPLE), [TARGET], LEVELS)
    ratios = performance_ratios(EXAMPLE)
    whole = profile(ratios, TAUS)
    for place, level in enumerate(LEVELS["activation"]):
        own = table[table["level"] == level]
        assert own["tau"].iloc[[0, -1]].tolist() == [1.0, LARGEST_TAU]
        at = np.searchsorted(own["tau"].to_numpy(), TAUS + 1e-9, side="right") - 1
        assert own["share"].to_numpy()[at].tolist() == whole[:, place].tolist()
        assert own["score"].tolist() == pytest.approx([scores(ratios)[place]] * len(own))
        assert set(own["problems"]) == {4}


def test_only_problems_that_every_level_was_tried_on_count() -> None:
    final = final_runs(EXAMPLE)
    more = final_runs(np.array([[1.0, 9.0]]), ("relu", "tanh")).assign(init="excluded with elu")
    unwatched = final_runs(np.array([[1.0, 9.0, np.nan]])).assign(init="not watched")
    table = profiles(pd.concat([final, more, unwatched], ignore_index=True), [TARGET], LEVELS)
    pd.testing.assert_frame_equal(table, profiles(final, [TARGET], LEVELS))


def test_levels_that_cannot_be_compared_have_no_profile() -> None:
    final = final_runs(EXAMPLE[:, :1], ("relu",))
    assert profiles(final, [TARGET], LEVELS).empty
    assert profiles(final_runs(EXAMPLE), [], LEVELS).empty
    two = profiles(final_runs(EXAMPLE[:, :2], ("relu", "tanh")), [TARGET], LEVELS)
    assert set(two["level"]) == {"relu", "tanh"}


def test_a_target_met_before_the_first_step_is_met_in_one() -> None:
    table = profiles(final_runs(np.array([[0.0, 2.0, 4.0]])), [TARGET], LEVELS)
    assert table.groupby("level")["score"].first()[["relu", "tanh", "elu"]].tolist() == pytest.approx([1, 2 / 3, 0])
