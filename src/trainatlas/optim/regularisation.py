"""Regularisation: penalties, constraints and other restraints on training, which may be combined.

Each entry builds a `Regulariser`, which states what it does in the terms the trainers know: a penalty
on the weights with its gradient, a share by which weights decay, a rule that gradients or weights must
keep, dropout, smoothed labels, or a rule when to stop. "Weights" are those of linear and convolution layers;
biases and the parameters of normalisations and activations are left alone (Goodfellow et al. 2016, 7.1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, name_of, split_parts

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = LazyModule("torch")


class Penalty(NamedTuple):
    """A penalty on one weight, in proportion to a strength.

    Attributes
    ----------
    value
        Of a weight, (...): a scalar, to be multiplied by the strength.
    gradient
        Its gradient, elementwise.
    """

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]


class Patience(NamedTuple):
    """When to stop early: after so many epochs without a validation loss lower than the best by so much."""

    epochs: int
    least_gain: float


@dataclass(frozen=True, kw_only=True)
class Regulariser:
    """What one level does; whatever is None it leaves alone.

    Attributes
    ----------
    strength
        Factor of the penalty.
    penalty
        Added to the loss, summed over weights, times `strength`.
    decay
        Share of each weight, times the learning rate in force, taken off before each step.
    largest_gradient
        Gradients of all parameters together are scaled down to this L2 norm.
    largest_weight
        Each unit's incoming weights are scaled down to this L2 norm after each step.
    dropout
        Share of each hidden layer's outputs set to zero while training.
    smoothing
        Share of each label's weight that is spread over all classes.
    patience
        When to stop early.
    largest_loss
        Minibatch loss, as a multiple of the first one's, above which training ends.
    """

    strength: float | None = None
    penalty: Penalty | None = None
    decay: float | None = None
    largest_gradient: float | None = None
    largest_weight: float | None = None
    dropout: float | None = None
    smoothing: float | None = None
    patience: Patience | None = None
    largest_loss: float | None = None


L1 = Penalty(lambda w: w.abs().sum(), lambda w: w.sign())
L2 = Penalty(lambda w: w.square().sum() / 2, lambda w: w)


def _strength(default: float) -> Option:
    return Option(default, 0.0, 100.0, "factor of the penalty", open_low=True)


REGULARISATIONS = LevelTable(
    "regularisation",
    Level("none", "-", "-", Regulariser),
    Level(
        "l1",
        "loss + strength * sum |w|",
        "Tibshirani 1996",
        lambda strength: Regulariser(strength=strength, penalty=L1),
        {"strength": _strength(1e-5)},
    ),
    Level(
        "l2",
        "loss + strength / 2 * sum w^2",
        "Krogh and Hertz 1991",
        lambda strength: Regulariser(strength=strength, penalty=L2),
        {"strength": _strength(1e-4)},
    ),
    Level(
        "decoupled_decay",
        "w <- w - lr * rate * w before each step",
        "Loshchilov and Hutter 2019, algorithm 2",
        lambda rate: Regulariser(decay=rate),
        {"rate": Option(0.01, 0.0, 10.0, "decay in units of the learning rate", open_low=True)},
    ),
    Level(
        "dropout",
        "each hidden output 0 with probability p while training, the others divided by 1 - p",
        "Srivastava et al. 2014, section 4",
        lambda p: Regulariser(dropout=p),
        {"p": Option(0.5, 0.0, 0.95, "probability of being dropped", open_low=True)},
    ),
    Level(
        "label_smoothing",
        "labels (1 - share) * one-hot + share / classes",
        "Szegedy et al. 2016, section 7",
        lambda share: Regulariser(smoothing=share),
        {"share": Option(0.1, 0.0, 0.99, "weight given to all classes alike", open_low=True)},
    ),
    Level(
        "max_norm",
        "each unit's incoming weights scaled down to ||w|| <= norm after each step",
        "Srivastava et al. 2014, section 5.1",
        lambda norm: Regulariser(largest_weight=norm),
        {"norm": Option(3.0, 0.0, 1000.0, "largest norm", open_low=True)},
    ),
    Level(
        "gradient_clipping",
        "g <- g * min(1, norm / (||g|| + 1e-6)), over all parameters together",
        "Pascanu et al. 2013, algorithm 1",
        lambda norm: Regulariser(largest_gradient=norm),
        {"norm": Option(1.0, 0.0, 1e6, "largest norm", open_low=True)},
    ),
    Level(
        "early_stopping",
        "stop after `patience` epochs whose validation loss is not lower than the best by more than min_delta",
        "Prechelt 1998, section 2.2",
        lambda patience, min_delta: Regulariser(patience=Patience(patience, min_delta)),
        {
            "patience": Option(5, 1, 100_000, "epochs without a gain that are borne"),
            "min_delta": Option(0.0, 0.0, 100.0, "smallest gain that counts (nats)"),
        },
    ),
    Level(
        "abort",
        "stop after an epoch in which a minibatch's loss was above ratio times that of the first one",
        "Karpathy and Johnson 2016, CS231n, lecture notes on babysitting the learning process",
        lambda ratio: Regulariser(largest_loss=ratio),
        {"ratio": Option(3.0, 1.0, 1e6, "largest multiple of the first loss that is borne")},
    ),
    combine=True,
)
"""Every regularisation by name; joined by "+", all of them hold."""


@functools.lru_cache(maxsize=1024)
def regularisers(text: str) -> tuple[Regulariser, ...]:
    """Return what the level that `text` names, or each of those it joins, does."""
    return tuple(REGULARISATIONS.build_parts(text))


@functools.lru_cache(maxsize=1024)
def regulariser_names(text: str) -> tuple[str, ...]:
    """Return the names that `text` joins, without their options: what trials of one stack must share."""
    return tuple(name_of(part) for part in split_parts(text))


def dropout_of(text: str) -> float | None:
    """Return the share of outputs that is dropped, or None."""
    return next((each.dropout for each in regularisers(text) if each.dropout is not None), None)


def smoothing_of(text: str) -> float | None:
    """Return the share of labels that is spread, or None."""
    return next((each.smoothing for each in regularisers(text) if each.smoothing is not None), None)


def patience_of(text: str) -> Patience | None:
    """Return when training stops early, or None."""
    return next((each.patience for each in regularisers(text) if each.patience is not None), None)


def largest_loss_of(text: str) -> float | None:
    """Return the multiple of its first loss above which training ends, or None."""
    return next((each.largest_loss for each in regularisers(text) if each.largest_loss is not None), None)


class StackedRegularisation:
    """The restraints of a stack, one strength a trial; its trials share the names of their regularisers.

    Parameters
    ----------
    levels
        Canonical text of each trial's level.
    weights
        Names of the parameters that are weights.
    """

    def __init__(self, levels: list[str], weights: list[str]) -> None:
        self._levels, self._weights = levels, weights
        self._parts = [regularisers(level) for level in levels]
        self.idle = not self._parts[0]

    def _values(self, part: int, field: str, like: Tensor) -> Tensor:
        """Return one value a trial, shaped to broadcast against the stacked tensor `like`."""
        values = [float(getattr(parts[part], field)) for parts in self._parts]
        return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(-1, *[1] * (like.dim() - 1))

    def add_penalties(self, parameters: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        """Put each gradient plus the penalties' in its place."""
        for part, each in enumerate(self._parts[0]):
            if each.penalty is not None:
                for name in self._weights:
                    weight = parameters[name]
                    strength = self._values(part, "strength", weight)
                    gradients[name] = gradients[name] + each.penalty.gradient(weight) * strength

    def penalties(self, parameters: dict[str, Tensor]) -> Tensor:
        """Return each trial's penalty, strength included: (trials,)."""
        some = next(iter(parameters.values()))
        total = torch.zeros(len(self._levels), dtype=some.dtype, device=some.device)
        for part, each in enumerate(self._parts[0]):
            if each.penalty is not None:
                for name in self._weights:
                    sums = torch.func.vmap(each.penalty.value)(parameters[name])
                    total = total + sums * self._values(part, "strength", total)
        return total

    def clip_gradients(self, gradients: dict[str, Tensor]) -> None:
        """Put each gradient, scaled down to the trial's largest norm, in its place."""
        for part, each in enumerate(self._parts[0]):
            if each.largest_gradient is not None:
                norms = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
                norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
                factor = (self._values(part, "largest_gradient", norm) / (norm + 1e-6)).clamp(max=1.0)
                for name, gradient in gradients.items():
                    gradients[name] = gradient * factor.reshape(-1, *[1] * (gradient.dim() - 1))

    def decay(self, parameters: dict[str, Tensor], rates: Tensor) -> None:
        """Take each trial's decay at its learning rate in force, (trials,), off its weights, in place."""
        for part, each in enumerate(self._parts[0]):
            if each.decay is not None:
                for name in self._weights:
                    weight = parameters[name]
                    rate = rates.to(weight).reshape(-1, *[1] * (weight.dim() - 1))
                    weight.mul_(1 - rate * self._values(part, "decay", weight))

    def limit_weights(self, parameters: dict[str, Tensor]) -> None:
        """Scale each unit's incoming weights down to their largest norm, in place."""
        for part, each in enumerate(self._parts[0]):
            if each.largest_weight is not None:
                for name in self._weights:
                    weight = parameters[name]
                    norm = torch.linalg.vector_norm(weight.flatten(2), dim=2)
                    limit = self._values(part, "largest_weight", norm)
                    factor = (limit / norm.clamp(min=1e-12)).clamp(max=1.0)
                    weight.mul_(factor.reshape(*norm.shape, *[1] * (weight.dim() - 2)))

    def keep(self, positions: list[int]) -> None:
        """Go on with the trials at `positions`."""
        self._levels = [self._levels[i] for i in positions]
        self._parts = [self._parts[i] for i in positions]
