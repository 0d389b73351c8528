"""Modules that torch lacks, or has in a form that cannot be stacked.

All are ordinary modules: a plain loop trains them as they are, and `torch.func` maps them over trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Elementwise(nn.Module):
    """A function of one number, applied to every element."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's values, of the shape of `x`."""
        return self.function(x)


def binary_step(x: Tensor) -> Tensor:
    """Return 1 where x >= 0 and 0 below; through `sign`, whose gradient autograd knows to be 0."""
    return ((x.sign() + 0.5).sign() + 1) / 2


def mish(x: Tensor) -> Tensor:
    """Return x tanh(ln(1 + exp(x))); torch's own cannot be mapped over trials but one by one."""
    return x * torch.tanh(F.softplus(x))


class PReLU(nn.Module):
    """x for x > 0, weight * x below, one learned weight a layer (He et al. 2015, eq. 1, channel-shared)."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([slope]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation, of the shape of `x`."""
        return F.relu(x) + self.weight * x.clamp(max=0)


class SoftExponential(nn.Module):
    """Soft exponential with one learned alpha a layer (Godfrey and Gashler 2015, eq. 1).

    Where alpha < 0 it is defined for x > -alpha + 1 / alpha alone; below that it is not a number.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([alpha]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation, of the shape of `x`."""
        return soft_exponential(x, self.alpha)


def soft_exponential(x: Tensor, alpha: Tensor) -> Tensor:
    """Return -ln(1 - alpha (x + alpha)) / alpha, x, or (exp(alpha x) - 1) / alpha + alpha: alpha <, =, > 0.

    At alpha = 0 the derivative by alpha is 1 + x^2 / 2 from both sides, so that it learns from there.

    Parameters
    ----------
    x
        Any shape.
    alpha
        A scalar.
    """
    result: Tensor = _SoftExponential.apply(x, alpha)  # type: ignore[no-untyped-call]
    return result


class _SoftExponential(torch.autograd.Function):
    """With derivatives written out: autograd's own would lose all digits of alpha's near alpha = 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: Tensor) -> Tensor:
        divisor = torch.where(alpha.abs() < _TINY, _TINY, alpha)  # below it both branches are x + alpha anyway
        rising = torch.expm1(divisor * x) / divisor + alpha
        falling = -torch.log1p(-divisor * (x + divisor)) / divisor
        return torch.where(alpha > -_TINY, rising, falling)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, alpha = ctx.saved_tensors
        rises = alpha >= 0
        y = x + alpha.clamp(max=0)
        u = alpha * y
        slope = torch.where(rises, u.clamp(max=80).exp(), 1 / (1 - u))
        # By alpha: y^2 h(u) and the slope of the alpha that is added; h is a difference over u, a series near u = 0.
        near = u.abs() < 0.02
        far = torch.where(near, 1.0, u)
        value = torch.where(rises, torch.expm1(far) / far, -torch.log1p(-torch.where(rises, 0.0, far)) / far)
        quotient = (slope - value) / far
        series = torch.zeros_like(u)
        for up, down in reversed(_SERIES):
            series = series * u + torch.where(rises, up, down)
        by_alpha = y.square() * torch.where(near, series, quotient) + torch.where(rises, 1.0, slope)
        return gradient * slope, (gradient * by_alpha).sum().reshape(alpha.shape)


_TINY = 1e-12
# Coefficients of u^0, u^1 ...: of (exp(u) - (exp(u) - 1) / u) / u, and of (1 / (1 - u) + ln(1 - u) / u) / u.
_SERIES = [((k + 1) / math.factorial(k + 2), (k + 1) / (k + 2)) for k in range(6)]


class Maxout(nn.Module):
    """The largest of each k neighbouring inputs (Goodfellow et al. 2013, eq. 1): k times as many inputs as outputs."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima: (examples, units, ...) from (examples, units * k, ...)."""
        return x.reshape(x.shape[0], -1, self.pieces, *x.shape[2:]).amax(2)


class Dropout(nn.Module):
    """Sets each output to 0 with probability p while training and scales the others by 1 / (1 - p).

    Srivastava et al. 2014, section 4, in the inverted form. The uniform draws are given, not made here: the
    trainer fills `noise` before each step from the trial's own stream, so they depend on nobody else.

    Parameters
    ----------
    p
        In [0, 1).
    """

    p: Tensor
    noise: Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p))
        self.register_buffer("noise", torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with outputs dropped while training, as it is otherwise."""
        if not self.training:
            return x
        return x * (self.noise >= self.p).to(x.dtype) / (1 - self.p)


class GroupNorm(nn.Module):
    """Group normalisation of flat outputs (Wu and He 2018, eq. 7), which torch's own does slowly when stacked.

    Parameters
    ----------
    groups, units
        `groups` divides `units`.
    """

    def __init__(self, groups: int, units: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(units))
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, (examples, units), normalised over each group of neighbouring units."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        return F.layer_norm(grouped, grouped.shape[2:]).reshape(x.shape) * self.weight + self.bias


class Residual(nn.Module):
    """Two convolutions, the input added, then the activation (He et al. 2016, Deep Residual Learning, eq. 1).

    Where the sides are halved and channels added, the shortcut takes every other pixel and fills the new channels
    with zeros (option A).

    Parameters
    ----------
    first
        Convolution, normalisation and activation.
    second
        Convolution and normalisation.
    activation
        What follows the addition.
    stride
        Of the first convolution: 1 or 2.
    """

    def __init__(self, first: nn.Module, second: nn.Module, activation: nn.Module, stride: int) -> None:
        super().__init__()
        self.first, self.second, self.activation = first, second, activation
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: (examples, channels, height, width)."""
        y: Tensor = self.second(self.first(x))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        added = y.shape[1] - x.shape[1]
        if added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, added // 2, added - added // 2))
        result: Tensor = self.activation(y + shortcut)
        return result


class GlobalAverage(nn.Module):
    """The mean over each channel's pixels: (examples, channels) from (examples, channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return x.mean((2, 3))


class WeightNorm(nn.Module):
    """Weight normalisation: w = scale * v / ||v|| for each unit (Salimans and Kingma 2016, eq. 2).

    The layer before it holds v and multiplies by it; what that yields is linear in v, so dividing
    by ||v|| afterwards is the same. It holds the bias too, since the layer's own would be scaled.

    Parameters
    ----------
    layer
        The linear or convolution layer before it, without bias.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self._layer = [layer]  # in a list, or the layer would be a part of this module too
        units = layer.weight.shape[0]
        self.weight = nn.Parameter(torch.ones(units))
        self.bias = nn.Parameter(torch.zeros(units))

    @property
    def layer(self) -> nn.Linear | nn.Conv2d:
        """The layer whose weights are normalised."""
        return self._layer[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised layer's output from that of the layer before."""
        factor = self.weight / norms(self.layer.weight).clamp(min=1e-12)
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * factor.reshape(shape) + self.bias.reshape(shape)


def norms(weight: Tensor) -> Tensor:
    """Return the L2 norm of each unit's incoming weights: (units,) from (units, ...)."""
    result: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return result
