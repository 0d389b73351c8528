"""Each metric on a few rows whose numbers are worked out by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cases import naming
from trainatlas.claims.feed import Feed
from trainatlas.claims.metrics import METRICS, metric

Row = dict[str, Any]
# Of one run, by the metric: what the table says, and the number. There are ten classes, 1,079 training and 359 test examples.
OF_A_RUN: dict[str, tuple[Row, float]] = {
    "generalisation_gap": ({"final_train_accuracy": 0.9, "test_accuracy": 0.7}, 0.2),
    "test_error": ({"test_accuracy": 0.75}, 0.25),
    "lost": ({"status": "diverged"}, 1.0),
    "first_loss": ({"first_train_loss": 2 * math.log(10)}, 2.0),
    "first_loss_with_penalty": ({"first_train_loss": math.log(10), "first_penalty": 0.5 * math.log(10)}, 1.5),
    "accuracy_above_chance": ({"test_accuracy": 0.75}, 0.65),
    "loss_kept": ({"first_train_loss": 2.0, "final_train_loss": 0.5}, 0.25),
    "validation_gain": ({"final_validation_accuracy": 0.05}, -0.05),
    "died": ({"initial_dead_fraction": 0.1, "final_dead_fraction": 0.4}, 0.3),
    "retained_variance": ({"retained_variance": 0.8}, 0.8),
}
# Three layers of a run: two hidden ones, and the last, which has no share of saturated units; then the numbers.
LAYERS = {
    "gradient_norm": (2.0, 16.0, 4.0),
    "activation_mean": (0.0, -3.0, 100.0),
    "activation_std": (2.0, 4.0, 100.0),
    "saturated_fraction": (0.1, 0.3, math.nan),
}
OF_LAYERS = {
    "gradient_first_to_last": 2.0 / 4.0,
    "gradient_spread": 16.0 / 2.0,
    "activation_std_last_to_first": 4.0 / 2.0,
    "moment_gain_per_layer": (16.0 + 9.0) / 4.0,
    "saturated": (0.1 + 0.3) / 2,
    "last_layer_std": 4.0,
    "offset_of_deeper_layers": 3.0 / 4.0,
}


def layers(trial: int, step: int, values: dict[str, tuple[float, ...]], factor: float = 1.0) -> list[Row]:
    """Rows of layers.csv; all but shares is multiplied by `factor` in all layers but the first."""
    count = len(values["gradient_norm"])
    return [
        {"trial_id": f"{trial:016x}", "step": step, "layer": f"layers.{depth}", "depth": depth}
        | {name: column[depth - 1] * (factor if depth > 1 and "fraction" not in name else 1) for name, column in values.items()}
        for depth in range(1, count + 1)
    ]  # fmt: skip


def of(feed: Feed, name: str) -> list[float]:
    found: list[float] = metric(feed, feed.trials, name).tolist()
    return found


def test_a_metric_of_a_run_is_what_its_row_says(feed_of: Callable[..., Feed]) -> None:
    for name, (row, expected) in OF_A_RUN.items():
        with naming(name):
            assert of(feed_of([row]), name) == pytest.approx([expected])


def test_every_metric_is_tried_here() -> None:
    of_layers = {f"{name}_at_{end}" for name in OF_LAYERS for end in ("start", "end")} | set(OF_LAYERS)
    of_curves = {"trained", "plateau", "loss_after_first_epoch", "accuracy_after_first_epoch"}
    assert set(METRICS) <= set(OF_A_RUN) | of_layers | of_curves


def test_what_a_run_has_no_number_for(feed_of: Callable[..., Feed]) -> None:
    feed = feed_of(
        [{"test_accuracy": 1.0}, {"status": "failed", "test_accuracy": math.nan}, {"status": "stopped_early"}]
    )
    assert of(feed, "lost") == [0.0, 1.0, 0.0]
    assert of(feed, "test_error")[:2] == pytest.approx([0.5 / 359, 1.0])
    assert of(feed, "loss_kept") == [math.inf] * 3
    assert np.isnan(of(feed, "died")).all()


def test_trained_is_nearer_to_the_best_than_to_chance(feed_of: Callable[..., Feed]) -> None:
    accuracies = [0.1, 0.49, 0.51, *[0.9] * 20]  # the best tenth begins at 0.9, so that the bar is (0.9 + 0.1) / 2
    feed = feed_of([{"test_accuracy": accuracy} for accuracy in accuracies])
    assert of(feed, "trained") == [0.0, 0.0, *[1.0] * 21]


def test_steps_to_a_target_end_with_the_budget(feed_of: Callable[..., Feed]) -> None:
    rows = [{"steps_to_train_error_0.001": steps, "batch_size": size} for steps, size in
            ((5, 64), (math.inf, 64), (math.nan, 64), (0, 64), (math.inf, 100))]  # fmt: skip
    # two epochs of 1079 // 64 = 16 steps, or of 1079 // 100 = 10
    assert of(feed_of(rows), "steps_to_train_error_0.001") == [5.0, 32.0, 32.0, 1.0, 20.0]


def test_metrics_of_layers(feed_of: Callable[..., Feed]) -> None:
    later = 3.0  # in all but the first layer
    rows = [*layers(0, 0, LAYERS), *layers(0, 16, LAYERS, 7.0), *layers(0, 32, LAYERS, later)]
    feed = feed_of([{}, {}], layers=[*rows, *layers(1, 0, LAYERS)])
    at_end = OF_LAYERS | {"gradient_first_to_last": 2.0 / 12.0, "gradient_spread": 48.0 / 2.0, "last_layer_std": 12.0}
    for stem, expected in OF_LAYERS.items():
        for name, number in ((stem, expected), (f"{stem}_at_start", expected), (f"{stem}_at_end", at_end[stem])):
            if name in METRICS:
                with naming(name):
                    found = of(feed, name)
                    assert found[0] == pytest.approx(number)
                    if name.endswith("_at_end"):
                        assert math.isnan(found[1]), "which was not looked at after its first step"
                    else:
                        assert found[1] == pytest.approx(expected)


def test_the_gain_is_that_of_one_layer(feed_of: Callable[..., Feed]) -> None:
    """Six layers, each of which halves the second moment: one layer's gain is a half, however many there are."""
    values = {
        "activation_std": tuple(math.sqrt(0.5**depth) for depth in range(6)),
        "saturated_fraction": (0.0,) * 6,
        "gradient_norm": (1.0,) * 6,
    }
    one = {name: column[:1] for name, column in values.items()}
    feed = feed_of([{}, {}], layers=[*layers(0, 0, values), *layers(1, 0, one)])
    found = of(feed, "moment_gain_per_layer")
    assert found[0] == pytest.approx(0.5) and math.isnan(found[1])


def test_gradients_that_vanish_leave_numbers(feed_of: Callable[..., Feed]) -> None:
    values = {"gradient_norm": (0.0, 1.0, 0.0), "saturated_fraction": (0.0, 0.0, 0.0)}
    feed = feed_of([{}], layers=layers(0, 0, values))
    for name in ("gradient_first_to_last_at_start", "gradient_spread_at_start"):
        assert np.isfinite(of(feed, name)).all()


def test_after_the_first_epoch(feed_of: Callable[..., Feed]) -> None:
    """Of a run that diverged in that epoch what it ended with counts; one that goes on has the epoch's own number."""
    curves = [
        {"trial_id": f"{trial:016x}", "step": 16 * epoch, "epoch": epoch, "split": split, "loss": epoch + trial,
         "accuracy": 0.1 * epoch}
        for trial in (0, 1) for epoch in (1.0, 2.0) for split in ("train", "validation")
    ]  # fmt: skip
    lost = {"status": "diverged", "final_validation_accuracy": 0.08, "final_validation_loss": math.inf}
    feed = feed_of([{}, {}, lost], curves=curves)
    assert of(feed, "loss_after_first_epoch") == [1.0, 2.0, math.inf]
    assert of(feed, "accuracy_after_first_epoch") == pytest.approx([0.1, 0.1, 0.08])


def test_a_plateau_is_flat_first_and_falls_later(feed_of: Callable[..., Feed]) -> None:
    curves = {
        "flat, then a fall": ([2.3] * 30 + [0.5] * 70, 1.0),
        "falls at once": ([2.3, 1.0] + [0.5] * 98, 0.0),
        "falls within a fifth": ([2.3] * 15 + [0.5] * 85, 0.0),
        "never falls": ([2.3] * 100, 0.0),
        "falls a little": ([2.3] * 30 + [1.3] * 70, 0.0),
    }
    rows = [
        {"trial_id": f"{trial:016x}", "step": step, "loss": loss}
        for trial, (losses, _) in enumerate(curves.values())
        for step, loss in enumerate(losses, start=1)
    ]
    feed = feed_of([{} for _ in curves], curves=rows)
    assert dict(zip(curves, of(feed, "plateau"), strict=True)) == {name: flag for name, (_, flag) in curves.items()}


def test_steps_to_a_minibatch_loss_are_those_of_a_median_of_three(feed_of: Callable[..., Feed]) -> None:
    """One lucky minibatch is not enough; a run that never gets there counts with its budget of 32 steps."""
    losses = {"falls": [2, 0.1, 2, 0.7, 0.8, 0.9], "is lucky once": [2, 0.1, 2, 2, 2, 2], "is lost": [2, 0.1]}
    rows = [
        {"trial_id": f"{trial:016x}", "step": 2 * place, "loss": loss}
        for trial, own in enumerate(losses.values())
        for place, loss in enumerate(own, start=1)
    ]
    feed = feed_of([{} for _ in losses], curves=rows)
    assert of(feed, "steps_to_batch_loss_0.8") == [8.0, 32.0, 32.0]
