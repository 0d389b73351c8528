"""Optimizers: each entry holds an update over stacked tensors and its plain torch counterpart.

A stacked parameter has the trials along its first axis; every hyper-parameter is a tensor
of one value per trial that broadcasts against it. An update works in place and equals the
named class of `torch.optim` step by step (tests/equivalence).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, OptionValue, split_level

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = LazyModule("torch")

Coefficients = Mapping[str, "Tensor"]

Update = Callable[["Tensor", "Tensor", "list[Tensor]", Coefficients], None]
"""(parameter, gradient, slots, coefficients) -> None: one step in place."""


def _as_given(hyper: Coefficients, step: int) -> Coefficients:
    return hyper


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with its options filled in.

    Attributes
    ----------
    update
        One step for one stacked parameter.
    slots
        How many tensors of the parameter's shape the update keeps between steps; they start at 0.
    options
        Hyper-parameters other than the learning rate, which is passed as "learning_rate".
    reference
        Class in `torch.optim` and its keyword arguments beside `lr`.
    coefficients
        (hyper-parameters, step counted from 1) -> what the update multiplies by, in float64: one
        minus a decay near one would lose its digits in float32.
    """

    update: Update
    slots: int
    reference: tuple[str, dict[str, Any]]
    options: dict[str, OptionValue] = field(default_factory=dict)
    coefficients: Callable[[Coefficients, int], Coefficients] = _as_given


def _sgd(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients) -> None:
    p.sub_(c["learning_rate"] * g)


def _momentum(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients) -> None:
    (velocity,) = slots
    velocity.mul_(c["momentum"]).add_(g)
    p.sub_(c["learning_rate"] * velocity)


def _rmsprop_coefficients(h: Coefficients, step: int) -> Coefficients:
    return {"rate": h["learning_rate"], "keep": h["alpha"], "new": 1 - h["alpha"], "eps": h["eps"]}


def _rmsprop(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients) -> None:
    (square,) = slots
    square.mul_(c["keep"]).addcmul_(g * c["new"], g)
    p.sub_(c["rate"] * g / square.sqrt().add_(c["eps"]))


def _adam_coefficients(h: Coefficients, step: int) -> Coefficients:
    return {
        "rate": h["learning_rate"] / (1 - h["beta1"] ** step),
        "keep1": h["beta1"],
        "new1": 1 - h["beta1"],
        "keep2": h["beta2"],
        "new2": 1 - h["beta2"],
        "root": (1 - h["beta2"] ** step) ** -0.5,
        "eps": h["eps"],
    }


def _adam(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients) -> None:
    mean, square = slots
    mean.mul_(c["keep1"]).add_(g * c["new1"])
    square.mul_(c["keep2"]).addcmul_(g * c["new2"], g)
    p.sub_(c["rate"] * mean / square.sqrt().mul_(c["root"]).add_(c["eps"]))


_EPS = Option(1e-8, 0.0, 1.0, "added to the root of the second moment", open_low=True)

OPTIMIZERS = LevelTable(
    "optimizer",
    Level(
        "sgd",
        "p <- p - lr * g",
        "Robbins and Monro 1951",
        lambda: Optimizer(_sgd, 0, ("SGD", {})),
    ),
    Level(
        "momentum",
        "v <- momentum * v + g; p <- p - lr * v",
        "Polyak 1964; Sutskever et al. 2013",
        lambda momentum: Optimizer(_momentum, 1, ("SGD", {"momentum": momentum}), {"momentum": momentum}),
        {"momentum": Option(0.9, 0.0, 0.9999, "share of the velocity kept each step")},
    ),
    Level(
        "rmsprop",
        "s <- alpha * s + (1 - alpha) * g^2; p <- p - lr * g / (sqrt(s) + eps)",
        "Tieleman and Hinton 2012, lecture 6.5",
        lambda alpha, eps: Optimizer(
            _rmsprop,
            1,
            ("RMSprop", {"alpha": alpha, "eps": eps}),
            {"alpha": alpha, "eps": eps},
            _rmsprop_coefficients,
        ),
        {"alpha": Option(0.99, 0.0, 0.999999, "share of the second moment kept each step"), "eps": _EPS},
    ),
    Level(
        "adam",
        "m, s: running means of g and g^2, divided by 1 - beta^t; p <- p - lr * m / (sqrt(s) + eps)",
        "Kingma and Ba 2015, algorithm 1",
        lambda beta1, beta2, eps: Optimizer(
            _adam,
            2,
            ("Adam", {"betas": (beta1, beta2), "eps": eps}),
            {"beta1": beta1, "beta2": beta2, "eps": eps},
            _adam_coefficients,
        ),
        {
            "beta1": Option(0.9, 0.0, 0.999999, "share of the first moment kept each step"),
            "beta2": Option(0.999, 0.0, 0.999999, "share of the second moment kept each step"),
            "eps": _EPS,
        },
    ),
)
"""Every optimizer by name."""


class StackedOptimizer:
    """Updates for a stack of trials whose optimizers may differ.

    Neighbouring trials of one optimizer share an update: the stack is cut into runs, and each run's
    parameters, gradients and slots are views of the stack's.

    Parameters
    ----------
    levels
        Canonical text of each trial's optimizer, trials of one optimizer side by side.
    learning_rates
        One rate per trial.
    parameters
        Stacked parameters by name, each of shape (trials, ...); updated in place.
    """

    def __init__(self, levels: list[str], learning_rates: list[float], parameters: dict[str, Tensor]) -> None:
        self._levels = levels
        self._rates = learning_rates
        self._parameters = parameters
        most = max(self._optimizer(level).slots for level in levels)
        self._slots = {name: [torch.zeros_like(p) for _ in range(most)] for name, p in parameters.items()}
        self._steps = 0
        self._prepare()

    @staticmethod
    def _optimizer(level: str) -> Optimizer:
        optimizer: Optimizer = OPTIMIZERS.build(level)
        return optimizer

    def _prepare(self) -> None:
        """Cut the stack into runs of one optimizer, each with its hyper-parameters, one value a trial."""
        names = [split_level(level)[0] for level in self._levels]
        starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
        self._runs: list[tuple[slice, Optimizer, dict[str, Tensor]]] = []
        for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
            members = [self._optimizer(level) for level in self._levels[start:stop]]
            values = {"learning_rate": self._rates[start:stop]}
            for key in members[0].options:
                values[key] = [float(member.options[key]) for member in members]
            hyper = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
            self._runs.append((slice(start, stop), members[0], hyper))

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update every parameter by its gradient, of the same name and shape."""
        self._steps += 1
        for run, optimizer, hyper in self._runs:
            coefficients = optimizer.coefficients(hyper, self._steps)
            shaped: dict[int, Coefficients] = {}
            for name, parameter in self._parameters.items():
                dims = parameter.dim()
                if dims not in shaped:
                    shape = (-1, *[1] * (dims - 1))
                    shaped[dims] = {key: value.to(parameter).reshape(shape) for key, value in coefficients.items()}
                slots = [slot[run] for slot in self._slots[name][: optimizer.slots]]
                optimizer.update(parameter[run], gradients[name][run], slots, shaped[dims])

    def keep(self, kept: list[int], parameters: dict[str, Tensor]) -> None:
        """Go on with the trials at the positions `kept`, whose parameters are now `parameters`."""
        index = torch.tensor(kept, device=next(iter(parameters.values())).device)
        self._levels = [self._levels[i] for i in kept]
        self._rates = [self._rates[i] for i in kept]
        self._parameters = parameters
        self._slots = {name: [slot[index] for slot in slots] for name, slots in self._slots.items()}
        self._prepare()
