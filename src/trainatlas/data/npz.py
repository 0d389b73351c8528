"""A user's own data in an `.npz` file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainatlas.data.formats import DIGEST_DIGITS, PARTS, DataSet, Facts, check_classes, given_sizes
from trainatlas.study.errors import UserError, first_line, said
from trainatlas.study.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


def read_npz(path: Path) -> DataSet:
    """Read a user's own data out of an `.npz` file, as `numpy.savez` writes it.

    Arrays of the file:

    x
        (examples, height, width), (examples, height, width, channels) with 1, 3 or 4 channels, or
        (examples, features), which becomes shape (examples, 1, 1, features). uint8, 0 to 255 standing for
        0 to 1; or float, every value finite and within float32's range. Floats are taken as they are:
        images are expected in [0, 1]; features may have any scale, that is what preprocessing is for.
    y
        (examples,), whole numbers 0 to classes - 1, each at least twice (in the training part).
    split
        Optional, (examples,), texts train, validation, test, or 0, 1, 2 for them.
    classes
        Optional, (classes,), the names; without it the numbers are the names.

    Raises
    ------
    UserError
        One line naming the file, the array, the bad value and what is allowed.
    """
    with _npz(path) as archive:
        y, part, classes = _labels(path, archive)
        x = _array(path, archive, "x")
    channels, height, width = _example_shape(path, x.shape, x.dtype)
    _same_length(path, x.shape, y)
    if x.dtype != np.uint8:
        x = _finite(path, x)
    if x.ndim == 4:
        x = x.transpose(0, 3, 1, 2)
    return DataSet(np.ascontiguousarray(x.reshape(len(x), channels, height, width)), y, part, classes)


def npz_facts(path: Path) -> Facts:
    """Return the facts of a user's `.npz` file: its labels are read and checked, of `x` the header alone."""
    with _npz(path) as archive:
        y, part, classes = _labels(path, archive)
    shape, dtype = _header(path)
    one = _example_shape(path, shape, dtype)
    _same_length(path, shape, y)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({said(error)})") from None
    return Facts(len(y), given_sizes(part), one, len(classes), digest)


@contextmanager
def _npz(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception as error:  # whatever a broken file makes zipfile and NumPy raise
        raise UserError(f"{path}: is no .npz file, or a truncated one ({first_line(error)})") from None
    if not hasattr(archive, "files"):
        raise UserError(f"{path}: is a single array; allowed: an .npz file with x, y and, if need be, split, classes")
    with archive:
        yield archive


def _array(path: Path, archive: Any, key: str) -> NDArray[Any]:
    if key not in archive.files:
        raise UserError(f"{path}: has no array '{key}', only {', '.join(archive.files[:8]) or 'nothing'}")
    try:
        array = archive[key]
    except Exception as error:  # as above
        pickled = "Object arrays" in str(error)
        reason = "an object array (pickled); allowed: numbers or texts" if pickled else first_line(error)
        raise UserError(f"{path}: {key} cannot be read: {reason}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {key} is no array; is this a .zip that is no .npz?")
    return array


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of `x`, its values unread."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("x.npy") as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(file)
    except KeyError:
        raise UserError(f"{path}: has no array 'x' that can be read") from None
    except Exception as error:  # as above
        raise UserError(f"{path}: x cannot be read: {first_line(error)}") from None
    return tuple(shape), dtype


def _example_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int, int]:
    """Return (channels, height, width) of one example of an `x` of this shape and type."""
    if dtype.hasobject:
        raise UserError(f"{path}: x is an object array (pickled); allowed: uint8 or float")
    if dtype != np.uint8 and not (dtype.kind == "f"):
        raise UserError(f"{path}: x is of type {dtype}; allowed: uint8 (0 to 255) or float")
    one = (0, 0, 0)
    if len(shape) == 4 and shape[3] in (1, 3, 4):
        one = (shape[3], shape[1], shape[2])
    elif len(shape) == 3:
        one = (1, shape[1], shape[2])
    elif len(shape) == 2:
        one = (1, 1, shape[1])
    if not all(one) or not shape[0]:
        raise UserError(
            f"{path}: x has shape {shape}; allowed: (n, height, width), (n, height, width, 1, 3 or 4), (n, features)"
        )
    return one


def _finite(path: Path, x: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused below
        values = x.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        place = tuple(int(i) for i in np.unravel_index(int(finite.argmin()), x.shape))
        raise UserError(f"{path}: x{list(place)} is {x[place]}; allowed: finite numbers within float32's range")
    return values


def _same_length(path: Path, shape: tuple[int, ...], y: NDArray[np.int64]) -> None:
    if shape[0] != len(y):
        raise UserError(f"{path}: x has {shape[0]:,} examples and y {len(y):,}; allowed: as many")


def _labels(path: Path, archive: Any) -> tuple[NDArray[np.int64], NDArray[np.int8] | None, tuple[str, ...]]:
    given = _array(path, archive, "y")
    if given.ndim != 1 or not given.size:
        raise UserError(f"{path}: y has shape {given.shape}; allowed: (examples,)")
    if given.dtype.kind not in "iuf":
        raise UserError(f"{path}: y is of type {given.dtype}; allowed: whole numbers 0 to classes - 1")
    whole = np.isfinite(given) & (given == np.floor(given)) & (given >= 0)
    names = _class_names(path, archive) if "classes" in archive.files else None
    limit = len(given) if names is None else len(names)  # so many classes at most: each must have an example
    bad = ~whole | (given >= limit)
    if bad.any():
        row = int(bad.argmax())
        raise UserError(f"{path}: y[{row}] is {given[row]}; allowed: whole numbers 0 to {limit - 1} (classes - 1)")
    y = given.astype(np.int64)
    names = names or tuple(str(label) for label in range(int(y.max()) + 1))
    part = _split(path, _array(path, archive, "split"), len(y)) if "split" in archive.files else None
    check_classes(str(path), y, part, names)
    return y, part, names


def _class_names(path: Path, archive: Any) -> tuple[str, ...]:
    given = _array(path, archive, "classes")
    if given.ndim != 1 or given.dtype.kind != "U":
        raise UserError(f"{path}: classes is {given.dtype} of shape {given.shape}; allowed: texts, shape (classes,)")
    names = tuple(str(name) for name in given)
    if len(set(names)) < len(names):
        raise UserError(f"{path}: classes names a class twice; allowed: each name once")
    return names


def _split(path: Path, given: NDArray[Any], examples: int) -> NDArray[np.int8]:
    if given.shape != (examples,):
        raise UserError(f"{path}: split has shape {given.shape}; allowed: ({examples},), as long as y")
    codes: Mapping[Any, int] = {word: code for code, word in enumerate(PARTS)}
    if given.dtype.kind in "iu":
        codes = {code: code for code in range(len(PARTS))}
    part = np.full(examples, -1, np.int8)
    if given.dtype.kind in "iuU":
        for value, code in codes.items():
            part[given == value] = code
    if (part < 0).any():
        row = int((part < 0).argmax())
        raise UserError(f"{path}: split[{row}] is '{given[row]}'; allowed: {', '.join(PARTS)} or 0, 1, 2")
    return part
