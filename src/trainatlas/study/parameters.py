"""Parameters of a study beside the learning rate: options of levels, and the batch size, that samples try values of.

A parameter is named for what it sets: `batch_size`, `optimizer.momentum` (the option of every optimizer that has one) or
`regularisation.l2.strength` (that of one level only). Where no level of a trial has the option, or a condition of
the parameter's own does not hold, the trial has no such parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import Field, model_validator

from trainatlas.study.levels import (
    LevelTable,
    Option,
    OptionValue,
    join_level,
    name_of,
    parse_level,
    split_level,
    split_parts,
)
from trainatlas.study.ranges import Number, Range, Scale, StrictModel, Whole
from trainatlas.study.trial import FACTORS

BATCH_SIZE = "batch_size"
Value = float | int | str
Values = Mapping[str, Value]


class Parameter(StrictModel):
    """The law of a parameter: a range, or choices that are equally likely; and when it is there at all.

    Attributes
    ----------
    whole
        Whether values of the range are whole numbers.
    when
        Levels of factors, or choices of other parameters, of which one must be there, by factor or parameter.
    """

    low: Number | None = None
    high: Number | None = None
    scale: Scale = "linear"
    whole: bool = False
    choices: tuple[Whole | Number | str, ...] | None = None
    when: dict[str, tuple[Whole | Number | str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_law(self) -> Parameter:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("has choices and a range; allowed: either")
            if not self.choices or len(set(self.choices)) < len(self.choices):
                raise ValueError(f"choices is {list(self.choices)}; allowed: at least one, each once")
        elif self.low is None or self.high is None:
            raise ValueError("has no law; allowed: low and high, or choices")
        else:
            if self.whole and (self.low % 1 or self.high % 1):
                raise ValueError(f"low {self.low:g} or high {self.high:g} is no whole number; allowed: whole ends")
            _ = self.range
        return self

    @property
    def range(self) -> Range:
        """The range, where there are no choices."""
        assert self.low is not None and self.high is not None
        return (_WholeRange if self.whole else Range)(low=self.low, high=self.high, scale=self.scale)

    @property
    def numeric(self) -> bool:
        """Whether every value is a number."""
        return self.choices is None or not any(isinstance(choice, str) for choice in self.choices)

    def at(self, share: float) -> Value:
        """Return the value at `share`, in [0, 1), of the law: every choice an equal part of it, ranges as `Range.at`."""
        if self.choices is not None:
            return self.choices[int(share * len(self.choices))]
        return self.range.at(share)

    def grid(self, points: int) -> tuple[Value, ...]:
        """Return `points` evenly spaced values, of choices all."""
        return self.choices if self.choices is not None else self.range.grid(points)

    def ends(self) -> tuple[Value, ...]:
        """Return the values that decide whether all others are allowed."""
        if self.choices is not None:
            return self.choices
        return self.range.grid(2)


class _WholeRange(Range):
    @property
    def integral(self) -> bool:
        return True


@dataclass(frozen=True)
class Place:
    """What a parameter sets: an option of a factor's levels, or of its level `level` only."""

    factor: str
    level: str | None
    option: str


class ParameterSpace:
    """The parameters of a study, and what they make of its levels.

    Parameters
    ----------
    parameters
        By name.
    factors
        The study's levels, canonical, by factor.
    tables
        The levels that factors may have.

    Raises
    ------
    ValueError
        One line naming the parameter, the bad value and what is allowed.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        factors: Mapping[str, tuple[str, ...]],
        tables: Mapping[str, LevelTable],
    ) -> None:
        self._factors, self._tables = factors, tables
        self._places = {name: self._place(name) for name in parameters if name != BATCH_SIZE}
        for name, parameter in parameters.items():
            try:
                self._check_values(name, parameter)
                self._check_conditions(parameter, parameters)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        self.laws = {name: parameters[name] for name in self._in_order(parameters)}
        self._own = {factor: self._by_base(factor) for factor in self.factors}

    def _place(self, name: str) -> Place:
        parts = name.split(".")
        if len(parts) not in (2, 3) or parts[0] not in FACTORS:
            raise ValueError(
                f"unknown parameter '{name}'; allowed: {BATCH_SIZE}, FACTOR.OPTION or FACTOR.LEVEL.OPTION, "
                f"such as optimizer.momentum"
            )
        place = Place(parts[0], parts[1] if len(parts) == 3 else None, parts[-1])
        if not any(self._takes(place, part) for text in self._factors[place.factor] for part in split_parts(text)):
            options = sorted(
                {
                    key
                    for text in self._factors[place.factor]
                    for part in split_parts(text)
                    if (level := self._tables[place.factor].get(name_of(part))) is not None
                    for key, option in level.options.items()
                    if isinstance(option, Option)
                }
            )
            raise ValueError(
                f"'{name}': no level of {place.factor} in this study has it; allowed: {', '.join(options) or 'none'}"
            )
        return place

    def _takes(self, place: Place, part: str) -> bool:
        """Return whether a level, one of those that a text joins, has the option that a parameter sets."""
        name = name_of(part)
        if place.level not in (None, name) or name not in self._tables[place.factor]:
            return False
        return place.option in self._tables[place.factor][name].options

    def _check_values(self, name: str, parameter: Parameter) -> None:
        if name == BATCH_SIZE:
            for value in parameter.ends():
                if isinstance(value, str) or value < 1 or value % 1:
                    raise ValueError(f"{value} is no size of a batch; allowed: whole numbers from 1")
            if parameter.choices is None and not parameter.whole:
                raise ValueError("has a range of numbers that are not whole; allowed: whole: true")
            return
        place = self._places[name]
        table = self._tables[place.factor]
        for text in self._factors[place.factor]:
            for part in split_parts(text):
                if self._takes(place, part):
                    option = table[name_of(part)].options[place.option]
                    for value in parameter.ends():
                        try:
                            option.check(value)
                        except ValueError as error:
                            raise ValueError(f"{value} is no value of {name_of(part)}'s; allowed: {error}") from None
                    integral = isinstance(option, Option) and isinstance(option.default, int)
                    if integral and parameter.choices is None and not parameter.whole:
                        raise ValueError(f"{name_of(part)} takes whole numbers; allowed: whole: true")

    def _check_conditions(self, parameter: Parameter, parameters: Mapping[str, Parameter]) -> None:
        for key, values in parameter.when.items():
            if key in FACTORS:
                known: set[Any] = {name_of(part) for text in self._factors[key] for part in split_parts(text)}
                known |= set(self._factors[key])
            elif key in parameters and parameters[key].choices is not None:
                known = set(parameters[key].choices or ())
            else:
                choices = [name for name, other in parameters.items() if other.choices is not None]
                raise ValueError(
                    f"when: unknown factor '{key}'; allowed: {', '.join([*FACTORS, *choices])}, a factor or a "
                    f"parameter with choices"
                )
            for value in values:
                if value not in known:
                    raise ValueError(
                        f"when: {key} is never {value}; allowed: {', '.join(map(str, sorted(known, key=str)))}"
                    )

    @staticmethod
    def _in_order(parameters: Mapping[str, Parameter]) -> list[str]:
        waits = {name: [key for key in each.when if key in parameters] for name, each in parameters.items()}
        try:
            return list(TopologicalSorter(waits).static_order())
        except CycleError as error:
            raise ValueError(f"when: {' waits for '.join(error.args[1])}; allowed: no circle") from None

    def _by_base(self, factor: str) -> dict[str, str]:
        """Return a factor's levels by what they are without the options that are parameters."""
        found: dict[str, str] = {}
        for text in self._factors[factor]:
            base = self._base(factor, text)[0]
            if base in found:
                raise ValueError(
                    f"factors: {factor}: '{found[base]}' and '{text}' differ only in an option that is a parameter; allowed: "
                    f"one of them"
                )
            found[base] = text
        return found

    def draw(
        self, cell: Mapping[str, str], shares: Mapping[str, float], ranges: Mapping[str, Range] | None = None
    ) -> dict[str, Value]:
        """Return the values of the parameters that `cell` has, by name.

        Parameters
        ----------
        shares
            Where in its law each parameter's value lies, in [0, 1).
        ranges
            In place of the study's own laws, by name.
        """
        values: dict[str, Value] = {}
        for name, parameter in self.laws.items():
            if self.has(name, cell, values):
                values[name] = ((ranges or {}).get(name) or parameter).at(shares[name])
        return values

    def grid(self, cell: Mapping[str, str], points: Mapping[str, int]) -> Iterator[dict[str, Value]]:
        """Yield every combination of evenly spaced values of the parameters in `points` that `cell` has."""
        found: list[dict[str, Value]] = [{}]
        for name, parameter in self.laws.items():
            if name in points:
                found = [
                    values | {name: value} if value is not None else values
                    for values in found
                    for value in (parameter.grid(points[name]) if self.has(name, cell, values) else (None,))
                ]
        yield from found

    def has(self, name: str, cell: Mapping[str, str], values: Values) -> bool:
        """Return whether a trial of these levels, and of values of parameters that come before, has a parameter."""
        if name != BATCH_SIZE:
            place = self._places[name]
            if not any(self._takes(place, part) for part in split_parts(cell[place.factor])):
                return False
        for key, allowed in self.laws[name].when.items():
            if key in FACTORS:
                if not {cell[key], *(name_of(part) for part in split_parts(cell[key]))} & set(allowed):
                    return False
            elif values.get(key) not in allowed:
                return False
        return True

    def applied(self, cell: Mapping[str, str], values: Values) -> dict[str, str]:
        """Return the levels that `cell` and the values of its parameters make, canonical, by factor."""
        changed: dict[str, dict[Place, Value]] = {}
        for name, value in values.items():
            if name in self._places:
                place = self._places[name]
                changed.setdefault(place.factor, {})[place] = value
        return {**cell, **{factor: self._with_options(cell[factor], places) for factor, places in changed.items()}}

    def _with_options(self, text: str, values: Mapping[Place, Value]) -> str:
        factor = next(iter(values)).factor
        parts = []
        for part in split_parts(text):
            name, options = split_level(part)
            given: dict[str, OptionValue] = {
                place.option: value for place, value in values.items() if self._takes(place, part)
            }
            parts.append(join_level(name, options | given))
        return parse_level(" + ".join(parts), self._tables[factor])

    def parted(self, levels: Mapping[str, str], batch_size: int) -> tuple[dict[str, str], dict[str, Value]]:
        """Return the study's own levels of a trial, by factor, and the values of its parameters: the inverse of `applied`."""
        cell, found = dict(levels), dict[str, Value]({BATCH_SIZE: batch_size})
        for factor in self.factors:
            base, values = self._base(factor, levels[factor])
            cell[factor] = self._own[factor][base]
            found |= values
        kept: dict[str, Value] = {}
        for name in self.laws:
            if self.has(name, cell, kept):
                kept[name] = found[name]
        return cell, kept

    def _base(self, factor: str, text: str) -> tuple[str, dict[str, Value]]:
        """Return a level without the options that are parameters, and what these are."""
        places = {name: place for name, place in self._places.items() if place.factor == factor}
        values: dict[str, Value] = {}
        parts = []
        for part in split_parts(text):
            level, options = split_level(part)
            for name, place in places.items():
                if self._takes(place, part):
                    default = self._tables[factor][level].options[place.option].default
                    values[name] = options.pop(place.option, default)
            parts.append(join_level(level, options))
        return " + ".join(parts), values

    @property
    def factors(self) -> set[str]:
        """The factors whose levels parameters change."""
        return {place.factor for place in self._places.values()}

    def extent(self, name: str) -> tuple[float, float]:
        """Return between which numbers an option that is a parameter may lie at all, whatever the study says."""
        place = self._places[name]
        options = [
            self._tables[place.factor][name_of(part)].options[place.option]
            for text in self._factors[place.factor]
            for part in split_parts(text)
            if self._takes(place, part)
        ]
        ranges = [(option.low, option.high) for option in options if isinstance(option, Option)]
        return max(low for low, _ in ranges), min(high for _, high in ranges)
