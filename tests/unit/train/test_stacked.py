"""What training a stack records is what plain training of each trial yields, whoever else is in the stack."""

import functools
import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import INITIALISATIONS, initial_parameters
from trainatlas.optim.optimizers import OPTIMIZERS
from trainatlas.optim.schedules import SCHEDULES
from trainatlas.study.config import Probes
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, probe_rows
from trainatlas.train.records import kept_steps
from trainatlas.train.reference import train_reference
from trainatlas.train.stack import Stack
from trainatlas.train.stacked import TrialResult, train_stack

CPU = torch.device("cpu")
EPOCHS, PER_EPOCH = 3, 16
RATES = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.02, "adadelta": 1.0, "radam": 0.01}
SLOW = 0.002  # of all others

TRIAL = Trial(
    data="digits",
    network="mlp(depth=2, width=8)",
    activation="relu",
    init="kaiming_normal",
    normalisation="batch",
    optimizer="sgd",
    preprocessing="standardize",
    learning_rate=0.1,
    batch_size=64,
    epochs=EPOCHS,
    seed=0,
)
MIXED = [
    TRIAL._replace(optimizer="adam", learning_rate=0.01, init="xavier_normal"),
    TRIAL._replace(optimizer="adam", learning_rate=0.003, seed=1, preprocessing="raw"),
    TRIAL._replace(optimizer="momentum(momentum=0.5)", learning_rate=0.03),
    TRIAL._replace(optimizer="rmsprop", learning_rate=0.003, seed=2),
    TRIAL,
]
BLOWN_UP = TRIAL._replace(learning_rate=1e30, normalisation="none")

STORES = {dtype: ExampleStore(CPU, dtype) for dtype in (torch.float32, torch.float64)}


def train(trials: list[Trial], dtype: torch.dtype = torch.float64, probes: Any = "standard") -> list[TrialResult]:
    return train_stack(trials, STORES[dtype], CPU, probes, dtype)


@torch.no_grad()
def evaluated(network: nn.Module, trial: Trial, part: str) -> tuple[float, float]:
    """Loss and accuracy on a part, or on the "probe" set."""
    variant = STORES[torch.float64].variant(trial)
    x, y = (each["train" if part == "probe" else part] for each in (variant.x, variant.y))
    if part == "probe":
        rows = probe_rows(len(y))
        x, y = x[rows], y[rows]
    logits = network.eval()(x)
    return nn.functional.cross_entropy(logits, y).item(), (logits.argmax(1) == y).double().mean().item()


def curve_of(result: TrialResult, split: str) -> dict[int, tuple[float | None, float | None]]:
    return {step: (loss, accuracy) for step, name, loss, accuracy, _ in result.curve if name == split}


@pytest.fixture(scope="module")
def mixed() -> list[TrialResult]:
    return train(MIXED)


@pytest.mark.parametrize("position", range(len(MIXED)))
def test_results_are_those_of_the_plain_loop(position: int, mixed: list[TrialResult]) -> None:
    trial, result = MIXED[position], mixed[position]
    assert (result.trial, result.status) == (trial, "ok")
    assert (result.steps_run, result.epochs_run) == (EPOCHS * PER_EPOCH, EPOCHS)
    runs = [train_reference(trial, STORES[torch.float64], epoch * PER_EPOCH, torch.float64) for epoch in range(1, 4)]
    network, losses = runs[-1].network, runs[-1].losses
    assert result.parameters == sum(parameter.numel() for parameter in network.parameters())
    for part, prefix in (("train", "final_train"), ("validation", "final_validation"), ("test", "test")):
        loss, accuracy = evaluated(network, trial, part)
        assert result.metrics[f"{prefix}_loss"] == pytest.approx(loss, rel=1e-7)
        assert result.metrics[f"{prefix}_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    by_epoch = [evaluated(run.network, trial, "validation") for run in runs]
    assert result.metrics["best_validation_loss"] == pytest.approx(min(loss for loss, _ in by_epoch), rel=1e-7)
    assert result.metrics["best_validation_accuracy"] == pytest.approx(max(right for _, right in by_epoch), abs=1e-12)
    assert result.metrics["first_train_loss"] == pytest.approx(losses[0], rel=1e-9)
    minibatches = curve_of(result, "train_batch")
    assert list(minibatches) == kept_steps(EPOCHS * PER_EPOCH)
    assert [loss for loss, _ in minibatches.values()] == pytest.approx([losses[i - 1] for i in minibatches], rel=1e-7)
    for split, part in (("train", "probe"), ("validation", "validation")):
        curve = curve_of(result, split)
        assert list(curve) == [0, 16, 32, 48]
        for run, step in zip(runs, (16, 32, 48), strict=True):
            assert curve[step] == pytest.approx(evaluated(run.network, trial, part), rel=1e-7)
    assert list(curve_of(result, "test")) == [EPOCHS * PER_EPOCH]


def test_the_untrained_network_is_measured_too(mixed: list[TrialResult]) -> None:
    start = train([TRIAL._replace(normalisation="none")])[0]
    untrained = train_reference(start.trial, STORES[torch.float64], 0, torch.float64).network
    for split, part in (("train", "probe"), ("validation", "validation")):
        assert curve_of(start, split)[0] == pytest.approx(evaluated(untrained, start.trial, part), rel=1e-9)


def test_layers_are_probed_before_training_and_after_every_epoch(mixed: list[TrialResult]) -> None:
    for result in mixed:
        assert [(step, layer, depth) for step, layer, depth, _ in result.layers] == [
            (step, layer, depth)
            for step in (0, 16, 32, 48)
            for depth, layer in enumerate(("hidden.0", "hidden.1", "output"), 1)
        ]
        for _, layer, _, cells in result.layers:
            assert ("dead_fraction" in cells) == (layer != "output")
            assert {"activation_mean", "activation_std", "gradient_norm", "update_to_weight_ratio"} <= set(cells)


def test_dead_fractions_of_a_trial_are_those_of_its_hidden_units(mixed: list[TrialResult]) -> None:
    for result in mixed:
        for step, column in ((0, "initial_dead_fraction"), (48, "final_dead_fraction")):
            dead = [cells["dead_fraction"] for at, layer, _, cells in result.layers if at == step and layer != "output"]
            assert result.metrics[column] == pytest.approx(sum(dead) / 2)  # layers of one width


def test_light_probes_look_at_layers_at_both_ends_and_change_nothing_else(mixed: list[TrialResult]) -> None:
    for light, full in zip(train(MIXED, probes="light"), mixed, strict=True):
        assert {step for step, *_ in light.layers} == {0, 48}
        assert light.layers == [row for row in full.layers if row[0] in (0, 48)]
        assert light.metrics == full.metrics
        assert curve_of(light, "validation") == curve_of(full, "validation")
        assert set(curve_of(light, "train")) == {0, 48}


def test_full_probes_add_signals_at_both_ends_and_change_nothing_else(mixed: list[TrialResult]) -> None:
    for full, standard in zip(train(MIXED, probes="full"), mixed, strict=True):
        assert (full.curve, full.metrics) == (standard.curve, standard.metrics)
        for (*place, cells), (*expected_place, expected) in zip(full.layers, standard.layers, strict=True):
            measured = set(cells) - set(expected)
            assert place == expected_place and expected.items() <= cells.items()
            assert measured == ({"backward_std"} if place[0] in (0, EPOCHS * PER_EPOCH) else set())
        assert standard.histograms == []
        assert {row[:4] for row in full.histograms} == {
            (step, layer, depth, quantity)
            for step in (0, EPOCHS * PER_EPOCH)
            for depth, layer in enumerate(("hidden.0", "hidden.1", "output"), 1)
            for quantity in ("activation", "gradient")
        }


def test_signals_are_those_of_the_trials_own_network() -> None:
    trials = [TRIAL._replace(init="normal"), TRIAL]
    results = train(trials, probes="full")
    stack = Stack(trials, STORES[torch.float64], CPU, torch.float64)
    for step in (0, EPOCHS * PER_EPOCH):
        if step:
            for epoch in range(1, EPOCHS + 1):
                stack.train_epoch(epoch)
        found = stack.signals(untrained=step == 0)
        for i, result in enumerate(results):
            for at, layer, _, cells in result.layers:
                if at == step:
                    assert cells["backward_std"] == pytest.approx(found[layer]["gradient"].std[i].item(), rel=1e-9)
            for quantity in ("activation", "gradient"):
                bins = [row[4:] for row in result.histograms if row[:2] == (step, "hidden.1") and row[3] == quantity]
                assert bins == [pytest.approx(each) for each in found["hidden.1"][quantity].bins(i)]


def test_without_probes_no_layer_is_looked_at_and_the_training_part_at_the_end_alone(
    mixed: list[TrialResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("probed")

    monkeypatch.setattr(Stack, "probe", forbidden)
    monkeypatch.setattr(Stack, "signals", forbidden)
    for off, standard in zip(train(MIXED, probes="off"), mixed, strict=True):
        assert (off.layers, off.histograms, off.status) == ([], [], "ok")
        end = (off.metrics["final_train_loss"], off.metrics["final_train_accuracy"])
        assert curve_of(off, "train") == {EPOCHS * PER_EPOCH: end}, "on all of it"
        for split in ("train_batch", "validation", "test"):
            assert curve_of(off, split) == curve_of(standard, split)
        missing = {"initial_dead_fraction", "final_dead_fraction"}
        assert off.metrics == {name: value for name, value in standard.metrics.items() if name not in missing}


@pytest.mark.parametrize("probes", ["off", "full"])
def test_every_probe_level_tells_who_diverged(probes: str) -> None:
    diverged, sound = train([BLOWN_UP, TRIAL._replace(normalisation="none")], torch.float32, probes)
    assert (diverged.status, sound.status) == ("diverged", "ok")
    assert {row[0] for row in diverged.histograms} == ({0} if probes == "full" else set())
    assert list(curve_of(diverged, "train")) == ([0] if probes == "full" else [])


def test_the_best_epoch_is_remembered_when_later_ones_are_worse() -> None:
    rough = [TRIAL._replace(learning_rate=rate, epochs=6, normalisation="none") for rate in (0.5, 1.0, 2.0)]
    results = train(rough)
    for result in results:
        epochs = [row for step, row in curve_of(result, "validation").items() if step > 0]
        assert result.metrics["best_validation_loss"] == min(loss for loss, _ in epochs)
        assert result.metrics["best_validation_accuracy"] == max(accuracy for _, accuracy in epochs)
    better = [result.metrics["best_validation_loss"] < result.metrics["final_validation_loss"] for result in results]
    assert any(better), "for one of them at least the last epoch must not be the best, or this shows nothing"


def test_test_data_are_looked_at_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[str, int, int]] = []
    evaluate = Stack.evaluate

    def note(stack: Stack, part: str, positions: list[int] | None = None) -> Any:
        looked.append((part, stack._optimizer._steps, len(stack.trials if positions is None else positions)))
        return evaluate(stack, part, positions)

    monkeypatch.setattr(Stack, "evaluate", note)
    train(MIXED)
    assert [entry for entry in looked if entry[0] == "test"] == [("test", EPOCHS * PER_EPOCH, len(MIXED))]


def test_batch_normalisations_running_statistics_are_torchs() -> None:
    stack = Stack(MIXED, STORES[torch.float64], CPU, torch.float64)
    for epoch in range(1, EPOCHS + 1):
        stack.train_epoch(epoch)
    stack.probe()
    stack.evaluate("test")
    for i, trial in enumerate(MIXED):
        reference = train_reference(trial, STORES[torch.float64], None, torch.float64).network
        buffers = dict(reference.named_buffers())
        assert set(buffers) == set(stack.buffers)
        for name, value in buffers.items():
            torch.testing.assert_close(stack.buffers[name][i], value, rtol=1e-8, atol=1e-10)


# Whom a trial shares its stack with.


def any_trial(dice: random.Random, **shared: str) -> Trial:
    optimizer = dice.choice(sorted(OPTIMIZERS))
    return TRIAL._replace(
        optimizer=optimizer,
        learning_rate=RATES.get(optimizer, SLOW) * dice.choice([0.25, 0.5, 1.0]),
        init=dice.choice(sorted(set(INITIALISATIONS) - {"constant"})),  # whose steep losses magnify rounding
        preprocessing=dice.choice(["raw", "standardize", "zca_whitening"]),
        schedule=dice.choice(sorted(SCHEDULES)),
        augmentation=dice.choice(["none", "crop(padding=1)", "gaussian_noise"]),
        seed=dice.randrange(4),
        **shared,
    )


SINGLE, DOUBLE = (torch.float32, 1e-5), (torch.float64, 1e-9)


def assert_same_numbers(result: TrialResult, alone: TrialResult, relative: float) -> None:
    """The same trial: losses agree to `relative`, and no more examples change sides than rounding explains."""
    assert (result.trial, result.status, result.steps_run, result.epochs_run, result.error) == (
        alone.trial,
        alone.status,
        alone.steps_run,
        alone.epochs_run,
        alone.error,
    )
    assert [row[:2] for row in result.curve] == [row[:2] for row in alone.curve]
    assert [row[2] for row in result.curve] == pytest.approx([row[2] for row in alone.curve], rel=relative)
    assert [row[:3] for row in result.layers] == [row[:3] for row in alone.layers]
    for (*_, cells), (*_, expected) in zip(result.layers, alone.layers, strict=True):
        for name, value in expected.items():  # a mean near zero is a difference of larger numbers
            spread = 2e-3 if name.endswith("fraction") else relative
            assert cells[name] == pytest.approx(value, rel=10 * relative, abs=spread, nan_ok=True), name
    assert set(result.metrics) == set(alone.metrics)
    for name, value in alone.metrics.items():
        if name.endswith("loss"):
            assert result.metrics[name] == pytest.approx(value, rel=relative, nan_ok=True), name
        elif name.endswith("accuracy"):
            assert result.metrics[name] == pytest.approx(value, abs=1.5 / 359), name


def by_optimizer(trials: list[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: trial.optimizer)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "relative"), [SINGLE, DOUBLE], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("activation", "normalisation", "regularisation"),
    [
        ("relu", "none", "none"),
        ("relu", "batch", "none"),
        ("tanh", "none", "l2 + dropout"),
        ("gelu", "batch", "dropout + early_stopping(patience=1)"),
        ("maxout", "layer", "gradient_clipping + max_norm"),
        ("prelu", "weight", "l1 + decoupled_decay"),
        ("sigmoid", "none", "label_smoothing"),
    ],
)
@pytest.mark.parametrize("example", range(2))
def test_a_trials_numbers_do_not_depend_on_its_neighbours(
    example: int, activation: str, normalisation: str, regularisation: str, dtype: torch.dtype, relative: float
) -> None:
    """Trials and neighbours are drawn anew for every case, the same in every run."""
    if normalisation == "batch" and dtype is torch.float32:
        relative = 1e-3  # gradients are small there, and optimizers that divide by their size magnify rounding
    shared = {"activation": activation, "normalisation": normalisation, "regularisation": regularisation}
    dice = random.Random(f"{shared} {dtype} {example}")
    trial = any_trial(dice, **shared)
    neighbours = [any_trial(dice, **shared) for _ in range(dice.randint(1, 6))]
    (alone,) = train([trial], dtype)
    for company in (neighbours[:1], neighbours):
        stack = by_optimizer([*company, trial])
        assert_same_numbers(train(stack, dtype)[stack.index(trial)], alone, relative)


@pytest.mark.parametrize(("dtype", "relative"), [SINGLE, DOUBLE], ids=["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("place", ["first", "last", "both"])
def test_neighbours_that_diverge_change_nothing(
    place: str, optimizer: str, dtype: torch.dtype, relative: float
) -> None:
    trials = [
        TRIAL._replace(normalisation="none", optimizer=optimizer, learning_rate=RATES.get(optimizer, SLOW), seed=seed)
        for seed in (0, 1)
    ]
    rate = 1e30 if dtype is torch.float32 else 1e200
    bad = [BLOWN_UP._replace(optimizer=optimizer, learning_rate=rate, seed=seed) for seed in (2, 3)]
    stack = {"first": [*bad, *trials], "last": [*trials, *bad], "both": [bad[0], *trials, bad[1]]}[place]
    results = {result.trial: result for result in train(stack, dtype)}
    for trial in bad:
        assert results[trial].status == "diverged"
    for trial in trials:
        assert_same_numbers(results[trial], alone(trial, dtype), relative)


@functools.cache
def alone(trial: Trial, dtype: torch.dtype) -> TrialResult:
    return train([trial], dtype)[0]


def test_a_trial_that_diverges_ends_with_what_is_known_of_it() -> None:
    diverged, sound = train([BLOWN_UP, TRIAL._replace(normalisation="none")], torch.float32)
    assert (diverged.status, sound.status) == ("diverged", "ok")
    assert 1 <= diverged.steps_run < PER_EPOCH
    assert diverged.epochs_run == 1
    losses = [loss for loss, _ in curve_of(diverged, "train_batch").values()]
    assert losses and all(loss is not None and math.isfinite(loss) for loss in losses)
    assert max(curve_of(diverged, "train_batch")) <= diverged.steps_run
    assert math.isfinite(diverged.metrics["first_train_loss"] or math.nan)
    assert not math.isfinite(diverged.metrics["test_loss"] or 0.0)
    for part in ("test", "final_train", "final_validation"):
        assert diverged.metrics[f"{part}_accuracy"] == 0.0, "an example without finite logits counts as wrong"
    assert diverged.metrics["initial_dead_fraction"] is not None
    assert {step for step, *_ in diverged.layers} == {0}, "what was measured before training stays"


def test_a_stack_of_trials_that_all_diverge_ends_early() -> None:
    results = train([BLOWN_UP, BLOWN_UP._replace(seed=1)], torch.float32)
    assert [result.status for result in results] == ["diverged", "diverged"]
    assert {result.epochs_run for result in results} == {1}


def test_a_network_that_is_not_finite_before_training_is_recorded() -> None:
    huge = TRIAL._replace(normalisation="none", init="normal(std=100.0)", network="mlp(depth=20, width=8)")
    beside = huge._replace(init="kaiming_normal")
    results = train([huge, beside], torch.float32)
    assert [result.status for result in results] == ["diverged", "ok"]
    assert results[0].steps_run == 0
    assert results[0].metrics["test_accuracy"] == 0.0
    assert_same_numbers(results[1], train([beside], torch.float32)[0], 1e-5)


# What the later factors add.


def test_the_rate_in_force_is_recorded_step_by_step() -> None:
    (result,) = train([TRIAL._replace(schedule="cosine(warmup=0.5)")])
    steps = EPOCHS * PER_EPOCH
    for step, _, _, _, rate in result.curve:
        taken = max(step, 1) - 1  # rows at step s tell the rate of the s-th step; step 0 that of the first
        cosine = (1 + math.cos(math.pi * (taken - 8) / (steps - 8))) / 2
        assert rate == pytest.approx(0.1 * ((taken + 1) / 8 if taken < 8 else cosine), rel=1e-9), step


def test_a_plateau_lowers_the_rate_of_the_trial_that_is_on_it_alone() -> None:
    base = TRIAL._replace(normalisation="none", epochs=6, schedule="reduce_on_plateau(patience=0, threshold=0.05)")
    stuck, moving = (
        [row[4] for row in result.curve if row[1] == "validation"]
        for result in train([base._replace(init="zeros"), base])  # from zeros only the last bias moves
    )
    assert stuck[-1] < 0.1 * stuck[0] * 1.01
    assert moving[:3] == [0.1] * 3


def test_early_stopping_leaves_with_all_it_had_and_its_neighbours_do_not_notice() -> None:
    patient = TRIAL._replace(epochs=8, regularisation="early_stopping(patience=2, min_delta=0.05)")
    slow = patient._replace(learning_rate=1e-5)
    fast = patient._replace(learning_rate=0.1)
    for probes in ("off", "full", "standard", "light"):
        results = train([slow, fast], probes=probes)
        assert results[0].status == "stopped_early"
        assert (results[0].epochs_run, results[0].steps_run) == (3, 3 * PER_EPOCH)
        if probes != "off":
            assert results[0].metrics["final_dead_fraction"] is not None
            assert max(step for step, *_ in results[0].layers) == 3 * PER_EPOCH
        ends = {0, 3 * PER_EPOCH} if probes == "full" else set()
        assert {row[0] for row in results[0].histograms} == ends
        assert {step for step, *_, cells in results[0].layers if "backward_std" in cells} == ends
        assert list(curve_of(results[0], "test")) == [3 * PER_EPOCH]
        assert max(curve_of(results[0], "train")) == 3 * PER_EPOCH
        assert results[1].epochs_run > 3
        assert_same_numbers(results[1], train([fast], probes=probes)[0], 1e-9)
    reference = train_reference(slow, STORES[torch.float64], None, torch.float64)
    assert len(reference.losses) == 3 * PER_EPOCH
    assert results[0].metrics["test_loss"] == pytest.approx(evaluated(reference.network, slow, "test")[0], rel=1e-8)


def test_patience_that_ends_with_the_budget_stops_nothing_early() -> None:
    (result,) = train([TRIAL._replace(learning_rate=1e-6, regularisation="early_stopping(patience=2, min_delta=0.5)")])
    assert (result.status, result.epochs_run) == ("ok", EPOCHS)


def test_gains_are_counted_from_the_last_that_was_large_enough() -> None:
    """Small gains that add up to min_delta are one, as in Prechelt's and everybody's early stopping."""
    result = TrialResult(TRIAL._replace(regularisation="early_stopping(patience=2, min_delta=0.1)", epochs=99))
    assert not result.loses_patience(1.0)
    assert not result.loses_patience(0.94)
    assert not result.loses_patience(0.89)
    assert not result.loses_patience(0.85)
    assert result.loses_patience(0.80)
    assert result.status == "stopped_early"


@pytest.mark.parametrize("probes", ["light", "full"])
def test_a_run_whose_loss_explodes_is_aborted_and_its_neighbours_do_not_notice(probes: Probes) -> None:
    base = TRIAL._replace(init="kaiming_normal", normalisation="none", epochs=5, regularisation="abort(ratio=1.5)")
    exploding, sound = base._replace(learning_rate=20.0), base._replace(learning_rate=0.05)
    results = train([exploding, sound], probes=probes)
    first = results[0].metrics["first_train_loss"]
    losses = train_reference(
        exploding._replace(regularisation="none"), STORES[torch.float64], None, torch.float64
    ).losses
    assert first is not None and max(losses[:PER_EPOCH]) > 1.5 * first, "the case is one"
    assert (results[0].status, results[0].epochs_run) == ("stopped_early", 1)
    assert results[0].metrics["test_accuracy"] is not None
    assert (results[1].status, results[1].epochs_run) == ("ok", 5)
    assert_same_numbers(results[1], train([sound._replace()], probes=probes)[0], 1e-9)
    assert len(train_reference(exploding, STORES[torch.float64], None, torch.float64).losses) == PER_EPOCH


def test_a_run_that_never_explodes_is_trained_as_without_the_rule() -> None:
    with_rule, without = train([TRIAL._replace(regularisation="abort")])[0], train([TRIAL])[0]
    assert with_rule.status == "ok"
    assert_same_numbers(replace(with_rule, trial=TRIAL), without, 1e-9)


@pytest.mark.parametrize("regularisation", ["l1(strength=0.01)", "l2(strength=0.1)", "l1 + l2"])
def test_the_first_penalty_is_recorded_beside_the_first_loss(regularisation: str) -> None:
    plain, penalised = train([TRIAL])[0], train([TRIAL._replace(regularisation=regularisation)])[0]
    assert plain.metrics["first_penalty"] == 0.0
    assert penalised.metrics["first_train_loss"] == pytest.approx(plain.metrics["first_train_loss"])
    weights = [
        value
        for name, value in initial_parameters(
            build_network(TRIAL.network, "relu", "batch", (1, 8, 8), 10), TRIAL, lambda: torch.zeros(0)
        ).items()
        if value.dim() == 2
    ]
    absolute, square = (sum(f(w.double()).sum().item() for w in weights) for f in (torch.abs, torch.square))
    expected = {
        "l1(strength=0.01)": 0.01 * absolute,
        "l2(strength=0.1)": 0.1 * square / 2,
        "l1 + l2": 1e-5 * absolute + 1e-4 * square / 2,
    }[regularisation]
    assert penalised.metrics["first_penalty"] == pytest.approx(expected, rel=1e-9)


def test_dropouts_draws_are_a_seeds_own_whoever_stands_beside() -> None:
    trials = [TRIAL._replace(regularisation=f"dropout(p={p})", seed=seed) for p, seed in ((0.5, 0), (0.2, 1), (0.5, 1))]
    together = train(trials)
    for trial, result in zip(trials, together, strict=True):
        assert_same_numbers(result, train([trial])[0], 1e-9)
    assert (
        together[0].metrics["test_loss"]
        != train([trials[0]._replace(regularisation="dropout(p=0.4)")])[0].metrics["test_loss"]
    )


def test_symmetry_of_constant_weights_is_never_broken() -> None:
    """Units that start alike stay alike (claim I1), unless something random tells them apart."""
    stack = Stack([TRIAL._replace(init="constant", normalisation="none")], STORES[torch.float64], CPU, torch.float64)
    for epoch in (1, 2):
        stack.train_epoch(epoch)
    weight = stack.parameters["hidden.0.linear.weight"][0]
    torch.testing.assert_close(weight, weight[:1].expand(8, -1))
    dropped = [TRIAL._replace(init="constant", normalisation="none", regularisation="dropout")]
    stack = Stack(dropped, STORES[torch.float64], CPU, torch.float64)
    stack.train_epoch(1)
    weight = stack.parameters["hidden.0.linear.weight"][0]
    assert not torch.allclose(weight, weight[:1].expand(8, -1))
