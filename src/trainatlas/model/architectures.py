"""Networks: ordinary torch modules, built from a trial's levels."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainatlas.model.activations import ACTIVATIONS, pieces
from trainatlas.model.normalisation import NORMALISATIONS, follows_activation, needs_bias
from trainatlas.study.errors import UserError
from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, Options, Word, split_level

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trainatlas.model import modules
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")
    modules = LazyModule("trainatlas.model.modules")

Hidden = Callable[..., "nn.Sequential"]
"""(name of the layer, (units, bias) -> layer with weights, units, active) -> hidden layer; `active=False` leaves its
activation and dropout to whatever it stands in."""


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

    def hidden(name: str, layer: Callable[..., Any], units: int, active: bool = True) -> nn.Sequential:
        """Return a layer with weights and what follows it; layers of k pieces a unit are k times as wide."""
        inputs = units * pieces(activation)
        weighted = layer(inputs, bias=needs_bias(normalisation))
        after = follows_activation(normalisation)
        parts: dict[str, Any] = {name: weighted}
        norm = NORMALISATIONS.build(normalisation, layer=weighted, units=units if after else inputs)
        if not after:
            parts["normalisation"] = norm
        if active:
            parts |= activated()
        if after:
            parts["normalisation"] = norm
        if active and dropout is not None:
            parts["dropout"] = modules.Dropout(dropout)
        return nn.Sequential(OrderedDict(parts))

    def activated() -> dict[str, Any]:
        return {"activation": ACTIVATIONS.build(activation)}

    with torch.random.fork_rng(devices=[]):  # what modules draw by themselves is the same in every process
        torch.manual_seed(0)
        module: nn.Module = NETWORKS.build(network, hidden=hidden, activated=activated, shape=shape, classes=classes)
    return module


def _mlp(depth: int, width: int, hidden: Hidden, shape: tuple[int, ...], classes: int, **others: Any) -> nn.Module:
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


def _cnn(
    depth: int, width: int, pooling: str, hidden: Hidden, shape: tuple[int, ...], classes: int, **others: Any
) -> nn.Module:
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


def _convolution(channels: int, stride: int = 1) -> Callable[..., Any]:
    return lambda units, bias: nn.Conv2d(channels, units, 3, stride=stride, padding=1, bias=bias)


STAGES = 3
"""Stages of the CIFAR networks of He et al. 2016, section 4.2; each halves the sides and doubles the channels."""


def _cnn_deep(depth: int, width: int, hidden: Hidden, shape: tuple[int, ...], classes: int, **others: Any) -> nn.Module:
    layers: list[Any] = []
    channels = shape[0]
    for layer in range(depth):
        stage = layer * STAGES // depth
        begins = stage > 0 and (layer - 1) * STAGES // depth < stage
        layers.append(hidden("convolution", _convolution(channels, 2 if begins else 1), width * 2**stage))
        channels = width * 2**stage
    return _with_average_pooling(layers, channels, classes)


def _resnet(
    depth: int,
    width: int,
    hidden: Hidden,
    activated: Callable[[], dict[str, Any]],
    shape: tuple[int, ...],
    classes: int,
) -> nn.Module:
    layers: list[Any] = [hidden("convolution", _convolution(shape[0]), width)]
    channels = width
    for stage in range(STAGES):
        for block in range((depth - 2) // (2 * STAGES)):
            units, stride = width * 2**stage, 2 if stage > 0 and block == 0 else 1
            layers.append(
                modules.Residual(
                    hidden("convolution", _convolution(channels, stride), units),
                    hidden("convolution", _convolution(units), units, active=False),
                    activated()["activation"],
                    stride,
                )
            )
            channels = units
    return _with_average_pooling(layers, channels, classes)


def _with_average_pooling(layers: list[Any], channels: int, classes: int) -> nn.Module:
    parts = OrderedDict(
        hidden=nn.Sequential(*layers),
        pooling=modules.GlobalAverage(),
        output=nn.Linear(channels, classes),
    )
    return nn.Sequential(parts)


def _of_user(
    made: Any, options: Options, hidden: Hidden, shape: tuple[int, ...], classes: int, **others: Any
) -> nn.Module:
    module: nn.Module = made(shape, classes, **options)
    return module


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
    Level(
        "cnn_deep",
        "depth 3 x 3 convolutions in three stages of width, 2 width and 4 width channels, the sides halved between, mean "
        "over the pixels, then a linear layer; no skip connections",
        "He et al. 2016, Deep Residual Learning, section 4.2, the plain nets",
        _cnn_deep,
        {
            "depth": Option(19, 3, 109, "convolutions"),
            "width": Option(16, 1, 4096, "channels of the first stage"),
        },
    ),
    Level(
        "resnet",
        "a 3 x 3 convolution, (depth - 2) / 2 residual blocks of two in three stages of width, 2 width and 4 width channels, "
        "mean over the pixels, then a linear layer; shortcuts without parameters",
        "He et al. 2016, Deep Residual Learning, section 4.2, option A",
        _resnet,
        {
            "depth": Option(8, 8, 110, "layers with weights, 6 n + 2; others are rounded down to that"),
            "width": Option(16, 1, 4096, "channels of the first stage"),
        },
    ),
    user_build=_of_user,
    user_arguments=(2, 2),
)
"""Every network by name."""

CONVOLUTIONAL = ("cnn", "cnn_deep", "resnet")
"""Networks that see examples as images."""


def check_user_network(text: str, shape: tuple[int, int, int], classes: int) -> None:
    """Check that a user's network can be trained, by building it and running it, stacked, on a few examples.

    Raises
    ------
    UserError
        One line naming the file when it cannot be run, is no module, raises, yields other shapes than a logit a
        class, or cannot be mapped over trials (as where it draws random numbers itself).
    """
    path = text.partition("(")[0]
    x = torch.rand(2, 3, *shape)
    try:
        module = build_network(text, "relu", "none", shape, classes).eval()
        parameters = {name: torch.stack([p.detach()] * 2) for name, p in module.named_parameters()}
        buffers = {name: torch.stack([b] * 2) for name, b in module.named_buffers()}

        def loss(parameters: dict[str, Any], buffers: dict[str, Any], x: Any) -> tuple[Any, Any]:
            logits = torch.func.functional_call(module, (parameters, buffers), (x,))
            return logits.square().mean(), logits

        logits = torch.func.vmap(torch.func.grad(loss, has_aux=True))(parameters, buffers, x)[1]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: fails on examples of shape {shape}: {type(error).__name__}: {error}") from None
    if tuple(logits.shape) != (2, 3, classes):
        raise UserError(f"{path}: returns shape {tuple(logits.shape[1:])} for 3 examples; allowed: (3, {classes})")
    if not parameters:
        raise UserError(f"{path}: has no parameters; allowed: a network that can be trained")


def channels_of(network: str) -> list[int]:
    """Return how many units or channels the normalisations of a network of the catalogue see, each number once."""
    name, given = split_level(network)
    if name not in NETWORKS:
        return []
    options = NETWORKS.options(name, given)
    width, depth = int(options["width"]), int(options["depth"])
    if name == "mlp":
        return [width]
    return [width * 2**stage for stage in range(depth if name == "cnn" else STAGES)]
