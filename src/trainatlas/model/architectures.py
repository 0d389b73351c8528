"""Networks: ordinary torch modules, built from a trial's levels."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from trainatlas.model.activations import ACTIVATIONS
from trainatlas.model.normalisation import NORMALISATIONS
from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option

if TYPE_CHECKING:
    from torch import nn
else:
    nn = LazyModule("torch.nn")


def build_network(network: str, activation: str, normalisation: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the module of a network: logits from examples.

    Parameters
    ----------
    network, activation, normalisation
        Canonical texts of levels.
    shape
        Shape of one example after preprocessing.
    classes
        Number of logits.

    Returns
    -------
    nn.Module
        Its hidden layers are named `hidden.<i>` and hold `linear`, `normalisation` and
        `activation`; its last layer is named `output`. Parameters are torch's own defaults:
        see `trainatlas.model.initialisation` for the values a trial starts from.
    """
    module: nn.Module = NETWORKS.build(
        network, activation=activation, normalisation=normalisation, shape=shape, classes=classes
    )
    return module


def _mlp(
    depth: int, width: int, activation: str, normalisation: str, shape: tuple[int, ...], classes: int
) -> nn.Module:
    units = math.prod(shape)
    hidden: list[Any] = []
    for _ in range(depth):
        hidden.append(
            nn.Sequential(
                OrderedDict(
                    linear=nn.Linear(units, width),
                    normalisation=NORMALISATIONS.build(normalisation, units=width),
                    activation=ACTIVATIONS.build(activation),
                )
            )
        )
        units = width
    return nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), hidden=nn.Sequential(*hidden), output=nn.Linear(units, classes))
    )


NETWORKS = LevelTable(
    "network",
    Level(
        "mlp",
        "depth hidden layers of width units (linear, normalisation, activation), then a linear layer",
        "Rumelhart et al. 1986",
        _mlp,
        {
            "depth": Option(2, 1, 100, "hidden layers"),
            "width": Option(64, 1, 100_000, "units of each hidden layer"),
        },
    ),
)
"""Every network by name."""
