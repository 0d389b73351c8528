"""Activations: each entry builds an ordinary, elementwise torch module.

`maximum_slope` is the largest |f'(x)| over all x: what "dead" and "saturated" are measured against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, split_level

if TYPE_CHECKING:
    from torch import nn
else:
    nn = LazyModule("torch.nn")


@dataclass(frozen=True, kw_only=True)
class ActivationLevel(Level):
    """An activation's entry: its formula, its source, and its largest slope."""

    maximum_slope: float = 1.0


ACTIVATIONS = LevelTable(
    "activation",
    ActivationLevel("relu", "max(0, x)", "Nair and Hinton 2010", lambda: nn.ReLU()),
    ActivationLevel(
        "leaky_relu",
        "x for x > 0, slope * x below",
        "Maas et al. 2013",
        lambda slope: nn.LeakyReLU(slope),
        {"slope": Option(0.01, 0.0, 1.0, "slope below zero")},
    ),
    ActivationLevel(
        "elu",
        "x for x > 0, alpha * (exp(x) - 1) below",
        "Clevert et al. 2016, eq. 15",
        lambda alpha: nn.ELU(alpha),
        {"alpha": Option(1.0, 0.0, 1.0, "minus the limit at minus infinity", open_low=True)},
    ),
    ActivationLevel("tanh", "tanh(x)", "LeCun et al. 1998, Efficient BackProp, 4.4", lambda: nn.Tanh()),
    ActivationLevel(
        "sigmoid",
        "1 / (1 + exp(-x))",
        "Rumelhart et al. 1986, eq. 2",
        lambda: nn.Sigmoid(),
        maximum_slope=0.25,
    ),
    ActivationLevel("identity", "x", "-", lambda: nn.Identity()),
)
"""Every activation by name."""


def maximum_slope(text: str) -> float:
    """Return the largest slope of the activation that `text` names."""
    level = ACTIVATIONS[split_level(text)[0]]
    assert isinstance(level, ActivationLevel)
    return level.maximum_slope
