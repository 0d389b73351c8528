"""Networks are ordinary modules with the layers, names and sizes the level says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cases import naming
from trainatlas.model.activations import ACTIVATIONS
from trainatlas.model.architectures import NETWORKS, build_network
from trainatlas.model.modules import Dropout
from trainatlas.model.normalisation import NORMALISATIONS


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_combination_builds_and_yields_a_logit_a_class(network: str, normalisation: str) -> None:
    if (network, normalisation) == ("mlp", "instance"):
        pytest.skip("excluded: a unit has no pixels")
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for activation in ACTIVATIONS:
        with naming(activation):
            module = build_network(network, activation, normalisation, (3, 8, 8), 7)
            logits = module(x)
            assert logits.shape == (4, 7)
            logits.sum().backward()
            assert all(parameter.grad is not None for parameter in module.parameters())


@given(
    depth=st.integers(1, 6),
    width=st.integers(1, 50),
    shape=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    classes=st.integers(2, 20),
    normalisation=st.sampled_from(["none", "batch", "batch(affine=False)", "batch(position=after)", "layer", "weight"]),
    k=st.integers(1, 4),
)
def test_an_mlp_has_as_many_parameters_as_its_closed_form(
    depth: int, width: int, shape: list[int], classes: int, normalisation: str, k: int
) -> None:
    activation = "relu" if k == 1 else f"maxout(k={k})"
    network = f"mlp(depth={depth}, width={width})"
    with torch.device("meta"):
        module = build_network(network, activation, normalisation, tuple(shape), classes)
    inputs, pieces = math.prod(shape), width * k
    weights = inputs * pieces + (depth - 1) * width * pieces
    a_unit = {"none": 1, "batch": 2, "batch(affine=False)": 0, "layer": 3, "weight": 2}  # biases, scales, shifts
    after = normalisation == "batch(position=after)"
    beside = depth * (pieces + 2 * width) if after else depth * pieces * a_unit[normalisation]
    expected = weights + beside + (width + 1) * classes
    assert sum(parameter.numel() for parameter in module.parameters()) == expected


@pytest.mark.parametrize(("activation", "learned"), [("relu", 0), ("prelu", 3), ("soft_exponential", 3), ("gelu", 0)])
def test_learned_activations_count_a_parameter_a_layer(activation: str, learned: int) -> None:
    plain, module = (build_network("mlp(depth=3)", each, "none", (8,), 10) for each in ("relu", activation))
    counts = [sum(parameter.numel() for parameter in each.parameters()) for each in (plain, module)]
    assert counts[1] - counts[0] == learned


def test_maxout_doubles_the_weights_of_its_layer() -> None:
    for network in ("mlp(depth=1, width=12)", "cnn(depth=1, width=12)"):
        relu, maxout = (build_network(network, each, "none", (1, 8, 8), 10) for each in ("relu", "maxout"))
        own = [next(iter(each.parameters())).numel() for each in (relu, maxout)]
        assert own[1] == 2 * own[0]
        assert relu.get_submodule("output").weight.shape == maxout.get_submodule("output").weight.shape


@settings(max_examples=30)
@given(
    depth=st.integers(1, 4),
    width=st.integers(1, 9),
    side=st.integers(2, 20),
    pooling=st.sampled_from(["max", "average"]),
)
def test_a_cnn_is_its_blocks(depth: int, width: int, side: int, pooling: str) -> None:
    module = build_network(f"cnn(depth={depth}, width={width}, pooling={pooling})", "relu", "none", (3, side, side), 10)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    values = dict(module.named_parameters())
    z, channels = x, 3
    for i in range(depth):
        weight = values[f"hidden.{i}.convolution.weight"]
        assert weight.shape == (width * 2**i, channels, 3, 3)
        z = nn.functional.conv2d(z, weight, values[f"hidden.{i}.convolution.bias"], padding=1).relu()
        if z.shape[-1] > 1:
            z = nn.functional.max_pool2d(z, 2) if pooling == "max" else nn.functional.avg_pool2d(z, 2)
        channels = width * 2**i
    torch.testing.assert_close(module(x), z.flatten(1) @ values["output.weight"].T + values["output.bias"])


def test_an_mlp_is_the_chain_of_its_layers() -> None:
    module = build_network("mlp(depth=2, width=6)", "tanh", "batch", (1, 4, 4), 10).double().eval()
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = dict(module.named_parameters())
    z = x.reshape(5, 16)
    for i in range(2):
        z = z @ values[f"hidden.{i}.linear.weight"].T  # without a bias, which the normalisation would take away
        z = torch.tanh(z / math.sqrt(1 + 1e-5))  # running mean 0, running variance 1
    torch.testing.assert_close(module(x), z @ values["output.weight"].T + values["output.bias"])


@pytest.mark.parametrize(
    ("normalisation", "dropout", "order"),
    [
        ("batch", None, ["linear", "normalisation", "activation"]),
        ("batch(position=after)", None, ["linear", "activation", "normalisation"]),
        ("batch", 0.5, ["linear", "normalisation", "activation", "dropout"]),
        ("batch(position=after)", 0.5, ["linear", "activation", "normalisation", "dropout"]),
    ],
)
def test_the_parts_of_a_hidden_layer_stand_in_order(
    normalisation: str, dropout: float | None, order: list[str]
) -> None:
    layer = build_network("mlp(depth=1)", "relu", normalisation, (8,), 10, dropout).get_submodule("hidden.0")
    assert [name for name, _ in layer.named_children()] == order
    kinds = {"linear": nn.Linear, "normalisation": nn.BatchNorm1d, "activation": nn.ReLU, "dropout": Dropout}
    assert all(isinstance(part, kinds[name]) for name, part in layer.named_children())


def test_dropout_drops_by_the_draws_it_is_given_and_only_while_training() -> None:
    module = Dropout(0.25).double()
    x = torch.ones(4, 6, dtype=torch.float64)
    module.noise = torch.linspace(0, 0.99, 24, dtype=torch.float64).reshape(4, 6)
    expected = (module.noise >= 0.25).double() / 0.75
    torch.testing.assert_close(module.train()(x), expected)
    assert torch.equal(module.eval()(x), x)


# The CIFAR networks of He et al. 2016.


@pytest.mark.parametrize(
    ("network", "layers", "millions"),
    [("resnet(depth=20)", 20, 0.27), ("resnet(depth=56)", 56, 0.85), ("cnn_deep", 20, 0.27)],
)
def test_deep_networks_are_as_large_as_their_paper_says(network: str, layers: int, millions: float) -> None:
    with torch.device("meta"):
        module = build_network(network, "relu", "batch", (3, 32, 32), 10)
    weighted = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    assert len(weighted) == layers
    assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("network", ["resnet(width=4)", "cnn_deep(depth=7, width=4)"])
def test_sides_are_halved_and_channels_doubled_between_stages(network: str) -> None:
    module = build_network(network, "relu", "none", (3, 16, 16), 10)
    shapes: list[tuple[int, ...]] = []
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape[1:])))
    module(torch.zeros(1, 3, 16, 16))
    assert list(dict.fromkeys(shapes)) == [(4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert len(shapes) == 7


def test_a_residual_block_whose_convolutions_are_zero_passes_its_input_on() -> None:
    module = build_network("resnet(width=4)", "relu", "none", (3, 8, 8), 10)
    first, same, halving = (module.get_submodule(f"hidden.{i}") for i in range(3))
    for block in (same, halving):
        for part in block.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.zeros_(part.weight)
                assert part.bias is not None
                nn.init.zeros_(part.bias)
    x = first(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(same(x), x)  # after relu it is not negative, so the second relu changes nothing
    expected = torch.zeros(2, 8, 4, 4)
    expected[:, 2:6] = x[:, :, ::2, ::2]
    torch.testing.assert_close(halving(x), expected)


def test_the_plain_net_is_the_residual_one_without_its_shortcuts() -> None:
    plain, residual = (
        build_network(each, "relu", "batch", (3, 16, 16), 10) for each in ("cnn_deep(depth=7)", "resnet")
    )
    assert [tuple(p.shape) for p in plain.parameters()] == [tuple(p.shape) for p in residual.parameters()]


@pytest.mark.parametrize("depth", [8, 13, 14, 19, 20])
def test_a_residual_networks_depth_is_rounded_down_to_whole_blocks(depth: int) -> None:
    module = build_network(f"resnet(depth={depth}, width=2)", "relu", "none", (3, 16, 16), 10)
    weighted = sum(isinstance(part, (nn.Linear, nn.Conv2d)) for part in module.modules())
    assert weighted == depth - (depth - 2) % 6


def test_what_is_built_does_not_depend_on_torchs_own_generator_nor_touches_it() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_network("mlp", "relu", "none", (8,), 10)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_network("mlp", "relu", "none", (8,), 10)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
