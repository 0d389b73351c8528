"""The plain loop: one trial, an ordinary module, `torch.optim`, no stacking.

It defines what training a trial means; the stacked trainer must agree with it, and every speed figure
is a ratio to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainatlas.data.datasets import data_set_level
from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import initial_parameters
from trainatlas.optim.optimizers import OPTIMIZERS, Optimizer
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, epoch_order, steps_of_epoch


@dataclass(frozen=True)
class ReferenceRun:
    """A trained network and its minibatch losses, one per step, before that step's update."""

    network: nn.Module
    losses: list[float]


def train_reference(
    trial: Trial, store: ExampleStore, steps: int | None = None, dtype: torch.dtype = torch.float32
) -> ReferenceRun:
    """Train one trial for its epochs, or for the first `steps` steps of them.

    Parameters
    ----------
    store
        Where examples come from; must hold them in `dtype`.
    """
    variant = store.variant(trial)
    x, y = variant.x["train"], variant.y["train"]
    network = build_network(
        trial.network,
        trial.activation,
        trial.normalisation,
        tuple(x.shape[1:]),
        data_set_level(trial.data).classes,
    ).to(x.device, dtype)
    with torch.no_grad():
        start = initial_parameters(network, trial.init, trial.seed)
        for name, parameter in network.named_parameters():
            parameter.copy_(start[name])
    described: Optimizer = OPTIMIZERS.build(trial.optimizer)
    kind, options = described.reference
    optimizer: torch.optim.Optimizer = getattr(torch.optim, kind)(
        network.parameters(), lr=trial.learning_rate, **options
    )
    network.train()
    losses: list[Tensor] = []
    for epoch in range(1, trial.epochs + 1):
        order = epoch_order(trial.seed, epoch, len(x)).to(x.device)
        for batch in steps_of_epoch(len(x), trial.batch_size):
            if steps is not None and len(losses) == steps:
                break
            rows = order[batch]
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
    return ReferenceRun(network, [loss.item() for loss in losses])
