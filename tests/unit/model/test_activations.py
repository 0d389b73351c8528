"""An activation is the torch function its formula says, and its largest slope is what autograd finds."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainatlas.model.activations import ACTIVATIONS, maximum_slope

GRID = torch.cat([torch.linspace(-30, 30, 60_001, dtype=torch.float64), torch.tensor([-1e-9, 1e-9])])

# The formulas once more, in plain torch; a level without an entry here is held to its slope and shape alone.
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "leaky_relu(slope=0.2)": lambda x: torch.where(x > 0, x, 0.2 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(max=0))),
    "elu(alpha=0.5)": lambda x: torch.where(x > 0, x, 0.5 * torch.expm1(x.clamp(max=0))),
    "tanh": lambda x: 1 - 2 / (torch.exp(2 * x) + 1),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "identity": lambda x: x,
}


def slopes(level: str, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ACTIVATIONS.build(level)(x).sum(), x)
    return slope


@pytest.mark.parametrize("level", FORMULAS)
def test_the_module_computes_its_formula(level: str) -> None:
    torch.testing.assert_close(ACTIVATIONS.build(level)(GRID), FORMULAS[level](GRID), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("level", ACTIVATIONS)
def test_the_largest_slope_is_what_autograd_finds(level: str) -> None:
    assert slopes(level, GRID).abs().max().item() == pytest.approx(maximum_slope(level), rel=1e-6)


@pytest.mark.parametrize("level", ACTIVATIONS)
def test_the_module_is_elementwise_and_without_parameters(level: str) -> None:
    module = ACTIVATIONS.build(level)
    assert isinstance(module, nn.Module)
    assert list(module.parameters()) == []
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), torch.stack([module(row) for row in x.flatten()]).reshape(5, 7))


@given(slope=st.floats(0.0, 1.0), alpha=st.floats(1e-6, 1.0))
def test_no_option_makes_a_slope_larger_than_the_entry_says(slope: float, alpha: float) -> None:
    for level in (f"leaky_relu(slope={slope!r})", f"elu(alpha={alpha!r})"):
        assert slopes(level, GRID[::100]).abs().max().item() <= maximum_slope(level) * (1 + 1e-9)


@given(x=st.floats(-50, 50))
def test_the_slope_is_the_derivative(x: float) -> None:
    step = 1e-6
    for level in ACTIVATIONS:
        if abs(x) < 2 * step:
            continue  # at a kink a difference is no derivative
        module = ACTIVATIONS.build(level)
        ends = torch.tensor([x - step, x + step], dtype=torch.float64)
        low, high = module(ends).tolist()
        slope = slopes(level, torch.tensor([x], dtype=torch.float64)).item()
        assert math.isclose(slope, (high - low) / (2 * step), rel_tol=1e-4, abs_tol=1e-7)
