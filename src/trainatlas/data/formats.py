"""Readers of the file formats data sets come in, and safe unpacking of archives.

IDX (MNIST and its kin), the binary version of CIFAR-10, and what users bring: an `.npz` file or a folder
of class folders. Nothing here runs code out of a file: no pickle is ever loaded, and an archive yields
only the members that were asked for. Every reader refuses a bad file in one line.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from trainatlas.study.errors import UserError
from trainatlas.study.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
else:
    np = LazyModule("numpy")
    Image = LazyModule("PIL.Image")

PARTS = ("train", "validation", "test")
"""Parts of a split as files and folders of the user name them; their positions are the codes of `DataSet.part`."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
"""Names of image files end in one of these, in small or capital letters."""

_LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave behind; hidden files are passed over too
_GREY, _COLOUR = ("1", "L"), ("P", "RGB")  # Pillow's modes that are read
_DIGEST_DIGITS = 12


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


# --- IDX and CIFAR-10 -----------------------------------------------------------------------------------


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


# --- archives -------------------------------------------------------------------------------------------

_SLACK = 1 << 20  # bytes an archive may hold beside the wanted files: headers, padding, a readme
_BLOCK = 1 << 20


class _TooMuchError(Exception):
    """More came out of an archive than may be in it."""


class _Bounded(io.RawIOBase):
    """A stream that gives out no more than `limit` bytes, so that a small file cannot fill memory or disk."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._left = stream, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(block)
        if self._left < 0:
            raise _TooMuchError
        return block


_BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError)
"""What a truncated or altered archive makes the standard library raise."""


@contextmanager
def _decompressed(path: Path, limit: int) -> Iterator[_Bounded]:
    """Open what `path` holds once gzip or xz is undone, told apart by the first bytes and not by the name."""
    with path.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        if start[:2] == b"\x1f\x8b":
            stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        elif start == b"\xfd7zXZ\x00":
            stream = cast(IO[bytes], lzma.LZMAFile(raw))  # noqa: SIM115 - `raw` is what needs closing
        else:
            stream = raw
        yield _Bounded(stream, limit)


def read_whole(path: Path, size: int) -> bytes:
    """Return the `size` bytes of a file, gzip or xz undone.

    Raises
    ------
    UserError
        When the file cannot be read, is broken, or holds more or fewer bytes; no more than `size` + 1 of
        them are ever decompressed.
    """
    try:
        with _decompressed(path, size) as stream:
            data = stream.read()
    except _TooMuchError:
        raise UserError(f"{path}: is not the file it should be: it holds more than {size:,} bytes") from None
    except _BROKEN as error:
        raise UserError(f"{path}: truncated, altered or not to be read ({_said(error)})") from None
    if len(data) != size:
        raise UserError(f"{path}: truncated or altered: it holds {len(data):,} bytes, not {size:,}")
    return data


def unpack(archive: Path, wanted: Mapping[str, int], ignored: Collection[str], folder: Path) -> None:
    """Unpack the files `wanted` out of a tar archive, plain, gzipped or xz-compressed, into `folder`.

    The archive may come from anywhere, so it is trusted in nothing: each member must be a directory or a
    regular file with a name asked for or passed over, at most one folder deep; absolute paths, `..`, links,
    devices, sparse files, a second file of a name and other sizes than expected are refused; no more
    is decompressed than the expected sizes and one MiB. Files take their own base names in `folder`.

    Parameters
    ----------
    archive
        Path of the archive.
    wanted
        Base name of each file to unpack, and its size in bytes.
    ignored
        Base names of small files that may be there too and are passed over.
    folder
        Existing folder; after an error it may hold some of the files, so let it be a temporary one.

    Raises
    ------
    UserError
        When the archive is broken, holds anything else, or lacks a file.
    """
    left = dict(wanted)
    try:
        with (
            _decompressed(archive, sum(wanted.values()) + _SLACK) as stream,
            tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=_BLOCK) as members,
        ):
            for member in members:
                name = _safe_name(archive, member)
                if name is None or name in ignored:
                    continue
                if name not in left:
                    raise UserError(f"{archive}: unexpected member '{member.name}'; nothing was unpacked")
                if member.size != left.pop(name):
                    raise UserError(
                        f"{archive}: '{member.name}' has {member.size:,} bytes, not {wanted[name]:,}: truncated or altered"
                    )
                source = members.extractfile(member)
                assert source is not None  # a regular file
                _copy(source, folder / name)
    except _TooMuchError:
        raise UserError(f"{archive}: holds more than it should; nothing was unpacked") from None
    except _BROKEN as error:
        raise UserError(f"{archive}: truncated, altered or not to be read ({_said(error)})") from None
    if left:
        raise UserError(f"{archive}: lacks {', '.join(left)}")


def _safe_name(archive: Path, member: tarfile.TarInfo) -> str | None:
    """Return a member's base name, None for a directory; raise UserError where it is unsafe."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name or len(path.parts) > 2:
        raise UserError(f"{archive}: unsafe path '{member.name}'; nothing was unpacked")
    if member.isdir():
        return None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise UserError(f"{archive}: '{member.name}' is no regular file; nothing was unpacked")
    return path.name


def _copy(source: IO[bytes], path: Path) -> None:
    """Write a new file, on disk for good once this returns."""
    with write_new(path) as write:
        while block := source.read(_BLOCK):
            write(block)


@contextmanager
def write_new(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Give a function that appends bytes to a new file, on disk for good once the block ends.

    Raises UserError where the disk does not take them; errors of what is written from stay what they are.
    """

    def write(block: bytes) -> None:
        try:
            file.write(block)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {_said(error)}") from None

    try:
        file = path.open("xb", buffering=0)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {_said(error)}") from None
    with file:
        yield write
        os.fsync(file.fileno())


def _said(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


# --- a user's own .npz ----------------------------------------------------------------------------------


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
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST_DIGITS]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({_said(error)})") from None
    return Facts(len(y), _given(part), one, len(classes), digest)


@contextmanager
def _npz(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception as error:  # whatever a broken file makes zipfile and NumPy raise
        raise UserError(f"{path}: is no .npz file, or a truncated one ({_first_line(error)})") from None
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
        reason = "an object array (pickled); allowed: numbers or texts" if pickled else _first_line(error)
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
        raise UserError(f"{path}: x cannot be read: {_first_line(error)}") from None
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


def _given(part: NDArray[np.int8] | None) -> tuple[int, int] | None:
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


def _first_line(error: BaseException) -> str:
    return (_said(error).splitlines() or [type(error).__name__])[0]


# --- a user's own folder of images ----------------------------------------------------------------------


@dataclass(frozen=True)
class _ImageFile:
    path: Path
    label: int
    part: int


def read_folder(folder: Path) -> DataSet:
    """Read a user's own images: a folder of class folders, `photos/cat/1.png`.

    The class folders' names, sorted, are the classes. A folder that holds `train/` and maybe `validation/`
    and `test/`, and no other folder, brings its split: each of these is a folder of class folders. Images
    are of one size, grey (Pillow's modes 1 and L) or colour (P and RGB); where some are grey and some are
    colour, all become colour. Examples are in the order of part, class and file name. uint8.

    Raises
    ------
    UserError
        One line naming the file or folder and what is allowed.
    """
    files, classes, split = _image_files(folder)
    images = [_pixels(file.path) for file in files]
    modes = {image.ndim for image in images}
    first = images[0].shape[:2]
    for file, image in zip(files, images, strict=True):
        _same_size(file.path, (image.shape[1], image.shape[0]), files[0].path, (first[1], first[0]))
    if modes == {2}:
        x = np.stack(images)[:, None]
    else:
        x = np.stack([image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images])
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    y, part = _folder_labels(files, split)
    return DataSet(x, y, part, classes)


def folder_facts(folder: Path) -> Facts:
    """Return the facts of a folder of images: each file is read and hashed, of the images the headers alone."""
    files, classes, split = _image_files(folder)
    total, colour, size = hashlib.sha256(), False, None
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            raise UserError(f"{file.path}: cannot be read ({_said(error)})") from None
        total.update(f"{file.path.relative_to(folder).as_posix()}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        with _image(file.path, io.BytesIO(data)) as image:
            colour = colour or image.mode in _COLOUR
            size = size or image.size
            _same_size(file.path, image.size, files[0].path, size)
    assert size is not None  # there are files
    y, part = _folder_labels(files, split)
    shape = (3 if colour else 1, size[1], size[0])
    return Facts(len(y), _given(part), shape, len(classes), total.hexdigest()[:_DIGEST_DIGITS])


def _image_files(folder: Path) -> tuple[list[_ImageFile], tuple[str, ...], bool]:
    """Return every image of the folder with its class and part, the classes, and whether the folder brings a split."""
    if not folder.is_dir():
        raise UserError(f"{folder}/: no such folder")
    names = [path.name for path in _entries(folder, folders=True)]
    if not names:
        raise UserError(f"{folder}/: empty; allowed: one folder of images for each class")
    split = "train" in names and set(names) <= set(PARTS)
    tops = [(code, folder / word) for code, word in enumerate(PARTS) if word in names] if split else [(0, folder)]
    classes = tuple(path.name for path in _entries(tops[0][1], folders=True))
    files = []
    for code, top in tops:
        for class_folder in _entries(top, folders=True):
            if class_folder.name not in classes:
                raise UserError(f"{class_folder}/: no such class in train/; allowed: {', '.join(classes)}")
            found = _entries(class_folder, folders=False)
            if not found:
                raise UserError(f"{class_folder}/: empty; allowed: images, {' '.join(SUFFIXES)}")
            files += [_ImageFile(path, classes.index(class_folder.name), code) for path in found]
    y, part = _folder_labels(files, split)
    check_classes(f"{folder}/", y, part, classes)
    return files, classes, split


def _entries(folder: Path, folders: bool) -> list[Path]:
    """Return the sorted folders, or the image files, of a folder that must hold nothing else."""
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UserError(f"{folder}/: cannot be read ({_said(error)})") from None
    paths = [path for path in paths if not (path.name.startswith(".") or path.name.lower() in _LITTER)]
    for path in paths:
        if folders and not path.is_dir():
            raise UserError(f"{path}: a file among the class folders; allowed: one folder of images for each class")
        if not folders and (path.is_dir() or path.suffix.lower() not in SUFFIXES):
            what = "a folder in a class folder" if path.is_dir() else "no image by its name"
            parts = "; a split is train/, validation/ and test/ at the top" if path.is_dir() else ""
            raise UserError(f"{path}: {what}; allowed: {' '.join(SUFFIXES)}{parts}")
    return paths


def _folder_labels(files: list[_ImageFile], split: bool) -> tuple[NDArray[np.int64], NDArray[np.int8] | None]:
    y = np.array([file.label for file in files], np.int64)
    return y, np.array([file.part for file in files], np.int8) if split else None


@contextmanager
def _image(path: Path, source: Path | IO[bytes]) -> Iterator[Image.Image]:
    try:
        image = Image.open(source)
    except Exception as error:  # Pillow raises many kinds for a broken file, and for one too large to be meant
        raise UserError(f"{path}: cannot be read as an image ({type(error).__name__})") from None
    with image:
        if image.mode not in _GREY + _COLOUR:
            raise UserError(f"{path}: is an image of mode {image.mode}; allowed: grey or RGB, 8 bits, without alpha")
        yield image


@contextmanager
def _whole_images() -> Iterator[None]:
    """Refuse images that are cut short while the block runs: WeasyPrint has Pillow take them, for all of the process."""
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image's pixels: (height, width) where it is grey, else (height, width, 3)."""
    with _image(path, path) as image, _whole_images():
        try:
            return np.asarray(image.convert("L" if image.mode in _GREY else "RGB"), np.uint8)
        except Exception as error:  # as above
            raise UserError(f"{path}: cannot be read as an image ({_first_line(error)})") from None


def _same_size(path: Path, size: tuple[int, int], first: Path, allowed: tuple[int, int]) -> None:
    if size != allowed:
        raise UserError(
            f"{path}: is {size[0]} x {size[1]} pixels and {first.name} {allowed[0]} x {allowed[1]}; allowed: one size"
        )
