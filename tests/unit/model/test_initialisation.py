"""Weights are drawn with the spread their paper says, paired across levels and the same for the same seed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import INITIALISATIONS, Law, fans, initial_parameters

LEVELS = [*INITIALISATIONS, "normal(std=1.0)"]
ONE_IN_A_THOUSAND = 1e-3


def torch_std(level: str, weight: Tensor) -> float:
    """The standard deviation that torch.nn.init gives `weight`, by its own formulas."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    if level.startswith("normal"):
        return {"normal": 0.01, "normal(std=1.0)": 1.0}[level]
    if level.startswith("xavier"):
        return nn.init.calculate_gain("linear") * math.sqrt(2.0 / (fan_in + fan_out))
    if level.startswith("kaiming"):
        return nn.init.calculate_gain("relu") / math.sqrt(fan_in)
    raise AssertionError(f"say what torch.nn.init makes of {level}")


def weight_of(module: nn.Module, level: str, seed: int = 0) -> Tensor:
    return initial_parameters(module, level, seed)["weight"]


@pytest.mark.parametrize("level", LEVELS)
@given(units=st.integers(1, 500), inputs=st.integers(1, 500))
def test_the_spread_of_a_linear_layer_is_torchs(level: str, units: int, inputs: int) -> None:
    law: Law = INITIALISATIONS.build(level)
    weight = torch.empty(units, inputs, device="meta")
    assert law.std(*fans((units, inputs))) == pytest.approx(torch_std(level, weight), rel=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@given(filters=st.integers(1, 64), channels=st.integers(1, 64), kernel=st.integers(1, 7))
def test_the_spread_of_a_convolution_counts_its_whole_field(
    level: str, filters: int, channels: int, kernel: int
) -> None:
    assert fans((filters, channels, kernel, kernel)) == (kernel * kernel * channels, kernel * kernel * filters)
    law: Law = INITIALISATIONS.build(level)
    weight = torch.empty(filters, channels, kernel, kernel, device="meta")
    assert law.std(*fans(tuple(weight.shape))) == pytest.approx(torch_std(level, weight), rel=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=15)
@given(units=st.integers(100, 300), inputs=st.integers(100, 300), seed=st.integers(0, 2**31 - 1))
def test_drawn_weights_have_the_moments_of_their_law(level: str, units: int, inputs: int, seed: int) -> None:
    weight = weight_of(nn.Linear(inputs, units, device="meta"), level, seed).double()
    std = torch_std(level, weight)
    count = weight.numel()
    assert abs(weight.mean().item()) < 5 * std / math.sqrt(count)
    assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count))


@pytest.mark.parametrize("level", LEVELS)
def test_drawn_weights_follow_their_distribution(level: str) -> None:
    weight = weight_of(nn.Linear(100, 100, device="meta"), level).double().flatten()
    std = torch_std(level, torch.empty(100, 100, device="meta"))
    law = stats.uniform(-std * math.sqrt(3), 2 * std * math.sqrt(3)) if "uniform" in level else stats.norm(0, std)
    assert stats.kstest(weight.numpy(), law.cdf).pvalue > ONE_IN_A_THOUSAND


def test_uniform_draws_stay_within_the_papers_bound() -> None:
    for level, bound in (("xavier_uniform", math.sqrt(6 / 300)), ("kaiming_uniform", math.sqrt(6 / 200))):
        weight = weight_of(nn.Linear(200, 100, device="meta"), level)
        assert 0.95 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_seed_draws_the_same_and_another_seed_does_not(level: str) -> None:
    module = nn.Linear(20, 10, device="meta")
    torch.testing.assert_close(weight_of(module, level, 3), weight_of(module, level, 3), rtol=0, atol=0)
    assert not torch.equal(weight_of(module, level, 3), weight_of(module, level, 4))


def test_draws_do_not_touch_torchs_own_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    initial_parameters(nn.Linear(20, 10, device="meta"), "kaiming_normal", 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_levels_of_one_distribution_differ_in_scale_alone(kind: str) -> None:
    module = nn.Linear(20, 10, device="meta")
    levels = [level for level in LEVELS if INITIALISATIONS.build(level).distribution == kind]
    assert len(levels) > 1
    units = [weight_of(module, level) / torch_std(level, torch.empty(10, 20, device="meta")) for level in levels]
    for unit in units[1:]:
        torch.testing.assert_close(unit, units[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("level", LEVELS)
def test_a_layers_draws_do_not_depend_on_the_other_layers(level: str) -> None:
    shallow = build_network("mlp(depth=1, width=16)", "relu", "none", (1, 8, 8), 10)
    deep = build_network("mlp(depth=3, width=16)", "tanh", "batch", (1, 8, 8), 10)
    a, b = initial_parameters(shallow, level, 5), initial_parameters(deep, level, 5)
    for name in set(a) & set(b):
        assert torch.equal(a[name], b[name])


@pytest.mark.parametrize("level", LEVELS)
def test_layers_of_one_shape_are_drawn_apart(level: str) -> None:
    network = build_network("mlp(depth=3, width=16)", "relu", "none", (16,), 10)
    values = initial_parameters(network, level, 0)
    assert not torch.equal(values["hidden.1.linear.weight"], values["hidden.2.linear.weight"])


@pytest.mark.parametrize("level", LEVELS)
def test_every_parameter_has_a_value_and_only_weights_are_drawn(level: str) -> None:
    network = build_network("mlp(depth=2, width=16)", "relu", "batch", (1, 8, 8), 10)
    values = initial_parameters(network, level, 0)
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        name: tuple(parameter.shape) for name, parameter in network.named_parameters()
    }
    for name, value in values.items():
        assert (value.dtype, value.device.type) == (torch.float32, "cpu")
        if name.endswith("bias"):
            assert not value.any()
        elif "normalisation" in name:
            assert (value == 1).all()
        else:
            assert value.std() > 0


def test_changing_what_was_drawn_does_not_change_the_next_draw() -> None:
    module = nn.Linear(4, 4, device="meta")
    before = weight_of(module, "normal(std=1.0)").clone()
    weight_of(module, "normal(std=1.0)").mul_(7)
    assert torch.equal(weight_of(module, "normal(std=1.0)"), before)
