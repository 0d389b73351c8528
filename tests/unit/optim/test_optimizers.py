"""Stacked optimizers are torch.optim, trial by trial and step by step."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainatlas.optim.optimizers import OPTIMIZERS, Optimizer, StackedOptimizer
from trainatlas.study.levels import Level, parse_level

STEPS = 200
SHAPES = {"weight": (3, 4), "bias": (3,), "scale": ()}

Gradient = Callable[[str, Tensor, int, int], Tensor]


def variants(level: Level) -> list[str]:
    """An optimizer at its defaults, and with each option at another value."""
    texts = [level.name]
    for key, option in level.options.items():
        for share in (0.3, 0.9):
            value = share if option.high < 1 else share * 1e-3  # shares kept; an epsilon
            texts.append(parse_level(f"{level.name}({key}={value})", OPTIMIZERS))
    return texts


LEVELS = [text for level in OPTIMIZERS.values() for text in variants(level)]


def start(trials: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(trials, *shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def noisy_quadratic(name: str, p: Tensor, trial: int, step: int) -> Tensor:
    """The gradient of a bowl, with noise, and every tenth step none at all."""
    generator = torch.Generator().manual_seed(1000 * trial + step)
    noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return torch.zeros_like(p) if step % 10 == 9 else 3 * p + 0.5 * noise


def by_torch(level: str, rate: float, values: dict[str, Tensor], trial: int, steps: int) -> dict[str, Tensor]:
    """Take `steps` steps with the optimizer of torch.optim that `level` names."""
    described: Optimizer = OPTIMIZERS.build(level)
    kind, options = described.reference
    parameters = {name: value.clone().requires_grad_() for name, value in values.items()}
    optimizer = getattr(torch.optim, kind)(parameters.values(), lr=rate, **options)
    for step in range(steps):
        for name, parameter in parameters.items():
            parameter.grad = noisy_quadratic(name, parameter.detach(), trial, step)
        optimizer.step()
    return {name: parameter.detach() for name, parameter in parameters.items()}


def step_stack(optimizer: StackedOptimizer, stack: dict[str, Tensor], trials: list[int], steps: range) -> None:
    for step in steps:
        optimizer.step(
            {
                name: torch.stack([noisy_quadratic(name, p[i], trial, step) for i, trial in enumerate(trials)])
                for name, p in stack.items()
            }
        )


def test_a_stack_of_every_optimizer_at_every_setting_equals_torch() -> None:
    """Hyper-parameters and rates differ from trial to trial; all optimizers stand in one stack."""
    rates = [0.02 * (1 + i % 5) for i in range(len(LEVELS))]
    values, stack = start(len(LEVELS)), start(len(LEVELS))
    step_stack(StackedOptimizer(LEVELS, rates, stack), stack, list(range(len(LEVELS))), range(STEPS))
    for i, (level, rate) in enumerate(zip(LEVELS, rates, strict=True)):
        expected = by_torch(level, rate, {name: value[i] for name, value in values.items()}, i, STEPS)
        for name, value in expected.items():
            torch.testing.assert_close(
                stack[name][i], value, rtol=1e-9, atol=1e-12, msg=lambda m, at=level: f"{at}: {m}"
            )


@pytest.mark.parametrize("level", LEVELS)
def test_every_single_step_equals_torch(level: str) -> None:
    values, stack = start(1), start(1)
    optimizer = StackedOptimizer([level], [0.05], stack)
    for step in range(5):
        step_stack(optimizer, stack, [0], range(step, step + 1))
        expected = by_torch(level, 0.05, {name: value[0] for name, value in values.items()}, 0, step + 1)
        for name, value in expected.items():
            torch.testing.assert_close(stack[name][0], value, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("level", OPTIMIZERS)
def test_single_precision_stays_close_to_torch(level: str) -> None:
    values, stack = start(2, torch.float32), start(2, torch.float32)
    step_stack(StackedOptimizer([level] * 2, [0.01, 0.1], stack), stack, [0, 1], range(STEPS))
    for i, rate in enumerate([0.01, 0.1]):
        expected = by_torch(level, rate, {name: value[i] for name, value in values.items()}, i, STEPS)
        for name, value in expected.items():
            torch.testing.assert_close(stack[name][i], value, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(data=st.data())
def test_trials_that_stay_go_on_as_if_nobody_had_left(data: st.DataObject) -> None:
    picked = sorted(data.draw(st.lists(st.integers(0, len(LEVELS) - 1), min_size=2, max_size=6), label="levels"))
    levels = [LEVELS[i] for i in picked]
    kept = data.draw(st.lists(st.integers(0, len(levels) - 1), min_size=1, unique=True).map(sorted), label="kept")
    before, after = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 5))
    rates = [0.01 * (1 + i) for i in range(len(levels))]
    values, stack = start(len(levels)), start(len(levels))
    optimizer = StackedOptimizer(levels, rates, stack)
    step_stack(optimizer, stack, list(range(len(levels))), range(before))
    stack = {name: p[kept] for name, p in stack.items()}
    optimizer.keep(kept, stack)
    step_stack(optimizer, stack, kept, range(before, before + after))
    for place, i in enumerate(kept):
        expected = by_torch(levels[i], rates[i], {name: v[i] for name, v in values.items()}, i, before + after)
        for name, value in expected.items():
            torch.testing.assert_close(stack[name][place], value, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("level", OPTIMIZERS)
def test_a_neighbour_that_is_not_finite_harms_nobody(level: str) -> None:
    together = start(2)
    alone = {name: p[:1].clone() for name, p in together.items()}
    optimizer = StackedOptimizer([level], [0.05], alone)
    beside = StackedOptimizer([level] * 2, [0.05, 1e300], together)
    together["weight"][1] = float("nan")
    for step in range(10):
        step_stack(optimizer, alone, [0], range(step, step + 1))
        step_stack(beside, together, [0, 1], range(step, step + 1))
    for name in ("weight", "bias", "scale"):
        assert torch.equal(together[name][0], alone[name][0])
    assert not together["weight"][1].isfinite().any()


@pytest.mark.parametrize("level", OPTIMIZERS)
def test_no_gradient_moves_nothing_from_the_start(level: str) -> None:
    stack = start(2)
    before = {name: p.clone() for name, p in stack.items()}
    StackedOptimizer([level] * 2, [0.1, 1.0], stack).step({name: torch.zeros_like(p) for name, p in stack.items()})
    for name, p in stack.items():
        assert torch.equal(p, before[name])
