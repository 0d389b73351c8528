"""Where the files of published data sets are kept, and how they are checked, read and fetched.

Files are looked for in the data folders and where
system packages put them; `fetch` downloads what is missing. A file takes its name in the data folder only
once it is whole and verified, so there is never half a data set.

The data folders are those that a `--data-folder` flag names, else those of the environment variable
TRAINATLAS_DATA (several are joined by the system's path separator), and last of all the user's
cache. Downloads go to the first of them that can be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainatlas.data.archives import read_whole, unpack, write_new
from trainatlas.data.downloads import NotHadError
from trainatlas.data.downloads import download as download_file
from trainatlas.data.formats import read_cifar10, read_idx
from trainatlas.data.published import Source, SourceFile, source_of
from trainatlas.study.errors import UserError
from trainatlas.study.lazy import LazyModule
from trainatlas.study.storage import write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


# --- where files lie ------------------------------------------------------------------------------------

VARIABLE = "TRAINATLAS_DATA"


def data_folders(flag: Path | None = None) -> tuple[Path, ...]:
    """Return the folders data sets are looked for in, absolute: of the flag, else of TRAINATLAS_DATA; then the cache."""
    import platformdirs

    given = [str(flag)] if flag is not None else os.environ.get(VARIABLE, "").split(os.pathsep)
    cache = Path(platformdirs.user_cache_dir("trainatlas")) / "data"
    return tuple(dict.fromkeys([*(Path(text).expanduser().absolute() for text in given if text), cache]))


def download_folder(flag: Path | None = None) -> Path:
    """Return the data folder that downloads go to: the first that can be written, or made.

    Raises UserError naming them all where none can.
    """
    folder = _writable(flag)
    if folder is None:
        folders = ", ".join(map(str, data_folders(flag)))
        raise UserError(f"data: no folder can be written: {folders}; allowed: one in --data-folder or {VARIABLE}")
    return folder


def _writable(flag: Path | None) -> Path | None:
    for folder in data_folders(flag):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return folder
    return None


def _places(source: Source, flag: Path | None) -> list[Path]:
    """Return the existing folders that may hold a source's files, the one of downloads first."""
    downloads = _writable(flag)
    own = [] if downloads is None else [downloads / source.name]
    own += [root / name for root in data_folders(flag) for name in source.folders]
    # A data folder may be the data set's own; the four files of MNIST and Fashion-MNIST share their names,
    # so that such a folder must go by a name that tells them apart.
    own += [
        root
        for root in data_folders(flag)
        if any(root.as_posix().endswith(f"/{name}") for name in source.folders) or source.reader != "idx"
    ]
    return [folder for folder in dict.fromkeys([*own, *map(Path, source.system)]) if folder.is_dir()]


def _present(folder: Path, name: str) -> Path | None:
    return next((path for end in ("", ".gz", ".xz") if (path := folder / f"{name}{end}").is_file()), None)


def _paths(source: Source, folder: Path) -> dict[str, Path] | None:
    """Return where each file of the source lies in a folder, compressed or not; None unless all are there."""
    found = {file.name: path for file in source.files if (path := _present(folder, file.name)) is not None}
    return found if len(found) == len(source.files) else None


def _archives(source: Source, flag: Path | None) -> list[Path]:
    """Return the archives of the whole source that someone put by hand."""
    names = [download.name for download in source.downloads if len(download.holds) == len(source.files)]
    folders = dict.fromkeys([*_places(source, flag), *data_folders(flag)])
    return [path for folder in folders for name in (*names, *source.archives) if (path := folder / name).is_file()]


def find(name: str, flag: Path | None = None) -> Path | None:
    """Return the folder that holds a data set's files, or the archive that does; None where there is neither.

    Only names are looked at: `check` says whether the files are the right ones.
    """
    source = source_of(name)
    for folder in _places(source, flag):
        if _paths(source, folder) is not None:
            return folder
    return next(iter(_archives(source, flag)), None)


# --- reading and checking -------------------------------------------------------------------------------


class _Notes:
    """Which files were verified before, by path, size and time of change, in a small file in the data folder.

    SHA-256 of CIFAR-10 takes longer than reading it; a file that has not changed since need not pay twice.
    A change that keeps both size and time goes unseen until `check`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".verified.json"
        try:
            notes = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            notes = {}
        self._notes: dict[str, Any] = notes if isinstance(notes, dict) else {}

    @staticmethod
    def _state(path: Path, file: SourceFile) -> list[Any]:
        state = path.stat()
        return [state.st_size, state.st_mtime_ns, file.sha256]

    def know(self, path: Path, file: SourceFile) -> bool:
        """Say whether this very file was verified before."""
        try:
            return bool(self._notes.get(str(path)) == self._state(path, file))
        except OSError:
            return False

    def keep(self, verified: Mapping[Path, SourceFile]) -> None:
        """Remember files as verified; where the folder cannot be written they are verified again next time."""
        if verified:
            with contextlib.suppress(UserError, OSError):
                self._notes |= {str(path): self._state(path, file) for path, file in verified.items()}
                write_json(self._path, self._notes)


def _content(path: Path, file: SourceFile, known: bool = False) -> bytes:
    """Return a file's content, uncompressed, its size checked and, unless `known`, its SHA-256.

    Raises UserError naming the path where it is another file than `file`.
    """
    data = read_whole(path, file.size)
    if not known and hashlib.sha256(data).hexdigest() != file.sha256:
        raise UserError(f"{path}: altered: its SHA-256, uncompressed, is not {file.sha256}")
    return data


@dataclass(frozen=True)
class Content:
    """A data set as its files give it.

    Attributes
    ----------
    x
        uint8, (examples, channels, height, width), 0 to 255; the training part first, in file order.
    y
        int64, (examples,).
    train
        Examples of the training part.
    folder
        Where the files lie.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    train: int
    folder: Path


def read(name: str, flag: Path | None = None, again: bool = False) -> Content:
    """Read a data set's files, checked against sizes, sums and class counts.

    An archive that someone put by hand is unpacked into the data folder first.

    Parameters
    ----------
    name
        A name of `SOURCES`.
    flag
        The data folder of a `--data-folder` flag.
    again
        Work out every SHA-256, also of files verified before that have not changed since.

    Raises
    ------
    UserError
        Where files are missing, with what to put where; truncated or altered; or not to be read.
    """
    source = source_of(name)
    folder = find(name, flag)
    if folder is not None and folder.is_file():
        folder = fetch(name, flag, download=False)
    if folder is None:
        raise UserError(
            f"{source.name}: not here; `trainatlas data fetch {source.name}` downloads it; or {_by_hand(source, flag)}"
        )
    paths = _paths(source, folder)
    assert paths is not None  # `find` saw them
    notes = _Notes(_writable(flag) or data_folders(flag)[0])
    unknown = {path: source.file(key) for key, path in paths.items() if again or not notes.know(path, source.file(key))}
    try:
        content = _parse(
            source, folder, {key: _content(p, source.file(key), p not in unknown) for key, p in paths.items()}
        )
    except UserError as error:
        raise UserError(f"{error}; `trainatlas data fetch {source.name}` gets it anew") from None
    notes.keep(unknown)
    return content


def _parse(source: Source, folder: Path, data: dict[str, bytes]) -> Content:
    counts = source.counts
    x = np.empty((sum(counts), *source.shape), np.uint8)
    y = np.empty(len(x), np.int64)
    start = 0
    for part, expected in ((source.train, source.train_counts), (source.test, source.test_counts)):
        first = start
        for images, labels in _pieces(source, part, data):
            stop = start + len(labels)
            if images.shape[1:] != source.shape or len(images) != len(labels) or stop > len(x):
                raise UserError(f"{folder}: {', '.join(part)} hold images {images.shape} and {len(labels)} labels")
            x[start:stop], y[start:stop] = images, labels
            start = stop
        found = tuple(np.bincount(y[first:start], minlength=len(expected)).tolist())
        if found != expected:
            raise UserError(f"{folder}: {', '.join(part)} hold {found} examples of the classes; allowed: {expected}")
    return Content(x, y, counts[0], folder)


def _pieces(
    source: Source, part: tuple[str, ...], data: dict[str, bytes]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    if source.reader == "idx":
        images, labels = (read_idx(data.pop(name), name) for name in part)
        yield images[:, None], labels.astype(np.int64)
    else:
        for name in part:
            yield read_cifar10(data.pop(name), name)


@dataclass(frozen=True)
class Checked:
    """What `check` found: every sum is right, and these are the data's statistics.

    `mean` and `std` are those of the training part's pixels, divided by 255, of each channel; the standard
    deviation is that of the population.
    """

    name: str
    folder: Path
    files: tuple[SourceFile, ...]
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def check(name: str, flag: Path | None = None) -> Checked:
    """Verify sizes, SHA-256 and class counts of a data set anew, and work out its channels' statistics.

    Raises UserError where anything is missing or not as it should be.
    """
    source = source_of(name)
    content = read(name, flag, again=True)
    mean, std = channel_statistics(content.x[: content.train])
    return Checked(
        source.name, content.folder, source.files, source.classes, source.train_counts, source.test_counts, mean, std
    )


def channel_statistics(x: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population standard deviation of each channel of uint8 images, divided by 255.

    From counts of the 256 values, in whole numbers, so that no order of summing matters.
    """
    values = np.arange(256, dtype=np.float64) / 255
    means, deviations = [], []
    for channel in range(x.shape[1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(x), 2_000):  # bincount takes 8 bytes a pixel
            counts += np.bincount(x[start : start + 2_000, channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        deviations.append(float(np.sqrt(share @ (values - mean) ** 2)))
    return tuple(means), tuple(deviations)


# --- fetching -------------------------------------------------------------------------------------------


def _silent(line: str) -> None:
    """Say nothing."""


def fetch(name: str, flag: Path | None = None, say: Callable[[str], None] = _silent, download: bool = True) -> Path:
    """See to it that a data set is here, whole and verified, and return its folder.

    Files that are here already stay. An archive put by hand is unpacked; what is still missing or altered is
    downloaded. Files arrive in a hidden folder and are moved to their names once they are verified; a second
    process that fetches the same set waits and finds it done.

    Parameters
    ----------
    name
        A name of `SOURCES`.
    flag
        The data folder of a `--data-folder` flag.
    say
        Takes a line for the user now and then.
    download
        Whether to use the network.

    Raises
    ------
    UserError
        Where it cannot be had, with the names, sizes and sums of the files to put by hand, and where.
    """
    source = source_of(name)
    folder = download_folder(flag) / source.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder.parent / f".{source.name}.lock", say, source.name):
            return _fetch(source, folder, flag, say, download)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where nothing came into it


def _fetch(source: Source, folder: Path, flag: Path | None, say: Callable[[str], None], download: bool) -> Path:
    notes = _Notes(folder.parent)
    for place in _places(source, flag):
        if (paths := _paths(source, place)) is not None and not _bad(source, paths, notes, say):
            return place
    own = {file.name: path for file in source.files if (path := _present(folder, file.name)) is not None}
    bad = _bad(source, own, notes, _silent)
    needed = [file.name for file in source.files if file.name not in own or file.name in bad]
    with _workshop(folder) as workshop:
        reasons = []
        for archive in _archives(source, flag):
            try:
                _place(source, archive, [file.name for file in source.files], workshop, folder)
                return folder
            except UserError as error:
                reasons.append(str(error))
                say(str(error))
        if not download:
            raise UserError("; ".join(reasons) or f"{source.name}: not here")
        for item in source.downloads:
            wanted = [key for key in item.holds if key in needed]
            if wanted:
                try:
                    _place(source, download_file(item, workshop, say), list(item.holds), workshop, folder)
                except NotHadError as error:
                    raise UserError(
                        f"{source.name}: cannot be downloaded: {error}; {_by_hand(source, flag, needed)}"
                    ) from None
                needed = [key for key in needed if key not in wanted]
    return folder


def _bad(source: Source, paths: Mapping[str, Path], notes: _Notes, say: Callable[[str], None]) -> list[str]:
    """Return the names of those files that are not what they should be, and remember the others as verified."""
    bad, verified = [], {}
    for key, path in paths.items():
        if not notes.know(path, source.file(key)):
            try:
                _content(path, source.file(key))
                verified[path] = source.file(key)
            except UserError as error:
                say(str(error))
                bad.append(key)
    notes.keep(verified)
    return bad


def _place(source: Source, packed: Path, holds: list[str], workshop: Path, folder: Path) -> None:
    """Unpack files into the workshop, verify them and move them to their places; raise UserError where one is wrong."""
    fresh = workshop / "unpacked"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    files = {name: source.file(name) for name in holds}
    if len(holds) == 1:
        (name,) = holds
        with write_new(fresh / name) as write:
            write(_content(packed, files[name]))
    else:
        unpack(packed, {name: file.size for name, file in files.items()}, source.ignored, fresh)
        for name, file in files.items():
            try:
                _content(fresh / name, file)
            except UserError:
                raise UserError(f"{packed}: altered: SHA-256 of its {name} is not {file.sha256}") from None
    for name in holds:
        (fresh / name).replace(folder / name)
    _Notes(folder.parent).keep({folder / name: file for name, file in files.items()})


def _by_hand(source: Source, flag: Path | None, missing: list[str] | None = None) -> str:
    """Say which files to put where, with sizes and sums, for those without network."""
    items = [item for item in source.downloads if missing is None or set(item.holds) & set(missing)]
    files = ", ".join(f"{item.name} ({item.size:,} bytes, SHA-256 {item.sha256}, {item.urls[0]})" for item in items)
    hint = f"; {source.hint}" if source.hint else ""
    return f"put {files} into {(_writable(flag) or data_folders(flag)[0]) / source.name}{hint}"


@contextlib.contextmanager
def _lock(path: Path, say: Callable[[str], None], name: str) -> Iterator[None]:
    """Hold a lock that the system itself gives back when the process ends, however it ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is fetching it; waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """Make a hidden folder on the same disk, empty, that is gone afterwards; only who holds the lock may."""
    path = folder.parent / f".{folder.name}.part"
    shutil.rmtree(path, ignore_errors=True)  # what a killed process left
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def say_on_stderr(line: str) -> None:
    """Show a line to the user, beside the data that commands print."""
    print(line, file=sys.stderr)
