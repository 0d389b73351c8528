"""The split of a data set into training, validation and test parts, by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainatlas.study.splits import part_sizes
from trainatlas.study.streams import stream_key


@dataclass(frozen=True)
class Split:
    """Row numbers of each part: int64, ascending, disjoint, together every example."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def stratified_split(
    y: NDArray[np.int64],
    seed: int,
    validation_share: float,
    test_share: float,
    part: NDArray[np.int8] | None = None,
) -> Split:
    """Split examples so that every part holds the classes in their overall proportions.

    Parameters
    ----------
    y
        Classes, shape (examples,).
    seed
        The trial's seed; the split draws from the streams "split/test" and "split/validation".
    validation_share, test_share
        As in `trainatlas.study.splits.part_sizes`.
    part
        The split that the data bring, (examples,): 0 training, 1 validation, 2 test; None for none. Parts it
        holds are taken as they are, the others drawn from its training part.
    """
    part = np.zeros(len(y), np.int8) if part is None else part
    rest, validation, test = (np.flatnonzero(part == number) for number in range(3))
    sizes = part_sizes(len(y), validation_share, test_share, (len(validation), len(test)))
    if not len(test):
        rest, test = _cut(rest, y, sizes.test, stream_key(seed, "split/test"))
    if not len(validation):
        rest, validation = _cut(rest, y, sizes.validation, stream_key(seed, "split/validation"))
    return Split(np.sort(rest), np.sort(validation), np.sort(test))


def _cut(rows: NDArray[np.int64], y: NDArray[np.int64], size: int, key: int) -> tuple[NDArray[np.int64], ...]:
    from sklearn.model_selection import train_test_split  # seconds to load; a job reads what `KeptSplits` has

    kept, cut = train_test_split(rows, test_size=size, stratify=y[rows], random_state=key % 2**32)
    return kept, cut
