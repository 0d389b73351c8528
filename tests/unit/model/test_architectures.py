"""Networks are ordinary modules with the layers, names and sizes the level says."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainatlas.model.activations import ACTIVATIONS
from trainatlas.model.architectures import NETWORKS, build_network
from trainatlas.model.normalisation import NORMALISATIONS


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_combination_builds_and_yields_a_logit_a_class(network: str, activation: str, normalisation: str) -> None:
    module = build_network(network, activation, normalisation, (3, 8, 8), 7)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = module(x)
    assert logits.shape == (4, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@given(
    depth=st.integers(1, 6),
    width=st.integers(1, 50),
    shape=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    classes=st.integers(2, 20),
    normalisation=st.sampled_from(["none", "batch"]),
)
def test_an_mlp_has_as_many_parameters_as_its_closed_form(
    depth: int, width: int, shape: list[int], classes: int, normalisation: str
) -> None:
    with torch.device("meta"):
        module = build_network(f"mlp(depth={depth}, width={width})", "relu", normalisation, tuple(shape), classes)
    inputs = math.prod(shape)
    scales = 2 * width * depth if normalisation == "batch" else 0
    expected = (inputs + 1) * width + (depth - 1) * (width + 1) * width + scales + (width + 1) * classes
    assert sum(parameter.numel() for parameter in module.parameters()) == expected


def test_an_mlp_is_the_chain_of_its_layers() -> None:
    module = build_network("mlp(depth=2, width=6)", "tanh", "batch", (1, 4, 4), 10).double().eval()
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = dict(module.named_parameters())
    z = x.reshape(5, 16)
    for i in range(2):
        z = z @ values[f"hidden.{i}.linear.weight"].T + values[f"hidden.{i}.linear.bias"]
        z = torch.tanh(z / math.sqrt(1 + 1e-5))  # running mean 0, running variance 1
    torch.testing.assert_close(module(x), z @ values["output.weight"].T + values["output.bias"])


def test_normalisation_stands_before_the_activation() -> None:
    layer = build_network("mlp(depth=1)", "relu", "batch", (8,), 10).get_submodule("hidden.0")
    assert [name for name, _ in layer.named_children()] == ["linear", "normalisation", "activation"]
    assert [type(part) for part in layer.children()] == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
