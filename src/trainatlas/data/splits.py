"""The split of a data set into training, validation and test parts, by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from trainatlas.study.splits import part_sizes
from trainatlas.study.streams import stream_key


@dataclass(frozen=True)
class Split:
    """Row numbers of each part: int64, ascending, disjoint, together every example."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def stratified_split(y: NDArray[np.int64], seed: int, validation_share: float, test_share: float) -> Split:
    """Split examples so that every part holds the classes in their overall proportions.

    Parameters
    ----------
    y
        Classes, shape (examples,).
    seed
        The trial's seed; the split draws from the streams "split/test" and "split/validation".
    validation_share, test_share
        Shares of all examples.
    """
    sizes = part_sizes(len(y), validation_share, test_share)
    everything = np.arange(len(y))
    rest, test = train_test_split(
        everything, test_size=sizes.test, stratify=y, random_state=stream_key(seed, "split/test") % 2**32
    )
    train, validation = train_test_split(
        rest,
        test_size=sizes.validation,
        stratify=y[rest],
        random_state=stream_key(seed, "split/validation") % 2**32,
    )
    return Split(np.sort(train), np.sort(validation), np.sort(test))
