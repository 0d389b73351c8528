"""A user's own images: a folder of class folders."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from trainatlas.data.formats import DIGEST_DIGITS, PARTS, DataSet, Facts, check_classes, given_sizes
from trainatlas.study.errors import UserError, first_line, said
from trainatlas.study.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
else:
    np = LazyModule("numpy")
    Image = LazyModule("PIL.Image")

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
"""Names of image files end in one of these, in small or capital letters."""

_LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave behind; hidden files are passed over too
_GREY, _COLOUR = ("1", "L"), ("P", "RGB")  # Pillow's modes that are read


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
            raise UserError(f"{file.path}: cannot be read ({said(error)})") from None
        total.update(f"{file.path.relative_to(folder).as_posix()}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        with _image(file.path, io.BytesIO(data)) as image:
            colour = colour or image.mode in _COLOUR
            size = size or image.size
            _same_size(file.path, image.size, files[0].path, size)
    assert size is not None  # there are files
    y, part = _folder_labels(files, split)
    shape = (3 if colour else 1, size[1], size[0])
    return Facts(len(y), given_sizes(part), shape, len(classes), total.hexdigest()[:DIGEST_DIGITS])


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
        raise UserError(f"{folder}/: cannot be read ({said(error)})") from None
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
            raise UserError(f"{path}: cannot be read as an image ({first_line(error)})") from None


def _same_size(path: Path, size: tuple[int, int], first: Path, allowed: tuple[int, int]) -> None:
    if size != allowed:
        raise UserError(
            f"{path}: is {size[0]} x {size[1]} pixels and {first.name} {allowed[0]} x {allowed[1]}; allowed: one size"
        )
