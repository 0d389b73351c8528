"""Stacked training is plain torch training for every level of every factor.

Each level, and each option of it at another value, takes its place in a common setting; three trials that
differ in seed and rate are trained as one stack and each by itself, in float64. A level that is added to a
table is tested by being there.
"""

import itertools
import math
from typing import Any

import pytest
import torch

from trainatlas.catalogue import TABLES, impossible, structure
from trainatlas.study.levels import Flag, Inner, Level, Option, Word, parse_level, split_level
from trainatlas.study.trial import FACTORS, Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference
from trainatlas.train.stacked import train_stack

# A level that can only be mapped over trials one by one would be slow; torch then says so.
pytestmark = pytest.mark.filterwarnings("error:There is a performance drop")

CPU = torch.device("cpu")
BASE = Trial(
    data="digits",
    network="mlp(depth=2, width=16)",
    activation="tanh",
    init="xavier_normal",
    normalisation="none",
    optimizer="momentum",
    preprocessing="standardize",
    learning_rate=0.01,
    batch_size=200,
    epochs=3,
    seed=0,
)
CNN = BASE._replace(network="cnn(depth=2, width=4)", epochs=2)
IMAGES = ("instance", "group", "layer", "batch", "weight")  # normalisations that treat images in a way of their own

# Rates at which a method neither stands still nor runs away within a few steps.
RATES = {"adagrad": 0.02, "adadelta": 1.0, "adam": 0.002, "adamw": 0.002, "nadam": 0.002, "radam": 0.01,
         "rmsprop": 0.001, "lookahead": 0.005}  # fmt: skip
RELATIVE = 1e-6


def other_value(key: str, option: Any) -> list[str]:
    """Values other than the default, as a study would write them."""
    if isinstance(option, Flag):
        return [str(not option.default)]
    if isinstance(option, Word):
        return [word for word in option.words if word != option.default]
    if isinstance(option, Inner):
        return ["sgd", "rmsprop(alpha=0.9)"]
    assert isinstance(option, Option)
    words = [word for word in option.words if word != option.default]
    if isinstance(option.default, str):
        return words
    if isinstance(option.default, int):
        return [
            str(value) for value in (max(int(option.low), 1) + 1,) if value <= option.high and value != option.default
        ]
    low, high = max(option.low, 0.0), min(option.high, 2 * abs(option.default) + 0.1)
    return [*words, f"{low + (high - low) * 0.4:.6g}"]


def variants(level: Level) -> list[str]:
    texts = [level.name]
    for key, option in level.options.items():
        texts += [f"{level.name}({key}={value})" for value in other_value(key, option)]
    return texts


LEVELS = [
    (factor, parse_level(text, TABLES[factor]))
    for factor in FACTORS
    for level in TABLES[factor].values()
    for text in variants(level)
]
COMBINED = [
    ("regularisation", "l1 + l2 + decoupled_decay + dropout + label_smoothing + max_norm + gradient_clipping"),
    ("regularisation", "l2(strength=0.01) + early_stopping(patience=1, min_delta=0.05)"),
    ("augmentation", "crop(padding=1) + rotation + gaussian_noise + mixup"),
]
IN_CONVOLUTIONS = [
    (factor, text)
    for factor, text in LEVELS
    if (factor == "normalisation" and text.startswith(IMAGES))
    or (factor in ("init", "activation") and "(" not in text)
    or text in ("dropout", "max_norm", "zca_whitening", "crop")
]


def trials_of(base: Trial, factor: str, text: str) -> list[Trial]:
    name = split_level(text)[0] if "+" not in text else ""
    rate = RATES.get(name, base.learning_rate) if factor == "optimizer" else base.learning_rate
    changed = base._replace(**{factor: text})
    if factor == "normalisation" and text.startswith("group"):
        changed = changed._replace(normalisation=text if "groups=2" in text else "group(groups=4)")
    if factor == "init" and text.startswith(("constant", "normal(std=")):
        rate /= 10  # large weights make for steep losses, which magnify rounding errors
    if text.startswith("soft_exponential"):
        rate /= 50  # its domain ends near zero once alpha has learnt to be negative
    return [changed._replace(seed=seed, learning_rate=rate * (1 + seed / 4)) for seed in range(3)]


@pytest.fixture(scope="module")
def store() -> ExampleStore:
    return ExampleStore(CPU, torch.float64)


def assert_alike(trials: list[Trial], store: ExampleStore) -> None:
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(structure(trial), []).append(trial)
    for group in groups.values():
        results = train_stack(group, store, CPU, "standard", torch.float64)
        for trial, result in zip(group, results, strict=True):
            reference = train_reference(trial, store, dtype=torch.float64)
            found = {row[0]: row[2] for row in result.curve if row[1] == "train_batch"}
            sound = list(itertools.takewhile(math.isfinite, reference.losses))
            assert result.steps_run == len(sound)
            assert len(found) > 3
            for step, loss in found.items():
                assert loss == pytest.approx(reference.losses[step - 1], rel=RELATIVE, abs=1e-9), (str(trial), step)
            if result.status == "diverged":  # at its largest loss it may be a step late
                continue
            variant = store.variant(trial)
            with torch.no_grad():
                logits = reference.network.eval()(variant.x["test"])
            expected = torch.nn.functional.cross_entropy(logits, variant.y["test"]).item()
            assert result.metrics["test_loss"] == pytest.approx(expected, rel=10 * RELATIVE, abs=1e-9), str(trial)


@pytest.mark.parametrize(("factor", "text"), [*LEVELS, *COMBINED])
def test_every_level_trains_alike_stacked_and_alone(factor: str, text: str, store: ExampleStore) -> None:
    trials = trials_of(BASE, factor, text)
    if impossible(trials[0]):
        pytest.skip("excluded for this network and these data")
    assert len({structure(trial) for trial in trials}) == (3 if "variance" in text else 1)
    assert_alike(trials, store)


@pytest.mark.parametrize(("factor", "text"), IN_CONVOLUTIONS)
def test_levels_that_treat_images_otherwise_train_alike_in_convolutions(
    factor: str, text: str, store: ExampleStore
) -> None:
    assert_alike(trials_of(CNN, factor, text), store)


def test_whatever_may_differ_along_a_stack_may_differ_at_once(store: ExampleStore) -> None:
    """Schedules, strengths, augmentations, inits and optimizers of all kinds in one stack."""
    mixed = [
        BASE._replace(schedule="cosine(warmup=1.0)", regularisation="l2 + dropout(p=0.1)"),
        BASE._replace(
            schedule="step(every=1)", regularisation="l2(strength=0.01) + dropout", optimizer="adamw", seed=1
        ),
        BASE._replace(optimizer="lookahead", learning_rate=0.005, regularisation="l2 + dropout", init="lsuv"),
        BASE._replace(augmentation="rotation", regularisation="l2 + dropout", optimizer="nesterov", seed=2),
        BASE._replace(augmentation="gaussian_noise", regularisation="l2 + dropout", schedule="reduce_on_plateau"),
    ]
    assert len({structure(trial) for trial in mixed}) == 1
    assert_alike(mixed, store)
