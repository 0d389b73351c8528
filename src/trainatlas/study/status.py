"""How far a study is, from its plans, the tables of its packs and what its jobs tell."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


class StatusReader:
    """Reads a study's status again and again; the tables of a pack are read once.

    Parameters
    ----------
    results
        The study's folder, `results/<study>`.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._ends: dict[tuple[str, int], Counter[str]] = {}

    def read(self) -> Status:
        """Return the status now; raises UserError where the study has not been planned."""
        live: dict[str, PackProgress] = {}
        dead: set[str] = set()
        for progress in read_progress(self._results):
            if progress.alive:
                live[progress.pack] = progress
            else:
                dead.add(progress.pack)
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
        return StoppedPack(pack, _last_line(self._log(pack)), self._log(pack))

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
