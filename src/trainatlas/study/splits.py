"""How many examples each part of a split has; the drawing itself is in `trainatlas.data.splits`."""

from __future__ import annotations

from typing import NamedTuple


class PartSizes(NamedTuple):
    """Numbers of examples for training, validation and test."""

    train: int
    validation: int
    test: int


def part_sizes(examples: int, validation_share: float, test_share: float) -> PartSizes:
    """Return the sizes of the three parts; shares are of all examples, rounded to whole ones."""
    validation = round(examples * validation_share)
    test = round(examples * test_share)
    return PartSizes(examples - validation - test, validation, test)
