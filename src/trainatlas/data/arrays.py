"""Arrays in files that show by themselves whether they are whole.

A file is an `.npz` as `numpy.savez` writes it, then 32 bytes, the SHA-256 of the file's name and of all before.
Nothing in it is ever run: arrays of Python objects are not read.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainatlas.study.storage import atomic_write

_CHECKSUM_BYTES = hashlib.sha256().digest_size
_PIECE = 2**20


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name to `path`, whole or not at all; raises UserError as `atomic_write` does."""
    given: dict[str, Any] = dict(arrays)
    with atomic_write(path, "w+b") as file:
        np.savez(file, **given)
        checksum = hashlib.sha256(path.name.encode())
        file.seek(0)
        while piece := file.read(_PIECE):
            checksum.update(piece)
        file.write(checksum.digest())


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return what `write_arrays` wrote; None where there is no file, or one that is cut short, altered or renamed."""
    try:
        content = memoryview(path.read_bytes())
        archive, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        # Before anything is parsed: a header that was altered could ask for any amount of memory.
        expected = hashlib.sha256(path.name.encode())
        expected.update(archive)
        if checksum != expected.digest():
            return None
        with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
