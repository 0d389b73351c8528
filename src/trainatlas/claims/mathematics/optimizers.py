"""Adam's first step, with bias correction and without (O4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainatlas.claims.observations import Check
from trainatlas.optim.optimizers import described
from trainatlas.optim.stacked import StackedOptimizer
from trainatlas.study.texts import worded

RATE, BETA1, BETA2, EPS = 0.01, 0.9, 0.999, 1e-8
GRADIENTS = (1e-4, -0.1, 1.0, -1e4)


def first_adam_step() -> list[Check]:
    """Check that Adam's first step has the size of the rate whatever the gradient, and without bias correction another.

    With m and s started at 0 the first moments are (1 - beta1) g and (1 - beta2) g^2: corrected, the step is
    lr |g| / (|g| + eps); without, lr (1 - beta1) |g| / (sqrt(1 - beta2) |g| + eps), 3.16 times as long at the usual betas
    (Kingma and Ba 2015, sections 2.1 and 3). By the stacked update and by the plain one.
    """
    checks = []
    for level, corrected in (("adam", True), ("adam(bias_correction=False)", False)):
        steps = {worded("stacked"): _stacked_steps(level), worded("plain"): _plain_steps(level)}
        for update, found in steps.items():
            for gradient, step in zip(GRADIENTS, found, strict=True):
                size = abs(gradient)
                expected = RATE * size / (size + EPS)
                if not corrected:
                    expected = RATE * (1 - BETA1) * size / (math.sqrt(1 - BETA2) * size + EPS)
                values = {"gradient": f"{gradient:g}", "update": update}
                if corrected:
                    what = worded("first step with bias correction, gradient {gradient}, {update} update", **values)
                else:
                    what = worded("first step without bias correction, gradient {gradient}, {update} update", **values)
                checks.append(Check(what, -math.copysign(expected, gradient), step, 1e-12))
    return checks


def _stacked_steps(level: str) -> list[float]:
    """Return the first step of a stack of one-parameter trials, one a gradient."""
    parameters = {"w": torch.zeros(len(GRADIENTS), 1, dtype=torch.float64)}
    optimizer = StackedOptimizer([level] * len(GRADIENTS), [RATE] * len(GRADIENTS), parameters)
    optimizer.step({"w": _gradients()[:, None]})
    return [float(step) for step in parameters["w"][:, 0]]


def _plain_steps(level: str) -> list[float]:
    parameter = nn.Parameter(torch.zeros(len(GRADIENTS), dtype=torch.float64))
    optimizer = described(level).plain([parameter], RATE)
    parameter.grad = _gradients()
    optimizer.step()
    return [float(step) for step in parameter.detach()]


def _gradients() -> Tensor:
    return torch.tensor(GRADIENTS, dtype=torch.float64)
