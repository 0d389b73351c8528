"""Shares of neurons whose weight gradients agree in sign are those of gradients taken example by example."""

from collections.abc import Callable

import numpy as np
import pytest
import torch.nn.functional as F

from trainatlas.claims.experiments.gradients import agreement, sign_agreement, sign_agreement_tanh
from trainatlas.claims.experiments.runs import examples, trained
from trainatlas.study.trial import Trial


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("size", [1, 5])
def test_agreement_is_that_of_the_mean_of_single_gradients(short: Trial, activation: str, size: int) -> None:
    trial = short._replace(activation=activation, preprocessing="raw")
    network, variant = trained(trial, 4).network, examples(trial)
    x, y = variant.x["train"][:size], variant.y["train"][:size]
    total = np.zeros((8, 8))
    for one, label in zip(x, y, strict=True):
        network.zero_grad()
        F.cross_entropy(network(one[None]), label[None]).backward()
        total += network.get_parameter("hidden.1.linear.weight").grad.double().numpy() / size
    moving = [row for row in total if np.abs(row).max() > 0]
    agreeing = [row for row in moving if np.all(row >= 0) or np.all(row <= 0)]
    assert agreement(network, x, y) == pytest.approx(len(agreeing) / len(moving))


def test_one_example_gives_one_sign_and_a_batch_takes_it_away(short: Trial, well_formed: Callable[..., None]) -> None:
    table = sign_agreement([1, 2], short_raw(short))
    when = ("before training", "after training")
    well_formed(table, [1, 2], [f"{name}, {each}" for name in ("relu", "sigmoid") for each in when])
    assert table["effect"].between(0, 1).all(), (
        "the share is 1 on single examples, so that a batch can only take from it"
    )
    assert table["effect"].mean() > 0.1


def test_outputs_of_either_sign_have_next_to_nothing_to_lose(short: Trial, well_formed: Callable[..., None]) -> None:
    base = short_raw(short)._replace(network="mlp(depth=2, width=32)")
    control = sign_agreement_tanh([1], base)
    well_formed(control, [1], ["tanh, before training", "tanh, after training"])
    assert control["effect"].abs().max() < 0.05


def short_raw(short: Trial) -> Trial:
    return short._replace(preprocessing="raw", init="xavier_normal")
