"""Costs rank stacks as they would be ranked by hand, know every level, and learn from what was measured."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainatlas.catalogue import TABLES, impossible
from trainatlas.costs import (
    _STEP_FACTORS,
    _work,
    calibrated,
    estimate,
    measured_ratios,
    start_seconds,
    steps_of,
    structure_key,
)
from trainatlas.model.architectures import build_network
from trainatlas.study.config import Probes
from trainatlas.study.dealing import START
from trainatlas.study.storage import write_csv
from trainatlas.study.trial import Trial
from trainatlas.train.records import STACK_COLUMNS, names

HERE = Path()
TRIAL = Trial("digits", "mlp(depth=2, width=32)", "relu", "kaiming_normal", "none", "sgd", "standardize", 0.1, 64, 6, 0)


def stack(size: int = 100, **change: Any) -> list[Trial]:
    return [TRIAL._replace(**(change | {"seed": seed})) for seed in range(size)]


@pytest.mark.parametrize(
    "dearer",
    [
        {"epochs": 12},
        {"network": "mlp(depth=4, width=32)"},
        {"network": "mlp(depth=2, width=256)"},
        {"network": "cnn(depth=2, width=8)"},
        {"normalisation": "batch"},
        {"activation": "maxout(k=2)"},
        {"activation": "soft_exponential"},
        {"optimizer": "adam"},
        {"regularisation": "l1 + dropout(p=0.2)"},
        {"augmentation": "crop(padding=1) + rotation(degrees=10.0)"},
        {"batch_size": 16},
        {"data": "breast_cancer", "network": "mlp(depth=2, width=512)"},
    ],
    ids=str,
)
def test_more_work_costs_more(dearer: dict[str, Any]) -> None:
    assert estimate(stack(**dearer), "light") > 1.02 * estimate(stack(), "light")


def test_a_stack_costs_less_than_its_trials_alone_and_probes_cost_something() -> None:
    assert estimate(stack(64), "light") < 64 * estimate(stack(1), "light") / 2
    assert estimate(stack(65), "light") > estimate(stack(64), "light")
    levels: tuple[Probes, ...] = ("off", "light", "standard", "full")
    prices = [estimate(stack(), probes) for probes in levels]
    assert prices == sorted(set(prices))
    fewer = estimate(stack(preprocessing="pca(components=8)"), "light")
    assert fewer < estimate(stack(preprocessing="pca"), "light")


def every_network() -> list[str]:
    return [
        "mlp(depth=1, width=7)", "mlp(depth=3, width=32)", "cnn(depth=1, width=4)", "cnn(depth=4, width=8)",
        "cnn_deep(depth=7, width=8)", "resnet(depth=8, width=8)", "resnet(depth=15, width=4)",
    ]  # fmt: skip


@pytest.mark.parametrize("network", every_network())
@pytest.mark.parametrize("activation", ["relu", "maxout(k=3)"])
def test_counted_work_is_that_of_the_network_that_is_built(network: str, activation: str) -> None:
    """Counted on the module itself: weights of its linear and convolution layers, and their outputs."""
    trial = TRIAL._replace(network=network, activation=activation)
    if impossible(trial):
        pytest.skip("never combined")
    module = build_network(network, activation, "none", (1, 8, 8), 10)
    weights = outputs = multiplications = layers = 0

    def note(layer: Any, inputs: Any, output: torch.Tensor) -> None:
        nonlocal weights, outputs, multiplications, layers
        layers += 1
        weights += layer.weight.numel()
        outputs += output[0].numel()
        multiplications += layer.weight.numel() * output[0, 0].numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            layer.register_forward_hook(note)
    module.eval()(torch.zeros(1, 1, 8, 8))
    counted = _work(trial, HERE)
    assert (counted.weights, counted.outputs) == (weights, outputs)
    assert sum(counted.multiplications.values()) == multiplications
    assert counted.layers == layers


@pytest.mark.parametrize("factor", _STEP_FACTORS)
def test_factors_are_of_levels_that_exist(factor: str) -> None:
    assert set(_STEP_FACTORS[factor]) <= set(TABLES[factor])


def test_levels_of_the_users_own_have_a_price() -> None:
    own = estimate(stack(activation="mine.py:cubic(b=1)", network="mine.py:net"), "light")
    assert own > estimate(stack(network="mlp"), "light")


def test_steps_are_those_of_full_batches() -> None:
    assert steps_of(TRIAL, HERE) == 6 * (1079 // 64)


def test_stacks_of_one_structure_share_a_key() -> None:
    assert structure_key(TRIAL) == structure_key(TRIAL._replace(seed=3, optimizer="adam", init="normal(std=1.0)"))
    assert structure_key(TRIAL) != structure_key(TRIAL._replace(normalisation="batch"))


def record(results: Path, pack: str, rows: list[tuple[Trial, float, float, float]]) -> None:
    """Write a pack's stacks.csv of (a trial, seconds over estimated, share of the budget run, estimated seconds)."""
    lines = [
        (pack, structure_key(trial), 10, 6, int(1000 * run), 1000, ratio * run * estimated, estimated, "cpu")
        for trial, ratio, run, estimated in rows
    ]
    write_csv(results / "raw" / pack / "stacks.csv", names(STACK_COLUMNS), lines)


def test_prices_follow_what_was_measured(tmp_path: Path) -> None:
    slow, fast, unknown = (TRIAL._replace(activation=name) for name in ("tanh", "elu", "gelu"))
    assert calibrated(tmp_path, HERE)(stack(), "light") == estimate(stack(), "light")
    record(tmp_path, "a", [(slow, 3.0, 1.0, 2.0), (slow, 5.0, 0.5, 1.0), (fast, 0.5, 1.0, 1.0)])
    record(tmp_path, "b", [(slow, 4.0, 0.1, 1.0), (TRIAL, 2.0, 1.0, 1.0), (TRIAL, 9.0, 0.0, 1.0)])
    assert measured_ratios(tmp_path) == pytest.approx(
        {structure_key(slow): 4.0, structure_key(fast): 0.5, structure_key(TRIAL): 2.0}
    )
    price = calibrated(tmp_path, HERE)
    for trial, ratio in ((slow, 4.0), (fast, 0.5), (TRIAL, 2.0), (unknown, 2.0)):
        members = stack(activation=trial.activation)
        assert price(members, "standard") == pytest.approx(ratio * estimate(members, "standard"))


TIMELESS = "structure,trial_steps,planned_trial_steps,seconds,estimated_seconds\na,1,1,nan,1\na,1,1,0,1\n"


def test_a_start_costs_what_starts_took(tmp_path: Path) -> None:
    assert start_seconds(tmp_path) == START
    for pack, seconds in (("a", 3.0), ("b", 5.0), ("c", 20.0)):
        write_csv(tmp_path / "raw" / pack / "pack.csv", ("pack", "start_seconds"), [(pack, seconds)])
    write_csv(tmp_path / "raw" / "d" / "pack.csv", ("pack",), [("d",)])
    write_csv(tmp_path / "raw" / "e" / "pack.csv", ("pack", "start_seconds"), [("e", "nan")])
    assert start_seconds(tmp_path) == 5.0


@pytest.mark.parametrize(
    "spoilt", ["", "pack\na\n", "pack,structure,trial_steps\na,b,c\n", TIMELESS, "\0\0", 'torn,"x']
)
def test_a_broken_table_of_times_tells_nothing(spoilt: str, tmp_path: Path) -> None:
    record(tmp_path, "a", [(TRIAL, 2.0, 1.0, 1.0)])
    (tmp_path / "raw" / "b").mkdir()
    (tmp_path / "raw" / "b" / "stacks.csv").write_text(spoilt, encoding="utf-8")
    assert measured_ratios(tmp_path) == {structure_key(TRIAL): pytest.approx(2.0)}
