"""Signs of a neuron's weight gradients where all of its inputs are positive, and where they are not (A3)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from trainatlas.claims.experiments.runs import DIGITS, Row, case_of, examples, observations, trained
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import Trial

BATCHES = 50
"""Minibatches of each size that a share of neurons is the mean over."""


def agreement(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the share of the second hidden layer's neurons whose weight gradients on a batch all have one sign.

    Gradients of 0 agree with either sign; a neuron that has no others does not count.

    Parameters
    ----------
    x, y
        Examples (batch, *shape) and classes (batch,).
    """
    weight = network.get_parameter("hidden.1.linear.weight")
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), y), weight)
    signs = gradient.sign()
    moved = signs.abs().amax(1) > 0
    agreeing = ((signs >= 0).all(1) | (signs <= 0).all(1)) & moved
    return (agreeing.sum() / moved.sum().clamp(min=1)).item()


def _agreement_lost(
    seeds: Sequence[int], activations: Sequence[str], base: Trial, small: int = 1, large: int = 256
) -> pd.DataFrame:
    rows: list[Row] = []
    for seed in seeds:
        for activation in activations:
            trial = base._replace(seed=seed, activation=activation)
            variant = examples(trial)
            x, y = variant.x["train"], variant.y["train"]
            for when, steps in (("before training", 0), ("after training", None)):
                network = trained(trial, steps).network
                draws = torch.Generator().manual_seed(stream_key(seed, "claims/batches"))
                orders = [torch.randperm(len(x), generator=draws) for _ in range(BATCHES)]
                share = {
                    size: sum(agreement(network, x[order[:size]], y[order[:size]]) for order in orders) / BATCHES
                    for size in (small, large)
                }
                rows.append((case_of(trial), seed, f"{activation}, {when}", share[small] - share[large]))
    return observations(rows)


_RAW = DIGITS._replace(preprocessing="raw", init="xavier_normal")


def sign_agreement(seeds: Sequence[int], base: Trial = _RAW) -> pd.DataFrame:
    """Return what minibatches of 256 take off the share of neurons whose weight gradients agree in sign (A3).

    The share at batch size 1 less that at 256, in the second hidden layer, whose inputs are sigmoids or ReLUs of the first and
    so never negative; before training and after it.
    """
    return _agreement_lost(seeds, ("relu", "sigmoid"), base)


def sign_agreement_tanh(seeds: Sequence[int], base: Trial = _RAW) -> pd.DataFrame:
    """Return the same with tanh, whose outputs have either sign: the control, where there is little to lose."""
    return _agreement_lost(seeds, ("tanh",), base)
