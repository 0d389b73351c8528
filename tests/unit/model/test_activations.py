"""An activation is the function its formula says, and its largest slope is what autograd finds."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor, nn

from trainatlas.model.activations import ACTIVATIONS, gain, maximum_slope, pieces
from trainatlas.model.modules import soft_exponential
from trainatlas.study.levels import parse_level

GRID = torch.cat([torch.linspace(-30, 30, 60_001, dtype=torch.float64), torch.tensor([-1e-9, 1e-9])])
EACH_ALONE = [level for level in ACTIVATIONS if level != "maxout"]
SMOOTH = ["gelu", "silu", "mish", "softplus", "softsign", "tanh", "scaled_tanh", "sigmoid", "soft_exponential", "cos"]
PARAMETERS = {"prelu": [0.25], "soft_exponential": [0.0]}

# The formulas once more, in plain torch or as torch names them. A level without an entry here is held to its
# derivative, its largest slope and its shape alone.
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "leaky_relu(slope=0.2)": lambda x: torch.where(x > 0, x, 0.2 * x),
    "prelu": nn.PReLU(dtype=torch.float64),
    "prelu(slope=0.125)": nn.PReLU(init=0.125, dtype=torch.float64),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(max=0))),
    "elu(alpha=0.5)": lambda x: torch.where(x > 0, x, 0.5 * torch.expm1(x.clamp(max=0))),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * torch.expm1(x.clamp(max=0))),
    "gelu": lambda x: x * torch.from_numpy(stats.norm.cdf(x.numpy())),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "mish": lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x))),
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "softplus(beta=3.0)": lambda x: torch.logaddexp(3 * x, torch.zeros_like(x)) / 3,
    "softsign": lambda x: x / (1 + x.abs()),
    "tanh": lambda x: 1 - 2 / (torch.exp(2 * x) + 1),
    "scaled_tanh": lambda x: 1.7159 * (1 - 2 / (torch.exp(4 / 3 * x) + 1)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "hardtanh": lambda x: torch.maximum(torch.minimum(x, torch.ones_like(x)), -torch.ones_like(x)),
    "hardsigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "hardswish": lambda x: x * (x / 6 + 0.5).clamp(0, 1),
    "soft_exponential": lambda x: x,
    "soft_exponential(alpha=0.5)": lambda x: (torch.exp(0.5 * x) - 1) / 0.5 + 0.5,
    "cos": lambda x: torch.sin(x + math.pi / 2),
    "binary_step": lambda x: (x >= 0).double(),
    "identity": lambda x: x,
}


def slopes(level: str, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ACTIVATIONS.build(level).double()(x).sum(), x)
    return slope


@pytest.mark.parametrize("level", FORMULAS)
def test_the_module_computes_its_formula(level: str) -> None:
    with torch.no_grad():
        found, expected = ACTIVATIONS.build(level).double()(GRID), FORMULAS[level](GRID)
    tolerance = 1e-8 if level.startswith("softplus") else 1e-11  # torch's softplus is a straight line from 20 / beta on
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=tolerance)


@pytest.mark.parametrize("level", EACH_ALONE)
def test_the_largest_slope_is_what_autograd_finds(level: str) -> None:
    found = slopes(level, GRID).abs().max().item()
    if level == "binary_step":
        assert found == 0  # all its units are dead: slopes are then measured against 1
    else:
        assert found == pytest.approx(maximum_slope(level), rel=1e-6)


@pytest.mark.parametrize("level", EACH_ALONE)
def test_the_module_treats_every_element_alone_and_has_the_parameters_it_learns(level: str) -> None:
    module = ACTIVATIONS.build(level)
    assert isinstance(module, nn.Module)
    assert level not in PARAMETERS or [p.item() for p in module.parameters()] == PARAMETERS[level]
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), torch.stack([module(row) for row in x.flatten()]).reshape(5, 7))


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_the_slope_of_prelu_at_its_kink_is_torchs(slope: float) -> None:
    x = torch.zeros(1, dtype=torch.float64)
    (expected,) = torch.autograd.grad(
        nn.PReLU(init=slope, dtype=torch.float64)(leaf := x.clone().requires_grad_()), leaf
    )
    assert slopes(f"prelu(slope={slope})", x).item() == expected.item() == slope


@given(slope=st.floats(0.0, 1.0), alpha=st.floats(1e-6, 1.0), beta=st.floats(1e-3, 100.0))
def test_no_option_makes_a_slope_larger_than_the_entry_says(slope: float, alpha: float, beta: float) -> None:
    for level in (f"leaky_relu(slope={slope!r})", f"elu(alpha={alpha!r})", f"softplus(beta={beta!r})"):
        assert slopes(level, GRID[::100]).abs().max().item() <= maximum_slope(level) * (1 + 1e-9)


@given(x=st.floats(-19, 19))
def test_the_slope_is_the_derivative(x: float) -> None:
    step = 1e-6
    kinks = (-3.0, -1.0, 0.0, 1.0, 3.0)
    if any(abs(x - kink) < 2 * step for kink in kinks):
        return  # at a kink a difference is no derivative
    for level in EACH_ALONE:
        module = ACTIVATIONS.build(level).double()
        ends = torch.tensor([x - step, x + step], dtype=torch.float64)
        low, high = module(ends).tolist()
        slope = slopes(level, torch.tensor([x], dtype=torch.float64)).item()
        assert math.isclose(slope, (high - low) / (2 * step), rel_tol=1e-4, abs_tol=1e-7), level


@pytest.mark.parametrize("level", SMOOTH)
def test_gradients_pass_torchs_own_check(level: str) -> None:
    module = ACTIVATIONS.build(level).double()
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize("alpha", [-0.7, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.4, 1.0])
def test_soft_exponential_has_its_three_branches_and_their_gradients(alpha: float) -> None:
    a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-0.6, 2, 27, dtype=torch.float64, requires_grad=True)
    exact = {-1: lambda v: -math.log(1 - alpha * (v + alpha)) / alpha, 0: lambda v: v,
             1: lambda v: (math.exp(alpha * v) - 1) / alpha + alpha}  # fmt: skip
    branch = exact[(alpha > 0) - (alpha < 0)]
    expected = torch.tensor([branch(v) for v in x.tolist()], dtype=torch.float64)
    tolerance = max(1e-12, 1e-15 / max(abs(alpha), 1e-9) if alpha else 0)  # what the plain formula loses itself
    torch.testing.assert_close(soft_exponential(x, a), expected, rtol=tolerance * 10, atol=tolerance * 10)
    assert torch.autograd.gradcheck(soft_exponential, (x, a), eps=1e-7, atol=1e-5)


def test_soft_exponential_learns_from_where_it_starts() -> None:
    """At alpha = 0, where it is the identity, its derivative by alpha is 1 + x^2 / 2 from either side."""
    a = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for x in (-2.0, 0.0, 3.0):
        (slope,) = torch.autograd.grad(soft_exponential(torch.tensor(x, dtype=torch.float64), a), a)
        assert slope.item() == pytest.approx(1 + x * x / 2)


def test_soft_exponential_is_not_a_number_beyond_its_domain() -> None:
    a = torch.tensor(-0.5, dtype=torch.float64)
    limit = 0.5 - 1 / 0.5
    ends = torch.tensor([limit + 1e-3, limit - 1e-3], dtype=torch.float64)
    assert soft_exponential(ends, a).isfinite().tolist() == [True, False]


@given(k=st.integers(2, 16), units=st.integers(1, 5))
def test_maxout_takes_the_largest_of_each_k(k: int, units: int) -> None:
    module = ACTIVATIONS.build(f"maxout(k={k})")
    assert pieces(parse_level(f"maxout(k={k})", ACTIVATIONS)) == k
    x = torch.randn(6, units * k, generator=torch.Generator().manual_seed(k))
    expected = [[max(row[u * k : (u + 1) * k]) for u in range(units)] for row in x.tolist()]
    torch.testing.assert_close(module(x), torch.tensor(expected))
    image = x.reshape(6, units * k, 1, 1).expand(-1, -1, 2, 3)
    torch.testing.assert_close(module(image), torch.tensor(expected)[:, :, None, None].expand(-1, -1, 2, 3))


@pytest.mark.parametrize(
    ("level", "name", "parameter"),
    [
        ("relu", "relu", None),
        ("leaky_relu", "leaky_relu", 0.01),
        ("leaky_relu(slope=0.3)", "leaky_relu", 0.3),
        ("tanh", "tanh", None),
        ("sigmoid", "sigmoid", None),
        ("selu", "selu", None),
        ("identity", "linear", None),
    ],
)
def test_gains_are_torchs_where_torch_has_them(level: str, name: str, parameter: float | None) -> None:
    assert gain(level) == pytest.approx(nn.init.calculate_gain(name, parameter))


@pytest.mark.parametrize("level", ["gelu", "silu", "elu", "softsign", "cos", "hardtanh", "prelu"])
def test_other_gains_keep_the_second_moment_of_a_normal_variable(level: str) -> None:
    module = ACTIVATIONS.build(level).double()

    def density(z: float) -> float:
        return float(module(torch.tensor(z, dtype=torch.float64)).item() ** 2 * stats.norm.pdf(z))

    moment = integrate.quad(density, -12, 0)[0] + integrate.quad(density, 0, 12)[0]
    assert gain(level) == pytest.approx(1 / math.sqrt(moment), rel=1e-5)


def test_the_gain_of_maxout_is_that_of_the_largest_of_k_normals() -> None:
    draws = torch.randn(1_000_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).amax(1)
    assert gain("maxout(k=3)") == pytest.approx(1 / draws.square().mean().sqrt().item(), rel=5e-3)
