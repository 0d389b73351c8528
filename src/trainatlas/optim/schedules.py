"""Schedules of the learning rate: what a trial's base rate is multiplied by at each step.

Every schedule may start with a warm-up of w = round(warmup * steps per epoch) steps, over which the
multiplier rises linearly: (s + 1) / w at step s, counted from 0. The schedule proper, the formula of
its entry, starts from 1 after the warm-up and runs over the rest of the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")

Curve = Callable[["NDArray[np.float64]", int, int], "NDArray[np.float64]"]
"""(steps since the warm-up ended, steps per epoch, steps in all after the warm-up) -> multipliers."""


@dataclass(frozen=True)
class Plateau:
    """When to lower the rate: the rule of torch's ReduceLROnPlateau, mode "min", without its eps.

    Attributes
    ----------
    factor
        What the multiplier is multiplied by, in (0, 1).
    patience
        Epochs in a row without improvement that are borne; one more lowers the multiplier.
    threshold
        A loss improves on the best one where it is below (1 - threshold) of it, in [0, 1).
    cooldown
        Epochs after a lowering that are not counted as without improvement.
    minimum
        The multiplier goes no lower, in [0, 1].
    """

    factor: float
    patience: int
    threshold: float
    cooldown: int
    minimum: float


@dataclass(frozen=True)
class Schedule:
    """A schedule with its options filled in.

    Attributes
    ----------
    curve
        The schedule proper.
    warmup
        Length of the warm-up in epochs, >= 0.
    plateau
        By which rule validation losses lower the multiplier further, if they do.
    """

    curve: Curve
    warmup: float = 0.0
    plateau: Plateau | None = None

    def warmup_steps(self, per_epoch: int) -> int:
        """Return the length of the warm-up in steps of `per_epoch` to the epoch."""
        return round(self.warmup * per_epoch)

    def multipliers(self, steps: NDArray[np.integer], per_epoch: int, total: int) -> NDArray[np.float64]:
        """Return what the rate is multiplied by at given steps, before the plateau rule.

        Parameters
        ----------
        steps
            Steps counted from 0, each below `total`, of any shape.
        per_epoch, total
            Steps per epoch and in the whole budget.

        Returns
        -------
        NDArray
            In [0, 1], of the shape of `steps`; 0 only where a power is too small for a float64.
        """
        warm = self.warmup_steps(per_epoch)
        proper = self.curve(np.maximum(steps - warm, 0).astype(np.float64), per_epoch, max(total - warm, 1))
        return np.where(steps < warm, (steps + 1) / max(warm, 1), proper)


def _constant(steps: NDArray[np.float64], per_epoch: int, total: int) -> NDArray[np.float64]:
    return np.ones_like(steps)


def _step(every: int, gamma: float, warmup: float) -> Schedule:
    def curve(steps: NDArray[np.float64], per_epoch: int, total: int) -> NDArray[np.float64]:
        drops: NDArray[np.float64] = gamma ** (steps // (every * per_epoch))
        return drops

    return Schedule(curve, warmup)


def _exponential(gamma: float, warmup: float) -> Schedule:
    def curve(steps: NDArray[np.float64], per_epoch: int, total: int) -> NDArray[np.float64]:
        decay: NDArray[np.float64] = gamma ** (steps / per_epoch)
        return decay

    return Schedule(curve, warmup)


def _cosine(end: float, warmup: float) -> Schedule:
    def curve(steps: NDArray[np.float64], per_epoch: int, total: int) -> NDArray[np.float64]:
        # The square of a sine has all its digits near the end, where one plus the cosine would lose them.
        wave: NDArray[np.float64] = np.sin(0.5 * np.pi * (total - steps) / total) ** 2
        return end + (1 - end) * wave

    return Schedule(curve, warmup)


def _linear(end: float, warmup: float) -> Schedule:
    def curve(steps: NDArray[np.float64], per_epoch: int, total: int) -> NDArray[np.float64]:
        return end + (1 - end) * (total - steps) / total

    return Schedule(curve, warmup)


def _reduce_on_plateau(
    factor: float, patience: int, threshold: float, cooldown: int, minimum: float, warmup: float
) -> Schedule:
    return Schedule(_constant, warmup, Plateau(factor, patience, threshold, cooldown, minimum))


_WARMUP = {"warmup": Option(0.0, 0.0, 10000.0, "epochs over which the rate first rises linearly")}
_END = Option(0.0, 0.0, 1.0, "share of the base rate that the last step stops just short of")

SCHEDULES = LevelTable(
    "schedule",
    Level(
        "constant",
        "1",
        "-; warm-up: Goyal et al. 2017, section 2.2",
        lambda warmup: Schedule(_constant, warmup),
        _WARMUP,
    ),
    Level(
        "step",
        "gamma^floor(e / every) at step s, e = s / steps per epoch: drops at whole epochs after the warm-up",
        "torch.optim.lr_scheduler.StepLR, stepped once an epoch",
        _step,
        {
            "every": Option(10, 1, 100000, "epochs between two drops"),
            "gamma": Option(0.1, 0.0, 1.0, "what the rate is multiplied by at a drop", open_low=True),
            **_WARMUP,
        },
    ),
    Level(
        "exponential",
        "gamma^(s / steps per epoch) at step s",
        "torch.optim.lr_scheduler.ExponentialLR, stepped once a step with the root of gamma",
        _exponential,
        {"gamma": Option(0.95, 0.0, 1.0, "what the rate is multiplied by over an epoch", open_low=True), **_WARMUP},
    ),
    Level(
        "cosine",
        "end + (1 - end) * (1 + cos(pi * s / S)) / 2 at step s = 0 ... S - 1 of the S after the warm-up: 1 at the "
        "first, just above end at the last",
        "Loshchilov and Hutter 2017, eq. 5, without restarts",
        _cosine,
        {"end": _END, **_WARMUP},
    ),
    Level(
        "linear",
        "1 - (1 - end) * s / S at step s = 0 ... S - 1 of the S after the warm-up: 1 at the first, just above end "
        "at the last",
        "torch.optim.lr_scheduler.LinearLR, stepped once a step",
        _linear,
        {"end": _END, **_WARMUP},
    ),
    Level(
        "reduce_on_plateau",
        "starts at 1; becomes max(factor * itself, minimum) after the epoch that makes more than patience epochs in "
        "a row whose validation loss is not below (1 - threshold) * the best so far; cooldown epochs after that are "
        "not counted; a loss that is not finite is no improvement; epochs that end within the warm-up are passed over",
        "He et al. 2016, section 3.4; torch.optim.lr_scheduler.ReduceLROnPlateau",
        _reduce_on_plateau,
        {
            "factor": Option(0.1, 0.0, 0.9999, "what the rate is multiplied by at a plateau", open_low=True),
            "patience": Option(2, 0, 100000, "epochs in a row without improvement that are borne"),
            "threshold": Option(1e-4, 0.0, 0.9999, "share of the best loss by which a loss must be lower"),
            "cooldown": Option(0, 0, 100000, "epochs after a reduction that are not counted"),
            "minimum": Option(0.0, 0.0, 1.0, "share of the base rate that stays"),
            **_WARMUP,
        },
    ),
)
"""Every schedule by name."""


class StackedSchedules:
    """The schedules of a stack of trials, each on its own.

    Parameters
    ----------
    levels
        Canonical text of each trial's schedule.
    per_epoch, epochs
        Steps per epoch, and epochs in the budget.
    """

    def __init__(self, levels: list[str], per_epoch: int, epochs: int) -> None:
        self._levels = list(levels)
        self._schedules: dict[str, Schedule] = {level: SCHEDULES.build(level) for level in dict.fromkeys(levels)}
        self._per_epoch, self._total = per_epoch, per_epoch * epochs
        self._observed = 0
        trials = len(levels)
        self._scale = np.ones(trials)  # what plateaus have left of each rate
        self._best = np.full(trials, np.inf)
        self._bad = np.zeros(trials, dtype=np.int64)
        self._cooling = np.zeros(trials, dtype=np.int64)
        self._prepare()

    def _prepare(self) -> None:
        """Gather the trials' rules, one value per trial."""
        schedules = [self._schedules[level] for level in self._levels]
        nothing = Plateau(1.0, 0, 0.0, 0, 0.0)  # never changes the scale: the rule of a schedule without one
        rules = [schedule.plateau or nothing for schedule in schedules]
        self._factor, self._patience, self._threshold, self._cooldown, self._minimum = (
            np.array([getattr(rule, name) for rule in rules])
            for name in ("factor", "patience", "threshold", "cooldown", "minimum")
        )
        self._warm = np.array([schedule.warmup_steps(self._per_epoch) for schedule in schedules])
        every = np.arange(self._total)
        self._constant = all(
            schedule.plateau is None and bool((schedule.multipliers(every, self._per_epoch, self._total) == 1).all())
            for schedule in (self._schedules[level] for level in dict.fromkeys(self._levels))
        )

    @property
    def constant(self) -> bool:
        """Return whether every trial's multiplier is 1 at every step, whatever the losses."""
        return self._constant

    def epoch(self, epoch: int) -> NDArray[np.float64]:
        """Return the multipliers of an epoch, counted from 1: (steps per epoch, trials), in [0, 1]."""
        steps = np.arange((epoch - 1) * self._per_epoch, epoch * self._per_epoch)
        columns = {
            level: self._schedules[level].multipliers(steps, self._per_epoch, self._total)
            for level in dict.fromkeys(self._levels)
        }
        return np.stack([columns[level] for level in self._levels], axis=1) * self._scale

    def observe(self, validation_losses: NDArray[np.float64]) -> None:
        """Take in the validation losses, (trials,), at the end of an epoch; once an epoch, in order."""
        self._observed += 1
        counts = self._observed * self._per_epoch > self._warm  # the epoch did not end within the warm-up
        better = np.isfinite(validation_losses) & (validation_losses < self._best * (1 - self._threshold)) & counts
        self._best = np.where(better, validation_losses, self._best)
        self._bad = np.where(better, 0, self._bad + counts)
        cooling = self._cooling > 0
        self._cooling = self._cooling - cooling
        self._bad = np.where(cooling, 0, self._bad)
        lowered = self._bad > self._patience
        # A minimum above the scale cannot raise it: the scale starts at 1, the highest minimum.
        self._scale = np.where(lowered, np.maximum(self._scale * self._factor, self._minimum), self._scale)
        self._cooling = np.where(lowered, self._cooldown, self._cooling)
        self._bad = np.where(lowered, 0, self._bad)

    def keep(self, positions: list[int]) -> None:
        """Go on with the trials at `positions` only."""
        self._levels = [self._levels[i] for i in positions]
        self._scale, self._best = self._scale[positions], self._best[positions]
        self._bad, self._cooling = self._bad[positions], self._cooling[positions]
        self._prepare()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what the losses observed have led to."""
        return {
            "observed": np.array(self._observed),
            "scale": self._scale,
            "best": self._best,
            "bad": self._bad,
            "cooling": self._cooling,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave for the same trials."""
        self._observed = int(state["observed"])
        self._scale, self._best = state["scale"], state["best"]
        self._bad, self._cooling = state["bad"], state["cooling"]
