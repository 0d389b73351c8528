"""Readings on searches against all the ways in which a search could have gone, SciPy, and cases with one answer."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from trainatlas.analysis import importance
from trainatlas.claims.config import Part
from trainatlas.claims.feed import Feed, MissingEvidenceError
from trainatlas.claims.search_readings import SEARCH_READINGS

Row = dict[str, Any]
FEW = {"activation": ["relu", "tanh"], "init": ["kaiming_normal"], "optimizer": ["sgd"], "preprocessing": ["raw"]}
SEEDS = (1, 2, 3)


def effects(part: Part, feed: Feed) -> dict[tuple[int, str], float]:
    """Effects by seed and pair."""
    assert part.reading is not None
    rows = SEARCH_READINGS[part.reading](part, feed, {}).observations.itertuples(index=False, name=None)
    return {(seed, pair): effect for seed, pair, effect in rows}


def drawn(rng: np.random.Generator, number: int) -> list[Row]:
    """Random draws of each seed: rates from 0.03 to 0.3, any accuracy."""
    return [
        {"stage": "random", "sample": "random", "seed": seed, "learning_rate": 10 ** rng.uniform(-1.5, -0.5),
         "final_validation_accuracy": rng.uniform(0.2, 0.9), "final_validation_loss": 1.0}
        for seed in SEEDS for _ in range(number)
    ]  # fmt: skip


def of_seed(rows: list[Row], seed: int, name: str) -> list[float]:
    return [row[name] for row in rows if row["seed"] == seed]


def test_random_against_a_grid_that_finds_the_same_wherever_it_lies(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    draws = drawn(np.random.default_rng(0), 8)
    grid = [
        {"stage": "tuning", "seed": seed, "activation": level, "learning_rate": rate / 10,
         "final_validation_accuracy": 0.5, "final_validation_loss": 1.0}
        for seed in SEEDS for level in ("relu", "tanh") for rate in range(1, 9)
    ]  # fmt: skip
    found = effects(
        part_of(reading="random_against_grid", options={"budgets": [2, 4]}), feed_of([*draws, *grid], factors=FEW)
    )
    expected = {
        (seed, f"{budget} runs"): np.mean(
            [max(way) for way in itertools.combinations(of_seed(draws, seed, "final_validation_accuracy"), budget)]
        )
        - 0.5
        for seed in SEEDS
        for budget in (2, 4)
    }
    assert found == pytest.approx(expected)


def test_rates_on_a_log_scale_against_a_linear_one(feed_of: Callable[..., Feed], part_of: Callable[..., Part]) -> None:
    """The best of two draws with replacement; on a linear scale a draw is as likely as its rate is large."""
    draws = drawn(np.random.default_rng(1), 30)
    found = effects(part_of(reading="log_against_linear", options={"budgets": [2]}), feed_of(draws, factors=FEW))
    for seed in SEEDS:
        accuracies, rates = (of_seed(draws, seed, name) for name in ("final_validation_accuracy", "learning_rate"))
        log = np.mean([max(pair) for pair in itertools.product(accuracies, repeat=2)])
        pairs = itertools.product(zip(accuracies, rates, strict=True), repeat=2)
        linear = sum(max(a, b) * p * q for (a, p), (b, q) in pairs) / sum(rates) ** 2
        assert found[seed, "2 runs"] == pytest.approx(log - linear)
    assert len(found) == 3


def test_a_best_rate_at_the_edge_of_its_range_is_a_warning(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    """Where accuracy rises with the rate, a range cut above always has a better rate beyond it, one cut below never."""
    rows = [
        {"stage": "tuning", "seed": seed, "activation": level, "learning_rate": 10.0**place,
         "final_validation_accuracy": 0.2 + 0.1 * place, "final_validation_loss": 1.0 - 0.1 * place}
        for seed in SEEDS for level in ("relu", "tanh") for place in range(5)
    ]  # fmt: skip
    assert effects(part_of(reading="edges"), feed_of(rows, factors=FEW)) == {(seed, ""): 1.0 for seed in SEEDS}


def test_fine_against_coarse_is_of_the_settings_that_validation_data_choose(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rows = [
        {"sample": f"search-{seed}", "seed": seed, "stage": stage, "final_validation_accuracy": seen, "test_accuracy": tested}
        for seed in SEEDS
        for stage, seen, tested in (("coarse", 0.5, 0.9), ("coarse", 0.6, 0.4), ("fine", 0.7, 0.4 + seed / 10),
                                    ("fine", 0.65, 1.0), ("winner", 1.0, 1.0))
    ]  # fmt: skip
    alone = {"sample": "search-4", "seed": 4, "stage": "coarse"}
    found = effects(part_of(reading="fine_against_coarse"), feed_of([*rows, alone], factors=FEW))
    assert found == pytest.approx({(seed, f"search-{seed}"): seed / 10 for seed in SEEDS})
    with pytest.raises(MissingEvidenceError, match="tiny has no coarse or fine runs"):
        effects(part_of(reading="fine_against_coarse"), feed_of([{}], factors=FEW))


def test_other_seeds_say_what_matters(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "RESAMPLES", 2)  # of the intervals, which play no part here
    draws = drawn(np.random.default_rng(2), 110)
    for number, row in enumerate(draws):
        row["activation"] = "relu" if number % 3 else "tanh"
        row["final_validation_accuracy"] = 0.9 if number % 3 else 0.4
    found = effects(part_of(reading="agreement_on_importance"), feed_of(draws, factors=FEW))
    assert found == pytest.approx({(seed, "activation first"): 1.0 for seed in SEEDS}, abs=0.02)
    with pytest.raises(MissingEvidenceError, match="tiny has too few draws of a seed to tell what matters"):
        effects(part_of(reading="agreement_on_importance"), feed_of(draws[::4], factors=FEW))


def test_an_early_ranking_is_held_against_the_final_one(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    rng = np.random.default_rng(3)
    rows, curves = [], []
    for number, seed in enumerate(seed for seed in SEEDS for _ in range(12)):
        early, final = rng.uniform(0.2, 0.9, size=2)
        trial = f"{number:016x}"
        rows.append({"trial_id": trial, "stage": "tuning", "seed": seed, "final_validation_accuracy": final})
        curves += [
            {"trial_id": trial, "step": 16 * epoch, "epoch": float(epoch), "split": "validation", "accuracy": accuracy}
            for epoch, accuracy in ((1, early), (2, (early + final) / 2), (3, final), (4, final))
        ]
    part = part_of(reading="early_ranking", options={"share": 0.25})
    found = effects(part, feed_of(rows, curves=curves, factors=FEW, epochs=4))
    for seed in SEEDS:
        ids = [row["trial_id"] for row in rows if row["seed"] == seed]
        early = [row["accuracy"] for row in curves if row["trial_id"] in ids and row["epoch"] == 1]
        final = of_seed(rows, seed, "final_validation_accuracy")
        assert found[seed, "tuning runs after epoch 1"] == pytest.approx(stats.spearmanr(early, final).statistic)
    assert len(found) == 3


def test_a_rule_stops_runs_rightly_that_would_have_ended_badly(
    feed_of: Callable[..., Feed], part_of: Callable[..., Part]
) -> None:
    """Of three runs stopped at each seed two end at chance; one whose loss does not rise so far plays no part."""
    rows, curves = [], []
    cases = ((7.0, 0.1, "ok"), (7.0, 0.9, "ok"), (math.inf, 0.1, "diverged"), (2.9, 0.9, "ok"), (1.0, 0.1, "ok"))
    for number, (seed, (rise, accuracy, status)) in enumerate(itertools.product(SEEDS, cases)):
        trial = f"{number:016x}"
        rows.append({"trial_id": trial, "stage": "tuning", "seed": seed, "first_train_loss": 2.0, "status": status,
                     "final_validation_accuracy": accuracy})  # fmt: skip
        curves += [{"trial_id": trial, "step": step, "loss": loss} for step, loss in ((1, 2.0), (5, 2.0 * rise))]
    feed = feed_of(rows, curves=curves, factors=FEW)
    found = effects(part_of(reading="stopped_rightly", options={"rise": 3.0}), feed)
    assert found == pytest.approx({(seed, "3 runs stopped"): 2 / 3 for seed in SEEDS})
    quiet = [row | {"status": "ok"} for row in rows[3::5] + rows[4::5]]
    with pytest.raises(MissingEvidenceError, match="0 seeds"):
        effects(part_of(reading="stopped_rightly", options={"rise": 3.0}), feed_of(quiet, curves=curves, factors=FEW))
