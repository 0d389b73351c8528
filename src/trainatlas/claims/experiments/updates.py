"""What optimizers do to parameters while they train: sizes of steps (O3), their signs (O1), and Adam's first hundred (O4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from trainatlas.claims.experiments.runs import (
    DIGITS,
    Row,
    case_of,
    evaluated,
    examples,
    observations,
    trained,
    tuned,
    watched,
)
from trainatlas.study.trial import Trial
from trainatlas.train.examples import steps_of_epoch


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


class Steps:
    """The updates and gradients of a trial's steps, all parameters in one vector; a stand-by to `watched`.

    Attributes
    ----------
    effective
        Norm of the update over that of the gradient, one a step.
    sign_changes
        Share of the parameters whose update has another sign than the one before, those not counted that stood still at either
        step; one a step from the second on.
    """

    def __init__(self) -> None:
        self.effective: list[float] = []
        self.sign_changes: list[float] = []
        self._before = self._gradient = torch.empty(0)
        self._last: Tensor | None = None

    def before(self, parameters: list[nn.Parameter]) -> None:
        """Note what the update starts from."""
        self._before = _flat(parameters)
        self._gradient = _flat([parameter.grad for parameter in parameters if parameter.grad is not None])

    def after(self, parameters: list[nn.Parameter]) -> None:
        """Note what the update did."""
        update = _flat(parameters) - self._before
        self.effective.append((update.norm() / self._gradient.norm()).item())
        if self._last is not None:
            products = update.sign() * self._last.sign()
            self.sign_changes.append(((products < 0).sum() / (products != 0).sum()).item())
        self._last = update


def steps_of(trial: Trial) -> Steps:
    """Train a trial and return what its steps did."""
    steps = Steps()
    watched(trial, steps.before, steps.after)
    return steps


def adagrad_step(seeds: Sequence[int], base: Trial = DIGITS) -> pd.DataFrame:
    """Return how Adagrad's effective step changes from the first epoch to the last, as a logarithm of the ratio (O3).

    The effective step is the norm of the update over that of the gradient; of an epoch, the geometric mean over its steps. At
    the tuned rate.
    """
    return _step_change(seeds, base._replace(optimizer="adagrad"))


def rmsprop_step(seeds: Sequence[int], base: Trial = DIGITS) -> pd.DataFrame:
    """Return the same of RMSprop (O3)."""
    return _step_change(seeds, base._replace(optimizer="rmsprop"))


def _step_change(seeds: Sequence[int], base: Trial) -> pd.DataFrame:
    rows: list[Row] = []
    for seed in seeds:
        trial = tuned(base._replace(seed=seed))
        sizes = np.log(steps_of(trial).effective)
        per_epoch = len(steps_of_epoch(len(examples(trial).x["train"]), trial.batch_size))
        effect = sizes[-per_epoch:].mean() - sizes[:per_epoch].mean()
        rows.append((case_of(base), seed, f"epoch {trial.epochs} to epoch 1", float(effect)))
    return observations(rows)


def momentum_oscillation(seeds: Sequence[int], base: Trial = DIGITS) -> pd.DataFrame:
    """Return how often updates change their sign with momentum, less how often with plain gradient descent (O1).

    Shares of the parameters whose update has another sign than the one before, means over all steps, both at tuned rates.
    """
    rows: list[Row] = []
    for seed in seeds:
        shares = {}
        for optimizer in ("momentum", "sgd"):
            trial = tuned(base._replace(seed=seed, optimizer=optimizer))
            shares[optimizer] = float(np.mean(steps_of(trial).sign_changes))
        rows.append((case_of(base), seed, "all steps", shares["momentum"] - shares["sgd"]))
    return observations(rows)


_ADAM = DIGITS._replace(learning_rate=1e-3)


def bias_correction(seeds: Sequence[int], base: Trial = _ADAM, steps: int = 100) -> pd.DataFrame:
    """Return what leaving Adam's bias correction out does to the training loss after 100 steps (O4).

    The logarithm of the loss without it over that with it, at one rate, for two shares of the second moment that are kept.
    """
    rows: list[Row] = []
    for seed in seeds:
        for beta2 in (0.999, 0.99):
            losses = []
            for corrected in (False, True):
                trial = base._replace(seed=seed, optimizer=f"adam(beta2={beta2}, bias_correction={corrected})")
                losses.append(evaluated(trial, trained(trial, steps).network, "train")[0])
            rows.append((case_of(base), seed, f"beta2={beta2:g}", math.log(losses[0] / losses[1])))
    return observations(rows)
