"""Files that are whole or absent.

Whatever the project writes goes to a temporary name in the same folder first and is then renamed,
which the file system does in one step: a killed process or a full disk leaves no half table
under the real name.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from trainatlas.study.errors import UserError


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the name `path` when the block ends without an error.

    Parameters
    ----------
    path
        Where the file shall be; missing folders are made.
    mode
        "w" for UTF-8 text with Unix line ends, "wb" for bytes, "w+b" for bytes that are read again.

    Raises
    ------
    UserError
        When the folder cannot be written or the disk is full; nothing is left behind, and a
        file that was at `path` before stays as it was.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp gives a name, not a Path
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON with sorted keys and an entry a line, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


json_text = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
"""(value) -> its JSON on one line, keys sorted: made four times as fast as `write_json` makes its own."""


def json_object(members: Mapping[str, str]) -> str:
    """Return what `json_text` would of a mapping, from the JSON of its values."""
    return "{" + ", ".join(f"{json_text(name)}: {members[name]}" for name in sorted(members)) + "}"


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: UTF-8, `.` decimals, one header row, Unix line ends, missing values empty.

    Floats are written in the shortest form that reads back to the same number.
    """
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_json(path: Path, made_by: str) -> Any:
    """Read JSON that an earlier stage wrote.

    Raises UserError naming the file and the command that makes it where it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{made_by}` makes it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); `{made_by}` makes it anew") from None
