"""Weights near zero are counted, biases left out."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainatlas.claims.experiments import weights
from trainatlas.claims.experiments.weights import near_zero, weight_sparsity
from trainatlas.study.trial import Trial


def test_small_weights_are_counted_and_biases_are_not() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(3, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([0.5, -9e-4]).reshape(2, 1, 1, 1))
        network[2].weight.copy_(torch.tensor([[0.0, 1e-2, -2e-3], [5e-4, 1.0, 1.1e-3]]))
        network[0].bias.zero_()
    assert near_zero(network) == pytest.approx(3 / 8)


def test_a_strong_l1_penalty_leaves_more_weights_near_zero_than_a_strong_l2_penalty(
    short: Trial, monkeypatch: pytest.MonkeyPatch, well_formed: Callable[..., None]
) -> None:
    monkeypatch.setattr(weights, "STRENGTHS", {"l1": (1e-2,), "l2": (1e-2,)})
    table = weight_sparsity([1], short._replace(epochs=8))
    well_formed(table, [1], ["|w| < 0.001"])
    assert table["effect"].item() > 0.05
