"""The data sets that a study may name.

An entry states what planning needs to know without loading anything: how many examples, their
shape and the number of classes. `load` fetches the values themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, split_level

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn import datasets as sklearn_datasets
else:
    np = LazyModule("numpy")
    sklearn_datasets = LazyModule("sklearn.datasets")


@dataclass(frozen=True)
class DataSet:
    """Examples and their classes.

    Attributes
    ----------
    x
        float32, shape (examples, channels, height, width), values in [0, 1].
    y
        int64, shape (examples,), classes 0 to classes - 1.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DataSetLevel(Level):
    """A data set's entry: sizes known without loading, and `build`, which loads it."""

    examples: int
    shape: tuple[int, int, int]
    classes: int


def _digits() -> DataSet:
    x, y = sklearn_datasets.load_digits(return_X_y=True)
    return DataSet((x / 16).astype(np.float32).reshape(-1, 1, 8, 8), y.astype(np.int64))


def _entry(
    name: str,
    what: str,
    source: str,
    load: Callable[..., DataSet],
    examples: int,
    shape: tuple[int, int, int],
    classes: int,
) -> DataSetLevel:
    return DataSetLevel(
        name=name, formula=what, source=source, build=load, examples=examples, shape=shape, classes=classes
    )


DATA_SETS = LevelTable(
    "data",
    _entry(
        "digits",
        "handwritten digits, grey 8 x 8, grey values 0 to 16 divided by 16",
        "Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (test part), in scikit-learn",
        _digits,
        examples=1797,
        shape=(1, 8, 8),
        classes=10,
    ),
)
"""Every data set by name."""


def data_set_level(text: str) -> DataSetLevel:
    """Return the entry of the data set that `text` names."""
    level = DATA_SETS[split_level(text)[0]]
    assert isinstance(level, DataSetLevel)
    return level
