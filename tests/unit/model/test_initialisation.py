"""Weights start with the spread their paper says, paired across levels and the same for the same seed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from trainatlas.model.activations import gain
from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import INITIALISATIONS, Weight, depends_on_data, fans, initial_parameters
from trainatlas.study.trial import Trial

TRIAL = Trial("digits", "mlp", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 64, 1, 0)
OPTIONS = [
    "normal(std=1.0)",
    "normal(std=0.05)",
    "normal(std=0.5)",
    "xavier_normal(gain=activation)",
    "xavier_uniform(gain=2.0)",
    "kaiming_normal(gain=activation)",
    "kaiming_uniform(mode=fan_out, gain=activation)",
    "kaiming_normal(mode=fan_out)",
    "kaiming_normal(gain=0.5)",
]
LEVELS = [*INITIALISATIONS, *OPTIONS]
RANDOM = [level for level in LEVELS if level.startswith(("normal", "lecun", "xavier", "kaiming"))]
UNIFORM = [level for level in RANDOM if "uniform" in level]
ONE_IN_A_THOUSAND = 1e-3


def torch_std(level: str, weight: Tensor, activation: str = "relu") -> float:
    """The standard deviation that torch.nn.init gives `weight`, by its own formulas."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    name, _, given_text = level.partition("(")
    given = dict(each.split("=") for each in given_text.removesuffix(")").split(", ") if each)
    if name == "normal":
        return float(given.get("std", 0.01))
    factor = {"activation": nn.init.calculate_gain(activation), "relu": math.sqrt(2)}
    if name == "lecun_normal":
        return 1 / math.sqrt(fan_in)
    wanted = given.get("gain", "1.0" if name.startswith("xavier") else "relu")
    scale = factor.get(wanted) or float(wanted)
    if name.startswith("xavier"):
        return scale * math.sqrt(2.0 / (fan_in + fan_out))
    assert name.startswith("kaiming"), f"say what torch.nn.init makes of {level}"
    return scale / math.sqrt(fan_out if given.get("mode") == "fan_out" else fan_in)


def no_examples() -> Tensor:
    raise AssertionError("only levels that depend on data may look at examples")


def start(network: nn.Module, level: str, seed: int = 0, activation: str = "relu") -> dict[str, Tensor]:
    trial = TRIAL._replace(init=level, seed=seed, activation=activation)
    x = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(99))
    return initial_parameters(network, trial, (lambda: x) if depends_on_data(level) else no_examples)


SHAPE = (1, 8, 8)


def drawn(level: str, shape: tuple[int, ...], seed: int = 0, activation: str = "relu") -> Tensor:
    weight: Tensor = INITIALISATIONS.build(level).draw(Weight(seed, "init/weight", shape, activation))
    return weight


@pytest.mark.parametrize("level", RANDOM)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "selu"])
@settings(max_examples=10)
@given(units=st.integers(60, 200), inputs=st.integers(60, 200), seed=st.integers(0, 2**31 - 1))
def test_a_linear_layers_weights_have_torchs_moments(
    level: str, activation: str, units: int, inputs: int, seed: int
) -> None:
    weight = drawn(level, (units, inputs), seed, activation).double()
    std = torch_std(level, weight, activation)
    count = weight.numel()
    assert abs(weight.mean().item()) < 5 * std / math.sqrt(count)
    assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count))


@pytest.mark.parametrize("level", RANDOM)
@settings(max_examples=15)
@given(filters=st.integers(8, 32), channels=st.integers(4, 32), kernel=st.sampled_from([1, 3, 5]))
def test_a_convolutions_moments_count_its_whole_field(level: str, filters: int, channels: int, kernel: int) -> None:
    shape = (filters, channels, kernel, kernel)
    assert fans(shape) == (kernel * kernel * channels, kernel * kernel * filters)
    weight = drawn(level, shape).double()
    count = weight.numel()
    assert weight.std().item() == pytest.approx(torch_std(level, weight), rel=5 / math.sqrt(2 * count))


@pytest.mark.parametrize("level", RANDOM)
def test_drawn_weights_follow_their_distribution(level: str) -> None:
    weight = drawn(level, (100, 100)).double().flatten()
    std = torch_std(level, torch.empty(100, 100))
    law = stats.uniform(-std * math.sqrt(3), 2 * std * math.sqrt(3)) if level in UNIFORM else stats.norm(0, std)
    assert stats.kstest(weight.numpy(), law.cdf).pvalue > ONE_IN_A_THOUSAND


def test_uniform_draws_stay_within_the_papers_bound() -> None:
    for level, bound in (("xavier_uniform", math.sqrt(6 / 300)), ("kaiming_uniform", math.sqrt(6 / 200))):
        assert 0.95 * bound < drawn(level, (100, 200)).abs().max().item() <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("level", "value"), [("zeros", 0.0), ("constant", 0.1), ("constant(value=-2.0)", -2.0)])
def test_fixed_weights_are_all_alike(level: str, value: float) -> None:
    assert torch.equal(drawn(level, (3, 4)), torch.full((3, 4), value))


@pytest.mark.parametrize("level", ["orthogonal", "orthogonal(gain=2.0)", "orthogonal(gain=activation)"])
@settings(max_examples=20)
@given(shape=st.sampled_from([(5, 9), (9, 5), (7, 7), (4, 3, 3, 3), (40, 2, 3, 3)]), seed=st.integers(0, 1000))
def test_orthogonal_weights_are_orthogonal(level: str, shape: tuple[int, ...], seed: int) -> None:
    factor = {"orthogonal": 1.0, "orthogonal(gain=2.0)": 2.0}.get(level, 5 / 3)
    flat = drawn(level, shape, seed, "tanh").flatten(1).double()
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64) * factor**2, rtol=0, atol=1e-5)


def test_orthogonal_weights_are_drawn_uniformly() -> None:
    """The entries of a uniform orthogonal n x n matrix have mean 0 and variance 1/n; a QR without signs has not."""
    draws = torch.stack([drawn("orthogonal", (3, 3), seed) for seed in range(2000)]).double()
    torch.testing.assert_close(draws.mean(0), torch.zeros(3, 3, dtype=torch.float64), rtol=0, atol=0.06)
    torch.testing.assert_close(
        draws.square().mean(0), torch.full((3, 3), 1 / 3, dtype=torch.float64), rtol=0, atol=0.03
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "selu", "maxout", "prelu"])
@pytest.mark.parametrize("network", ["mlp(depth=5, width=40)", "cnn(depth=2, width=8)"])
@pytest.mark.parametrize("normalisation", ["none", "batch", "weight"])
def test_lsuv_gives_every_layers_output_variance_one(network: str, activation: str, normalisation: str) -> None:
    module = build_network(network, activation, normalisation, SHAPE, 10)
    values = start(module, "lsuv", activation=activation)
    x = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(99))
    variances = []
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.register_forward_hook(lambda _, inputs, output: variances.append(output.var().item()))
    with torch.no_grad():
        torch.func.functional_call(module.eval(), values, (x,))
    assert len(variances) in (3, 6)
    assert all(abs(variance - 1) < 0.1 for variance in variances), variances


def test_lsuv_starts_from_orthogonal_weights_and_scales_them_alone() -> None:
    module = build_network("mlp(depth=2, width=16)", "relu", "none", SHAPE, 10)
    scaled, plain = start(module, "lsuv(bias=0.01)"), start(module, "orthogonal(bias=0.01)")
    for name in plain:
        ratio = scaled[name] / plain[name]
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand(ratio.shape), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scaled["output.bias"], plain["output.bias"])


def test_lsuv_gives_up_on_a_layer_without_variance() -> None:
    module = build_network("mlp(depth=2, width=16)", "binary_step", "none", SHAPE, 10)
    x = torch.zeros(64, *SHAPE)
    values = initial_parameters(module, TRIAL._replace(init="lsuv", activation="binary_step"), lambda: x)
    assert all(value.isfinite().all() for value in values.values())


@pytest.mark.parametrize("level", INITIALISATIONS)
@pytest.mark.parametrize("bias", [0.01, -1.0])
def test_every_level_takes_a_bias_and_gives_it_to_every_layer(level: str, bias: float) -> None:
    network = build_network("mlp(depth=2, width=16)", "prelu", "layer", SHAPE, 10)
    given, without = start(network, f"{level}(bias={bias})"), start(network, level)
    for name, value in given.items():
        if name.endswith(("linear.bias", "output.bias")):
            assert torch.equal(value, torch.full_like(value, bias))
            assert not without[name].any()
        elif not level.startswith("lsuv"):
            assert torch.equal(value, without[name]), name


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_seed_draws_the_same_and_another_seed_does_not(level: str) -> None:
    torch.testing.assert_close(drawn(level, (10, 20), 3), drawn(level, (10, 20), 3), rtol=0, atol=0)
    if level not in ("zeros", "constant"):
        assert not torch.equal(drawn(level, (10, 20), 3), drawn(level, (10, 20), 4))


@pytest.mark.parametrize("level", INITIALISATIONS)
def test_draws_do_not_touch_torchs_own_generator(level: str) -> None:
    network = build_network("mlp(depth=2, width=16)", "relu", "none", SHAPE, 10)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    start(network, level)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("levels", [UNIFORM, [level for level in RANDOM if level not in UNIFORM]])
def test_levels_of_one_distribution_differ_in_scale_alone(levels: list[str]) -> None:
    assert len(levels) > 2
    units = [drawn(level, (10, 20)) / torch_std(level, torch.empty(10, 20)) for level in levels]
    for unit in units[1:]:
        torch.testing.assert_close(unit, units[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("level", [level for level in LEVELS if not depends_on_data(level)])
def test_a_layers_draws_do_not_depend_on_the_other_layers(level: str) -> None:
    shallow = build_network("mlp(depth=1, width=16)", "relu", "none", SHAPE, 10)
    deep = build_network("mlp(depth=3, width=16)", "tanh", "batch", SHAPE, 10)
    a, b = start(shallow, level, 5), start(deep, level, 5)
    for name in set(a) & set(b):
        assert torch.equal(a[name], b[name])


@pytest.mark.parametrize("level", RANDOM)
def test_layers_of_one_shape_are_drawn_apart(level: str) -> None:
    values = start(build_network("mlp(depth=3, width=16)", "relu", "none", (16,), 10), level)
    assert not torch.equal(values["hidden.1.linear.weight"], values["hidden.2.linear.weight"])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("network", ["mlp(depth=2, width=16)", "cnn(depth=2, width=4)"])
def test_every_parameter_has_a_value_and_the_network_is_left_alone(level: str, network: str) -> None:
    module = build_network(network, "prelu", "batch", SHAPE, 10)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    values = start(module, level)
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        name: tuple(parameter.shape) for name, parameter in module.named_parameters()
    }
    for name, value in values.items():
        assert (value.dtype, value.device.type) == (torch.float32, "cpu")
        if name.endswith("activation.weight"):
            assert value.item() == 0.25
        elif "normalisation" in name:
            assert (value == (1.0 if name.endswith("weight") else 0.0)).all()
    assert all(torch.equal(before[name], value) for name, value in module.named_parameters())


def test_the_gain_of_the_activation_is_the_trials_own() -> None:
    relu, tanh = (drawn("xavier_normal(gain=activation)", (10, 20), 0, each) for each in ("relu", "tanh"))
    torch.testing.assert_close(relu / gain("relu"), tanh / gain("tanh"))


def test_changing_what_was_drawn_does_not_change_the_next_draw() -> None:
    for level in LEVELS:
        before = drawn(level, (4, 4)).clone()
        drawn(level, (4, 4)).mul_(7)
        assert torch.equal(drawn(level, (4, 4)), before), level
