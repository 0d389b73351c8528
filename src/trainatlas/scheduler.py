"""What can be known before the first job is submitted: whether the scheduler is there, and has what the jobs ask for.

A partition or a device that does not exist is else told by a submission that fails, deep in a log, once for every job.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import trainatlas
from trainatlas.study.errors import UserError
from trainatlas.study.trial import TRAINING_VERSION

_PROGRAMS = {"slurm": "sbatch", "lsf": "bsub"}
"""What each executor submits with."""

_SECONDS = 60
"""In which a scheduler has to answer."""


class Asked(NamedTuple):
    """What the jobs of a rule ask SLURM for; empty texts where they leave it to the site."""

    rule: str
    partition: str
    gres: str


def check_scheduler(workflow: Any) -> None:
    """Raise UserError, one line, where the jobs of this run cannot be submitted.

    Parameters
    ----------
    workflow
        Snakemake's own, once it knows its executor.
    """
    if not workflow.is_main_process or workflow.local_exec:
        return
    name = workflow.executor_plugin.name
    submit = getattr(workflow.executor_settings, "submit_cmd", None) if name == "cluster-generic" else None
    refuse_missing_program(name, _PROGRAMS.get(name) or (submit or "").split(" ")[0])
    if name == "slurm":
        refuse_missing_resources(asked_of(workflow), partitions_here())


def asked_of(workflow: Any) -> list[Asked]:
    """Return what the rules whose jobs are submitted ask for, as their profile has it."""
    rules = [rule for rule in workflow.rules if not workflow.is_local(rule)]
    return [Asked(rule.name, *(_text(rule, key) for key in ("slurm_partition", "gres"))) for rule in rules]


def _text(rule: Any, key: str) -> str:
    raw = rule.resources.get(key).raw if key in rule.resources else None
    return raw.strip("'\"") if isinstance(raw, str) else ""  # raw text may be a Python expression, in quotes


def refuse_missing_program(executor: str, program: str) -> None:
    """Raise UserError where the program that an executor submits with is not on this machine."""
    if program and shutil.which(program) is None:
        raise UserError(
            f"executor {executor}: there is no {program} on this machine; allowed: a machine that submits to that scheduler, or "
            "another profile, such as profiles/default"
        )


def partitions_here() -> dict[str, set[str]]:
    """Return the devices that each partition of SLURM has, such as {"gpu:a100:4"}; the default partition as "" too.

    Raises UserError where SLURM does not answer.
    """
    words = ["sinfo", "--noheader", "--format=%P|%G"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"executor slurm: sinfo fails: {said}; allowed: a SLURM whose controller answers") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"executor slurm: sinfo: {error}; allowed: a SLURM whose controller answers") from None
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        partition, _, devices = line.partition("|")
        for name in (partition.removesuffix("*"), *([""] if partition.endswith("*") else [])):
            found.setdefault(name, set()).update(each for each in devices.split(",") if each != "(null)")
    return found


def refuse_missing_resources(asked: Iterable[Asked], partitions: Mapping[str, set[str]]) -> None:
    """Raise UserError, naming rule, key and value, where a partition or a device is asked for that does not exist.

    Parameters
    ----------
    partitions
        As `partitions_here` returns them.
    """
    named = ", ".join(sorted(filter(None, partitions)))
    for rule, partition, gres in asked:
        for name in partition.split(","):
            if name not in partitions:
                what = f"is '{name}'" if name else "is not set, and there is no default"
                raise UserError(f"rule {rule}: slurm_partition {what}; allowed: {named}")
        devices = set().union(*(partitions[name] for name in partition.split(",")))
        for wanted in filter(None, gres.split(",")):
            if not any(_has(device, wanted) for device in devices):
                where = f"partition {partition}" if partition else "the default partition"
                has = ", ".join(sorted(devices)) or "none"
                raise UserError(f"rule {rule}: gres is '{wanted}', which {where} lacks; allowed: {has}")


def _has(device: str, wanted: str) -> bool:
    """Return whether a device, "gpu:a100:4(S:0-1)", is of the kind wanted, "gpu:1" or "gpu:a100:1", and as many."""
    there, asked = device.partition("(")[0].split(":"), wanted.split(":")
    number = int(asked.pop()) if asked[-1].isdecimal() else 1
    count = int(there.pop()) if there[-1].isdecimal() else 1
    return there[: len(asked)] == asked and count >= number


RELEASE = "TRAINATLAS_RELEASE"
"""Variable by which Snakemake tells its jobs what it runs."""


def release() -> str:
    """Return what decides on numbers: the versions of trainatlas, of training, and of torch whatever its build.

    Torch is left out where it is not installed, as it need not be where jobs are only submitted.
    """
    parts = [f"trainatlas {trainatlas.__version__}", f"training version {TRAINING_VERSION}"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        parts.append(f"torch {importlib.metadata.version('torch').partition('+')[0]}")
    return ", ".join(parts)


def refuse_other_release() -> None:
    """Raise UserError in a job whose node has other versions than the machine that submitted it, of what that one has."""
    wanted = os.environ.get(RELEASE)
    if not wanted:
        return
    here = release()
    if not set(wanted.split(", ")) <= set(here.split(", ")):
        raise UserError(f"this machine has {here}; allowed: {wanted}, as where Snakemake was started")
