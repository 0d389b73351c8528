"""The catalogue as a page: every level of every factor, from the tables that studies are checked with."""

from __future__ import annotations

from trainatlas.catalogue import RULES, TABLES
from trainatlas.study.levels import AnyOption, LevelTable

_NOTES = {
    "activation": "A level may also be a function or module of your own, `path.py:function`: see "
    "[add an activation](how-to/add-an-activation.md).",
    "schedule": "Left out of a study, it is `constant`.",
    "regularisation": "Left out of a study, it is `none`.",
    "augmentation": "Left out of a study, it is `none`. Augmentations change raw training images, whose values run from 0 to "
    "1; preprocessing follows.",
}
_JOINED = "Levels may be joined, in any order: `{0} + {1}`; all of them then hold, in the order of this table."


def catalogue_page() -> str:
    """Return the page in Markdown."""
    head = (
        "# Catalogue\n\nMade by `make schemas`; do not edit by hand. What a study may name: for each factor the levels, what "
        "they compute, where they come from, and their options with defaults and what is allowed. A level at its defaults "
        "is written by its name alone, `leaky_relu`; with options as a call, `leaky_relu(slope=0.2)`.\n"
    )
    rules = "\n".join(f"- {rule.reason}" for rule in RULES)
    excluded = (
        "## What is never combined\n\nThese combinations are left out of every study, and the report counts them with their "
        f"reason:\n\n{rules}\n"
    )
    return "\n".join([head, *map(_section, TABLES.values()), excluded])


def _section(table: LevelTable) -> str:
    names = list(table)
    notes = [_NOTES[table.factor]] if table.factor in _NOTES else []
    notes += [_JOINED.format(*names[1:3])] if table.combine else []
    rows = []
    for level in table.values():
        options = "<br>".join(_option(key, option) for key, option in level.options.items()) or "-"
        rows.append(f"| `{level.name}` | {_cell(level.formula)} | {_cell(level.source)} | {options} |")
    lines = ["| level | what it computes | source | options |", "|---|---|---|---|", *rows]
    return "\n".join([f"## {table.factor}\n", *(f"{note}\n" for note in notes), *lines, ""])


def _option(key: str, option: AnyOption) -> str:
    return f"`{key}={option.default}`: {_cell(option.meaning)}; {_cell(option.allowed)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
