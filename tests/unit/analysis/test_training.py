"""What happened during training: quantiles that know "never", curves, steps to targets, units."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.analysis.aggregate import steps_to_target
from trainatlas.analysis.training import convergence, curve_summaries, lower_quantiles, steps_of_budget, unit_summaries
from trainatlas.study.config import Target
from trainatlas.study.trial import FACTORS

INF = math.inf
SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])


def lower_quantile(values: np.ndarray, share: float) -> float:
    (quantile,) = lower_quantiles(values, [share]).tolist()
    return float(quantile)


@given(values=st.lists(st.lists(st.one_of(st.floats(0, 9), st.just(INF)), min_size=3, max_size=3), min_size=1))
def test_quantiles_are_taken_column_by_column(values: list[list[float]]) -> None:
    table = np.array(values)
    expected = [[lower_quantile(column, share) for column in table.T] for share in (0.9, 0.1, 0.5)]
    assert lower_quantiles(table, (0.9, 0.1, 0.5)).tolist() == expected


@given(values=st.lists(st.one_of(st.floats(0, 1e6), st.just(INF)), min_size=1, max_size=60), share=SHARES)
def test_the_quantile_is_the_least_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    quantile = lower_quantile(np.array(values), share)
    exact = Fraction(str(share)) * len(values)
    assert quantile in values
    assert sum(value <= quantile for value in values) >= exact
    assert sum(value < quantile for value in values) < exact


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), share=SHARES)
def test_the_quantile_is_numpys_inverted_cdf(values: list[float], share: float) -> None:
    exact = Fraction(str(share)) * len(values)
    if exact.denominator == 1:  # numpy's own rounding decides there
        return
    assert lower_quantile(np.array(values), share) == np.quantile(values, share, method="inverted_cdf")


@pytest.mark.parametrize("share", [Fraction(1, 10), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(9, 10)])
def test_deciles_and_quartiles_do_not_suffer_from_rounding(share: Fraction) -> None:
    for number in range(1, 2000):
        assert lower_quantile(np.arange(1.0, number + 1), float(share)) == math.ceil(share * number)


def test_a_quantile_is_infinite_only_where_that_share_never_got_there() -> None:
    steps = np.array([100.0, 200.0, INF, INF])
    assert lower_quantile(steps, 0.25) == 100.0
    assert lower_quantile(steps, 0.5) == 200.0
    assert lower_quantile(steps, 0.75) == INF


# Steps to targets.

ACCURACY = Target(metric="validation_accuracy", value=0.9)
ERROR = Target(metric="train_error", value=0.1)


def curve(trial: str, split: str, accuracies: list[float], every: int = 16) -> pd.DataFrame:
    steps = [every * i for i in range(len(accuracies))]
    return pd.DataFrame({"trial_id": trial, "step": steps, "split": split, "accuracy": accuracies})


def trials(**statuses: str) -> pd.DataFrame:
    return pd.DataFrame({"trial_id": list(statuses), "status": list(statuses.values()), "epochs_run": 5})


def test_steps_count_to_the_first_evaluation_that_meets_the_target() -> None:
    curves = pd.concat(
        [
            curve("at_once", "validation", [0.95, 0.2, 0.99]),
            curve("later", "validation", [0.1, 0.89, 0.9, 0.3]),
            curve("never", "validation", [0.1, 0.2, 0.8999]),
            curve("never", "train", [1.0, 1.0, 1.0]),
        ]
    )
    table = trials(never="ok", later="ok", at_once="ok")
    assert steps_to_target(table, curves, ACCURACY).tolist() == [INF, 32.0, 0.0]


def test_an_error_target_looks_at_the_training_part() -> None:
    curves = pd.concat([curve("a", "train", [0.1, 0.85, 0.9]), curve("a", "validation", [1.0, 1.0, 1.0])])
    assert steps_to_target(trials(a="ok"), curves, ERROR).tolist() == [32.0]


def test_a_trial_that_diverged_or_failed_never_got_there() -> None:
    curves = curve("diverged", "validation", [0.1])
    assert steps_to_target(trials(diverged="diverged", failed="failed"), curves, ACCURACY).tolist() == [INF, INF]


def test_what_was_not_watched_is_missing_and_not_infinite() -> None:
    curves = pd.concat([curve("light", "train", [0.1, 0.95], every=80), curve("full", "train", [0.1, 0.2, 0.95])])
    steps = steps_to_target(trials(light="ok", full="ok"), curves, ERROR)
    assert steps.isna().tolist() == [True, False]
    assert steps.iloc[1] == 32.0


def test_rounding_denies_nobody_the_target() -> None:
    curves = curve("a", "train", [0.1, 0.2, 1 - 0.1])
    assert steps_to_target(trials(a="ok"), curves, Target(metric="train_error", value=0.1)).tolist() == [32.0]


def test_convergence_counts_who_got_there() -> None:
    final = pd.DataFrame({"activation": ["relu"] * 4 + ["tanh"] * 2, ACCURACY.column: [16, 32, 48, INF, INF, np.nan]})
    levels = {"activation": ("relu", "tanh", "elu")}
    table = convergence(final.assign(batch_size=8, step_seconds=np.nan), [ACCURACY], levels, 100).set_index("level")
    assert table.loc["relu", ["reached_fraction", "quartile_1", "median", "quartile_3"]].tolist() == [0.75, 16, 32, 48]
    assert table.loc["tanh", ["reached_fraction", "median", "trials"]].tolist() == [0.0, INF, 1]
    assert "elu" not in table.index


def test_epochs_and_examples_are_counted_with_each_runs_own_batches() -> None:
    final = pd.DataFrame(
        {
            "activation": ["relu"] * 3 + ["tanh"] * 3,
            "batch_size": [10, 20, 50, 10, 20, 50],
            "step_seconds": [0.1, 0.2, 0.5, 0.1, 0.2, 0.5],
            ACCURACY.column: [40, 30, 8, 40, INF, INF],
        }
    )
    table = convergence(final, [ACCURACY], {"activation": ("relu", "tanh")}, 105).set_index("level")
    # 10, 5 and 2 steps an epoch: 4, 6 and 4 epochs, 400, 600 and 400 examples.
    assert table.loc["relu", ["median", "median_epochs", "median_examples"]].tolist() == [30, 4, 400]
    assert table.loc["tanh", ["median", "median_epochs", "median_examples"]].tolist() == [INF, INF, INF]
    assert table["median_seconds"].tolist() == [4.0, INF]  # 4, 6 and 4 seconds


def test_median_seconds_are_those_of_pandas_and_missing_where_a_run_was_not_timed() -> None:
    draw = np.random.default_rng(0)
    runs = 25
    final = pd.DataFrame(
        {
            "activation": ["relu"] * runs + ["tanh"] * runs,
            "batch_size": 10,
            "step_seconds": draw.uniform(0.1, 1.0, size=2 * runs),
            ACCURACY.column: draw.integers(0, 50, size=2 * runs).astype(float),
        }
    )
    final.loc[3, ACCURACY.column] = np.nan  # was not watched, so its seconds do not count
    final.loc[[3, runs], "step_seconds"] = np.nan
    table = convergence(final, [ACCURACY], {"activation": ("relu", "tanh")}, 100).set_index("level")["median_seconds"]
    relu = final[final["activation"] == "relu"].dropna()
    assert table["relu"] == (relu["step_seconds"] * relu[ACCURACY.column]).quantile(0.5, interpolation="lower")
    assert math.isnan(table["tanh"])


def test_the_budget_is_whole_batches_only() -> None:
    trials = pd.DataFrame({"epochs": [3, 3], "batch_size": [64, 100]})
    assert steps_of_budget(trials, 1000).tolist() == [45, 30]


# Curves and units.


def test_curve_summaries_are_quantiles_over_all_runs_of_a_level() -> None:
    final = pd.DataFrame({"trial_id": list("abcd"), "activation": ["relu", "relu", "relu", "tanh"]})
    rows = [("a", 1, 1.0), ("b", 1, 2.0), ("c", 1, 3.0), ("d", 1, 9.0), ("a", 2, 0.5), ("b", 2, 0.6)]
    curves = pd.DataFrame(rows, columns=["trial_id", "step", "loss"]).assign(split="train_batch")
    other = curves.assign(split="test", loss=0.0)
    table = curve_summaries(
        final, pd.concat([curves, other]), {("activation", "relu"): {"b"}}, {"activation": ("relu", "tanh")}
    ).set_index(["scope", "level", "step"])
    assert set(table["split"]) == {"train_batch"}
    deciles = ["decile_1", "median", "decile_9"]
    assert table.loc[("level", "relu", 1), deciles].tolist() == [1.0, 2.0, 3.0]
    assert table.loc[("level", "relu", 2), deciles].tolist() == [0.5, 0.6, INF], "c diverged: its loss is infinite"
    assert table.loc[("level", "tanh", 2), "median"] == INF
    assert table.loc[("best", "relu", 1), [*deciles, "trials"]].tolist() == [2.0, 2.0, 2.0, 1]


def test_a_step_at_which_only_diverged_runs_were_looked_at_is_no_point_of_the_curves() -> None:
    final = pd.DataFrame({"trial_id": list("abc"), "activation": "relu"})
    rows = [("a", 16, 1.0), ("b", 16, 2.0), ("c", 16, 3.0), ("c", 21, INF), ("a", 32, 0.5), ("b", 32, 0.6)]
    curves = pd.DataFrame(rows, columns=["trial_id", "step", "loss"]).assign(split="validation")
    table = curve_summaries(final, curves, {}, {"activation": ("relu",)})
    assert table["step"].tolist() == [16, 32]
    assert table["decile_9"].tolist() == [3.0, INF]


def test_unit_summaries_average_hidden_layers_by_activation_and_second_factor() -> None:
    final = pd.DataFrame(
        {"trial_id": ["a", "b", "c"], "init": ["x", "y", "y"], "activation": "relu"}
        | {factor: "only" for factor in FACTORS if factor not in ("init", "activation")}
    )
    layers = pd.DataFrame(
        {
            "trial_id": ["a", "b", "c", "a"],
            "step": 0,
            "layer": ["hidden.0"] * 3 + ["output"],
            "depth": [1, 1, 1, 2],
            "dead_fraction": [0.1, 0.3, 0.5, np.nan],
            "saturated_fraction": [0.2, 0.4, 0.6, np.nan],
            "activation_std": [1.0, 2.0, 4.0, 9.0],
            "gradient_norm": [1.0, 3.0, 5.0, 9.0],
        }
    )
    table = unit_summaries(final, layers).set_index(["by", "level"])
    assert set(table["layer"]) == {"hidden.0"}
    assert table.loc[("init", "x"), "dead_fraction"] == pytest.approx(0.1)
    assert table.loc[("init", "y"), ["dead_fraction", "saturated_fraction"]].tolist() == pytest.approx([0.4, 0.5])
    assert table.loc[("init", "y"), ["activation_std", "gradient_norm"]].tolist() == pytest.approx([3.0, 4.0])
    assert table.loc[("normalisation", "only"), "dead_fraction"] == pytest.approx(0.3)
    assert table.loc[("normalisation", "only"), "trials"] == 3
