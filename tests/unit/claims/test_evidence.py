"""Pairs are those that a loop over all runs finds; what is missing is told, and what diverged counts.

The oracle is `by_brute_force`: every two runs of a table are looked at, one after the other.
"""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import naming
from trainatlas.claims.config import Contrast, Part
from trainatlas.claims.evidence import LARGEST, SMALLEST, canonical, evidence, paired, scaled
from trainatlas.claims.feed import Feed, MissingEvidenceError
from trainatlas.study.errors import UserError

OTHERS = ["init", "optimizer"]
CONTRAST = {"factor": "activation", "level": "tanh", "against": "relu"}


def by_brute_force(trials: pd.DataFrame, contrast: Contrast, others: list[str]) -> set[tuple[int, str, float]]:
    """Every pair of runs that differ in the contrast's factor alone: seed, what else they share, difference."""
    runs = trials.to_dict("records")
    found = set()
    for one in runs:
        for other in runs:
            alike = all(one[key] == other[key] for key in ("seed", *others))
            if alike and one[contrast.factor] == contrast.level and other[contrast.factor] in contrast.against:
                against = [f"against {other[contrast.factor]}"] if len(contrast.against) > 1 else []
                pair = ", ".join([*against, *(one[key] for key in others)])
                found.add((one["seed"], pair, one["value"] - other["value"]))
    return found


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Runs of some combinations of levels, each at all seeds, in any order."""
    levels = st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y"]), st.sampled_from(["s", "t", "u"]))
    cells = draw(st.lists(levels, unique=True, min_size=1))
    seeds = draw(st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=4))
    rows = [(*cell, seed, draw(st.integers(-100, 100)) / 4) for cell in cells for seed in seeds]
    return pd.DataFrame(draw(st.permutations(rows)), columns=["activation", *OTHERS, "seed", "value"])


@given(tables(), st.sampled_from([("b",), ("b", "c"), ("c", "d", "b")]))
def test_pairs_are_those_of_a_loop_over_all_runs(trials: pd.DataFrame, against: tuple[str, ...]) -> None:
    contrast = Contrast(factor="activation", level="a", against=against)
    if not {"a", *against} <= set(trials["activation"]):
        return  # `where` refuses these before they are paired
    found = paired(trials, contrast, OTHERS)
    assert list(found.columns) == ["seed", "pair", "effect"]
    assert set(found.itertuples(index=False, name=None)) == by_brute_force(trials, contrast, OTHERS)
    assert not found.duplicated(["seed", "pair"]).any()


def runs(accuracies: dict[str, list[float]], **levels: str) -> list[dict[str, Any]]:
    """Final runs: test accuracies by activation, from seed 1 on."""
    return [
        {"activation": level, "seed": seed, "test_accuracy": accuracy} | levels
        for level, values in accuracies.items()
        for seed, accuracy in enumerate(values, start=1)
    ]


def effects(part: Part, feed: Feed) -> list[float]:
    found: list[float] = evidence(part, feed).observations["effect"].tolist()
    return found


def test_a_difference_and_a_ratio_are_of_the_metric_at_both_levels(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    feed = feed_of(runs({"tanh": [0.8, 0.6, 0.4], "relu": [0.4, 0.3, 0.8]}))
    assert effects(part_of(contrast=CONTRAST), feed) == pytest.approx([0.4, 0.3, -0.4])
    ratio = part_of(contrast=CONTRAST, scale="ratio", margin=1.1)
    assert effects(ratio, feed) == pytest.approx([math.log(2), math.log(2), math.log(0.5)])


def test_without_a_contrast_every_final_run_is_an_observation(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rows = [
        *runs({"tanh": [0.8, 0.6, 0.4], "relu": [0.1, 0.2, 0.3]}),
        *runs({"tanh": [0.9] * 3}, init="normal(std=0.01)"),
    ]
    rows += [{"activation": "tanh", "seed": 0, "stage": "tuning", "test_accuracy": 0.0}]
    found = evidence(part_of(where={"activation": "tanh", "init": "kaiming_normal"}), feed_of(rows))
    assert found.observations["effect"].tolist() == [0.8, 0.6, 0.4]
    assert set(found.observations["pair"]) == {"tanh, kaiming_normal, sgd, raw"}
    assert found.trials == tuple(f"{number:016x}" for number in range(3))


def test_a_combination_that_a_rule_excludes_leaves_its_pairs_out(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    both = {"tanh": [0.6, 0.7, 0.8], "relu": [0.5, 0.5, 0.5]}
    feed = feed_of([*runs(both), *runs({"relu": [0.1, 0.1, 0.1]}, optimizer="adam")])
    found = evidence(part_of(contrast=CONTRAST), feed)
    assert found.observations["effect"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert set(found.observations["pair"]) == {"kaiming_normal, sgd, raw"}


def test_levels_are_known_however_they_are_written(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    part = part_of(contrast={"factor": "init", "level": "normal( std=0.50 )", "against": "kaiming_normal(mode=fan_in)"})
    found = canonical(part).contrast
    assert found is not None and (found.level, found.against) == ("normal(std=0.5)", ("kaiming_normal",))
    for bad, words in (
        ({"contrast": {"factor": "init", "level": "norml", "against": "kaiming_normal"}}, ["contrast.level", "norml"]),
        ({"contrast": {"factor": "init", "level": "lsuv", "against": "norml"}}, ["contrast.against", "norml"]),
        ({"where": {"optimizer": "sdg"}}, ["where.optimizer", "sdg", "allowed: sgd, "]),
    ):
        with pytest.raises(UserError) as caught:
            canonical(part_of(**bad))
        assert [word for word in words if word not in str(caught.value)] == []


def refusal(part: Part, feed: Feed) -> str:
    with pytest.raises(MissingEvidenceError) as caught:
        evidence(part, feed)
    return str(caught.value)


def test_what_is_missing_is_told(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    whole = {"tanh": [0.6, 0.7, 0.8], "relu": [0.5, 0.5, 0.5]}
    contrasted = part_of(contrast=CONTRAST)
    for rows, part, said in (
        (runs(whole)[:-1], contrasted, "unequal pairs: of 3 pairs of tanh and relu 1 lack one side"),
        (runs(whole)[1:-1], contrasted, "unequal pairs: of 3 pairs of tanh and relu 2 lack one side"),
        (runs({level: values[:2] for level, values in whole.items()}), contrasted, "2 seeds; at least 3 are needed"),
        (runs(whole)[:1], part_of(), "1 seed; at least 3 are needed"),
        (runs({"relu": [0.5] * 3}), contrasted, "no run at activation tanh"),
        (runs(whole), part_of(where={"init": ("normal(std=0.01)", "lsuv")}), "no run at init normal(std=0.01), lsuv"),
        (runs(whole), part_of(metric="steps_to_train_error_0.5"), "tiny has no metric 'steps_to_train_error_0.5'"),
        (runs(whole), part_of(metric="error"), "tiny has no metric 'error'"),
        ([row | {"stage": "tuning"} for row in runs(whole)], contrasted, "tiny has no final runs"),
        (runs(whole), part_of(metric="retained_variance", contrast=CONTRAST), "0 seeds; at least 3 are needed"),
    ):
        with naming(said):
            assert said in refusal(part, feed_of(rows))


def test_a_metric_that_one_level_lacks_is_missing_and_no_failure(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rows = [row | {"retained_variance": 0.9} for row in runs({"tanh": [0.5] * 3})] + runs({"relu": [0.5] * 3})
    assert "0 seeds" in refusal(part_of(metric="retained_variance", contrast=CONTRAST), feed_of(rows))


def test_a_level_that_stands_at_other_seeds_has_no_pair(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rows = [*runs({"tanh": [0.5] * 3}), *(row | {"seed": row["seed"] + 10} for row in runs({"relu": [0.5] * 3}))]
    assert "0 seeds" in refusal(part_of(contrast=CONTRAST), feed_of(rows))


def test_runs_that_diverged_or_failed_count_with_what_they_ended_at(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rows = runs({"tanh": [0.8, 0.1, math.nan], "relu": [0.7, 0.7, 0.7]})
    rows[1]["status"], rows[2]["status"] = "diverged", "failed"
    feed = feed_of(rows)
    assert effects(part_of(contrast=CONTRAST), feed) == pytest.approx([0.1, -0.6, -0.7])
    assert effects(part_of(contrast=CONTRAST, metric="lost"), feed) == [0.0, 1.0, 1.0]


def test_a_loss_that_is_infinite_counts_as_one_that_is_very_large(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    """Two runs whose losses are infinite are alike; one such run speaks against its level and is not left out."""
    rows = runs({"tanh": [0.1] * 3, "relu": [0.1] * 3})
    for row, loss in zip(rows, [math.inf, math.inf, 2.0, math.inf, 1.0, 1.0], strict=True):
        row["test_loss"] = loss
    part = part_of(contrast=CONTRAST, metric="test_loss", scale="ratio", margin=1.1)
    assert effects(part, feed_of(rows)) == pytest.approx([0.0, math.log(LARGEST), math.log(2)])


def test_ratios_of_nothing_are_finite() -> None:
    values = pd.Series([0.0, -1.0, 1.0, math.inf])
    assert scaled(values, "ratio").tolist() == pytest.approx(
        [math.log(SMALLEST), math.log(SMALLEST), 0.0, math.log(LARGEST)]
    )
    assert scaled(values, "difference").tolist() == [0.0, -1.0, 1.0, LARGEST]
