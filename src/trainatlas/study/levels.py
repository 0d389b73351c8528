"""Levels of a factor and the text that names them.

A level is written as in a call: `relu`, `leaky_relu(slope=0.2)`, `kaiming_normal(mode=fan_out)`. Each
factor has one table of `Level` entries; an entry states its formula, its source and the options it
takes. A table may let levels be combined, `dropout(p=0.2) + l2`, and may take levels of the user's own,
`mine.py:squareplus`. `parse_level` checks a text against a table and returns it in canonical form: options
at their defaults left out, the rest in the table's order, so that one level has one spelling.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from trainatlas.study import user_code
from trainatlas.study.errors import UserError

OptionValue = bool | int | float | str
Options = dict[str, OptionValue]


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
    words
        Words allowed beside numbers; the default may be one of them.
    """

    default: float | int | str
    low: float
    high: float
    meaning: str
    open_low: bool = False
    words: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What a value may be, for messages and documentation."""
        kind = "whole number" if isinstance(self.default, int) else "number"
        bracket = "(" if self.open_low else "["
        return " or ".join([f"a {kind} in {bracket}{self.low:g}, {self.high:g}]", *self.words])

    def check(self, value: object) -> OptionValue:
        """Return `value` in the option's own type, or raise ValueError saying what is allowed."""
        if isinstance(value, str) and value in self.words:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(self.allowed)
        if not self.low <= value <= self.high or (self.open_low and value == self.low):  # nan fails here too
            raise ValueError(self.allowed)
        if not isinstance(self.default, int):
            return float(value)
        if value != int(value):
            raise ValueError(self.allowed)
        return int(value)


@dataclass(frozen=True)
class Flag:
    """An option that is True or False."""

    default: bool
    meaning: str
    allowed = "True or False"

    def check(self, value: object) -> OptionValue:
        """Return `value`, or raise ValueError saying what is allowed."""
        if not isinstance(value, bool):
            raise ValueError(self.allowed)
        return value


@dataclass(frozen=True)
class Word:
    """An option that is one of a few words."""

    default: str
    words: tuple[str, ...]
    meaning: str

    @property
    def allowed(self) -> str:
        """What a value may be."""
        return " or ".join(self.words)

    def check(self, value: object) -> OptionValue:
        """Return `value`, or raise ValueError saying what is allowed."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(self.allowed)
        return value


@dataclass(frozen=True)
class Inner:
    """An option that is itself a level: of the table that `table` returns, some names left out."""

    default: str
    table: Callable[[], LevelTable]
    meaning: str
    without: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What a value may be."""
        return ", ".join(name for name in self.table() if name not in self.without)

    def check(self, value: object) -> OptionValue:
        """Return the level in canonical form, or raise ValueError saying what is allowed."""
        if not isinstance(value, str):
            raise ValueError(self.allowed)
        try:
            canonical = parse_level(value, self.table())
        except UserError as error:
            raise ValueError(f"{self.allowed} ({error})") from None
        if split_level(canonical)[0] in self.without:
            raise ValueError(self.allowed)
        return canonical


AnyOption = Option | Flag | Word | Inner


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
    options: Mapping[str, AnyOption] = field(default_factory=dict)


NOTHING = "none"
"""Name of the level that does nothing, which a table whose levels combine must have."""


class LevelTable(dict[str, Level]):
    """The levels of one factor by name, in the order reports show them.

    Parameters
    ----------
    combine
        Levels may be joined by "+"; their order in the table is the order they are applied in.
    conflict
        Says in one line why the parts of a combined level cannot stand together; None where they can.
    user_build
        Makes a level out of an object of the user's own file: (object, options, context) -> what `build` returns.
        Without it the table takes no such levels.
    user_arguments
        How many arguments a user's function, and a user's class, is given before its options.
    """

    def __init__(
        self,
        factor: str,
        *levels: Level,
        combine: bool = False,
        conflict: Callable[[str], str | None] | None = None,
        user_build: Callable[..., Any] | None = None,
        user_arguments: tuple[int, int] = (1, 0),
    ) -> None:
        super().__init__((level.name, level) for level in levels)
        self.factor, self.combine, self.conflict = factor, combine, conflict
        self.user_build, self.user_arguments = user_build, user_arguments
        if len(self) != len(levels):
            raise ValueError(f"two levels of {factor} share a name")

    def __hash__(self) -> int:  # type: ignore[override]  # tables are module constants, never changed
        return hash((self.factor, tuple(self)))

    @property
    def allowed(self) -> str:
        """The names a level may have."""
        return ", ".join([*self, "path.py:function"] if self.user_build else self)

    def build(self, text: str, **context: Any) -> Any:
        """Build the level that `text` names, `context` passed on beside its options."""
        name, options = split_level(text)
        if user_code.is_user_level(name):
            assert self.user_build is not None
            return self.user_build(user_code.load(name), options, **context)
        return self[name].build(**self.options(name, options), **context)

    def build_parts(self, text: str, **context: Any) -> list[Any]:
        """Build every level that `text` joins, in the table's order; `none` is no part."""
        return [self.build(part, **context) for part in split_parts(text) if part != NOTHING]

    def options(self, name: str, given: Options) -> Options:
        """Return every option of a level: those given, the others at their defaults."""
        return {key: option.default for key, option in self[name].options.items()} | given


_ONE_LEVEL = "name or name(option=value, ...), each option once"


def split_parts(text: str) -> list[str]:
    """Split levels joined by "+" into their texts; a plus sign inside brackets joins nothing."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def split_level(text: str) -> tuple[str, Options]:
    """Split `name(option=value, ...)` into its name and options, without knowing any table.

    A word as a value stays text, and so does a level. Raises ValueError saying what is allowed where
    `text` is no such call.
    """
    path, call = user_code.split_path(text)
    try:
        node = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(_ONE_LEVEL) from None
    if isinstance(node, ast.Name):
        return path + node.id, {}
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args):
        raise ValueError(_ONE_LEVEL)
    options: Options = {}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in options:
            raise ValueError(_ONE_LEVEL)
        options[keyword.arg] = _value(keyword.value)
    return path + node.func.id, options


@lru_cache(maxsize=4096)
def name_of(text: str) -> str:
    """Return the name of the level that `text` names, options left out."""
    return split_level(text)[0]


def _value(node: ast.expr) -> OptionValue:
    if isinstance(node, ast.Name | ast.Call):
        return ast.unparse(node)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ValueError(_ONE_LEVEL) from None
    return value  # type: ignore[no-any-return]  # what it may be is for the option to check


def join_level(name: str, options: Mapping[str, OptionValue]) -> str:
    """Return the text of a level: the inverse of `split_level`."""
    shown = [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in options.items()]
    return f"{name}({', '.join(shown)})" if shown else name


def parse_level(text: str, table: LevelTable) -> str:
    """Return the canonical form of `text`, a level of `table`.

    Raises
    ------
    UserError
        Naming the factor, the bad text and what is allowed, where the level or an option of it
        does not exist, or an option's value is out of range.
    """
    if user_code.is_user_level(text):  # the file may have changed since it was last asked for
        return _parse_one(text, table)
    return _parse(text, table)


@lru_cache(maxsize=4096)
def _parse(text: str, table: LevelTable) -> str:
    if not table.combine:
        return _parse_one(text, table)
    parts = [_parse_one(part, table) for part in split_parts(text)]
    names = [split_level(part)[0] for part in parts]
    if len(set(names)) < len(names) or (NOTHING in names and len(names) > 1):
        raise UserError(f"{table.factor}: '{text}' is no level; allowed: each part once, '{NOTHING}' alone")
    order = {name: position for position, name in enumerate(table)}
    joined = " + ".join(part for _, part in sorted(zip(names, parts, strict=True), key=lambda pair: order[pair[0]]))
    reason = table.conflict(joined) if table.conflict else None
    if reason is not None:
        raise UserError(f"{table.factor}: '{joined}' is no level: {reason}; allowed: one of them")
    return joined


def _parse_one(text: str, table: LevelTable) -> str:
    try:
        name, given = split_level(text)
    except ValueError as error:
        raise UserError(f"{table.factor}: '{text}' is no level; allowed: {error}") from None
    if user_code.is_user_level(name) and table.user_build is not None:
        return join_level(name, user_code.checked_options(name, given, *table.user_arguments))
    if name not in table:
        raise UserError(f"{table.factor}: unknown level '{name}'; allowed: {table.allowed}")
    options = table[name].options
    for key in given:
        if key not in options:
            allowed = ", ".join(options) or "none"
            raise UserError(f"{table.factor}: '{name}' has no option '{key}'; allowed: {allowed}")
    kept: Options = {}
    for key, option in options.items():
        if key in given:
            try:
                value = option.check(given[key])
            except ValueError as error:
                raise UserError(
                    f"{table.factor}: option '{key}' of '{name}' is {given[key]}; allowed: {error}"
                ) from None
            if value != option.default:
                kept[key] = value
    return join_level(name, kept)


def full_text(text: str, table: LevelTable) -> str:
    """Return the level that `text` names with every option spelt out, defaults too, for readers."""
    parts = []
    for part in split_parts(text):
        name, given = split_level(part)
        parts.append(join_level(name, table.options(name, given) if name in table else given))
    return " + ".join(parts)
