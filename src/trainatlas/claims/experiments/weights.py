"""How many weights of a trained network are close to zero (R1)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from trainatlas.claims.experiments.runs import DIGITS, Row, best, case_of, observations, trained
from trainatlas.study.trial import Trial

STRENGTHS = {"l1": (1e-5, 1e-4, 1e-3), "l2": (1e-4, 1e-3, 1e-2)}
"""Strengths of the penalties that tuning tries."""

NEAR_ZERO = 1e-3
"""Absolute value below which a weight counts as near zero."""


_LONGER = DIGITS._replace(epochs=24)


def weight_sparsity(seeds: Sequence[int], base: Trial = _LONGER) -> pd.DataFrame:
    """Return the share of weights near zero with an L1 penalty less that with an L2 penalty (R1).

    Each at the strength with the best validation accuracy, the learning rate the same for all.
    """
    rows: list[Row] = []
    for seed in seeds:
        share = {}
        for penalty, strengths in STRENGTHS.items():
            levels = [f"{penalty}(strength={strength})" for strength in strengths]
            trial = best([base._replace(seed=seed, regularisation=level) for level in levels])
            share[penalty] = near_zero(trained(trial).network)
        rows.append((case_of(base), seed, f"|w| < {NEAR_ZERO:g}", share["l1"] - share["l2"]))
    return observations(rows)


def near_zero(network: nn.Module) -> float:
    """Return the share of the weights of linear and convolution layers below NEAR_ZERO in absolute value."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    weights = torch.cat([layer.weight.detach().flatten() for layer in layers])
    return (weights.abs() < NEAR_ZERO).double().mean().item()
