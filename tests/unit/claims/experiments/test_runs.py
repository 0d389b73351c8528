"""The plain loop as experiments use it: trained once, judged as scikit-learn judges, watched without a trace."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn

from trainatlas.claims.experiments import runs
from trainatlas.claims.experiments.runs import evaluated, examples, hidden_outputs, trained, tuned, watched
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference


def test_a_trial_is_trained_once_and_as_the_plain_loop_trains_it(short: Trial) -> None:
    run = trained(short)
    assert trained(short._replace()) is run
    assert run.losses == train_reference(short, ExampleStore(torch.device("cpu"))).losses
    assert len(trained(short, 3).losses) == 3


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_loss_and_accuracy_are_scikit_learns(short: Trial, part: str) -> None:
    network, variant = trained(short).network, examples(short)
    with torch.no_grad():
        shares = softmax(network.eval()(variant.x[part]).double().numpy(), axis=1)
    y = variant.y[part].numpy()
    loss, accuracy = evaluated(short, network, part)
    assert loss == pytest.approx(log_loss(y, shares), rel=1e-5)
    assert accuracy == pytest.approx(accuracy_score(y, shares.argmax(1)))


def test_a_network_that_is_not_finite_has_infinite_loss(short: Trial) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[1].weight.fill_(float("nan"))
    assert evaluated(short, network, "validation")[0] == float("inf")


def test_tuning_takes_the_best_validation_accuracy(short: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runs.RATES, "momentum", (1e-5, 0.05, 1e4))
    assert tuned(short).learning_rate == 0.05
    judged = {rate: evaluated(short, trained(short._replace(learning_rate=rate)).network, "validation")[1]
              for rate in (1e-5, 0.05, 1e4)}  # fmt: skip
    assert max(judged, key=lambda rate: judged[rate]) == 0.05


def test_a_watched_trial_is_the_same_and_nobody_looks_afterwards(short: Trial) -> None:
    trial, seen = short._replace(optimizer="sgd", learning_rate=0.1), []
    start: list[list[Tensor]] = []

    def before(parameters: list[nn.Parameter]) -> None:
        start.append([parameter.detach().clone() for parameter in parameters])

    def after(parameters: list[nn.Parameter]) -> None:
        seen.append([(own, p.detach().clone(), p.grad.clone()) for own, p in zip(start[-1], parameters, strict=True)])

    run = watched(trial, before, after, steps=5)
    assert run.losses == trained(trial, 5).losses
    assert len(seen) == 5
    for own, updated, gradient in (each for step in seen for each in step):
        torch.testing.assert_close(updated, own - 0.1 * gradient)
    train_reference(trial, ExampleStore(torch.device("cpu")), 2)
    assert len(seen) == 5


def test_hidden_outputs_are_those_of_the_layers_by_hand(short: Trial) -> None:
    network = trained(short).network
    values = {name: value.detach().numpy() for name, value in network.named_parameters()}
    x = examples(short).x["validation"].flatten(1).numpy()
    found = hidden_outputs(short, network, "validation")
    assert len(found) == 2
    for number, outputs in enumerate(found):
        layer = f"hidden.{number}.linear"
        x = np.maximum(x @ values[f"{layer}.weight"].T + values[f"{layer}.bias"], 0)
        np.testing.assert_allclose(outputs.numpy(), x, rtol=1e-4, atol=1e-5)


def test_hidden_outputs_are_as_the_network_would_be_used(short: Trial) -> None:
    trial = short._replace(regularisation="dropout")
    network = trained(trial).network
    first, second = (hidden_outputs(trial, network, "test")[1] for _ in range(2))
    assert torch.equal(first, second)
    assert (first == 0).double().mean() < 0.9
