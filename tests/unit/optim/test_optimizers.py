"""Stacked optimizers are torch.optim, or the paper's algorithm, trial by trial and step by step."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainatlas.optim import optimizers, stacked
from trainatlas.optim.optimizers import OPTIMIZERS, Optimizer, kind
from trainatlas.optim.stacked import StackedOptimizer
from trainatlas.study.errors import UserError
from trainatlas.study.levels import Flag, Inner, Level, Option, parse_level, split_level

STEPS = 200
SHAPES = {"weight": (3, 4), "bias": (3,), "scale": ()}


def other_values(option: object) -> list[object]:
    """Values of an option beside its default: some in the middle of its range, and its ends."""
    if isinstance(option, Flag):
        return [not option.default]
    if isinstance(option, Inner):
        return [name for name in option.table() if name not in option.without]
    assert isinstance(option, Option)
    if isinstance(option.default, int):
        return [option.low, 2, 3, 7, option.high]
    middle = (0.3, 0.9) if option.high < 1 else (0.0003, 0.3, 0.9)  # shares kept; small numbers, too
    return [*middle, option.high, *([] if option.open_low else [option.low])]


def variants(level: Level) -> list[str]:
    """An optimizer at its defaults, and with each option at other values."""
    texts = [level.name]
    for key, option in level.options.items():
        texts += [parse_level(f"{level.name}({key}={value})", OPTIMIZERS) for value in other_values(option)]
    return list(dict.fromkeys(texts))


COMBINED = [
    "rmsprop(alpha=0.9, centered=True)",
    "rmsprop(alpha=0.9, centered=True, momentum=0.5)",
    "rmsprop(centered=True, momentum=0.9)",
    "adagrad(lr_decay=0.01, initial_accumulator_value=0.1)",
    "adam(beta1=0.5, beta2=0.9, bias_correction=False)",
    "adamw(beta1=0.5, beta2=0.9, weight_decay=0.3)",
    "nadam(beta1=0.95, momentum_decay=0.02)",
    "radam(beta1=0.5, beta2=0.9)",
    "lookahead(inner=adam(beta1=0.5), k=3)",
    "lookahead(inner=adam(beta2=0.9, bias_correction=False), k=4, alpha=0.8)",
    "lookahead(inner=rmsprop(alpha=0.9), k=2, alpha=0.7)",  # both have an alpha
    "lookahead(inner=adagrad(initial_accumulator_value=0.1), k=6)",
    "lookahead(inner=adagrad(initial_accumulator_value=0.3, lr_decay=0.02), alpha=0.2)",
    "lookahead(inner=rmsprop(centered=True, momentum=0.9), k=7)",
]

LEVELS = sorted(
    dict.fromkeys([*(text for level in OPTIMIZERS.values() for text in variants(level)), *COMBINED]), key=kind
)


def start(trials: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(trials, *shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def noisy_quadratic(name: str, p: Tensor, trial: int, step: int) -> Tensor:
    """The gradient of a bowl, with noise, and every tenth step none at all."""
    generator = torch.Generator().manual_seed(1000 * trial + step)
    noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return torch.zeros_like(p) if step % 10 == 9 else 3 * p + 0.5 * noise


@contextmanager
def numbers_of(dtype: torch.dtype) -> Iterator[None]:
    """NAdam of torch keeps its running product in the default precision, whatever the parameters' is."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(usual)


def by_torch(
    level: str,
    rate: float,
    values: dict[str, Tensor],
    trial: int,
    steps: int,
    multiplier: Callable[[int], float] = lambda step: 1.0,
) -> dict[str, Tensor]:
    """Take `steps` steps with the plain optimizer that `level` names."""
    described: Optimizer = OPTIMIZERS.build(level)
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in values.items()}
    with numbers_of(values["weight"].dtype):
        optimizer = described.plain(iter(parameters.values()), rate)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * multiplier(step)
            for name, parameter in parameters.items():
                parameter.grad = noisy_quadratic(name, parameter.detach(), trial, step)
            optimizer.step()
    return {name: parameter.detach() for name, parameter in parameters.items()}


def gradients_of(stack: dict[str, Tensor], trials: list[int], step: int) -> dict[str, Tensor]:
    return {
        name: torch.stack([noisy_quadratic(name, p[i], trial, step) for i, trial in enumerate(trials)])
        for name, p in stack.items()
    }


def step_stack(optimizer: StackedOptimizer, stack: dict[str, Tensor], trials: list[int], steps: range) -> None:
    for step in steps:
        optimizer.step(gradients_of(stack, trials, step))


def assert_trial(stack: dict[str, Tensor], place: int, expected: dict[str, Tensor], level: str, rtol: float) -> None:
    for name, value in expected.items():
        case = f"{level}: {name}"
        torch.testing.assert_close(stack[name][place], value, rtol=rtol, atol=1e-3 * rtol, msg=case)


@pytest.mark.parametrize("level", [level for level in OPTIMIZERS if level != "lookahead"])
def test_torch_has_the_optimizer_and_its_defaults(level: str) -> None:
    """So what the stack is held against is torch's, not ours."""
    built = OPTIMIZERS.build(level).plain([torch.nn.Parameter(torch.zeros(1))], 0.1)
    assert type(built).__module__.startswith("torch.optim")
    usual = type(built)([torch.nn.Parameter(torch.zeros(1))], lr=0.1).defaults
    changed = {"momentum", "nesterov"} if level in ("momentum", "nesterov") else set()
    assert {key: value for key, value in built.defaults.items() if key not in changed} == {
        key: value for key, value in usual.items() if key not in changed
    }


def test_a_stack_of_every_optimizer_at_every_setting_equals_torch() -> None:
    """Hyper-parameters and rates differ from trial to trial; all optimizers stand in one stack."""
    rates = [0.02 * (1 + i % 5) for i in range(len(LEVELS))]
    values, stack = start(len(LEVELS)), start(len(LEVELS))
    step_stack(StackedOptimizer(LEVELS, rates, stack), stack, list(range(len(LEVELS))), range(STEPS))
    for i, (level, rate) in enumerate(zip(LEVELS, rates, strict=True)):
        expected = by_torch(level, rate, {name: value[i] for name, value in values.items()}, i, STEPS)
        assert_trial(stack, i, expected, level, 1e-9)


def test_multipliers_of_every_step_are_torch_with_its_groups_rate_set() -> None:
    """Momentum holds no rate, decay of weights does, accumulators do not: as each optimizer of torch has it."""

    def multiplier(trial: int, step: int) -> float:
        return (0.0, 1.0, 0.3, 0.05, 0.7)[(step * (trial + 1) + trial) % 5]

    rates = [0.02 * (1 + i % 5) for i in range(len(LEVELS))]
    values, stack = start(len(LEVELS)), start(len(LEVELS))
    trials = list(range(len(LEVELS)))
    optimizer = StackedOptimizer(LEVELS, rates, stack)
    for step in range(60):
        factors = torch.tensor([multiplier(trial, step) for trial in trials], dtype=torch.float64)
        optimizer.step(gradients_of(stack, trials, step), factors)
    for i, level in enumerate(LEVELS):
        mine = {name: value[i] for name, value in values.items()}
        assert_trial(stack, i, by_torch(level, rates[i], mine, i, 60, partial(multiplier, i)), level, 1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_every_single_step_equals_torch(level: str) -> None:
    values, stack = start(1), start(1)
    optimizer = StackedOptimizer([level], [0.05], stack)
    for step in range(8):
        step_stack(optimizer, stack, [0], range(step, step + 1))
        expected = by_torch(level, 0.05, {name: value[0] for name, value in values.items()}, 0, step + 1)
        assert_trial(stack, 0, expected, level, 1e-11)


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
    picked = data.draw(st.lists(st.integers(0, len(LEVELS) - 1), min_size=2, max_size=6), label="levels")
    levels = [LEVELS[i] for i in picked]  # in any order: kinds need not stand together
    kept = data.draw(st.lists(st.integers(0, len(levels) - 1), min_size=1, unique=True).map(sorted), label="kept")
    before, after = data.draw(st.integers(0, 7)), data.draw(st.integers(1, 7))
    rates = [0.01 * (1 + i) for i in range(len(levels))]
    values, stack = start(len(levels)), start(len(levels))
    optimizer = StackedOptimizer(levels, rates, stack)
    step_stack(optimizer, stack, list(range(len(levels))), range(before))
    stack = {name: p[kept] for name, p in stack.items()}
    optimizer.keep(kept, stack)
    step_stack(optimizer, stack, kept, range(before, before + after))
    for place, i in enumerate(kept):
        expected = by_torch(levels[i], rates[i], {name: v[i] for name, v in values.items()}, i, before + after)
        assert_trial(stack, place, expected, levels[i], 1e-10)


# What torch lacks: the papers' algorithms, written out -----------------------------------------------------------------


def sums_of_uncorrected_adam(rate: float, beta1: float, beta2: float, eps: float, p: Tensor, steps: int) -> Tensor:
    """Kingma and Ba's moments in closed form, section 3, without the correction: sums over every gradient so far."""
    p, seen = p.clone(), []
    for step in range(steps):
        seen.append(noisy_quadratic("", p, 0, step))
        mean = sum((1 - beta1) * beta1**age * g for age, g in enumerate(reversed(seen)))
        square = sum((1 - beta2) * beta2**age * g * g for age, g in enumerate(reversed(seen)))
        p = p - rate * mean / (torch.sqrt(torch.as_tensor(square)) + eps)
    return p


@pytest.mark.parametrize(("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3), (0.0, 0.99, 1e-8)])
def test_adam_without_correction_is_the_closed_form_of_its_moments(beta1: float, beta2: float, eps: float) -> None:
    level = parse_level(f"adam(beta1={beta1}, beta2={beta2}, eps={eps}, bias_correction=False)", OPTIMIZERS)
    first = start(1)
    expected = {name: sums_of_uncorrected_adam(0.03, beta1, beta2, eps, p[0], 60) for name, p in first.items()}
    stack = start(1)
    step_stack(StackedOptimizer([level], [0.03], stack), stack, [0], range(60))
    assert_trial(stack, 0, expected, level, 1e-10)
    assert_trial(first, 0, {name: p[0] for name, p in start(1).items()}, level, 0)  # the transcription moved nothing
    plain = by_torch(level, 0.03, {name: p[0] for name, p in first.items()}, 0, 60)
    assert_trial({name: p[None] for name, p in plain.items()}, 0, expected, level, 1e-10)


Rule = Callable[[Tensor, Tensor], Tensor]


def gradient_descent(rate: float) -> Rule:
    return lambda p, g: p - rate * g


def heavy_ball(rate: float, momentum: float) -> Rule:
    """Polyak's method in the form without a velocity: the last step goes on."""
    last: list[Tensor] = []

    def rule(p: Tensor, g: Tensor) -> Tensor:
        move = momentum * last[-1] - rate * g if last else -rate * g
        last.append(move)
        return p + move

    return rule


def adam(rate: float) -> Rule:
    """Kingma and Ba's algorithm 1, line by line."""
    t, m, v = 0, torch.tensor(0.0), torch.tensor(0.0)

    def rule(theta: Tensor, g: Tensor) -> Tensor:
        nonlocal t, m, v
        t += 1
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.999 * v + (1 - 0.999) * g**2
        m_hat = m / (1 - 0.9**t)
        v_hat = v / (1 - 0.999**t)
        return theta - rate * m_hat / (v_hat**0.5 + 1e-8)

    return rule


RULES: dict[str, Callable[[float], Rule]] = {
    "sgd": gradient_descent,
    "momentum": lambda rate: heavy_ball(rate, 0.9),
    "adam": adam,
}


def algorithm_1(phi: Tensor, k: int, alpha: float, rule: Rule, steps: int) -> Tensor:
    """Zhang et al. 2019, algorithm 1: outer and inner loop; stops after `steps` inner steps in all."""
    taken = 0
    while True:
        theta = phi.clone()
        for _ in range(k):
            if taken == steps:
                return theta
            theta = rule(theta, noisy_quadratic("", theta, 0, taken))
            taken += 1
        phi = phi + alpha * (theta - phi)


@pytest.mark.parametrize("inner", RULES)
def test_lookahead_is_the_papers_two_loops_with_k_and_alpha_of_each_trials_own(inner: str) -> None:
    settings_ = [(5, 0.5), (1, 0.5), (2, 0.8), (3, 1.0), (7, 0.1), (50, 0.5)]
    levels = [parse_level(f"lookahead(inner={inner}, k={k}, alpha={alpha})", OPTIMIZERS) for k, alpha in settings_]
    assert len({kind(level) for level in levels}) == 1
    values, stack = start(len(levels)), start(len(levels))
    optimizer = StackedOptimizer(levels, [0.03] * len(levels), stack)
    for steps in range(1, 44):
        step_stack(optimizer, stack, [0] * len(levels), range(steps - 1, steps))
        for i, (k, alpha) in enumerate(settings_):
            mine = {name: p[i] for name, p in values.items()}
            expected = {name: algorithm_1(p, k, alpha, RULES[inner](0.03), steps) for name, p in mine.items()}
            assert_trial(stack, i, expected, levels[i], 1e-10)
            if steps == 43:
                plain = by_torch(levels[i], 0.03, mine, 0, steps)
                assert_trial({name: p[None] for name, p in plain.items()}, 0, expected, levels[i], 1e-10)


# NAdam's running product -------------------------------------------------------------------------------------------------


def test_nadams_running_product_holds_over_many_steps() -> None:
    values, stack = {"weight": torch.ones(2, 2).double()}, {"weight": torch.ones(2, 2).double()}
    levels = ["nadam(beta1=0.999, momentum_decay=0.0001)", "nadam"]
    steps = 2 * optimizers._BLOCK + 50
    step_stack(StackedOptimizer(levels, [1e-3] * 2, stack), stack, [0, 1], range(steps))
    for i, level in enumerate(levels):
        assert_trial(stack, i, by_torch(level, 1e-3, {"weight": values["weight"][i]}, i, steps), level, 1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_coefficients_depend_on_the_step_alone(level: str) -> None:
    """So a run may go on from any step, or with fewer trials: nothing was counted along the way."""
    described: Optimizer = OPTIMIZERS.build(level)
    hyper = {key: np.array([float(value)] * 2) for key, value in described.options.items()}
    hyper["learning_rate"] = np.array([0.1, 0.2])
    steps = [1, 2, 3, 5, 10, 511, 512, 513, 1500]
    with np.errstate(all="ignore"):
        along = {step: described.coefficients(hyper, step) for step in range(1, 1501)}
        for step in reversed(steps):
            optimizers._nadam_products.cache_clear()
            alone = described.coefficients({key: value[1:] for key, value in hyper.items()}, step)
            assert alone.keys() == along[step].keys()
            for key, value in alone.items():
                assert value == along[step][key][1:]
                assert np.isfinite(value).all() and value.dtype == np.float64


# Neighbours, zeros and what is left alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_neighbour_that_is_not_finite_harms_nobody(level: str) -> None:
    sound, together = start(2), start(2)
    optimizer = StackedOptimizer([level] * 2, [0.05, 0.1], sound)
    beside = StackedOptimizer([level] * 2, [0.05, 1e300], together)
    together["weight"][1] = float("nan")
    for step in range(10):
        step_stack(optimizer, sound, [0, 1], range(step, step + 1))
        step_stack(beside, together, [0, 1], range(step, step + 1))
    for name in ("weight", "bias", "scale"):
        assert torch.equal(together[name][0], sound[name][0])
    assert not together["weight"][1].isfinite().any()


@pytest.mark.parametrize("level", LEVELS)
def test_no_gradient_moves_nothing_from_the_start_but_what_decays(level: str) -> None:
    """AdamW takes its share off every parameter, whatever the gradient: that is its point."""
    name, options = split_level(level)
    if name == "lookahead":
        name, options = split_level(str(options.get("inner", "adam")))
    decay = float(options.get("weight_decay", 0.01)) if name == "adamw" else 0.0
    stack = start(2)
    before = {name: p.clone() for name, p in stack.items()}
    optimizer = StackedOptimizer([level] * 2, [0.1, 1.0], stack)
    optimizer.step({name: torch.zeros_like(p) for name, p in stack.items()})
    for key, p in stack.items():
        rates = torch.tensor([0.1, 1.0], dtype=p.dtype).reshape(-1, *[1] * (p.dim() - 1))
        expected = before[key] * (1 - decay * rates)
        if decay and level.startswith("lookahead"):
            torch.testing.assert_close(p, expected, rtol=1e-12, atol=0)
        else:
            assert torch.equal(p, expected)


def test_gradients_are_left_as_they_are() -> None:
    stack = start(len(LEVELS))
    optimizer = StackedOptimizer(LEVELS, [0.1] * len(LEVELS), stack)
    for step in range(10):
        gradients = gradients_of(stack, list(range(len(LEVELS))), step)
        before = {name: g.clone() for name, g in gradients.items()}
        optimizer.step(gradients)
        for name, g in gradients.items():
            assert torch.equal(g, before[name])


@pytest.mark.parametrize("level", OPTIMIZERS)
@pytest.mark.parametrize("trials", [3, 5, 17])
def test_a_trials_numbers_are_the_same_to_the_bit_in_any_stack_of_several(level: str, trials: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 13), (11,), (3, 1, 5), ()]
    together = {str(i): torch.randn(trials, *shape, generator=generator) for i, shape in enumerate(shapes)}
    two = {name: p[-2:].clone() for name, p in together.items()}
    beside = StackedOptimizer([level] * trials, [0.01] * trials, together)
    pair = StackedOptimizer([level] * 2, [0.01] * 2, two)
    for _ in range(7):
        gradients = {name: torch.randn(p.shape, generator=generator) for name, p in together.items()}
        beside.step(gradients)
        pair.step({name: g[-2:] for name, g in gradients.items()})
    for name, p in two.items():
        assert torch.equal(together[name][-2:], p)


# Large parameters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "ONE_PASS_FROM", 1)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("level", [level for level in LEVELS if split_level(level)[0] in ("adam", "adamw")])
@pytest.mark.parametrize(
    "holds",
    [
        test_every_single_step_equals_torch,
        test_a_neighbour_that_is_not_finite_harms_nobody,
        partial(test_a_trials_numbers_are_the_same_to_the_bit_in_any_stack_of_several, trials=5),
    ],
)
def test_one_pass_over_a_large_parameter_does_the_same(level: str, holds: Callable[..., None]) -> None:
    holds(level=level)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize(
    "holds",
    [
        test_a_stack_of_every_optimizer_at_every_setting_equals_torch,
        test_multipliers_of_every_step_are_torch_with_its_groups_rate_set,
        test_trials_that_stay_go_on_as_if_nobody_had_left,
        test_gradients_are_left_as_they_are,
        partial(test_single_precision_stays_close_to_torch, level="adam"),
        partial(test_single_precision_stays_close_to_torch, level="adamw"),
    ],
)
def test_a_stack_of_large_parameters_does_the_same(holds: Callable[[], None]) -> None:
    holds()


def test_gradients_of_any_strides_are_followed() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradient = (torch.randn(2, 130, 128, generator=generator) for _ in range(2))
    turned = gradient.transpose(1, 2).contiguous().transpose(1, 2)
    plain, strided = start.clone(), start.clone()
    StackedOptimizer(["adam"] * 2, [0.1, 0.2], {"w": plain}).step({"w": gradient})
    StackedOptimizer(["adam"] * 2, [0.1, 0.2], {"w": strided}).step({"w": turned})
    assert start[0].numel() >= stacked.ONE_PASS_FROM
    assert torch.equal(plain, strided) and not torch.equal(plain, start)


# Kinds -------------------------------------------------------------------------------------------------------------------


def test_optimizers_that_differ_in_numbers_are_of_one_kind() -> None:
    for level in OPTIMIZERS.values():
        numbers = [t for t in variants(level) if not {"centered", "inner", "momentum"} & split_level(t)[1].keys()]
        assert len({kind(text) for text in numbers}) == 1, level.name
    assert kind("momentum(momentum=0.3)") == kind("momentum")
    assert kind("adam(bias_correction=False)") == kind("adam")  # a factor of 1 - 0 * beta^t
    assert kind("lookahead(inner=adam(beta1=0.5), k=7)") == kind("lookahead")


def test_optimizers_that_do_other_things_are_of_different_kinds() -> None:
    texts = [
        *OPTIMIZERS,
        "rmsprop(centered=True)",
        "rmsprop(momentum=0.9)",
        "rmsprop(centered=True, momentum=0.9)",
        *(f"lookahead(inner={name})" for name in OPTIMIZERS if name not in ("adam", "lookahead")),
        "lookahead(inner=rmsprop(centered=True))",
    ]
    assert len({kind(text) for text in texts}) == len(texts)


def test_kinds_are_known_without_torch(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = python(
        "import sys\n"
        "from trainatlas.optim.optimizers import OPTIMIZERS, kind\n"
        "for name in OPTIMIZERS: kind(name)\n"
        "kind('lookahead(inner=rmsprop(centered=True))')\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_only_the_slots_of_the_widest_optimizer_are_kept() -> None:
    def slots(*levels: str) -> int:
        return len(StackedOptimizer(list(levels), [0.1] * len(levels), start(len(levels)))._slots["weight"])

    assert [slots("sgd"), slots("sgd", "momentum"), slots("momentum", "adam"), slots("lookahead", "sgd")] == [
        0,
        1,
        2,
        3,
    ]
    assert slots("rmsprop(centered=True, momentum=0.9)") == 3


@pytest.mark.parametrize(
    "text", ["lookahead(inner=lookahead)", "lookahead(k=0)", "nesterov(momentum=0)", "adam(eps=0)"]
)
def test_what_makes_no_sense_is_no_level(text: str) -> None:
    with pytest.raises(UserError, match="allowed"):
        parse_level(text, OPTIMIZERS)


@pytest.mark.parametrize("level", OPTIMIZERS.values(), ids=lambda level: level.name)
def test_every_entry_says_what_it_does_and_where_it_is_from(level: Level) -> None:
    assert "p <-" in level.formula
    assert any(year.isdigit() and len(year) == 4 for year in level.source.replace(",", " ").replace(";", " ").split())
