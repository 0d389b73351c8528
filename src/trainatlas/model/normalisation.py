"""Normalisation of a layer's pre-activations: each entry builds an ordinary torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option

if TYPE_CHECKING:
    from torch import nn
else:
    nn = LazyModule("torch.nn")


NORMALISATIONS = LevelTable(
    "normalisation",
    Level("none", "z", "-", lambda units, **_: nn.Identity()),
    Level(
        "batch",
        "gamma * (z - mean over the batch) / sqrt(variance over the batch + 1e-5) + beta, before the activation",
        "Ioffe and Szegedy 2015, algorithm 1",
        lambda units, momentum: nn.BatchNorm1d(units, momentum=momentum),
        {"momentum": Option(0.1, 0.0, 1.0, "weight of a new batch in the running statistics", open_low=True)},
    ),
)
"""Every normalisation by name. `build` takes the number of units beside the level's options."""
