"""How far a study is, from its plans, the tables of its packs and what its jobs tell."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainatlas.study.attempts import GIVEN_UP, Attempt, attempts_at
from trainatlas.study.checksums import CHECKSUMS
from trainatlas.study.errors import UserError
from trainatlas.study.planning import planned_rounds, read_plan, read_summary
from trainatlas.study.progress import PackProgress, read_progress

PackState = Literal["done", "running", "stopped", "waiting"]


@dataclass(frozen=True)
class RoundStatus:
    """Trials of a round.

    Attributes
    ----------
    stages
        What its trials are, as `trainatlas.study.sampling.Planned` has it; none of rounds that are not planned yet.
    planned, done, running
        Trials; running ones stand in a pack that is trained and are not at their end.
    ends
        Of the trials done, how many ended how, by status.
    """

    stages: tuple[str, ...]
    planned: int
    done: int
    running: int
    ends: Counter[str]


@dataclass(frozen=True)
class StoppedPack:
    """A pack whose job ended without its tables: what it said last, and where that is to be read."""

    pack: str
    last_line: str
    log: Path


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes
    ----------
    rounds
        Round by round; those that are not planned yet as one, by the numbers that planning foresees.
    packs
        Packs planned so far, by state.
    running
        What the jobs at work tell.
    stopped
        Packs whose job died or failed.
    steps_per_second
        Trial-steps per second now, of all jobs.
    seconds_left
        Until all is trained, if jobs go on as they are; None where none is at work.
    """

    rounds: tuple[RoundStatus, ...]
    packs: Counter[PackState]
    running: tuple[PackProgress, ...]
    stopped: tuple[StoppedPack, ...]
    steps_per_second: float
    seconds_left: float | None

    @property
    def planned(self) -> int:
        """Trials of the study."""
        return sum(each.planned for each in self.rounds)

    @property
    def done(self) -> int:
        """Trials at their end."""
        return sum(each.done for each in self.rounds)

    @property
    def ends(self) -> Counter[str]:
        """Trials done, by how they ended."""
        return sum((each.ends for each in self.rounds), Counter())


@dataclass(frozen=True)
class PackJobs:
    """Where a pack stands and which jobs have tried to train it, the earliest first.

    Attributes
    ----------
    state
        As in `Status.packs`; "given up" where the last try ended so.
    trials
        Its trials, by id.
    """

    pack: str
    state: str
    trials: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    log: Path


class StatusReader:
    """Reads a study's status again and again; the tables of a pack are read once.

    Parameters
    ----------
    results
        The study's folder, `results/<study>`.
    slurm_jobs
        Returns the jobs that SLURM runs now; None where it cannot be asked.
    """

    def __init__(self, results: Path, slurm_jobs: Callable[[], Container[str] | None] = lambda: None) -> None:
        self._results, self._slurm_jobs = results, slurm_jobs
        self._ends: dict[tuple[str, int], Counter[str]] = {}

    def read(self) -> Status:
        """Return the status now; raises UserError where the study has not been planned."""
        live, dead = self._jobs_at_work()
        rounds: list[RoundStatus] = []
        states: dict[str, PackState] = {}
        predicted: dict[str, float] = {}
        waiting, correction = 0.0, 1.0
        for number in planned_rounds(self._results) or [1]:
            summary = read_summary(self._results, number)
            trials = Counter(row["pack"] for row in read_plan(self._results, number) if row["pack"] not in states)
            own = {pack: self._state(pack, live, dead) for pack in summary["packs"] if pack not in states}
            ends = sum((self._pack_ends(pack) for pack in own if own[pack] == "done"), Counter())
            at_work = [live[pack] for pack in own if own[pack] == "running"]
            ends += sum((_live_ends(progress) for progress in at_work), Counter())
            running = sum(progress.trials - progress.done for progress in at_work)
            stages = tuple(summary["trials_by_stage"])
            rounds.append(RoundStatus(stages, trials.total(), ends.total(), running, ends))
            prices = summary.get("pack_seconds", {})
            correction = self._correction([pack for pack in own if own[pack] == "done"], prices)
            states |= own
            predicted |= {pack: prices.get(pack, 0.0) * correction for pack in own}
            waiting += sum(predicted[pack] for pack in own if own[pack] in ("waiting", "stopped"))
        if summary["later_trials"]:
            rounds.append(RoundStatus((), int(summary["later_trials"]), 0, 0, Counter()))
            waiting += float(summary["later_seconds"]) * correction
        at_work = [live[pack] for pack in states if states[pack] == "running"]
        return Status(
            tuple(rounds),
            Counter(states.values()),
            tuple(at_work),
            tuple(self._stopped(pack) for pack in states if states[pack] == "stopped"),
            sum(progress.steps_per_second for progress in at_work),
            self._seconds_left(at_work, predicted, waiting, all_done=set(states.values()) == {"done"}),
        )

    def jobs(self) -> list[PackJobs]:
        """Return the packs planned so far, round by round, with the jobs that have tried to train them.

        Raises UserError where the study has not been planned.
        """
        live, dead = self._jobs_at_work()
        members: dict[str, list[str]] = {}
        for number in planned_rounds(self._results) or [1]:
            for row in read_plan(self._results, number):
                members.setdefault(row["pack"], []).append(row["trial_id"])
        found = []
        for pack, trials in members.items():
            attempts = tuple(attempts_at(self._results, pack))
            state: str = self._state(pack, live, dead)
            if state == "done" and attempts and attempts[-1].end == GIVEN_UP:
                state = GIVEN_UP
            found.append(PackJobs(pack, state, tuple(trials), attempts, self._log(pack)))
        return found

    def _jobs_at_work(self) -> tuple[dict[str, PackProgress], set[str]]:
        told = list(read_progress(self._results))
        slurm_jobs = self._slurm_jobs() if any(progress.scheduler == "slurm" for progress in told) else None
        live = {progress.pack: progress for progress in told if progress.alive(slurm_jobs)}
        return live, {progress.pack for progress in told} - set(live)

    def _state(self, pack: str, live: dict[str, PackProgress], dead: set[str]) -> PackState:
        if (self._results / "raw" / pack / CHECKSUMS).exists():
            return "done"
        if pack in live:
            return "running"
        return "stopped" if pack in dead or _last_line(self._log(pack)) else "waiting"

    def _table(self, pack: str, name: str) -> Path:
        return self._results / "raw" / pack / f"{name}.csv"

    def _log(self, pack: str) -> Path:
        return self._results / "logs" / "train" / f"{pack}.log"

    def _stopped(self, pack: str) -> StoppedPack:
        said = _last_line(self._log(pack))
        if not said and (attempts := attempts_at(self._results, pack)):
            said = attempts[-1].ending()
        return StoppedPack(pack, said, self._log(pack))

    def _pack_ends(self, pack: str) -> Counter[str]:
        path = self._table(pack, "trials")
        try:
            key = pack, path.stat().st_mtime_ns
            if key not in self._ends:
                with path.open(encoding="utf-8", newline="") as file:
                    self._ends[key] = Counter(row["status"] for row in csv.DictReader(file))
            return self._ends[key]
        except OSError:  # taken away between two looks
            return Counter()
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}: cannot be read as a table ({error}); delete it and run Snakemake") from None

    def _correction(self, done: list[str], prices: dict[str, float]) -> float:
        """Return what a round's packs took over what was predicted; 1 where none is done.

        Rounds have corrections of their own, for the prices of later ones follow what the first one took.
        """
        expected = sum(prices.get(pack, 0.0) for pack in done)
        return sum(self._seconds(pack) for pack in done) / expected if expected else 1.0

    @staticmethod
    def _seconds_left(
        at_work: list[PackProgress], predicted: dict[str, float], waiting: float, all_done: bool
    ) -> float | None:
        """Return the seconds of what is begun, at its present speed, and of what waits, over the jobs at work."""
        if not at_work:
            return 0.0 if all_done and not waiting else None
        begun = []
        for progress in at_work:
            left = progress.planned_trial_steps - progress.trial_steps
            if progress.steps_per_second:
                begun.append(left / progress.steps_per_second)
            else:
                begun.append(predicted[progress.pack] * left / max(progress.planned_trial_steps, 1))
        return max(*begun, (sum(begun) + waiting) / len(at_work))

    def _seconds(self, pack: str) -> float:
        try:
            with self._table(pack, "pack").open(encoding="utf-8", newline="") as file:
                return sum(float(row["seconds"]) for row in csv.DictReader(file))
        except (OSError, ValueError, KeyError):
            return 0.0


def _live_ends(progress: PackProgress) -> Counter[str]:
    ends = Counter({"diverged": progress.diverged, "stopped_early": progress.stopped_early, "failed": progress.failed})
    ends["ok"] = progress.done - ends.total()
    return +ends


def _last_line(path: Path) -> str:
    """Return the last line of a log that says anything, "" where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
