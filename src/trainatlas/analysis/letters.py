"""Compact letter displays: groups of which no two members are told apart."""

from __future__ import annotations

import re
import string
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def groups(names: Sequence[Name], apart: Iterable[tuple[Name, Name]]) -> list[tuple[Name, ...]]:
    """Return all largest groups of `names` of which no two members are told apart, by their first members.

    Insertion and absorption of Piepho (2004, "An algorithm for a letter-based representation of all-pairwise
    comparisons", section 2), without its last sweep, which leaves out groups that the display could spare: so every group
    that cannot be enlarged is there, and the order of `apart` does not matter.

    Parameters
    ----------
    names
        In the order of the display, best first.
    apart
        Pairs that are told apart.
    """
    place = {name: index for index, name in enumerate(names)}
    columns = {frozenset(place.values())} if place else set()
    for first, second in apart:
        both = {place[first], place[second]}
        split = {column - {member} for column in columns if both <= column for member in both}
        columns = {column for column in columns if not both <= column} | split
        columns = {column for column in columns if not any(column < other for other in columns)}
    return [tuple(names[index] for index in column) for column in sorted(map(sorted, columns))]


def letters(names: Sequence[Name], apart: Iterable[tuple[Name, Name]]) -> dict[Name, str]:
    """Return each name's letters: two names share one if and only if they are not told apart.

    Parameters
    ----------
    names
        In the order of the display: the first gets an `a`. After `z` comes `a1`.
    apart
        Pairs that are told apart.
    """
    found = groups(names, apart)
    return {name: "".join(_letter(index) for index, group in enumerate(found) if name in group) for name in names}


def bearers(shown: Mapping[Name, str]) -> dict[str, list[Name]]:
    """Return the names that bear each letter, letters and names in the order of `shown`: what `letters` tells, read back."""
    found: dict[str, list[Name]] = {}
    for name, text in shown.items():
        for letter in re.findall(r"[a-z]\d*", text):
            found.setdefault(letter, []).append(name)
    return found


def _letter(index: int) -> str:
    turn, place = divmod(index, len(string.ascii_lowercase))
    return string.ascii_lowercase[place] + (str(turn) if turn else "")
