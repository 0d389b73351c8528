"""How many examples each part of a split has; the drawing itself is in `trainatlas.data.splits`."""

from __future__ import annotations

from typing import NamedTuple


class PartSizes(NamedTuple):
    """Numbers of examples for training, validation and test."""

    train: int
    validation: int
    test: int


def part_sizes(
    examples: int, validation_share: float, test_share: float, given: tuple[int, int] | None = None
) -> PartSizes:
    """Return the sizes of the three parts, rounded to whole examples.

    Parameters
    ----------
    examples
        Of all parts.
    validation_share, test_share
        Shares of all examples. A part that the data bring themselves is as large as it is; the validation share
        is then of all examples but the test part.
    given
        Validation and test examples that the data bring, 0 for a part they do not; None where they bring no split.
    """
    given_validation, given_test = given or (0, 0)
    test = given_test or round(examples * test_share)
    validation = given_validation or round((examples - given_test) * validation_share)
    return PartSizes(examples - validation - test, validation, test)


def probe_set_size(training_examples: int) -> int:
    """Return how many examples of the training part probes look at: all of a small part, 256 of a larger one."""
    return min(training_examples, 256)


def split_key(data: str, data_digest: str, seed: int, validation_share: float, test_share: float) -> tuple[object, ...]:
    """Return what two trials must share to have the same split."""
    return (data, data_digest, seed, validation_share, test_share)
