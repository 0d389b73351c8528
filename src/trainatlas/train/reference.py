"""The plain loop: one trial, an ordinary module, `torch.optim`, no stacking.

It defines what training a trial means; the stacked trainer must agree with it, and every speed figure
is a ratio to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import initial_parameters
from trainatlas.model.modules import Dropout
from trainatlas.optim.optimizers import OPTIMIZERS, Optimizer
from trainatlas.optim.regularisation import (
    Patience,
    Regulariser,
    dropout_of,
    largest_loss_of,
    patience_of,
    regularisers,
    smoothing_of,
)
from trainatlas.optim.schedules import StackedSchedules
from trainatlas.study.levels import NOTHING
from trainatlas.study.trial import Trial
from trainatlas.train.examples import Batch, ExampleStore, augmented_batches, epoch_order, steps_of_epoch
from trainatlas.train.losses import soft_cross_entropy
from trainatlas.train.noise import DropoutNoise, dropout_shapes


@dataclass(frozen=True)
class ReferenceRun:
    """A trained network and its minibatch losses without penalties, one per step, before that step's update."""

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
    x = variant.x["train"]
    network = build_network(
        trial.network,
        trial.activation,
        trial.normalisation,
        tuple(x.shape[1:]),
        store.classes(trial),
        dropout_of(trial.regularisation),
    )
    shapes = dropout_shapes(network, tuple(x.shape[1:]))
    start = initial_parameters(network, trial, lambda: store.first_minibatch(trial))
    network = network.to(x.device, dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(start[name])
    described: Optimizer = OPTIMIZERS.build(trial.optimizer)
    optimizer = described.plain(network.parameters(), trial.learning_rate)
    schedule = StackedSchedules([trial.schedule], len(x) // trial.batch_size, trial.epochs)
    restraints = regularisers(trial.regularisation)
    patience, best, waited = patience_of(trial.regularisation), float("inf"), 0
    largest = largest_loss_of(trial.regularisation)
    losses: list[Tensor] = []
    for epoch in range(1, trial.last_epoch + 1):
        if len(losses) == steps:
            break
        noise = DropoutNoise(trial.seed, epoch, shapes)
        multipliers = schedule.epoch(epoch)[:, 0]
        network.train()
        for number, batch in enumerate(_batches(trial, store, epoch)):
            if steps is not None and len(losses) == steps:
                break
            rate = trial.learning_rate * multipliers[number]
            for group in optimizer.param_groups:
                group["lr"] = rate
            for path, draws in noise.draw(trial.batch_size).items():
                dropout = network.get_submodule(path)
                assert isinstance(dropout, Dropout)
                dropout.noise = draws.to(x)
            losses.append(_step(network, optimizer, batch, restraints, rate, smoothing_of(trial.regularisation)))
        if largest is not None and max(losses[-len(multipliers) :]) > largest * losses[0]:
            break
        if schedule.constant and patience is None:
            continue
        loss = _validation_loss(network, variant.x["validation"], variant.y["validation"])
        schedule.observe(np.array([loss]))
        if patience is not None:
            best, waited = _wait(loss, best, waited, patience)
            if waited >= patience.epochs:
                break
    return ReferenceRun(network, [loss.item() for loss in losses])


Look = Callable[[list[nn.Parameter]], None]
"""(the network's parameters) -> None."""


def watch_reference(
    trial: Trial,
    store: ExampleStore,
    before: Look | None = None,
    after: Look | None = None,
    steps: int | None = None,
) -> ReferenceRun:
    """Train as `train_reference` does and look at the parameters, and their gradients, before and after every update.

    Gradients are those the optimizer is given: with penalties, clipped. An optimizer that runs another one within its step is
    looked at once a step.
    """
    inside = 0

    def begin(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        nonlocal inside
        inside += 1
        if before is not None and inside == 1:
            before(optimizer.param_groups[0]["params"])

    def end(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        nonlocal inside
        inside -= 1
        if after is not None and not inside:
            after(optimizer.param_groups[0]["params"])

    with ExitStack() as undo:
        undo.callback(register_optimizer_step_pre_hook(begin).remove)
        undo.callback(register_optimizer_step_post_hook(end).remove)
        return train_reference(trial, store, steps)


def _batches(trial: Trial, store: ExampleStore, epoch: int) -> Iterator[Batch]:
    if trial.augmentation != NOTHING:
        yield from augmented_batches(trial, store, epoch, trial.batch_size)
        return
    variant = store.variant(trial)
    x, y = variant.x["train"], variant.y["train"]
    order = epoch_order(trial.seed, epoch, len(x)).to(x.device)
    for batch in steps_of_epoch(len(x), trial.batch_size):
        yield Batch(x[order[batch]], y[order[batch]])


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    restraints: tuple[Regulariser, ...],
    rate: float,
    smoothing: float | None,
) -> Tensor:
    """Take one step; return the loss before it, without penalties."""
    weights = [module.weight for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    optimizer.zero_grad()
    logits = network(batch.x)
    if batch.other is not None and batch.share is not None:
        loss = soft_cross_entropy(logits, batch.y, batch.other, batch.share, smoothing or 0.0)
    else:
        loss = F.cross_entropy(logits, batch.y, label_smoothing=smoothing or 0.0)
    objective = loss
    for each in restraints:
        if each.penalty is not None and each.strength is not None:
            for weight in weights:
                objective = objective + each.strength * each.penalty.value(weight)
    objective.backward()  # type: ignore[no-untyped-call]
    for each in restraints:
        if each.largest_gradient is not None:
            nn.utils.clip_grad_norm_(network.parameters(), each.largest_gradient)
    with torch.no_grad():
        for each in restraints:
            if each.decay is not None:
                for weight in weights:
                    weight.sub_(rate * each.decay * weight)
    optimizer.step()
    with torch.no_grad():
        for each in restraints:
            if each.largest_weight is not None:
                for weight in weights:
                    weight.copy_(torch.renorm(weight, 2, 0, each.largest_weight))
    return loss.detach()


@torch.no_grad()
def _validation_loss(network: nn.Module, x: Tensor, y: Tensor) -> float:
    network.eval()
    return F.cross_entropy(network(x), y).item()


def _wait(loss: float, best: float, waited: int, patience: Patience) -> tuple[float, int]:
    """Return the loss to improve on, and for how many epochs it has not been."""
    return (loss, 0) if loss < best - patience.least_gain else (best, waited + 1)
