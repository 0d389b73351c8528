"""Which device a job trains on: one job to a GPU, however many jobs and GPUs there are.

Nothing else hands GPUs out on a machine, so jobs do it among themselves: each holds a lock on the GPU it uses. The lock is
the operating system's and goes with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

import platformdirs
import torch

from trainatlas.study.attempts import job_of
from trainatlas.study.errors import UserError

Wanted = Literal["auto", "cpu", "cuda"]

_POLL = 0.5  # seconds between two looks for a GPU that is free


def slots_folder() -> Path:
    """Return where the locks of this user's jobs on this machine lie.

    A scheduler's job has a folder of its own: it was given its GPUs already, and where control groups hide the others, those
    of two jobs go by the same name.
    """
    scheduler, job = job_of()
    if not job:
        with (
            warnings.catch_warnings()
        ):  # that there is no XDG_RUNTIME_DIR, as without a log-in, is nothing to tell a user
            warnings.simplefilter("ignore")
            return platformdirs.user_runtime_path("trainatlas")
    return Path(tempfile.gettempdir()) / f"trainatlas-{os.getuid()}" / f"{scheduler}-{job}"


def any_device(wanted: Wanted) -> torch.device:
    """Return the kind of device that a job would train on, without holding one."""
    return torch.device("cpu" if wanted == "cpu" or not torch.cuda.is_available() else "cuda")


def device_name(device: torch.device) -> str:
    """Return what tables call a device: cpu, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _given_none() -> bool:
    """Whether SLURM runs this process and gave it no GPU, though the node may show some."""
    return job_of()[0] == "slurm" and not any(
        os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
    )


@contextlib.contextmanager
def hold_device(wanted: Wanted, slots: Path, say: Callable[[str], None]) -> Iterator[torch.device]:
    """Give a device that no other job uses for as long as the block runs; wait where all are in use.

    Parameters
    ----------
    wanted
        "cuda": a GPU; "cpu": none; "auto": a GPU where there is one.
    slots
        Folder of the locks, shared by all jobs of the machine.
    say
        Told once that the job waits.

    Raises
    ------
    UserError
        Where a GPU is wanted and there is none, or the locks cannot be written.
    """
    gpus = 0 if wanted == "cpu" or _given_none() else torch.cuda.device_count()
    if wanted == "cuda" and not gpus:
        if _given_none():
            raise UserError("--device cuda: SLURM gave this job no GPU; ask for one, as profiles/slurm-gpu does")
        raise UserError("--device cuda: torch finds no GPU here; allowed: auto or cpu")
    if not gpus:
        yield torch.device("cpu")
        return
    names = _names(gpus)
    while (slot := _take_any(slots, names)) is None:
        if say is not _silent:
            say(f"waiting for one of {gpus} GPUs, all in use by other jobs")
            say = _silent
        time.sleep(_POLL)
    index, lock = slot
    with lock:
        yield torch.device("cuda", index)


def _silent(line: str) -> None:
    """Say nothing."""


def _names(gpus: int) -> list[str]:
    """Return what the machine calls the GPUs that this process sees, in torch's order."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible if len(visible) == gpus else [str(index) for index in range(gpus)]


def _take_any(slots: Path, names: Sequence[str]) -> tuple[int, IO[str]] | None:
    """Lock the first slot that is free and return its position and the lock; None where none is."""
    for index, name in enumerate(names):
        path = slots / f"gpu-{name.replace('/', '_')}.lock"
        try:
            slots.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written: {error.strerror}; allowed: a folder you may write to"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return index, file
    return None
