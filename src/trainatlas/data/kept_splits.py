"""Splits drawn once and kept: scikit-learn, which draws them, takes a job longer to load than torch does."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainatlas.data.arrays import read_arrays, write_arrays
from trainatlas.data.splits import Split, stratified_split
from trainatlas.study.errors import UserError
from trainatlas.study.splits import split_key

SPLIT_VERSION = 1
"""Raised whenever a seed draws another split, or the files are written otherwise."""


class KeptSplits:
    """Draws each split once, and reads it from a file where another process has drawn it.

    A file that is cut short, altered or of other examples is made anew. Files appear whole, so processes may share a
    folder. Where it cannot be read or written, splits are drawn all the same.

    Parameters
    ----------
    folder
        Where files are kept, made when first needed; None keeps splits in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._splits: dict[tuple[object, ...], Split] = {}

    def get(
        self,
        data: str,
        digest: str,
        y: NDArray[np.int64],
        part: NDArray[np.int8] | None,
        seed: int,
        shares: tuple[float, float],
    ) -> Split:
        """Return the split of a seed.

        Parameters
        ----------
        data, digest
            The data, and the digest of the user's own, as trials have them.
        y, part, seed
            As for `stratified_split`.
        shares
            Of validation and test.
        """
        key = split_key(data, digest, seed, *shares)
        if key not in self._splits:
            self._splits[key] = self._read(key, len(y)) or self._draw(key, y, part, seed, shares)
        return self._splits[key]

    def _read(self, key: tuple[object, ...], examples: int) -> Split | None:
        found = read_arrays(self._path(key)) if self._folder else None
        if found is None or set(found) != {"train", "validation", "test"}:
            return None
        parts = [found[name] for name in ("train", "validation", "test")]
        if any(rows.dtype != np.int64 or rows.ndim != 1 or (np.diff(rows) <= 0).any() for rows in parts):
            return None
        whole = np.sort(np.concatenate(parts))
        return Split(*parts) if np.array_equal(whole, np.arange(examples)) else None

    def _draw(
        self,
        key: tuple[object, ...],
        y: NDArray[np.int64],
        part: NDArray[np.int8] | None,
        seed: int,
        shares: tuple[float, float],
    ) -> Split:
        split = stratified_split(y, seed, *shares, part)
        if self._folder:
            with contextlib.suppress(UserError):
                write_arrays(
                    self._path(key), {"train": split.train, "validation": split.validation, "test": split.test}
                )
        return split

    def _path(self, key: tuple[object, ...]) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(repr((key, SPLIT_VERSION)).encode()).hexdigest()
        return self._folder / f"split-{digest[:32]}.npz"
