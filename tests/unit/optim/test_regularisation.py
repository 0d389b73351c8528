"""Restraints do what their formulas say, to each trial of a stack by its own strength."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainatlas.optim.regularisation import (
    REGULARISATIONS,
    StackedRegularisation,
    dropout_of,
    patience_of,
    regulariser_names,
    regularisers,
    smoothing_of,
)
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level

SHAPES = {"hidden.weight": (4, 5), "hidden.bias": (4,), "convolution.weight": (3, 2, 3, 3), "scale": (3,)}
WEIGHTS = ["hidden.weight", "convolution.weight"]


def stack(trials: int, seed: int = 0, size: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: size * torch.randn(trials, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def restraints(*levels: str) -> StackedRegularisation:
    return StackedRegularisation([parse_level(level, REGULARISATIONS) for level in levels], WEIGHTS)


def test_nothing_is_idle() -> None:
    assert restraints("none", "none").idle
    assert not restraints("l2", "l2").idle


@given(strengths=st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=4), name=st.sampled_from(["l1", "l2"]))
def test_a_penalty_and_its_gradient_are_what_autograd_finds(strengths: list[float], name: str) -> None:
    parameters, given_gradients = stack(len(strengths)), stack(len(strengths), seed=1)
    stacked = restraints(*(f"{name}(strength={strength!r})" for strength in strengths))
    gradients = dict(given_gradients)
    stacked.add_penalties(parameters, gradients)
    values = stacked.penalties(parameters)
    for i, strength in enumerate(strengths):
        leaves = {key: parameters[key][i].clone().requires_grad_() for key in WEIGHTS}
        terms = [w.abs().sum() if name == "l1" else 0.5 * (w**2).sum() for w in leaves.values()]
        penalty = strength * torch.stack(terms).sum()
        penalty.backward()
        assert values[i].item() == pytest.approx(penalty.item(), rel=1e-9)
        for key, leaf in leaves.items():
            torch.testing.assert_close(gradients[key][i], given_gradients[key][i] + leaf.grad)
        for key in set(SHAPES) - set(WEIGHTS):
            assert torch.equal(gradients[key], given_gradients[key])


def test_the_l2_penalty_is_torchs_weight_decay_of_sgd() -> None:
    parameters, gradients = stack(1), stack(1, seed=1)
    leaves = {key: nn.Parameter(parameters[key][0].clone()) for key in WEIGHTS}
    for key, leaf in leaves.items():
        leaf.grad = gradients[key][0].clone()
    torch.optim.SGD(leaves.values(), lr=0.1, weight_decay=0.03).step()
    restraints("l2(strength=0.03)").add_penalties(parameters, gradients)
    for key, leaf in leaves.items():
        torch.testing.assert_close(parameters[key][0] - 0.1 * gradients[key][0], leaf.detach())


def test_decoupled_decay_is_adamws() -> None:
    parameters = stack(2)
    rates, shares = [0.1, 0.02], [0.5, 0.01]
    leaves = [{key: nn.Parameter(parameters[key][i].clone()) for key in WEIGHTS} for i in range(2)]
    for i, each in enumerate(leaves):
        for leaf in each.values():
            leaf.grad = torch.zeros_like(leaf)
        torch.optim.AdamW(each.values(), lr=rates[i], weight_decay=shares[i]).step()
    restraints(*(f"decoupled_decay(rate={share})" for share in shares)).decay(parameters, torch.tensor(rates))
    for i, each in enumerate(leaves):
        for key, leaf in each.items():
            torch.testing.assert_close(parameters[key][i], leaf.detach(), rtol=1e-7, atol=0)


@given(norms=st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=4))
def test_clipping_is_torchs(norms: list[float]) -> None:
    gradients = stack(len(norms))
    expected = []
    for i, norm in enumerate(norms):
        leaves = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES.values()]
        for leaf, gradient in zip(leaves, gradients.values(), strict=True):
            leaf.grad = gradient[i].clone()
        nn.utils.clip_grad_norm_(leaves, norm)
        expected.append([leaf.grad for leaf in leaves])
    restraints(*(f"gradient_clipping(norm={norm!r})" for norm in norms)).clip_gradients(gradients)
    for i, each in enumerate(expected):
        for gradient, oracle in zip(gradients.values(), each, strict=True):
            torch.testing.assert_close(gradient[i], oracle)


@pytest.mark.parametrize("size", [0.01, 1.0, 50.0])
def test_max_norm_scales_down_the_units_that_are_too_large_and_no_other(size: float) -> None:
    parameters = stack(2, size=size)
    before = {key: value.clone() for key, value in parameters.items()}
    limits = [1.5, 3.0]
    restraints(*(f"max_norm(norm={limit})" for limit in limits)).limit_weights(parameters)
    for i, limit in enumerate(limits):
        for key in WEIGHTS:
            oracle = torch.renorm(before[key][i], 2, 0, limit)
            torch.testing.assert_close(parameters[key][i], oracle, rtol=1e-6, atol=1e-9)
        assert torch.equal(parameters["hidden.bias"][i], before["hidden.bias"][i])


def test_a_weight_of_zeros_survives_max_norm() -> None:
    parameters = {key: torch.zeros_like(value) for key, value in stack(1).items()}
    restraints("max_norm").limit_weights(parameters)
    assert all(not value.any() for value in parameters.values())


def test_trials_that_stay_keep_their_own_strength() -> None:
    stacked = restraints("l2(strength=0.1)", "l2(strength=0.2)", "l2(strength=0.4)")
    stacked.keep([2, 0])
    parameters = {key: value[[2, 0]] for key, value in stack(3).items()}
    half_squares = sum(parameters[key].square().flatten(1).sum(1) / 2 for key in WEIGHTS)
    torch.testing.assert_close(
        stacked.penalties(parameters), half_squares * torch.tensor([0.4, 0.1], dtype=torch.float64)
    )


def test_what_is_joined_all_holds_in_the_tables_order() -> None:
    text = parse_level("early_stopping(patience=3) + dropout(p=0.2) + l2 + label_smoothing", REGULARISATIONS)
    assert text == "l2 + dropout(p=0.2) + label_smoothing + early_stopping(patience=3)"
    assert regulariser_names(text) == ("l2", "dropout", "label_smoothing", "early_stopping")
    assert (dropout_of(text), smoothing_of(text), patience_of(text)) == (0.2, 0.1, (3, 0.0))
    assert len(regularisers(text)) == 4
    assert (dropout_of("l2"), smoothing_of("none"), patience_of("none")) == (None, None, None)


@pytest.mark.parametrize("text", ["l2 + l2", "l2 + l2(strength=0.1)", "none + l2", "l2 +", "+ l2", "l2 dropout"])
def test_what_cannot_be_joined_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="regularisation") as caught:
        parse_level(text, REGULARISATIONS)
    assert "allowed: " in str(caught.value)
