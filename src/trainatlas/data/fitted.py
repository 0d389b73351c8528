"""Fitted preprocessing, made once and shared: between levels, between trials and, by files, between processes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trainatlas.data.arrays import read_arrays, write_arrays
from trainatlas.data.preprocessing import PREPROCESSINGS, Preprocessing
from trainatlas.study.errors import UserError

if TYPE_CHECKING:
    from trainatlas.data.preprocessing import Examples, Learnt

FITTED_VERSION = 1
"""Raised whenever a level learns other numbers from the same examples, or the files are written otherwise."""

Split = tuple[object, ...]


class FittedPreprocessings:
    """Fits each level on each split once, and learns what several levels need once for all of them.

    What is shared is what `Preprocessing.learns` names: every level of principal components rests on one
    eigendecomposition a split. With a folder, it is kept there as well, a file for each split and thing
    learnt (`trainatlas.data.arrays`). A file that is cut short, altered, renamed or holds other arrays than the
    level needs is made anew. Files appear whole, so processes may share a folder. Where the folder cannot
    be read or written, or the disk is full, everything goes on in memory.

    Parameters
    ----------
    folder
        Where files are kept, made when first needed; None keeps everything in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._fitted: dict[tuple[str, Split], Preprocessing] = {}
        self._learnt: dict[tuple[str, Split], Learnt] = {}

    def get(self, text: str, split: Split, training: Callable[[], Examples]) -> Preprocessing:
        """Return a level fitted on the training examples of a split, the same object for the same level.

        Parameters
        ----------
        text
            The level, a text that `parse_level` has checked.
        split
            What determines the training examples, the data's version and shape included: numbers and texts.
            Files tell splits apart by its `repr`.
        training
            Returns the training examples, (examples, channels, height, width). It is called only where
            something has to be learnt that is neither in memory nor in the folder.
        """
        key = (text, split)
        if key not in self._fitted:
            level: Preprocessing = PREPROCESSINGS.build(text)
            self._fitted[key] = level.take(self._learnt_by(level, split, training))
        return self._fitted[key]

    def _learnt_by(self, level: Preprocessing, split: Split, training: Callable[[], Examples]) -> Learnt:
        if not level.learns:
            return {}
        key = (level.learns, split)
        if key not in self._learnt:
            path = self._path(level, split)
            found = read_arrays(path) if path else None
            if found is not None and level.accepts(found):
                self._learnt[key] = found
            else:
                self._learnt[key] = level.learn(training())
                if path:
                    with contextlib.suppress(UserError):
                        write_arrays(path, self._learnt[key])
        return self._learnt[key]

    def _path(self, level: Preprocessing, split: Split) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(repr((split, level.learns, FITTED_VERSION)).encode()).hexdigest()
        return self._folder / f"{level.learns}-{digest[:32]}.npz"
