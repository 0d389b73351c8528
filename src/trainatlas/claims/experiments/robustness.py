"""What disturbances do to a trained network: noise on its inputs (A10), small changes of its weights (P1)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainatlas.claims.experiments.runs import (
    DIGITS,
    Row,
    accuracy,
    case_of,
    evaluated,
    examples,
    observations,
    trained,
    tuned,
)
from trainatlas.study.streams import stream_key
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial


def noise_robustness(
    seeds: Sequence[int], base: Trial = DIGITS, sigmas: Sequence[float] = (0.5, 1.0), draws: int = 10
) -> pd.DataFrame:
    """Return what Gaussian noise costs in test accuracy with ELU less what it costs with leaky ReLU (A10).

    Networks at their tuned rates; the noise has standard deviation sigma on inputs standardized feature by feature. Negative
    where ELU is the more robust.

    Parameters
    ----------
    draws
        Of noise, the same for both networks; losses of accuracy are means over them.
    """
    rows: list[Row] = []
    for seed in seeds:
        lost: dict[str, list[float]] = {}
        for activation in ("elu", "leaky_relu"):
            trial = tuned(base._replace(seed=seed, activation=activation))
            network, clean = trained(trial).network, evaluated(trial, trained(trial).network, "test")[1]
            lost[activation] = [clean - noisy_accuracy(trial, network, sigma, draws) for sigma in sigmas]
        for i, sigma in enumerate(sigmas):
            rows.append((case_of(base), seed, f"sigma={sigma:g}", lost["elu"][i] - lost["leaky_relu"][i]))
    return observations(rows)


@torch.no_grad()
def noisy_accuracy(trial: Trial, network: nn.Module, sigma: float, draws: int) -> float:
    """Return the mean accuracy on the test part over draws of Gaussian noise on its examples, from the seed's stream."""
    x, y = examples(trial).x["test"], examples(trial).y["test"]
    generator = torch.Generator().manual_seed(stream_key(trial.seed, "claims/noise"))
    shares = [accuracy(network.eval()(x + sigma * torch.randn(x.shape, generator=generator)), y) for _ in range(draws)]
    return sum(shares) / draws


PERTURBED = {
    worded("linear classifier"): DIGITS._replace(
        network="mlp(depth=1, width=64)", activation="identity", init="xavier_normal"
    ),
    "mlp(depth=2, width=64)": DIGITS,
}
"""Networks whose weights are perturbed: a product of two matrices, as in the lecture's picture, and an MLP."""


def perturbation(
    seeds: Sequence[int], epochs: int = 12, sizes: Sequence[float] = (1e-3, 1e-2, 1e-1), draws: int = 20
) -> pd.DataFrame:
    """Return how much less a trained network's loss changes when its weights do, with centred data (P1).

    The logarithm of the mean absolute change of the training loss under random changes of the weights, with the mean image
    taken off less that with raw data, both at tuned rates. Negative where centring makes the loss less sensitive.

    Parameters
    ----------
    sizes
        Norm of each weight matrix's change over that of the matrix.
    draws
        Of directions, normal and the same for both.
    """
    rows: list[Row] = []
    for name, base in PERTURBED.items():
        case = worded("{data}, {network}", data=base.data, network=name)
        for seed in seeds:
            changes: dict[str, list[float]] = {}
            for preprocessing in ("mean_image", "raw"):
                trial = tuned(base._replace(seed=seed, preprocessing=preprocessing, epochs=epochs))
                network = trained(trial).network
                x, y = examples(trial).x["train"], examples(trial).y["train"]
                changes[preprocessing] = [loss_change(network, x, y, size, draws, seed) for size in sizes]
            for i, size in enumerate(sizes):
                effect = math.log(changes["mean_image"][i] / changes["raw"][i])
                rows.append((case, seed, f"relative size {size:g}", effect))
    return observations(rows)


@torch.no_grad()
def loss_change(network: nn.Module, x: Tensor, y: Tensor, size: float, draws: int, seed: int) -> float:
    """Return the mean absolute change of the loss when weights move by `size` times their norm in random directions.

    Computed in double precision, of a copy.

    Parameters
    ----------
    x, y
        Examples (n, *shape) and classes (n,).
    seed
        Of the stream of directions.
    """
    network, x = copy.deepcopy(network).double().eval(), x.double()
    weights = [module.weight for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    start = [weight.clone() for weight in weights]
    clean = F.cross_entropy(network(x), y).item()
    generator = torch.Generator().manual_seed(stream_key(seed, "claims/directions"))
    changes = []
    for _ in range(draws):
        for weight, own in zip(weights, start, strict=True):
            direction = torch.randn(own.shape, generator=generator, dtype=torch.float64)
            weight.copy_(own + size * own.norm() * direction / direction.norm())
        changes.append(abs(F.cross_entropy(network(x), y).item() - clean))
    return sum(changes) / draws
