"""What a data set is once it is read, and readers of the formats that published ones come in.

These are IDX (MNIST and its kin) and the binary version of CIFAR-10. Nothing here, or in the readers of what users bring
(`trainatlas.data.npz`, `trainatlas.data.image_folder`), runs code out of a file: no pickle is ever loaded. Every reader refuses
a bad file in one line.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainatlas.study.errors import UserError
from trainatlas.study.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")

PARTS = ("train", "validation", "test")
"""Parts of a split as files and folders of the user name them; their positions are the codes of `DataSet.part`."""

DIGEST_DIGITS = 12
"""Hexadecimal digits of the digest of a user's own data."""


@dataclass(frozen=True)
class DataSet:
    """Examples, their classes and, where the data bring one, their split.

    Attributes
    ----------
    x
        Shape (examples, channels, height, width). uint8: a value v stands for v / 255; float32: as it is.
    y
        int64, shape (examples,), classes 0 to `len(classes)` - 1.
    part
        int8, shape (examples,), the given split: 0 training, 1 validation, 2 test. None: the study splits.
    classes
        Names of the classes.
    """

    x: NDArray[np.uint8] | NDArray[np.float32]
    y: NDArray[np.int64]
    part: NDArray[np.int8] | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What planning needs to know of a data set; cheap to have.

    Attributes
    ----------
    examples
        Number of examples, all parts together.
    given
        Examples of the (validation, test) part where the data bring a split, 0 for a part they lack;
        None where the study splits.
    shape
        (channels, height, width) of one example.
    classes
        Number of classes.
    digest
        First 12 hex digits of SHA-256 over a user's own data: the bytes of an `.npz` file, or names and
        bytes of all images of a folder. Empty for the data sets of the table, whose checksums are fixed.
    """

    examples: int
    given: tuple[int, int] | None
    shape: tuple[int, int, int]
    classes: int
    digest: str


def given_sizes(part: NDArray[np.int8] | None) -> tuple[int, int] | None:
    """Return how many validation and test examples a given split has; None where there is none."""
    return None if part is None else (int((part == 1).sum()), int((part == 2).sum()))


def check_classes(where: str, y: NDArray[np.int64], part: NDArray[np.int8] | None, classes: tuple[str, ...]) -> None:
    """Raise UserError unless there are two classes or more, each twice or more in the training part.

    A class with a single example can be in training or in validation, never in both: nothing is to be
    learnt or measured of it.
    """
    if len(classes) < 2:
        raise UserError(f"{where}: {len(classes)} class; allowed: two or more")
    counts = np.bincount(y if part is None else y[part == 0], minlength=len(classes))
    if counts.min() < 2:
        few, of_part = int(counts.argmin()), "" if part is None else " of the training part"
        number = f"{counts[few]} example{'' if counts[few] == 1 else 's'}{of_part}"
        raise UserError(f"{where}: class {few} ('{classes[few]}') has {number}; allowed: two or more of each class")


def read_idx(data: bytes, where: str) -> NDArray[np.uint8]:
    """Return the array that an uncompressed IDX file of unsigned bytes holds.

    The file begins with two zero bytes, the code of the type (8: unsigned byte), the number of dimensions
    and the length of each as a big-endian 32-bit number; the values follow, the last dimension fastest
    (LeCun, Cortes and Burges, "The MNIST database", section "File formats").

    Raises
    ------
    UserError
        Naming `where`, when `data` is no such file or is shorter or longer than its header says.
    """
    zeros, kind, dimensions = struct.unpack(">HBB", data[:4]) if len(data) >= 4 else (1, 0, 0)
    start = 4 + 4 * dimensions
    if zeros or kind != 8 or not 1 <= dimensions <= 3 or len(data) < start:
        raise UserError(f"{where}: is no IDX file of unsigned bytes in 1 to 3 dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    values = 1
    for length in shape:
        values *= length
    if len(data) - start != values:
        raise UserError(f"{where}: holds {len(data) - start:,} values; its header says {values:,}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


CIFAR10_SHAPE = (3, 32, 32)


def read_cifar10(data: bytes, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (examples, 3, 32, 32) and labels (examples,) of a file of CIFAR-10's binary version.

    A record is a label byte, 0 to 9, and 3,072 pixels: red, green and blue plane, each row by row
    (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version"). The images are a
    view into `data`.

    Raises
    ------
    UserError
        Naming `where`, when the length is no multiple of a record's or a label is no class.
    """
    if not data or len(data) % 3073:
        raise UserError(f"{where}: holds {len(data):,} bytes; records of CIFAR-10 have 3,073 each")
    records = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise UserError(f"{where}: label {labels.max()} in record {labels.argmax()}; allowed: 0 to 9")
    return records[:, 1:].reshape(-1, *CIFAR10_SHAPE), labels
