"""Disturbed networks: without noise nothing is lost, small changes of weights act through the gradient."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainatlas.claims.experiments.robustness import (
    PERTURBED,
    loss_change,
    noise_robustness,
    noisy_accuracy,
    perturbation,
)
from trainatlas.claims.experiments.runs import evaluated, trained
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import Trial


def test_noise_of_no_size_costs_nothing_and_much_noise_nearly_all(short: Trial) -> None:
    network = trained(short).network
    clean = evaluated(short, network, "test")[1]
    assert noisy_accuracy(short, network, 0.0, 3) == pytest.approx(clean)
    assert clean > 0.4
    assert noisy_accuracy(short, network, 100.0, 20) == pytest.approx(0.1, abs=0.06)


def test_noise_robustness_is_told_for_every_sigma(short: Trial, well_formed: Callable[..., None]) -> None:
    table = noise_robustness([1], short, sigmas=(0.0, 1.0), draws=2)
    well_formed(table, [1], ["sigma=0", "sigma=1"])
    assert table.set_index("pair").loc["sigma=0", "effect"] == 0
    assert table["effect"].abs().max() <= 1


def test_a_small_change_of_weights_changes_the_loss_by_gradient_times_direction() -> None:
    """First order of Taylor, from autograd; the directions drawn once more."""
    draws = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    x, y = torch.randn(40, 6, generator=draws), torch.arange(40) % 3
    before = [p.detach().clone() for p in network.parameters()]
    found = loss_change(network, x, y, 1e-6, 7, seed=2)
    assert all(torch.equal(own, p) for own, p in zip(before, network.parameters(), strict=True)), "a copy is perturbed"
    network, x = network.double(), x.double()
    weights = [network[0].weight, network[2].weight]
    gradients = torch.autograd.grad(F.cross_entropy(network(x), y), weights)
    directions = torch.Generator().manual_seed(stream_key(2, "claims/directions"))
    changes = []
    for _ in range(7):
        change = 0.0
        for weight, gradient in zip(weights, gradients, strict=True):
            direction = torch.randn(weight.shape, generator=directions, dtype=torch.float64)
            change += 1e-6 * (weight.norm() / direction.norm() * (direction * gradient).sum()).item()
        changes.append(abs(change))
    assert found == pytest.approx(np.mean(changes), rel=1e-3)


def test_perturbation_is_told_for_every_size_and_network(well_formed: Callable[..., None]) -> None:
    table = perturbation([1], epochs=1, sizes=(1e-2, 1e-1), draws=2)
    well_formed(table, [1], ["relative size 0.01", "relative size 0.1"])
    assert table["case"].nunique() == len(PERTURBED)
