"""Steps of optimizers: plain gradient descent's effective step is its rate, Adagrad's shrinks as its formula says."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from trainatlas.claims.experiments import updates
from trainatlas.claims.experiments.runs import evaluated, trained
from trainatlas.claims.experiments.updates import (
    Steps,
    adagrad_step,
    bias_correction,
    momentum_oscillation,
    rmsprop_step,
    steps_of,
)
from trainatlas.study.trial import Trial


def test_the_effective_step_of_gradient_descent_is_its_rate(short: Trial) -> None:
    steps = steps_of(short._replace(optimizer="sgd", learning_rate=0.1))
    assert len(steps.effective) == 32
    assert steps.effective == pytest.approx([0.1] * 32, rel=1e-3)


def through(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradients: list[list[float]]) -> Steps:
    """Return what steps with given gradients do to one parameter."""
    steps = Steps()
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
        steps.before([parameter])
        optimizer.step()
        steps.after([parameter])
    return steps


def test_adagrads_effective_step_falls_with_the_root_of_the_steps_on_a_constant_gradient() -> None:
    """lr / (|g| sqrt(t)) (Duchi et al. 2011)."""
    parameter = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    steps = through(torch.optim.Adagrad([parameter], lr=0.1), parameter, [[2.0, 2.0, 2.0]] * 20)
    assert steps.effective == pytest.approx([0.05 / math.sqrt(t) for t in range(1, 21)], rel=1e-6)


def test_changes_of_sign_are_counted_among_what_moves() -> None:
    parameter = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    gradients = [[1.0, 1.0, -1.0, 0.0], [1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, -1.0]]
    steps = through(torch.optim.SGD([parameter], lr=0.1), parameter, gradients)
    assert steps.sign_changes == pytest.approx([2 / 3, 2 / 4])


def test_a_step_change_is_that_between_epochs(short: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """An effective step that grows by a factor of 1.01 a step grows by 1.01^16 from one epoch of 16 steps to the next."""
    made = Steps()
    made.effective = [0.1 * 1.01**step for step in range(32)]
    monkeypatch.setattr(updates, "steps_of", lambda trial: made)
    for experiment in (adagrad_step, rmsprop_step):
        assert experiment([1], short)["effect"].to_list() == pytest.approx([16 * math.log(1.01)])


def test_adagrad_is_measured_at_its_tuned_rate(short: Trial, well_formed: Callable[..., None]) -> None:
    table = adagrad_step([1, 2], short)
    well_formed(table, [1, 2], ["epoch 2 to epoch 1"])
    assert (table["effect"] < 0).all(), "its sum of squares can only grow, and does most at the start"


def test_rmsprop_is_measured_at_its_tuned_rate(short: Trial, well_formed: Callable[..., None]) -> None:
    well_formed(rmsprop_step([1], short), [1], ["epoch 2 to epoch 1"])


def test_momentum_averages_signs(short: Trial, well_formed: Callable[..., None]) -> None:
    table = momentum_oscillation([1], short)
    well_formed(table, [1], ["all steps"])
    # Of independent gradients of one size a velocity with momentum 0.9 has correlation 0.9 from step to step, so it changes
    # its sign with probability arccos(0.9) / pi = 0.14, the gradients theirs with 0.5.
    assert -0.5 < table["effect"].item() < -0.1


def test_bias_correction_compares_losses_after_the_same_steps(short: Trial, well_formed: Callable[..., None]) -> None:
    base = short._replace(learning_rate=1e-3)
    table = bias_correction([1], base, steps=5)
    well_formed(table, [1], ["beta2=0.999", "beta2=0.99"])
    assert bias_correction([1], base, steps=0)["effect"].to_list() == [0, 0]
    losses = [
        evaluated(trial, trained(trial, 5).network, "train")[0]
        for trial in (base._replace(seed=1, optimizer=text) for text in ("adam(bias_correction=False)", "adam"))
    ]
    assert table.set_index("pair").loc["beta2=0.999", "effect"] == pytest.approx(
        np.log(losses[0] / losses[1]), abs=1e-5
    )
