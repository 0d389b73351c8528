"""Data sets read from a node's own disk: the first job on a node copies them there from the shared folder, once.

Where hundreds of jobs start at the same time, the shared file system then serves each node instead of each job.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from trainatlas.data import sources
from trainatlas.data.published import SOURCES
from trainatlas.study.errors import UserError


def read_from_scratch(scratch: str, data: Iterable[str], say: Callable[[str], None]) -> None:
    """Copy what data sets consist of to the scratch folder and have this process read them there.

    Data that come with a library, and the user's own, are read where they are. What cannot be copied is read from the
    shared folder as without scratch, with a line that says why.

    Parameters
    ----------
    scratch
        A folder that this node alone sees; `~` and variables are replaced by what they are here.
    data
        Data sets, as a trial names them: `cifar10(examples=1000)`.
    say
        Takes a line.

    Raises
    ------
    UserError
        Where a variable of `scratch` is not set here.
    """
    text = os.path.expandvars(scratch)
    if "$" in text:
        raise UserError(
            f"scratch={scratch}: its variable is not set on this node; allowed: a folder, or a variable that is set"
        )
    place = Path(text).expanduser().absolute() / f"trainatlas-{os.getuid()}"
    for name in sorted({text.partition("(")[0].strip().replace("-", "_") for text in data} & set(SOURCES)):
        found = sources.find(name)
        if found is None or place in found.parents:
            continue
        try:
            _copy(found, place / name)
        except OSError as error:
            say(f"{place / name}: cannot be written: {error.strerror}; data are read from {found}")
            return
    os.environ[sources.VARIABLE] = os.pathsep.join(filter(None, [str(place), os.environ.get(sources.VARIABLE, "")]))


def _copy(found: Path, target: Path) -> None:
    """Copy a folder's files, or an archive into a folder, unless they are there; one process of the node at a time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # what a killed process left
        part.mkdir()
        for path in [found] if found.is_file() else [path for path in found.iterdir() if path.is_file()]:
            shutil.copy2(path, part / path.name)
        part.rename(target)
