"""Readings of made-up tables: by hand, by brute force, and on noise, of which choices must not make anything."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainatlas.claims.config import Part
from trainatlas.claims.evidence import Evidence
from trainatlas.claims.feed import Feed, MissingEvidenceError
from trainatlas.claims.readings import READINGS, option
from trainatlas.study.errors import UserError

Row = dict[str, Any]
INITS = ["kaiming_normal", "xavier_normal", "lecun_normal"]
TWO = {"activation": ["relu", "tanh"], "init": INITS, "optimizer": ["sgd"], "preprocessing": ["raw"]}
ONE = {"activation": ["relu"], "init": ["kaiming_normal"], "optimizer": ["sgd"], "preprocessing": ["raw"]}


def read(part: Part, feed: Feed, **others: Feed) -> Evidence:
    assert part.reading is not None
    return READINGS[part.reading](part, feed, {"tiny": feed} | others)


def effects(found: Evidence) -> dict[tuple[int, str], float]:
    """Effects by seed and pair."""
    rows = found.observations.itertuples(index=False, name=None)
    return {(seed, pair): effect for seed, pair, effect in rows}


def finals(table: dict[tuple[str, ...], list[float]], *factors: str) -> list[Row]:
    """Final runs: test accuracies by levels of `factors`, from seed 1 on."""
    return [
        dict(zip(factors, levels, strict=True)) | {"seed": seed, "test_accuracy": value}
        for levels, values in table.items()
        for seed, value in enumerate(values, start=1)
    ]


def tuning(rows: list[tuple[Any, ...]], *names: str) -> list[Row]:
    """Tuning runs, one a tuple, its fields named."""
    return [dict(zip(names, row, strict=True)) | {"stage": "tuning"} for row in rows]


# Accuracies by activation and initialisation, of three seeds.
SPREAD = {
    ("relu", "kaiming_normal"): [0.9, 0.8, 0.9],
    ("relu", "xavier_normal"): [0.5, 0.9, 0.7],
    ("relu", "lecun_normal"): [0.3, 0.2, 0.1],
    ("tanh", "kaiming_normal"): [0.5, 0.5, 0.5],
    ("tanh", "xavier_normal"): [0.6, 0.6, 0.6],
    ("tanh", "lecun_normal"): [0.7, 0.7, 0.7],
}


def spread_by_brute_force(activation: str, seed: int) -> float:
    """The level that is best at the other two seeds minus the one that is worst there, at this seed."""

    def elsewhere(init: str) -> float:
        values = SPREAD[activation, init]
        return sum(values) - values[seed - 1]

    best, worst = max(INITS, key=elsewhere), min(INITS, key=elsewhere)
    return SPREAD[activation, best][seed - 1] - SPREAD[activation, worst][seed - 1]


def test_spread_is_that_of_levels_chosen_on_other_seeds(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    feed = feed_of(finals(SPREAD, "activation", "init"), factors=TWO)
    found = effects(read(part_of(reading="spread", options={"over": "init"}), feed))
    expected = {(s, a): spread_by_brute_force(a, s) for s in (1, 2, 3) for a in ("relu", "tanh")}
    assert found == pytest.approx(expected)
    contrast = {"factor": "activation", "level": "relu", "against": "tanh"}
    found = effects(read(part_of(reading="spread", options={"over": "init"}, contrast=contrast), feed))
    assert found == pytest.approx({(s, ""): expected[s, "relu"] - expected[s, "tanh"] for s in (1, 2, 3)})


LEVELS = ["relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "softplus"]


@pytest.mark.parametrize(
    ("reading", "options"),
    [("spread", {"over": "activation"}), ("top_spread", {"factor": "activation", "place": 5})],
)
def test_of_noise_a_choice_makes_nothing_and_a_planted_effect_is_found(
    reading: str, options: Row, feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    """On average over data sets; the best of eight levels of noise minus the worst is 2.85 standard deviations.

    Within one data set the seeds' effects are not independent, since they share most of what levels are chosen by: where levels
    tie, an interval over seeds is too narrow.
    """
    rng, part = np.random.default_rng(0), part_of(reading=reading, options=options)
    table = {(level,): [0.5] * 5 for level in LEVELS}
    feed = feed_of(finals(table, "activation"), factors=ONE | {"activation": LEVELS})
    for planted in (0.0, 0.5):
        means = []
        for _ in range(40):
            feed.trials["test_accuracy"] = 0.5 + rng.normal(0, 0.05, size=40)
            feed.trials.loc[feed.trials["activation"] == "relu", "test_accuracy"] += planted
            means.append(read(part, feed).observations["effect"].mean())
        error = np.std(means, ddof=1) / math.sqrt(len(means))
        assert error < 0.02
        assert abs(np.mean(means) - planted) < 4 * error


def test_the_best_and_the_fifth_are_those_of_the_other_seeds(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rng = np.random.default_rng(1)
    table = {(level,): list(rng.uniform(0.2, 0.9, size=4)) for level in LEVELS}
    feed = feed_of(finals(table, "activation"), factors=ONE | {"activation": LEVELS})
    found = effects(read(part_of(reading="top_spread", options={"factor": "activation", "place": 3}), feed))
    for seed in range(4):
        means = {level: np.mean(np.delete(table[level,], seed)) for level in LEVELS}
        order = sorted(LEVELS, key=lambda level: -means[level])
        assert found[seed + 1, ""] == pytest.approx(table[order[0],][seed] - table[order[2],][seed])
    with pytest.raises(MissingEvidenceError, match="has 8 levels of activation; 9 are needed"):
        read(part_of(reading="top_spread", options={"factor": "activation", "place": 9}), feed)


def test_interaction_is_a_difference_of_differences(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    feed = feed_of(finals(SPREAD, "activation", "init"), factors=TWO)
    part = part_of(
        reading="interaction",
        contrast={"factor": "init", "level": "kaiming_normal", "against": "xavier_normal"},
        options={"factor": "activation", "level": "relu", "against": "tanh"},
    )
    found = read(part, feed)
    he, xavier = ([SPREAD[a, init] for a in ("relu", "tanh")] for init in INITS[:2])
    expected = {(s, ""): (he[0][s - 1] - xavier[0][s - 1]) - (he[1][s - 1] - xavier[1][s - 1]) for s in (1, 2, 3)}
    assert effects(found) == pytest.approx(expected)
    with pytest.raises(UserError, match="an effect: contrast is missing; allowed: "):
        read(part.model_copy(update={"contrast": None}), feed)


def test_cells_differ_in_several_factors(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    feed = feed_of(finals(SPREAD, "activation", "init"), factors=TWO)
    one, other = {"activation": "relu", "init": "lecun_normal"}, {"activation": "tanh", "init": "kaiming_normal"}
    found = read(part_of(reading="cells", options={"one": one, "other": other}), feed)
    assert effects(found) == pytest.approx({(1, ""): -0.2, (2, ""): -0.3, (3, ""): -0.4})
    assert len(found.trials) == 6
    shared = {"one": {"activation": "relu"}, "other": {"activation": "tanh"}}
    found = read(part_of(reading="cells", options=shared), feed)
    assert effects(found)[2, "xavier_normal"] == pytest.approx(0.9 - 0.6) and len(effects(found)) == 9
    with pytest.raises(MissingEvidenceError, match="no run at init lsuv"):
        read(part_of(reading="cells", options=shared | {"one": {"init": "lsuv"}}), feed)


def test_transfer_is_what_another_studys_best_level_costs(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    here = feed_of(finals({("relu",): [0.5, 0.9, 0.8], ("tanh",): [0.6, 0.7, 0.5]}, "activation"), factors=ONE)
    other = {("relu",): [0.2], ("tanh",): [0.3], ("elu",): [0.9]}  # elu is not here
    there = feed_of(finals(other, "activation"), factors=ONE)
    part = part_of(reading="transfer", options={"factor": "activation", "other": "there"})
    # tanh is taken over; own best by the other seeds: relu (1.7 against 1.2), relu (1.3, 1.1), relu (1.4, 1.3)
    assert effects(read(part, here, there=there)) == pytest.approx(
        {(1, "tanh taken over"): -0.1, (2, "tanh taken over"): 0.2, (3, "tanh taken over"): 0.3}
    )
    with pytest.raises(MissingEvidenceError, match="study 'there' has no results"):
        read(part, here)


# Rates; the validation accuracies of three seeds there; their status. The best rate by the mean is 0.1, then 0.01.
RATES: dict[float, tuple[list[float], list[str]]] = {
    0.001: ([0.2, 0.3, 0.2], ["ok"] * 3),
    0.01: ([0.7, 0.6, 0.7], ["ok"] * 3),
    0.1: ([0.8, 0.9, 0.5], ["ok"] * 3),
    1.0: ([0.6, 0.1, 0.55], ["ok", "diverged", "diverged"]),
    10.0: ([0.1, 0.1, 0.1], ["diverged", "diverged", "ok"]),
}


def rate_runs() -> list[Row]:
    return [
        {"stage": "tuning", "learning_rate": rate, "seed": seed, "final_validation_accuracy": accuracy, "status": status,
         "test_accuracy": accuracy / 2, "initial_dead_fraction": 0.0, "final_dead_fraction": rate / 100}
        for rate, (accuracies, statuses) in RATES.items()
        for seed, (accuracy, status) in enumerate(zip(accuracies, statuses, strict=True), start=1)
    ]  # fmt: skip


def test_the_largest_stable_rate_ends_ok_and_half_as_high_as_the_best(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    """Above chance, 0.1: half of 0.7, of 0.8 and of 0.6; at rate 1 seed 1 is ok with 0.5 of 0.7, the others diverged."""
    found = effects(read(part_of(reading="largest_stable_rate"), feed_of(rate_runs(), factors=ONE)))
    assert found == pytest.approx({(1, ""): math.log(1.0), (2, ""): math.log(0.1), (3, ""): math.log(0.1)})
    slower = [row | {"activation": "tanh", "learning_rate": row["learning_rate"] / 2} for row in rate_runs()]
    both = feed_of([*rate_runs(), *slower], factors=ONE | {"activation": ["relu", "tanh"]})
    contrast = {"factor": "activation", "level": "tanh", "against": "relu"}
    found = effects(read(part_of(reading="largest_stable_rate", contrast=contrast), both))
    assert found == pytest.approx({(seed, ""): math.log(0.5) for seed in (1, 2, 3)})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rate": "smallest"}, [0.2, 0.3, 0.2]),
        ({"rate": "largest"}, [0.1, 0.1, 0.1]),
        ({"rate": "best"}, [0.8, 0.9, 0.5]),
        ({"rate": "surviving"}, [0.6, 0.9, 0.1]),
        ({"rate": "surviving", "against": "best"}, [-0.2, 0.0, -0.4]),
    ],
)
def test_a_metric_at_one_rate(
    options: Row, expected: list[float], feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    part = part_of(reading="at_rate", options=options | {"metric": "final_validation_accuracy"})
    found = effects(read(part, feed_of(rate_runs(), factors=ONE)))
    assert found == pytest.approx({(seed, ""): value for seed, value in enumerate(expected, start=1)})


def test_a_rate_that_nobody_knows_and_an_option_that_is_missing_are_told(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    feed = feed_of(rate_runs(), factors=ONE)
    with pytest.raises(UserError, match="rate is 'middle'; allowed: smallest, largest, surviving, best"):
        read(part_of(reading="at_rate", options={"rate": "middle", "metric": "lost"}), feed)
    with pytest.raises(UserError, match="an effect: options: 'rate' is missing"):
        read(part_of(reading="at_rate", options={"metric": "lost"}), feed)
    assert option(part_of(options={"place": 0}), "place") == 0
    assert option(part_of(), "place", 5) == 5


def test_runs_diverge_above_the_best_rate(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    low = {"stage": "tuning", "learning_rate": 0.001, "seed": 3, "status": "diverged", "final_validation_accuracy": 0.2}
    rows = [row for row in rate_runs() if (row["seed"], row["learning_rate"]) != (3, 0.001)]
    found = read(part_of(reading="diverged_above_best"), feed_of([*rows, low], factors=ONE)).observations
    assert sorted(zip(found["seed"], found["effect"], strict=True)) == [(1, 1), (2, 1), (2, 1), (3, 0), (3, 1)]
    sound = [row | {"status": "ok"} for row in rows]
    with pytest.raises(MissingEvidenceError, match="0 seeds"):
        read(part_of(reading="diverged_above_best"), feed_of(sound, factors=ONE))


def test_the_ratio_at_the_best_rate_is_a_geometric_mean_over_layers(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    layers = [
        {
            "trial_id": f"{trial:016x}",
            "step": step,
            "layer": f"{depth}",
            "depth": depth,
            "update_to_weight_ratio": ratio,
        }
        for trial, (step, ratios) in itertools.product(
            range(15), [(0, (9.0, 9.0)), (16, (8.0, 8.0)), (32, (1e-2, 1e-4))]
        )
        for depth, ratio in enumerate(ratios, start=1)
    ]
    found = effects(read(part_of(reading="best_ratio"), feed_of(rate_runs(), layers=layers, factors=ONE)))
    assert found == pytest.approx({(seed, ""): math.log(1e-3) for seed in (1, 2, 3)})


def test_a_tuned_parameter_is_compared_at_the_best_rate_of_each_value(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    """What is compared is test accuracy; the rate is chosen by the mean validation accuracy."""
    seen = {(16, 0.1): [0.5, 0.6, 0.7], (16, 1.0): [0.6, 0.6, 0.5], (64, 0.1): [0.2] * 3, (64, 1.0): [0.9] * 3}
    tested = {(16, 0.1): [0.1, 0.2, 0.3], (16, 1.0): [1.0] * 3, (64, 0.1): [1.0] * 3, (64, 1.0): [0.4] * 3}
    rows = [
        {"stage": "tuning", "batch_size": size, "learning_rate": rate, "seed": seed + 1,
         "final_validation_accuracy": accuracies[seed], "test_accuracy": tested[size, rate][seed]}
        for (size, rate), accuracies in seen.items() for seed in range(3)
    ]  # fmt: skip
    feed = feed_of(rows, factors=ONE)
    options = {"parameter": "batch_size", "value": 16, "against": 64}
    expected = {(1, "against 64"): -0.3, (2, "against 64"): -0.2, (3, "against 64"): -0.1}
    assert effects(read(part_of(reading="tuned_parameter", options=options), feed)) == pytest.approx(expected)
    found = read(part_of(reading="tuned_parameter", options=options | {"against": [64]}), feed)
    assert effects(found) == pytest.approx(expected)
    with pytest.raises(MissingEvidenceError, match="no run at batch_size 128"):
        read(part_of(reading="tuned_parameter", options=options | {"against": [64, 128]}), feed)


def test_spread_over_seeds_is_the_distance_from_the_median_of_the_others(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    table = {("relu",): [0.5, 0.7, 0.6, 0.1], ("tanh",): [0.5, 0.5, 0.5, 0.9]}
    feed = feed_of(finals(table, "activation"), factors=ONE | {"activation": ["relu", "tanh"]})
    options = {"metric": "test_accuracy"}
    found = effects(read(part_of(reading="spread_over_seeds", options=options), feed))
    least = 1 / 359  # one test example
    expected = {"relu": [0.1, 0.2, 0.1, 0.5], "tanh": [least, least, least, 0.4]}
    assert found == pytest.approx({(s, a): expected[a][s - 1] for a in expected for s in (1, 2, 3, 4)})
    contrast = {"factor": "activation", "level": "relu", "against": "tanh"}
    ratio = part_of(reading="spread_over_seeds", options=options, contrast=contrast, scale="ratio", margin=1.0)
    found = effects(read(ratio, feed))
    assert found[4, ""] == pytest.approx(math.log(0.5 / 0.4)) and found[1, ""] == pytest.approx(math.log(0.1 / least))


def test_spread_over_seeds_of_a_study_of_one_arm(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    feed = feed_of(finals({("relu",): [0.5, 0.7, 0.6]}, "activation"), factors=ONE)
    found = effects(read(part_of(reading="spread_over_seeds", options={"metric": "test_accuracy"}), feed))
    assert found == pytest.approx({(1, ""): 0.15, (2, ""): 0.15, (3, ""): 1 / 359})


def test_the_cost_of_dead_units_is_that_of_a_seeds_worse_half(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rows = [
        {"seed": seed, "final_dead_fraction": dead, "test_accuracy": accuracy, "status": status}
        for seed in (1, 2, 3)
        for dead, accuracy, status in ((0.0, 0.9, "ok"), (0.1, 0.8, "ok"), (0.2, 0.5, "ok"), (0.3, 0.4 - seed / 10, "ok"),
                                       (0.9, 0.1, "diverged"))
    ]  # fmt: skip
    found = read(part_of(reading="cost_of_dead_units"), feed_of(rows, factors=ONE))
    assert effects(found) == pytest.approx({(s, ""): (0.9 - s / 10) / 2 - 0.85 for s in (1, 2, 3)})
    alike = [row | {"final_dead_fraction": 0.0} for row in rows]
    with pytest.raises(MissingEvidenceError, match="0 seeds"):
        read(part_of(reading="cost_of_dead_units"), feed_of(alike, factors=ONE))
