"""Normalisation within a hidden layer: each entry builds an ordinary torch module.

`build` takes, beside the level's options, the layer with weights, linear or convolution, and how many units or
channels are normalised.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Flag, Level, LevelTable, Option, Word, name_of, split_level

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trainatlas.model import modules
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")
    modules = LazyModule("trainatlas.model.modules")


@dataclass(frozen=True, kw_only=True)
class NormalisationLevel(Level):
    """A normalisation's entry.

    Attributes
    ----------
    takes_bias
        The layer before it goes without a bias: the normalisation subtracts it again, or holds it itself.
    """

    takes_bias: bool = False


def _batch(layer: nn.Module, units: int, momentum: float, affine: bool, position: str) -> nn.Module:
    kind = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
    return kind(units, momentum=momentum, affine=affine)


def _layer(layer: nn.Module, units: int) -> nn.Module:
    return nn.GroupNorm(1, units) if isinstance(layer, nn.Conv2d) else nn.LayerNorm(units)


def _group(layer: nn.Module, units: int, groups: int) -> nn.Module:
    return nn.GroupNorm(groups, units) if isinstance(layer, nn.Conv2d) else modules.GroupNorm(groups, units)


NORMALISATIONS = LevelTable(
    "normalisation",
    NormalisationLevel("none", "z", "-", lambda layer, units: nn.Identity()),
    NormalisationLevel(
        "batch",
        "gamma * (z - mean over the batch) / sqrt(variance over the batch + 1e-5) + beta; running statistics in use",
        "Ioffe and Szegedy 2015, algorithms 1 and 2",
        _batch,
        {
            "momentum": Option(0.1, 0.0, 1.0, "weight of a new batch in the running statistics", open_low=True),
            "affine": Flag(True, "gamma and beta are learned"),
            "position": Word("before", ("before", "after"), "before or after the activation"),
        },
        takes_bias=True,
    ),
    NormalisationLevel(
        "layer",
        "gamma * (z - mean over the layer's units) / sqrt(variance over them + 1e-5) + beta, for each example",
        "Ba et al. 2016, eq. 4",
        _layer,
    ),
    NormalisationLevel(
        "instance",
        "gamma * (z - mean over the channel's pixels) / sqrt(variance over them + 1e-5) + beta, for each example",
        "Ulyanov et al. 2016, eq. 3",
        lambda layer, units: nn.InstanceNorm2d(units, affine=True),
        takes_bias=True,
    ),
    NormalisationLevel(
        "group",
        "as layer, over each of so many groups of neighbouring units",
        "Wu and He 2018, eq. 7",
        _group,
        {"groups": Option(8, 1, 4096, "groups; must divide the units")},
    ),
    NormalisationLevel(
        "weight",
        "w = g * v / ||v|| for each unit, g starting at ||v||",
        "Salimans and Kingma 2016, eq. 2",
        lambda layer, units: modules.WeightNorm(layer),
        takes_bias=True,
    ),
)
"""Every normalisation by name."""


@functools.lru_cache(maxsize=256)
def follows_activation(text: str) -> bool:
    """Return whether the level stands behind the activation instead of before it."""
    return split_level(text)[1].get("position") == "after"


@functools.lru_cache(maxsize=256)
def needs_bias(text: str) -> bool:
    """Return whether the layer before this normalisation has a bias of its own to learn."""
    level = NORMALISATIONS[name_of(text)]
    assert isinstance(level, NormalisationLevel)
    return follows_activation(text) or not level.takes_bias


def folded(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Return one layer that does what `layer` and then `norm` do at test time.

    With the running statistics fixed, batch normalisation multiplies each unit by
    gamma / sqrt(variance + eps) and adds a constant, both of which the layer's weight and bias can take in
    (Ioffe and Szegedy 2015, section 3.1).

    Parameters
    ----------
    layer
        nn.Linear or nn.Conv2d; left as it is.
    norm
        The nn.BatchNorm1d or nn.BatchNorm2d behind it, with running statistics.

    Raises
    ------
    TypeError
        For other modules, or a normalisation without running statistics.
    """
    if not isinstance(layer, (nn.Linear, nn.Conv2d)) or not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
        raise TypeError(f"cannot fold {type(norm).__name__} into {type(layer).__name__}")
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("cannot fold a batch normalisation without running statistics")
    with torch.no_grad():
        factor = (norm.running_var + norm.eps).rsqrt()
        shift = -norm.running_mean * factor
        if norm.affine:
            shift = shift * norm.weight + norm.bias
            factor = factor * norm.weight
        result = copy.deepcopy(layer)
        result.weight = nn.Parameter(layer.weight * factor.reshape(-1, *[1] * (layer.weight.dim() - 1)))
        result.bias = nn.Parameter(shift if layer.bias is None else shift + layer.bias * factor)
    return result
