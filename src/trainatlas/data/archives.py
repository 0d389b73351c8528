"""Safe unpacking: an archive yields only the members that were asked for, no larger than they are said to be."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from trainatlas.study.errors import UserError, said

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
        raise UserError(f"{path}: truncated, altered or not to be read ({said(error)})") from None
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
        raise UserError(f"{archive}: truncated, altered or not to be read ({said(error)})") from None
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
            raise UserError(f"{path}: cannot be written: {said(error)}") from None

    try:
        file = path.open("xb", buffering=0)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {said(error)}") from None
    with file:
        yield write
        os.fsync(file.fileno())
