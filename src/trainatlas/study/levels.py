"""Levels of a factor and the text that names them.

A level is written as in a call: `relu`, `leaky_relu(slope=0.2)`, `pca(components=16)`. Each
factor has one table of `Level` entries; an entry states its formula, its source and the options
it takes. `parse_level` checks a text against a table and returns it in canonical form: options
at their defaults left out, the rest in the table's order, so that one level has one spelling.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from trainatlas.study.errors import UserError

OptionValue = float | int


@dataclass(frozen=True)
class Option:
    """A numeric option of a level.

    Attributes
    ----------
    default
        Value when the option is not given; an `int` default makes the option integral.
    low, high
        Range, both ends allowed unless `open_low` says that `low` itself is not.
    meaning
        One phrase for messages and documentation.
    """

    default: OptionValue
    low: float
    high: float
    meaning: str
    open_low: bool = False

    def check(self, value: object) -> OptionValue:
        """Return `value` as a number of the right type, or raise ValueError saying what is allowed."""
        kind = "whole number" if isinstance(self.default, int) else "number"
        bracket = "(" if self.open_low else "["
        allowed = f"a {kind} in {bracket}{self.low:g}, {self.high:g}]"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(allowed)
        if not self.low <= value <= self.high or (self.open_low and value == self.low):  # nan fails here too
            raise ValueError(allowed)
        if isinstance(self.default, int) and value != int(value):
            raise ValueError(allowed)
        return type(self.default)(value)


@dataclass(frozen=True)
class Level:
    """One level of a factor: its name, what it does, where it comes from, what builds it.

    `build` takes the options as keyword arguments; what it returns is the factor's affair
    (a module for an activation, a pair of functions for an optimizer ...).
    """

    name: str
    formula: str
    source: str
    build: Callable[..., Any]
    options: Mapping[str, Option] = field(default_factory=dict)


class LevelTable(dict[str, Level]):
    """The levels of one factor by name, in the order reports show them."""

    def __init__(self, factor: str, *levels: Level) -> None:
        super().__init__((level.name, level) for level in levels)
        self.factor = factor
        if len(self) != len(levels):
            raise ValueError(f"two levels of {factor} share a name")

    def __hash__(self) -> int:  # type: ignore[override]  # tables are module constants, never changed
        return hash((self.factor, tuple(self)))

    def build(self, text: str, **context: Any) -> Any:
        """Build the level that `text` names, `context` passed on beside its options."""
        name, options = split_level(text)
        level = self[name]
        values = {key: option.default for key, option in level.options.items()} | options
        return level.build(**values, **context)


def split_level(text: str) -> tuple[str, dict[str, OptionValue]]:
    """Split `name(option=value, ...)` into its name and options, without knowing any table.

    Raises ValueError saying what is allowed where `text` is no such call.
    """
    allowed = "name or name(option=value, ...), each option once, each value a number"
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(allowed) from None
    if isinstance(node, ast.Name):
        return node.id, {}
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args):
        raise ValueError(allowed)
    options: dict[str, OptionValue] = {}
    for keyword in node.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            raise ValueError(allowed) from None
        if keyword.arg is None or keyword.arg in options:
            raise ValueError(allowed)
        options[keyword.arg] = value
    return node.func.id, options


@lru_cache(maxsize=4096)
def parse_level(text: str, table: LevelTable) -> str:
    """Return the canonical form of `text`, a level of `table`.

    Raises
    ------
    UserError
        Naming the factor, the bad text and what is allowed, where the level or an option of it
        does not exist, or an option's value is out of range.
    """
    try:
        name, given = split_level(text)
    except ValueError as error:
        raise UserError(f"{table.factor}: '{text}' is no level; allowed: {error}") from None
    if name not in table:
        raise UserError(f"{table.factor}: unknown level '{name}'; allowed: {', '.join(table)}")
    options = table[name].options
    for key in given:
        if key not in options:
            allowed = ", ".join(options) or "none"
            raise UserError(f"{table.factor}: '{name}' has no option '{key}'; allowed: {allowed}")
    parts = []
    for key, option in options.items():
        if key in given:
            try:
                value = option.check(given[key])
            except ValueError as error:
                raise UserError(
                    f"{table.factor}: option '{key}' of '{name}' is {given[key]}; allowed: {error}"
                ) from None
            if value != option.default:
                parts.append(f"{key}={value!r}")
    return f"{name}({', '.join(parts)})" if parts else name


def full_text(text: str, table: LevelTable) -> str:
    """Return the level that `text` names with every option spelt out, defaults too, for readers."""
    name, given = split_level(text)
    values = {key: option.default for key, option in table[name].options.items()} | given
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})" if values else name
