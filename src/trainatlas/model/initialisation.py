"""Initialisation of weights: each entry says how widely a layer's weights are drawn.

Draws are paired: for one seed, a layer's standard normal (or uniform) draws are the same
whatever the level, which only scales them. Biases start at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option
from trainatlas.study.streams import stream_key

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")


@dataclass(frozen=True)
class Law:
    """How a layer's weights are drawn: a distribution of mean 0 and this standard deviation."""

    distribution: str
    std: Callable[[int, int], float]
    """Standard deviation from (fan_in, fan_out)."""


INITIALISATIONS = LevelTable(
    "init",
    Level(
        "normal",
        "N(0, std^2)",
        "CS231n 2017, lecture 6",
        lambda std: Law("normal", lambda fan_in, fan_out: std),
        {"std": Option(0.01, 0.0, 100.0, "standard deviation", open_low=True)},
    ),
    Level(
        "xavier_normal",
        "N(0, 2 / (fan_in + fan_out))",
        "Glorot and Bengio 2010, eq. 12",
        lambda: Law("normal", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    ),
    Level(
        "xavier_uniform",
        "U(-a, a), a = sqrt(6 / (fan_in + fan_out))",
        "Glorot and Bengio 2010, eq. 16",
        lambda: Law("uniform", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    ),
    Level(
        "kaiming_normal",
        "N(0, 2 / fan_in)",
        "He et al. 2015, eq. 10",
        lambda: Law("normal", lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    ),
    Level(
        "kaiming_uniform",
        "U(-a, a), a = sqrt(6 / fan_in)",
        "He et al. 2015, eq. 10",
        lambda: Law("uniform", lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    ),
)
"""Every initialisation by name."""


def initial_parameters(module: nn.Module, init: str, seed: int) -> dict[str, Tensor]:
    """Return initial values for every parameter of `module`, by name, float32 on the CPU.

    Weights of linear and convolution layers are drawn by the level that `init` names, each from
    its own stream "init/<parameter>"; their biases are zero. Parameters of other layers
    (a normalisation's scale and shift) are one for "weight" and zero for "bias".

    Parameters
    ----------
    module
        Gives names and shapes; it may stand on the meta device.
    init
        Canonical text of a level in `INITIALISATIONS`.
    seed
        The trial's seed.
    """
    law: Law = INITIALISATIONS.build(init)
    values: dict[str, Tensor] = {}
    for name, owner in module.named_modules():
        for part, parameter in owner.named_parameters(recurse=False):
            full = f"{name}.{part}" if name else part
            shape = tuple(parameter.shape)
            if part == "weight" and isinstance(owner, (nn.Linear, nn.Conv2d)):
                fan_in, fan_out = fans(shape)
                draws = _unit_draws(seed, f"init/{full}", shape, law.distribution)
                values[full] = draws * law.std(fan_in, fan_out)
            else:
                values[full] = torch.full(shape, 1.0 if part == "weight" else 0.0)
    return values


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (out, in, *kernel): kernel size times channels."""
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


@lru_cache(maxsize=256)
def _unit_draws(seed: int, stream: str, shape: tuple[int, ...], distribution: str) -> Tensor:
    """Draw from mean 0 and variance 1; the cache spares a pack of many levels the same draws."""
    generator = torch.Generator().manual_seed(stream_key(seed, stream))
    if distribution == "normal":
        return torch.randn(shape, generator=generator)
    return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)
