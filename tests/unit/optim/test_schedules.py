"""Schedules are torch.optim.lr_scheduler's, trial by trial."""

import subprocess
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from trainatlas.optim.schedules import SCHEDULES, Schedule, StackedSchedules
from trainatlas.study.levels import Level, Option, parse_level

PER_EPOCH, EPOCHS = 7, 30
TOTAL = PER_EPOCH * EPOCHS


def variants(level: Level) -> list[str]:
    """A schedule at its defaults, and with each option at other values, with a warm-up and without."""
    texts = [level.name]
    for key, option in level.options.items():
        assert isinstance(option, Option)
        values = [1, 3] if isinstance(option.default, int) else [0.3, 0.9, 2.5]
        texts += [parse_level(f"{level.name}({key}={v})", SCHEDULES) for v in values if v <= option.high]
    return list(dict.fromkeys(texts))


LEVELS = [text for level in SCHEDULES.values() for text in variants(level)]


def all_multipliers(level: str, per_epoch: int = PER_EPOCH, epochs: int = EPOCHS) -> np.ndarray:
    schedule: Schedule = SCHEDULES.build(level)
    return schedule.multipliers(np.arange(per_epoch * epochs), per_epoch, per_epoch * epochs)


def optimizer_of_rate_1() -> torch.optim.Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def by_torch(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int, every: int = 1) -> np.ndarray:
    """The rate torch uses at each step, its scheduler stepped after every `every` steps."""
    optimizer = optimizer_of_rate_1()
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR steps its schedulers with an argument torch warns of
        scheduler = make(optimizer)
        for step in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if (step + 1) % every == 0:
                scheduler.step()
    return np.array(found)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    # The recursions of torch gather rounding errors, relative to 1, over the steps.
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


# Against torch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "gamma"), [(10, 0.1), (1, 0.9), (4, 0.5), (100, 0.1)])
def test_step_is_torchs_stepped_once_an_epoch(every: int, gamma: float) -> None:
    level = parse_level(f"step(every={every}, gamma={gamma})", SCHEDULES)
    close(all_multipliers(level), by_torch(lambda o: StepLR(o, every, gamma), TOTAL, PER_EPOCH))


@pytest.mark.parametrize("gamma", [0.95, 0.1, 1.0])
def test_exponential_is_torchs_by_the_step_and_by_the_epoch(gamma: float) -> None:
    found = all_multipliers(parse_level(f"exponential(gamma={gamma})", SCHEDULES))
    close(found, by_torch(lambda o: ExponentialLR(o, gamma ** (1 / PER_EPOCH)), TOTAL))
    close(found[::PER_EPOCH], by_torch(lambda o: ExponentialLR(o, gamma), EPOCHS))


@pytest.mark.parametrize("end", [0.0, 0.1, 1.0])
def test_cosine_is_torchs_stepped_once_a_step(end: float) -> None:
    found = all_multipliers(parse_level(f"cosine(end={end})", SCHEDULES))
    close(found, by_torch(lambda o: CosineAnnealingLR(o, TOTAL, end), TOTAL))


@pytest.mark.parametrize("end", [0.0, 0.1, 1.0])
def test_linear_is_torchs_stepped_once_a_step(end: float) -> None:
    found = all_multipliers(parse_level(f"linear(end={end})", SCHEDULES))
    close(found, by_torch(lambda o: LinearLR(o, 1.0, end, TOTAL), TOTAL))


PROPER: dict[str, Callable[[torch.optim.Optimizer, int], LRScheduler]] = {
    "constant": lambda o, rest: StepLR(o, 10**9),
    "step(every=2, gamma=0.5)": lambda o, rest: StepLR(o, 2 * PER_EPOCH, 0.5),
    "exponential(gamma=0.7)": lambda o, rest: ExponentialLR(o, 0.7 ** (1 / PER_EPOCH)),
    "cosine(end=0.2)": lambda o, rest: CosineAnnealingLR(o, rest, 0.2),
    "linear(end=0.2)": lambda o, rest: LinearLR(o, 1.0, 0.2, rest),
}


@pytest.mark.parametrize("warmup", [1.0, 3.0, 2.5])
@pytest.mark.parametrize("level", PROPER)
def test_warm_up_is_torchs_linear_rise_and_then_the_schedule_over_the_rest(level: str, warmup: float) -> None:
    """LinearLR from 1 / w to 1 over w - 1 steps is (s + 1) / w; the milestone is the first step after it."""
    name, _, options = level.removesuffix(")").partition("(")
    text = parse_level(f"{name}({', '.join(filter(None, [options, f'warmup={warmup}']))})", SCHEDULES)
    w = round(warmup * PER_EPOCH)

    def make(o: torch.optim.Optimizer) -> LRScheduler:
        return SequentialLR(o, [LinearLR(o, 1 / w, 1.0, w - 1), PROPER[level](o, TOTAL - w)], [w])

    close(all_multipliers(text), by_torch(make, TOTAL))


def plateau_of_torch(losses: list[float], **options: Any) -> list[float]:
    """The rate in each epoch, and after the last."""
    optimizer = optimizer_of_rate_1()
    scheduler = ReduceLROnPlateau(optimizer, "min", eps=0.0, threshold_mode="rel", **options)
    found = [1.0]
    for loss in losses:
        scheduler.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    return found


OPTIONS = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.1, 0.5, 0.9]),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1, 0.5]),
        "cooldown": st.integers(0, 3),
        "minimum": st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    }
)
LOSSES = st.lists(st.sampled_from([0.5, 0.9, 0.95, 0.9999, 1.0, 1.1, 2.0]), min_size=12, max_size=12)


def plateau_level(options: dict[str, float], **more: float) -> str:
    text = ", ".join(f"{key}={value}" for key, value in (options | more).items())
    return parse_level(f"reduce_on_plateau({text})", SCHEDULES)


@given(trials=st.lists(st.tuples(OPTIONS, LOSSES), min_size=1, max_size=5), data=st.data())
def test_plateaus_are_torchs_each_trial_on_its_own_whoever_leaves(
    trials: list[tuple[dict[str, float], list[float]]], data: st.DataObject
) -> None:
    expected = []
    for options, losses in trials:
        of_torch = {key: value for key, value in options.items() if key != "minimum"}
        expected.append(plateau_of_torch(losses, min_lr=options["minimum"], **of_torch))
    stacked = StackedSchedules([plateau_level(options) for options, _ in trials], 3, 13)
    here = list(range(len(trials)))
    leave = data.draw(st.integers(1, 12), label="epoch after which some leave")
    for epoch in range(1, 14):
        found = stacked.epoch(epoch)
        assert found.shape == (3, len(here))
        np.testing.assert_array_equal(found, np.tile([expected[i][epoch - 1] for i in here], (3, 1)))
        if epoch < 13:
            stacked.observe(np.array([trials[i][1][epoch - 1] for i in here]))
        if epoch == leave:
            places = data.draw(
                st.lists(st.integers(0, len(here) - 1), min_size=1, unique=True).map(sorted), label="kept"
            )
            here = [here[i] for i in places]
            stacked.keep(places)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_no_improvement_and_is_not_remembered(bad: float) -> None:
    stacked = StackedSchedules(["reduce_on_plateau(patience=1)"] * 2, 2, 10)
    for loss, scale in [(1.0, 1.0), (bad, 1.0), (bad, 0.1), (0.5, 0.1), (bad, 0.1), (0.4, 0.1), (bad, 0.1)]:
        stacked.observe(np.array([loss, 1 / (stacked._observed + 1)]))
        assert stacked.epoch(stacked._observed + 1)[0] == pytest.approx([scale, 1.0])


def test_a_plateau_counts_no_epoch_that_ends_within_the_warm_up() -> None:
    """2.5 epochs of 4 steps: the third epoch ends after the warm-up and counts."""
    stacked = StackedSchedules([plateau_level({"patience": 0, "factor": 0.5}, warmup=2.5)], 4, 8)
    rates = []
    for epoch in range(1, 7):
        rates.append(stacked.epoch(epoch)[:, 0])
        stacked.observe(np.array([1.0 + epoch]))
    np.testing.assert_allclose(np.concatenate(rates[:3]), np.minimum(np.arange(1, 13) / 10, 1))
    assert [rate[0] for rate in rates[3:]] == [1.0, 0.5, 0.25]  # the third sets the best loss, those after are bad


def test_observing_again_what_was_observed_brings_the_state_back() -> None:
    levels = [plateau_level({"patience": 1, "cooldown": 1}), "cosine", plateau_level({"patience": 0}, warmup=2.0)]
    generator = np.random.default_rng(0)
    losses = generator.random((9, 3))
    whole = StackedSchedules(levels, 4, 10)
    for row in losses[:5]:
        whole.observe(row)
    again = StackedSchedules(levels, 4, 10)
    for row in losses[:5]:
        again.observe(row)
    for epoch in range(6, 10):
        np.testing.assert_array_equal(whole.epoch(epoch), again.epoch(epoch))
        whole.observe(losses[epoch - 1])
        again.observe(losses[epoch - 1])


# Whatever the schedule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_multipliers_are_positive_at_most_1_and_start_at_1_without_a_warm_up(level: str) -> None:
    for per_epoch, epochs in [(PER_EPOCH, EPOCHS), (1, 1), (1, 5), (48, 3)]:
        found = all_multipliers(level, per_epoch, epochs)
        assert found.dtype == np.float64 and found.shape == (per_epoch * epochs,)
        assert np.isfinite(found).all() and (found > 0).all() and (found <= 1).all()
        warm = SCHEDULES.build(level).warmup_steps(per_epoch)
        assert np.array_equal(found[:warm], (np.arange(min(warm, len(found))) + 1) / max(warm, 1))
        if warm < len(found):
            assert found[warm] == 1
        assert (np.diff(found[warm:]) <= 0).all()


@pytest.mark.parametrize("level", LEVELS)
def test_multipliers_of_a_step_depend_on_the_step_alone(level: str) -> None:
    schedule: Schedule = SCHEDULES.build(level)
    whole = all_multipliers(level)
    steps = np.array([[TOTAL - 1, 0], [3, 50]])
    np.testing.assert_array_equal(schedule.multipliers(steps, PER_EPOCH, TOTAL), whole[steps])


def test_a_stack_holds_each_trials_own_schedule_epoch_by_epoch() -> None:
    stacked = StackedSchedules(LEVELS, PER_EPOCH, EPOCHS)
    found = np.concatenate([stacked.epoch(epoch) for epoch in range(1, EPOCHS + 1)])
    assert found.shape == (TOTAL, len(LEVELS))
    for i, level in enumerate(LEVELS):  # no loss observed: no plateau has lowered anything
        np.testing.assert_array_equal(found[:, i], all_multipliers(level))
    kept = [3, 0, len(LEVELS) - 1]
    stacked.keep(kept)
    np.testing.assert_array_equal(stacked.epoch(4), found[3 * PER_EPOCH : 4 * PER_EPOCH, kept])


@pytest.mark.parametrize("level", [level for level in LEVELS if not level.startswith("reduce_on_plateau")])
def test_losses_move_only_plateaus(level: str) -> None:
    stacked = StackedSchedules([level, "reduce_on_plateau(patience=0)"], 3, 12)
    before = [stacked.epoch(epoch)[:, 0] for epoch in range(1, 13)]
    for epoch in range(1, 13):
        np.testing.assert_array_equal(stacked.epoch(epoch)[:, 0], before[epoch - 1])
        stacked.observe(np.array([float(epoch), float(epoch)]))
    assert stacked.epoch(12)[0, 1] < 1e-9


def test_a_warm_up_longer_than_the_budget_never_ends() -> None:
    for name in SCHEDULES:
        found = all_multipliers(parse_level(f"{name}(warmup=20)", SCHEDULES), 2, 10)
        np.testing.assert_array_equal(found, (np.arange(20) + 1) / 40)


def test_constant_means_that_no_rate_ever_changes() -> None:
    def constant(*levels: str) -> bool:
        return StackedSchedules(list(levels), 4, 5).constant

    assert constant("constant") and constant("constant", "constant", "step")  # no drop within 5 epochs
    assert constant("cosine(end=1)", "exponential(gamma=1)")
    assert not constant("constant", "cosine") and not constant("constant(warmup=1)")
    assert not constant("reduce_on_plateau")
    stacked = StackedSchedules(["constant", "cosine", "reduce_on_plateau"], 4, 5)
    stacked.keep([0])
    assert stacked.constant
    assert (stacked.epoch(5) == 1).all()


@pytest.mark.parametrize("level", SCHEDULES.values(), ids=lambda level: level.name)
def test_every_entry_has_a_formula_a_source_and_a_warm_up(level: Level) -> None:
    assert level.formula and level.source
    assert level.options["warmup"].default == 0


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with np.errstate(all="raise", under="ignore"):
        yield


def test_schedules_are_known_without_torch_or_numpy(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = python(
        "import sys\n"
        "from trainatlas.optim.schedules import SCHEDULES\n"
        "for name in SCHEDULES: SCHEDULES.build(name)\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
