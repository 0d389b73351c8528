"""Attempts at training a pack: which job made each, where, and how it ended.

Snakemake wipes a job's log when it tries again, and a scheduler knows nothing of packs. So each attempt leaves a small file,
`results/<study>/attempts/<pack>/<when it began>-<host>-<process>.json`, that says how it ended once it has; one that was killed
never does. Nothing that results depend on is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from trainatlas.study.errors import UserError
from trainatlas.study.storage import write_json

DONE, STOPPED, FAILED, GIVEN_UP = "done", "stopped", "failed", "given up"

# What schedulers call a job in its environment.
_JOB_VARIABLES = {
    "slurm": "SLURM_JOB_ID",
    "lsf": "LSB_JOBID",
    "pbs": "PBS_JOBID",
    "condor": "CONDOR_JOB_ID",
    "grid engine": "JOB_ID",
}


def job_of(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the scheduler that runs this process, and what it calls the job; two empty texts where none does."""
    for scheduler, variable in _JOB_VARIABLES.items():
        if environment.get(variable):
            return scheduler, environment[variable]
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes", environment.get("HOSTNAME", platform.node())
    return "", ""


@dataclass(frozen=True)
class Attempt:
    """An attempt at training a pack.

    Attributes
    ----------
    pack
        Its name.
    scheduler, job
        As `job_of` has them.
    host, process
        Who trains it.
    started, ended
        UTC; `ended` is empty while it runs, and for ever where it was killed.
    end
        "done"; "stopped" where it was asked to stop and can go on; "failed"; "given up" where the last try wrote down what the
        one before had said; empty as long as `ended` is.
    last_line
        What it said last, where it did not end well.
    log
        Where the rest is to be read; empty where that is not known.
    """

    pack: str
    scheduler: str
    job: str
    host: str
    process: int
    started: str
    log: str = ""
    ended: str = ""
    end: str = ""
    last_line: str = ""

    def ending(self) -> str:
        """Return in words how it ended."""
        who = f"job {self.job}" if self.job else f"process {self.process}"
        if not self.end:
            return f"{who} on {self.host}, begun {self.started}, was killed or lost with its node"
        return f"{who} on {self.host} {self.end}" + (f": {self.last_line}" if self.last_line else "")


class Noting:
    """Keeps the file of this process's attempt; where it cannot be written, training goes on without.

    Parameters
    ----------
    results
        The study's folder.
    pack
        The pack's name.
    log
        Where it says what it does.
    """

    def __init__(self, results: Path, pack: str, log: Path) -> None:
        scheduler, job = job_of()
        self._attempt = Attempt(pack, scheduler, job, platform.node(), os.getpid(), _now(), str(log))
        stem = f"{self._attempt.started.replace(':', '')}-{platform.node()}-{os.getpid()}"
        self._path = results / "attempts" / pack / f"{stem}.json"
        self._write()

    def end(self, how: str, last_line: str = "") -> None:
        """Note the end."""
        self._attempt = replace(self._attempt, ended=_now(), end=how, last_line=" ".join(last_line.split()))
        self._write()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Note what an exception says that leaves the block."""
        try:
            yield
        except UserError as error:
            self.end(FAILED, str(error))
            raise
        except Exception as error:
            if not self._attempt.end:
                self.end(FAILED, f"{type(error).__name__}: {error}")
            raise

    def _write(self) -> None:
        with contextlib.suppress(UserError):
            write_json(self._path, asdict(self._attempt))


def attempts_at(results: Path, pack: str) -> list[Attempt]:
    """Return the attempts at a pack, the earliest first; files that are broken, or of another version, are left out."""
    known = {field.name for field in fields(Attempt)}
    found = []
    for path in (results / "attempts" / pack).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(Attempt(**{name: value for name, value in content.items() if name in known}))
    return sorted(found, key=lambda attempt: (attempt.started, attempt.ended or "~", attempt.process))


def slurm_jobs() -> frozenset[str] | None:
    """Return the jobs that SLURM runs now, by number; None where it cannot be asked."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--states=running,completing,suspended", "--format=%A"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return frozenset(done.stdout.split())


def given_up(results: Path) -> list[str]:
    """Return the packs whose last attempt gave them up."""
    names = sorted(path.name for path in (results / "attempts").glob("*") if path.is_dir())
    return [pack for pack in names if (all_of := attempts_at(results, pack)) and all_of[-1].end == GIVEN_UP]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
