"""Networks: ordinary torch modules, built from a trial's levels."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainatlas.model.activations import ACTIVATIONS, pieces
from trainatlas.model.normalisation import NORMALISATIONS, follows_activation, needs_bias
from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, Word

if TYPE_CHECKING:
    from torch import nn

    from trainatlas.model import modules
else:
    nn = LazyModule("torch.nn")
    modules = LazyModule("trainatlas.model.modules")

Hidden = Callable[[str, Callable[..., Any], int], "nn.Sequential"]
"""(name of the layer, (units, bias) -> layer with weights, units) -> hidden layer."""


def build_network(
    network: str,
    activation: str,
    normalisation: str,
    shape: tuple[int, ...],
    classes: int,
    dropout: float | None = None,
) -> nn.Module:
    """Return the module of a network: logits from examples.

    Parameters
    ----------
    network, activation, normalisation
        Canonical texts of levels.
    shape
        Shape of one example after preprocessing.
    classes
        Number of logits.
    dropout
        Share of each hidden layer's outputs dropped while training, in [0, 1); None builds no dropout.

    Returns
    -------
    nn.Module
        Its hidden layers are named `hidden.<i>` and hold `linear` or `convolution`, `normalisation`,
        `activation` and, if any, `dropout`; its last layer is `output`.
    """

    def hidden(name: str, layer: Callable[..., Any], units: int) -> nn.Sequential:
        """Return a layer with weights and what follows it; layers of k pieces a unit are k times as wide."""
        inputs = units * pieces(activation)
        weighted = layer(inputs, bias=needs_bias(normalisation))
        after = follows_activation(normalisation)
        parts: dict[str, Any] = {name: weighted}
        norm = NORMALISATIONS.build(normalisation, layer=weighted, units=units if after else inputs)
        if not after:
            parts["normalisation"] = norm
        parts["activation"] = ACTIVATIONS.build(activation)
        if after:
            parts["normalisation"] = norm
        if dropout is not None:
            parts["dropout"] = modules.Dropout(dropout)
        return nn.Sequential(OrderedDict(parts))

    module: nn.Module = NETWORKS.build(network, hidden=hidden, shape=shape, classes=classes)
    return module


def _mlp(depth: int, width: int, hidden: Hidden, shape: tuple[int, ...], classes: int) -> nn.Module:
    layers: list[Any] = []
    inputs = math.prod(shape)
    for _ in range(depth):
        layers.append(hidden("linear", _linear(inputs), width))
        inputs = width
    return nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), hidden=nn.Sequential(*layers), output=nn.Linear(inputs, classes))
    )


def _linear(inputs: int) -> Callable[..., Any]:
    return lambda units, bias: nn.Linear(inputs, units, bias=bias)


def _cnn(depth: int, width: int, pooling: str, hidden: Hidden, shape: tuple[int, ...], classes: int) -> nn.Module:
    layers: list[Any] = []
    channels, *sides = shape
    for block in range(depth):
        units = width * 2**block
        layers.append(hidden("convolution", _convolution(channels), units))
        channels = units
        if min(sides) > 1:
            layers[-1].add_module("pooling", nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2))
            sides = [side // 2 for side in sides]
    return nn.Sequential(
        OrderedDict(
            hidden=nn.Sequential(*layers),
            flatten=nn.Flatten(),
            output=nn.Linear(channels * math.prod(sides), classes),
        )
    )


def _convolution(channels: int) -> Callable[..., Any]:
    return lambda units, bias: nn.Conv2d(channels, units, 3, padding=1, bias=bias)


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
    Level(
        "cnn",
        "depth blocks (3 x 3 convolution, normalisation, activation, 2 x 2 pooling while there are sides to halve), "
        "the channels doubling from width, then a linear layer",
        "LeCun et al. 1998, Gradient-based learning; Simonyan and Zisserman 2015",
        _cnn,
        {
            "depth": Option(2, 1, 10, "blocks"),
            "width": Option(16, 1, 4096, "channels of the first block"),
            "pooling": Word("max", ("max", "average"), "what pooling takes of four neighbours"),
        },
    ),
)
"""Every network by name."""

CONVOLUTIONAL = ("cnn",)
"""Networks that see examples as images."""
