"""The plain loop, which defines what training means, is gradient descent as the textbook writes it."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from trainatlas.model.initialisation import initial_parameters
from trainatlas.optim.optimizers import OPTIMIZERS
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, epoch_order
from trainatlas.train.reference import train_reference

TRIAL = Trial("digits", "mlp(depth=1, width=8)", "tanh", "xavier_normal", "none", "sgd", "raw", 0.5, 64, 2, 0)
STORE = ExampleStore(torch.device("cpu"), torch.float64)


def test_steps_of_gradient_descent_are_those_of_back_propagation_by_hand() -> None:
    run = train_reference(TRIAL, STORE, 3, torch.float64)
    variant = STORE.variant(TRIAL)
    examples, classes = variant.x["train"].flatten(1).numpy(), variant.y["train"].numpy()
    start = initial_parameters(run.network, TRIAL, lambda: examples)
    w1, b1, w2, b2 = (
        start[name].double().numpy().copy()
        for name in ("hidden.0.linear.weight", "hidden.0.linear.bias", "output.weight", "output.bias")
    )
    order = epoch_order(TRIAL.seed, 1, len(examples)).numpy()
    for step in range(3):
        rows = order[64 * step : 64 * (step + 1)]
        x, y = examples[rows], classes[rows]
        a = np.tanh(x @ w1.T + b1)
        logits = a @ w2.T + b2
        assert run.losses[step] == pytest.approx(-log_softmax(logits, axis=1)[np.arange(64), y].mean(), rel=1e-10)
        output = (softmax(logits, axis=1) - np.eye(10)[y]) / 64
        hidden = (output @ w2) * (1 - a**2)
        w2, b2 = w2 - 0.5 * output.T @ a, b2 - 0.5 * output.sum(0)
        w1, b1 = w1 - 0.5 * hidden.T @ x, b1 - 0.5 * hidden.sum(0)
    trained = {name: value.detach().numpy() for name, value in run.network.named_parameters()}
    np.testing.assert_allclose(trained["hidden.0.linear.weight"], w1, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(trained["hidden.0.linear.bias"], b1, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(trained["output.weight"], w2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(trained["output.bias"], b2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_lowers_the_loss(optimizer: str) -> None:
    rate = {"sgd": 0.5, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.1, "adadelta": 5.0, "radam": 0.05}.get(
        optimizer, 0.01
    )
    trial = TRIAL._replace(optimizer=optimizer, learning_rate=rate, epochs=5)
    losses = train_reference(trial, STORE, dtype=torch.float64).losses
    assert len(losses) == 5 * 16
    assert np.mean(losses[-16:]) < 0.7 * np.mean(losses[:16])


def test_the_number_of_steps_may_be_cut() -> None:
    whole = train_reference(TRIAL, STORE, None, torch.float64).losses
    assert len(whole) == 2 * 16
    assert train_reference(TRIAL, STORE, 20, torch.float64).losses == whole[:20]
    assert train_reference(TRIAL, STORE, 0, torch.float64).losses == []
