"""Values and slopes of the activations, found by autograd, against their formulas and derivatives written out once more (A1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import optimize, special

from trainatlas.claims.observations import Check
from trainatlas.model.activations import ACTIVATIONS, maximum_slope
from trainatlas.study.texts import worded

POINTS = (-10.0, 0.0, 10.0)
"""Where values and slopes are looked at: those of CS231n's question about the sigmoid gate."""

_STATED = 1e-6
"""What a largest slope in the table may be off: it serves as a unit for thresholds, and some are stated to six digits."""


@dataclass(frozen=True)
class ClosedForm:
    """An activation at its default options, as a function of one number.

    Attributes
    ----------
    value, slope
        f and f'.
    largest
        Largest |f'| over all numbers; at a kink, the limit from its steeper side.
    at
        A number where |f'| is that, or just beside it.
    kink
        The slopes left and right of 0 where they differ: any slope between them is a subgradient.
    tolerance
        What rounding inside the activation may add.
    """

    value: Callable[[float], float]
    slope: Callable[[float], float]
    largest: float
    at: float = 0.0
    kink: tuple[float, float] | None = None
    tolerance: float = 1e-12


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _tanh_slope(x: float) -> float:
    return 1 / math.cosh(x) ** 2


def _silu_slope(x: float) -> float:
    return _logistic(x) * (1 + x * _logistic(-x))


def _mish_slope(x: float) -> float:
    bend = math.log1p(math.exp(x))
    return math.tanh(bend) + x * _tanh_slope(bend) * _logistic(x)


def _gelu_slope(x: float) -> float:
    return float(special.ndtr(x)) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _step_between(x: float, low: float, high: float) -> float:
    return float(low < x < high)


def _steepest(slope: Callable[[float], float]) -> float:
    """Return where a slope with one maximum between 1 and 3 is largest; it is flat there, so the slope has all its digits."""
    found = optimize.minimize_scalar(lambda x: -slope(x), bounds=(1, 3), method="bounded", options={"xatol": 1e-9})
    return float(found.x)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


def _rectifier(below: float) -> ClosedForm:
    return ClosedForm(lambda x: x if x > 0 else below * x, lambda x: 1.0 if x > 0 else below, 1.0, 1.0, (below, 1.0))


CLOSED_FORMS = {
    "relu": _rectifier(0.0),
    "leaky_relu": _rectifier(0.01),
    "prelu": _rectifier(0.25),
    "elu": ClosedForm(lambda x: x if x > 0 else math.exp(x) - 1, lambda x: math.exp(min(x, 0.0)), 1.0),
    "selu": ClosedForm(
        lambda x: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * (math.exp(x) - 1)),
        lambda x: _SELU_SCALE * (1.0 if x > 0 else _SELU_ALPHA * math.exp(x)),
        _SELU_SCALE * _SELU_ALPHA,
        kink=(_SELU_SCALE * _SELU_ALPHA, _SELU_SCALE),
    ),
    # f'' = (2 - x^2) times the density, so the slope is largest at the root of 2.
    "gelu": ClosedForm(lambda x: x * float(special.ndtr(x)), _gelu_slope, _gelu_slope(math.sqrt(2)), math.sqrt(2)),
    "silu": ClosedForm(
        lambda x: x * _logistic(x), _silu_slope, _silu_slope(_steepest(_silu_slope)), _steepest(_silu_slope)
    ),
    "mish": ClosedForm(
        lambda x: x * math.tanh(math.log1p(math.exp(x))),
        _mish_slope,
        _mish_slope(_steepest(_mish_slope)),
        _steepest(_mish_slope),
    ),
    "softplus": ClosedForm(lambda x: math.log1p(math.exp(x)), _logistic, 1.0, 20.0, tolerance=1e-8),
    "softsign": ClosedForm(lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, 1.0),
    "tanh": ClosedForm(lambda x: (1 - math.exp(-2 * x)) / (1 + math.exp(-2 * x)), _tanh_slope, 1.0),
    "scaled_tanh": ClosedForm(
        lambda x: 1.7159 * math.tanh(2 * x / 3), lambda x: 1.7159 * 2 / 3 * _tanh_slope(2 * x / 3), 1.7159 * 2 / 3
    ),
    "sigmoid": ClosedForm(_logistic, lambda x: _logistic(x) * _logistic(-x), 0.25),
    "hardtanh": ClosedForm(lambda x: min(max(x, -1.0), 1.0), lambda x: _step_between(x, -1, 1), 1.0),
    # torch multiplies by a sixth rounded to single precision.
    "hardsigmoid": ClosedForm(
        lambda x: min(max(x / 6 + 0.5, 0.0), 1.0), lambda x: _step_between(x, -3, 3) / 6, 1 / 6, tolerance=1e-8
    ),
    "hardswish": ClosedForm(
        lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
        lambda x: 0.0 if x < -3 else 1.0 if x > 3 else x / 3 + 0.5,
        1.5,
        3 - 1e-13,
    ),
    # At its starting point, alpha = 0; its formula divides by 1e-12 there, which leaves x^2 / 2 times that.
    "soft_exponential": ClosedForm(lambda x: x, lambda x: 1.0, 1.0, tolerance=1e-10),
    "cos": ClosedForm(math.cos, lambda x: -math.sin(x), 1.0, math.pi / 2),
    "binary_step": ClosedForm(lambda x: float(x >= 0), lambda x: 0.0, 0.0),
    "identity": ClosedForm(lambda x: x, lambda x: 1.0, 1.0),
}
"""Every activation of the table but maxout, which is no function of one number."""


def slopes() -> list[Check]:
    """Check values and slopes at -10, 0 and 10, and the largest slope, of every activation of one number.

    The slope is autograd's; the largest is sought on 40,001 points of [-20, 20] and where the closed form has it. For sigmoid
    these are 4.5e-5, 1/4, 4.5e-5 and 1/4, for tanh 8.2e-9, 1, 8.2e-9 and 1 (CS231n 2016, lecture 5). The largest slopes that
    the table states, against which dead and saturated units are measured, are checked beside.
    """
    checks = []
    for name, form in CLOSED_FORMS.items():
        points, tolerance = torch.tensor(POINTS, dtype=torch.float64), form.tolerance
        values, found = _by_autograd(name, points)
        for x, value, slope in zip(POINTS, values.tolist(), found.tolist(), strict=True):
            checks.append(Check(f"{name}({x:g})", form.value(x), value, tolerance))
            if x == 0 and form.kink is not None:
                low, high = sorted(form.kink)
                what = worded(
                    "slope of {activation} at the kink at 0, anything from {low} to {high}",
                    activation=name,
                    low=f"{low:.6g}",
                    high=f"{high:.6g}",
                )
                checks.append(Check(what, (low + high) / 2, slope, (high - low) / 2 + tolerance))
            else:
                what = worded("slope of {activation} at {x}", activation=name, x=f"{x:g}")
                checks.append(Check(what, form.slope(x), slope, tolerance))
        grid = torch.cat([torch.linspace(-20, 20, 40_001, dtype=torch.float64), torch.tensor([form.at]).double()])
        largest = _by_autograd(name, grid)[1].abs().max().item()
        what = worded("largest slope of {activation}", activation=name)
        checks.append(Check(what, form.largest, largest, tolerance))
        if form.largest:  # an activation without slope has 1 in the table, by which all its units are dead
            what = worded("largest slope of {activation} in the table", activation=name)
            checks.append(Check(what, form.largest, maximum_slope(name), _STATED))
    return checks


def _by_autograd(name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the activation's values and slopes, each of the shape of `x`."""
    x = x.clone().requires_grad_()
    values: torch.Tensor = ACTIVATIONS.build(name).double()(x)
    (found,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), found
