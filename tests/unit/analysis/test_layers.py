"""What depth does to signals, on made-up layers whose answers are known."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from trainatlas.analysis.intervals import over_seeds
from trainatlas.analysis.layers import histogram_choice, layer_gains, layer_summaries
from trainatlas.study.trial import FACTORS

NAN = math.nan


def final_runs(**levels: list[str]) -> pd.DataFrame:
    """Every combination of these levels, seeds 1 and 2; trial ids tell level and seed."""
    full = {factor: levels.get(factor, ["only"]) for factor in FACTORS}
    rows = [
        dict(zip(full, cell, strict=True)) | {"seed": seed, "trial_id": "/".join(cell) + f"/{seed}"}
        for cell in itertools.product(*full.values())
        for seed in (1, 2)
    ]
    return pd.DataFrame(rows)


def layers_of(trial: str, forward: list[float], backward: list[float], step: int = 0) -> pd.DataFrame:
    """Hidden layers of these spreads, and an output that belongs to none."""
    hidden = len(forward)
    return pd.DataFrame(
        {
            "trial_id": trial,
            "step": step,
            "layer": [*(f"hidden.{i}" for i in range(hidden)), "output"],
            "depth": range(1, hidden + 2),
            "dead_fraction": [0.0] * hidden + [NAN],
            "activation_std": [*forward, 99.0],
            "backward_std": [*backward, 99.0],
        }
    )


def test_spreads_are_averaged_over_seeds_on_a_log_scale() -> None:
    final = final_runs(optimizer=["sgd", "adam", "nadam"])
    spreads = {1: [1.0, 4.0, 100.0], 2: [9.0, 16.0, 16.0]}
    layers = pd.concat(
        layers_of(row.trial_id, [spreads[row.seed][i // 2]], [0.0 if row.seed == 1 else 1.0])
        for i, row in enumerate(final.itertuples())
    )
    table = layer_summaries(final, layers).set_index("layer").loc["hidden.0"]
    expected = over_seeds(np.log([4.0, 16.0]))  # of each seed the median over its runs
    shown = table[["activation_std", "activation_low", "activation_high"]].astype(float).tolist()
    assert shown == pytest.approx(np.exp(expected).tolist())
    assert table["activation_std"] == pytest.approx(8.0)
    assert table["backward_std"] == 0.0 and math.isnan(table["backward_low"]), "nothing is left, and no interval of it"
    assert table["seeds"] == 2


def test_gains_are_the_factor_of_one_layer_on_each_way() -> None:
    final = final_runs(init=["x", "y"])
    forward = {"x": [1.0, 3.0, 4.0], "y": [1.0, 1.0, 0.25]}
    layers = pd.concat(layers_of(row.trial_id, forward[row.init], [1.0, 7.0, 9.0]) for row in final.itertuples())
    later = pd.concat(layers_of(row.trial_id, [1.0, 1.0, 1e6], [1.0, 1.0, 1e6], 16) for row in final.itertuples())
    table = layer_gains(final, pd.concat([later, layers]).sample(frac=1, random_state=0)).set_index("init")
    assert table["forward"].to_dict() == pytest.approx({"x": 2.0, "y": 0.5})
    assert table["backward"].to_dict() == pytest.approx({"x": 1 / 3, "y": 1 / 3})
    assert table["forward_low"].to_dict() == pytest.approx({"x": 2.0, "y": 0.5}), "both seeds agree"
    assert table["seeds"].tolist() == [2, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda layers: layers.assign(backward_std=NAN),
        lambda layers: layers[layers["depth"] != 2],
        lambda layers: layers.iloc[:0],
    ],
    ids=["not measured", "one hidden layer", "nothing"],
)
def test_without_gradients_or_depth_there_are_no_gains(change) -> None:  # type: ignore[no-untyped-def]
    final = final_runs()
    layers = pd.concat(layers_of(trial, [1.0, 2.0], [1.0, 2.0]) for trial in final["trial_id"])
    assert layer_gains(final, change(layers)).empty


def test_signals_that_vanish_wholly_have_a_gain_of_nil() -> None:
    final = final_runs()
    layers = pd.concat(layers_of(trial, [1.0, 0.0], [0.0, 0.0]) for trial in final["trial_id"])
    assert layer_gains(final, layers).empty, "0 / 0 backward: nothing to compare"
    layers = pd.concat(layers_of(trial, [1.0, 0.0], [0.0, 1.0]) for trial in final["trial_id"])
    (row,) = layer_gains(final, layers).itertuples()
    assert (row.forward, row.backward) == (0.0, 0.0)
    assert math.isnan(row.forward_low)


def histograms_of(trials: list[str], step: int = 0) -> pd.DataFrame:
    rows = [
        (trial, step, "hidden.0", 1, quantity, 0.0, 1.0, 1.0)
        for trial in trials
        for quantity in ("activation", "gradient")
    ]
    names = ["trial_id", "step", "layer", "depth", "quantity", "low", "high", "share"]
    return pd.DataFrame(rows, columns=names)


def levels_of(final: pd.DataFrame) -> dict[str, list[str]]:
    return {factor: list(dict.fromkeys(final[factor])) for factor in FACTORS}


def test_of_every_init_the_run_with_the_first_levels_and_the_smallest_seed_is_chosen() -> None:
    final = final_runs(activation=["tanh", "relu"], init=["y", "x"], normalisation=["none", "batch"])
    histograms = histograms_of([*final["trial_id"]])
    table = histogram_choice(final.sample(frac=1, random_state=0), histograms, levels_of(final))
    assert set(table["init"]) == {"x", "y"}
    assert set(table["activation"]) == {"tanh"} and set(table["normalisation"]) == {"none"}
    assert set(table["trial_id"].str[-1]) == {"1"}
    assert len(table) == 4


def test_where_the_first_arm_was_not_measured_the_next_takes_its_place() -> None:
    final = final_runs(activation=["tanh", "relu"], init=["y", "x"])
    measured = final[~((final["init"] == "x") & (final["activation"] == "tanh"))]["trial_id"]
    table = histogram_choice(final, histograms_of([*measured]), levels_of(final))
    assert table.groupby("init")["activation"].unique().map(list).to_dict() == {"x": ["relu"], "y": ["tanh"]}


def test_a_study_of_one_init_shows_its_activations_before_training() -> None:
    final = final_runs(activation=["tanh", "relu"])
    histograms = pd.concat([histograms_of([*final["trial_id"]], 16), histograms_of([*final["trial_id"]])])
    table = histogram_choice(final, histograms, levels_of(final))
    assert set(table["activation"]) == {"tanh", "relu"}
    assert set(table["step"]) == {0}
    assert histogram_choice(final, histograms.iloc[:0], levels_of(final)).empty
