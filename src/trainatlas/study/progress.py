"""How far a job is: a small file that the job keeps up to date and `trainatlas status` reads.

The files say nothing that results depend on. One lies in `results/<study>/progress/<pack>.json` while the pack is trained
and goes when its tables stand; a job that dies leaves it behind, and the process it names is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from trainatlas.study.attempts import job_of
from trainatlas.study.errors import UserError
from trainatlas.study.storage import write_json
from trainatlas.study.trial import Trial

EVERY = 2.0
"""Least seconds between two writes."""

_WINDOW = 30.0  # seconds that the speed is taken over


class Watched(Protocol):
    """What is known of a trial in training: see `trainatlas.train.stacked.TrialResult`."""

    @property
    def trial(self) -> Trial:
        """The trial."""

    @property
    def status(self) -> str:
        """`ok` while it is trained, too."""

    @property
    def steps_run(self) -> int:
        """Optimizer steps so far."""

    @property
    def epochs_run(self) -> int:
        """Epochs begun."""

    @property
    def step_seconds(self) -> float:
        """Least time of a step on the device; 0 where that is not known."""


Watch = Callable[[Sequence[Watched]], None]
"""Told of the trials of a stack whenever an epoch ends."""


def unwatched(results: Sequence[Watched]) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class PackProgress:
    """How far a pack is.

    Attributes
    ----------
    pack
        Its name.
    process, host
        Who trains it.
    started, updated
        UTC.
    trials
        Trials of the pack.
    done
        Trials that are at their end, whatever it was; of these `diverged`, `stopped_early` and `failed` were not `ok`.
    epochs
        Epochs begun, summed over trials.
    trial_steps, planned_trial_steps
        Optimizer steps, summed over trials; what a trial that ended early left over is planned no more.
    steps_per_second
        Trial-steps per second over the last half minute; 0 where there is nothing to tell it from.
    share_of_limit
        Over the same time: the least that those steps take on the device, over what they took. None where not known.
    scheduler, job
        Who runs it, and what it calls the job (`trainatlas.study.attempts.job_of`); empty where none does.
    """

    pack: str
    process: int
    host: str
    started: str
    updated: str
    trials: int
    done: int = 0
    diverged: int = 0
    stopped_early: int = 0
    failed: int = 0
    epochs: int = 0
    trial_steps: int = 0
    planned_trial_steps: int = 0
    steps_per_second: float = 0.0
    share_of_limit: float | None = None
    scheduler: str = ""
    job: str = ""

    def alive(self, slurm_jobs: Container[str] | None = None) -> bool:
        """Whether its process still runs; what other hosts run is not known here and taken to.

        Parameters
        ----------
        slurm_jobs
            Jobs that SLURM runs now; None where it cannot be asked.
        """
        if self.scheduler == "slurm" and slurm_jobs is not None and self.job not in slurm_jobs:
            return False
        if self.host != platform.node():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            return True
        return True


class Reporter:
    """Keeps a pack's progress file up to date; to be called whenever an epoch ends.

    Training does not depend on it: where the file cannot be written, it is not.

    Parameters
    ----------
    path
        The file.
    pack
        The pack's name.
    steps
        Optimizer steps of each trial's whole budget.
    clock
        Seconds that only go forward.
    """

    def __init__(
        self, path: Path, pack: str, steps: Mapping[Trial, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._pack, self._steps, self._clock = path, pack, steps, clock
        self._started = _now()
        self._scheduler, self._job = job_of()
        self._seen: dict[Trial, Watched] = {}
        self._inherited, self._inherited_least = 0, 0.0  # steps that an earlier job took, and their least time
        self._written = clock()
        self._speeds: deque[tuple[float, int, float]] = deque([(self._written, 0, 0.0)])
        self._write()

    def __call__(self, results: Sequence[Watched]) -> None:
        """Take note of trials, and write where the last time is long enough ago."""
        now = self._clock()
        for result in results:
            if result.trial not in self._seen and result.epochs_run > 1:  # told of at every epoch: an earlier job's
                steps = result.steps_run * (result.epochs_run - 1) // result.epochs_run
                self._inherited += steps
                self._inherited_least += steps * result.step_seconds
            self._seen[result.trial] = result
        if now - self._written >= EVERY:
            self._written = now
            steps = sum(each.steps_run for each in self._seen.values())
            least = sum(each.steps_run * each.step_seconds for each in self._seen.values())
            self._speeds.append((now, steps - self._inherited, least - self._inherited_least))
            while len(self._speeds) > 2 and now - self._speeds[0][0] > _WINDOW:
                self._speeds.popleft()
            self._write()

    def finish(self) -> None:
        """Take the file away: the pack's tables say the rest."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _write(self) -> None:
        ends = Counter(_end(each) for each in self._seen.values())
        steps = sum(each.steps_run for each in self._seen.values())
        left = sum(
            whole - (self._seen[trial].steps_run if trial in self._seen else 0)
            for trial, whole in self._steps.items()
            if trial not in self._seen or not _end(self._seen[trial])
        )
        elapsed, taken, least = (new - old for old, new in zip(self._speeds[0], self._speeds[-1], strict=True))
        progress = PackProgress(
            self._pack,
            os.getpid(),
            platform.node(),
            self._started,
            _now(),
            len(self._steps),
            done=ends.total() - ends[""],
            diverged=ends["diverged"],
            stopped_early=ends["stopped_early"],
            failed=ends["failed"],
            epochs=sum(each.epochs_run for each in self._seen.values()),
            trial_steps=steps,
            planned_trial_steps=steps + left,
            steps_per_second=round(taken / elapsed, 1) if elapsed else 0.0,
            share_of_limit=round(least / elapsed, 4) if least else None,
            scheduler=self._scheduler,
            job=self._job,
        )
        with contextlib.suppress(UserError):
            write_json(self._path, asdict(progress))


def _end(result: Watched) -> str:
    """Return the status a trial ended with, "" while it is trained."""
    return result.status if result.status != "ok" or result.epochs_run == result.trial.last_epoch else ""


def read_progress(results: Path) -> Iterator[PackProgress]:
    """Yield what the jobs of a study tell; files that are broken, or of another version, are left out."""
    known = {field.name for field in fields(PackProgress)}
    for path in sorted((results / "progress").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            yield PackProgress(**{name: value for name, value in content.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            continue


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
