"""Numbers and ranges that a study file may state, and the laws that values are drawn by."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

# Strict: YAML's `yes`, `on` and quoted digits are no numbers.
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Seed = Annotated[Whole, Field(ge=0, lt=2**31)]
Share = Annotated[Number, Field(gt=0, lt=1)]
Scale = Literal["log", "linear"]


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise ValueError(f"seed {seed} is listed twice; allowed: each seed once")
    return seeds


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_each_once)]


class StrictModel(BaseModel):
    """A part of a study file: unknown keys are refused, nothing can be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(StrictModel):
    """Numbers from `low` to `high`, both included, evenly spread on a log or a linear scale."""

    low: Number
    high: Number
    scale: Scale = "linear"

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; allowed: low <= high")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; allowed: above 0, where a log scale begins")
        return self

    @property
    def integral(self) -> bool:
        """Whether values are whole numbers."""
        return False

    def at(self, share: float) -> float:
        """Return the value at `share`, 0 to 1, of the way from low to high, to six significant digits.

        Whole numbers are drawn as the floor of a continuous value up to `high` + 1, so that on a linear scale each is as likely.
        """
        low, integral = self.low, self.integral
        high = self.high + 1 if integral else self.high
        value: float = low * (high / low) ** share if self.scale == "log" else low + share * (high - low)
        if integral:
            return int(min(math.floor(value + 1e-9), self.high))
        return _six_digits(value)

    def share(self, value: float) -> float:
        """Return where `value` lies, 0 at low to 1 at high: what `at` was given, but for rounding; 0 in a range of one value."""
        if self.low == self.high:
            return 0.0
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def grid(self, points: int) -> tuple[float, ...]:
        """Return `points` evenly spaced values, the ends among them, or the middle alone; whole numbers each once."""
        shares = [0.5] if points == 1 else [index / (points - 1) for index in range(points)]
        values = [round(self._continuous(s)) if self.integral else self._continuous(s) for s in shares]
        return tuple(dict.fromkeys(values)) if self.integral else tuple(values)

    def between(self, low_share: float, high_share: float) -> Range:
        """Return the range from one share to another, which may lie beyond 0 and 1."""
        low, high = (self._continuous(share) for share in (low_share, high_share))
        if self.integral:
            low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
        return self.model_copy(update={"low": low, "high": high})

    def _continuous(self, share: float) -> float:
        log = self.scale == "log"
        return _six_digits(
            self.low * (self.high / self.low) ** share if log else self.low + share * (self.high - self.low)
        )


class RateRange(Range):
    """Learning rates that an optimizer's arms are tuned over, both ends included; on a log scale unless said otherwise."""

    low: Annotated[Number, Field(gt=0)]
    high: Annotated[Number, Field(gt=0)]
    scale: Scale = "log"


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
