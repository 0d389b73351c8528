"""Checksums of a pack's tables, by which later stages know that they are what training wrote.

They lie beside the tables and are written last. A pack whose tables do not agree with them is put aside, so that
Snakemake plans it again, it alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainatlas.study.errors import UserError
from trainatlas.study.planning import planned_rounds, summary_path
from trainatlas.study.storage import read_json, write_json

CHECKSUMS = "checksums.json"

LATENCY = "TRAINATLAS_LATENCY"
"""Variable: seconds after which what one machine writes is seen by all."""

LOOK_AGAIN = 1.0
"""Seconds between two looks at what may not be seen yet."""


def remove_checksums(folder: Path) -> None:
    """Break the seal before tables are written anew; a folder that cannot be written says so then."""
    with contextlib.suppress(OSError):
        (folder / CHECKSUMS).unlink()


def write_checksums(folder: Path, names: Sequence[str]) -> None:
    """Write the size and SHA-256 of the named files of `folder` beside them."""
    described = {name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in names}
    write_json(folder / CHECKSUMS, described)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(folder: Path, thorough: bool) -> str | None:
    """Return what is wrong with the tables of `folder`, file first; None where they are whole.

    Parameters
    ----------
    thorough
        Read every file; otherwise those alone that have another size or were written after their checksums.
    """
    seal = folder / CHECKSUMS
    try:
        sealed_at = seal.stat().st_mtime_ns
        for name, expected in read_json(seal, "trainatlas train").items():
            path = folder / name
            found = path.stat()
            if found.st_size != expected["bytes"]:
                return f"{path}: has {found.st_size:,} bytes, not {expected['bytes']:,}"
            if (thorough or found.st_mtime_ns > sealed_at) and _sha256(path) != expected["sha256"]:
                return f"{path}: does not agree with its checksum"
    except OSError as error:
        return f"{error.filename}: cannot be read: {error.strerror}"
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return f"{seal}: holds no checksums"
    return None


def put_aside(folder: Path) -> Path:
    """Rename the folder of a damaged pack and return its new name, `<pack>.damaged-1` or the next that is free.

    The last plan's time is set to now: where the study's own tables exist, Snakemake misses none that they were made of,
    but it makes them anew where a plan is newer, and then it does.
    """
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    _touch_plan(folder)
    return folder.rename(aside)


def forget_pack(folder: Path) -> None:
    """Remove the folder of a pack that was given up, which holds nothing that its checkpoint does not; else as `put_aside`."""
    _touch_plan(folder)
    shutil.rmtree(folder)


def _touch_plan(folder: Path) -> None:
    results = folder.parents[1]
    for number in planned_rounds(results)[-1:]:
        os.utime(summary_path(results, number))


def damaged_packs(results: Path, thorough: bool = False) -> Iterator[tuple[Path, str]]:
    """Yield the folder of every pack whose tables are damaged, and what is wrong with them.

    A pack without checksums is not among them: its training has not ended.
    """
    for seal in sorted((results / "raw").glob(f"*/{CHECKSUMS}")):
        folder = seal.parent
        if ".damaged-" not in folder.name:
            fault = fault_of(folder, thorough)
            if fault is not None:
                yield folder, fault


def refuse_damaged(
    results: Path, packs: Sequence[str], latency: float | None = None, wait: Callable[[float], object] = time.sleep
) -> None:
    """Raise UserError where tables of `packs` are damaged, and put those packs aside, to be trained again.

    Parameters
    ----------
    latency
        Seconds after which a file that another machine has written is seen here, whole; that long no fault is believed.
        None: what the variable TRAINATLAS_LATENCY says, else 0.
    wait
        Sleeps for so many seconds.
    """
    patience = float(os.environ.get(LATENCY) or 0) if latency is None else latency
    faults = []
    for pack in packs:
        folder = results / "raw" / pack
        while (fault := _fault_to_gather(folder)) is not None and patience > 0:
            pause = min(LOOK_AGAIN, patience)
            wait(pause)
            patience -= pause
        if fault is not None and not (folder / CHECKSUMS).exists():
            raise UserError(fault)
        if fault is not None:
            faults.append(f"{fault}; its pack now lies in {put_aside(folder)}")
    if faults:
        raise UserError(f"{'; '.join(faults)}; start Snakemake again: it trains what is missing")


def _fault_to_gather(folder: Path) -> str | None:
    with contextlib.suppress(OSError):
        os.listdir(folder)  # noqa: PTH208 - makes a network file system ask its server what is there
    if not (folder / CHECKSUMS).exists():
        return f"{folder / CHECKSUMS}: no such file; `trainatlas train` makes it"
    return fault_of(folder, thorough=True)
