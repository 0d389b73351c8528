"""What jobs ask of a scheduler - time, memory, tries - and what a study will cost there.

Snakemake and its executors submit, watch and retry jobs; here stands what only this project knows: what a pack is predicted to
take. Requests are for twice that and grow with every attempt, since an attempt that ran out of time goes on from its checkpoint
in the next, and one that ran out of memory needs more.
"""

from __future__ import annotations

import functools
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from trainatlas.costs import measured_mebibytes, mebibytes, start_seconds
from trainatlas.study.checksums import CHECKSUMS
from trainatlas.study.config import Study
from trainatlas.study.dealing import Labour
from trainatlas.study.errors import UserError
from trainatlas.study.planning import (
    STACK_LIMIT,
    Price,
    Structure,
    existing_homes,
    pack_path,
    plan_round,
    planned_rounds,
    read_pack,
    read_plan,
    read_summary,
)
from trainatlas.study.rounds import plan_of_round
from trainatlas.workflow import pack_seconds

TIME_MARGIN = 2.0
"""A job asks for so many times the seconds that its pack is predicted to take."""

MEMORY_MARGIN = 1.3
"""And for so many times the memory."""

START_MINUTES = 5
"""Minutes on top of that: two Snakemakes, libraries from a slow file system, data."""

SNAKEMAKE_MIB = 500
"""MiB that the two Snakemakes of a job take beside training."""

FEWEST_TRIES = 3
"""Of so many tries or more the last one trains nothing: it gives the pack up, so that the study can end without it."""


@dataclass(frozen=True)
class Requests:
    """What the jobs that train packs ask for.

    Attributes
    ----------
    memory
        MiB that training keeps to.
    tries
        Returns how many attempts a job has; 0 where no scheduler is at work.
    """

    memory: int
    tries: Callable[[], int]

    def minutes(self, results: Path, pack: str, attempt: int) -> int:
        """Return the whole minutes that an attempt at training a pack asks for; 0, no limit, where no scheduler is at work.

        Parameters
        ----------
        results
            The study's folder, with the plans that predict.
        """
        if not self.tries():
            return 0
        return attempt * minutes_asked(pack_seconds(results, pack))

    def mebibytes(self, attempt: int) -> int:
        """Return the MiB that an attempt asks for, more each time; what training keeps to where no scheduler is at work."""
        return (self.memory + SNAKEMAKE_MIB) * attempt if self.tries() else self.memory

    def mebibytes_of(self, results: Path, pack: str, attempt: int) -> int:
        """Return the MiB that an attempt at training a pack asks for.

        The first attempt asks for what the pack is predicted to take, but no more than what training keeps to. Later ones ask for
        that limit and its multiples, whereas the limit itself stays: stacks cut for another memory would be rounded otherwise,
        and the tables differ in their last digits.
        """
        predicted = MEMORY_MARGIN * predicted_mebibytes(results, pack) if self.tries() else 0.0
        if not 0 < predicted < self.memory:
            return self.mebibytes(attempt)
        return self.mebibytes(attempt - 1) if attempt > 1 else math.ceil(predicted / 100) * 100 + SNAKEMAKE_MIB

    def tries_left(self, attempt: int) -> int:
        """Return how often training may be tried, this attempt included; 0 where the pack is to be given up."""
        if self.tries() < FEWEST_TRIES:
            return 1
        return max(self.tries() - attempt, 0)


def predicted_mebibytes(results: Path, pack: str) -> float:
    """Return the MiB that training a pack is predicted to take, Snakemake aside; 0 where there is no such pack.

    The estimate of its largest stack (`trainatlas.costs.mebibytes`), times the largest ratio of measured to estimated among
    the packs that the study has trained, for what a GPU's driver or another version of torch takes.
    """
    raw = results / "raw"
    trained = frozenset(entry.name for entry in os.scandir(raw)) if raw.is_dir() else frozenset()
    return _estimated_mebibytes(pack_path(results, pack)) * _measured_over_estimated(results, trained)


@functools.lru_cache(maxsize=4096)
def _estimated_mebibytes(path: Path) -> float:
    try:
        pack = read_pack(path)
    except UserError:  # the job will say so
        return 0.0
    return max(mebibytes(stack, pack.folder) for stack in pack.stacks)


@functools.lru_cache(maxsize=64)
def _measured_over_estimated(results: Path, trained: frozenset[str]) -> float:
    ratios = [
        measured / estimated
        for pack in trained
        if (measured := measured_mebibytes(results / "raw" / pack))
        and (estimated := _estimated_mebibytes(pack_path(results, pack)))
    ]
    return max(ratios, default=1.0)


def minutes_asked(seconds: float) -> int:
    """Return the whole minutes that a first attempt at so many predicted seconds asks for."""
    return math.ceil(TIME_MARGIN * seconds / 60) + START_MINUTES


@dataclass(frozen=True)
class Estimate:
    """What a study will cost a cluster.

    Attributes
    ----------
    trials, kept
        Trials of the study, and those of them that are trained already.
    jobs
        Jobs to be submitted for training: those of the first round, and those of all later ones.
    seconds
        Predicted seconds of training and starting, over all jobs, of the same two.
    longest, wanted
        Predicted seconds of the longest job, and those that jobs were to have.
    at_once
        Jobs at a time.
    measured
        Whether prices follow from what training took, or from counted operations alone.
    """

    trials: int
    kept: int
    jobs: tuple[int, int]
    seconds: tuple[float, float]
    longest: float
    wanted: float
    at_once: int
    measured: bool

    def lines(self, gpus: bool) -> list[str]:
        """Return it in words, for jobs on GPUs or on CPU cores."""
        unit = "GPU-hours" if gpus else "core-hours"
        hours = sum(self.seconds) / 3600
        # Later rounds begin when the first has ended; each goes on at least as long as its longest job.
        elapsed = sum(max(seconds / self.at_once, min(seconds, self.longest)) for seconds in self.seconds)
        source = (
            "from what training took" if self.measured else "from counted operations, a CPU core's: to be taken lightly"
        )
        asked = minutes_asked(self.longest)
        lines = [
            f"{self.trials:,} trials, {self.kept:,} of them trained already",
            f"jobs: {self.jobs[0]:,} first, then {self.jobs[1]:,}; timing, gathering and analysis: 3 more",
            f"training: {hours:,.1f} {unit}, predicted {source}",
            f"the longest job: {self.longest / 60:,.0f} min; it asks for {asked:,} min, others for less",
            f"{self.at_once:,} jobs at a time: about {elapsed / 60:,.0f} min, without waiting in the queue",
        ]
        if self.longest > 1.5 * self.wanted:
            lines.append("that job is so long because a stack is never divided: a smaller pack_trials makes it shorter")
        return lines


def estimate(
    study: Study, results: Path, structure: Structure, price: Price, job_seconds: float, at_once: int, measured: bool
) -> Estimate:
    """Work out what training the rest of a study costs; plans are made as `trainatlas plan` makes them, and thrown away.

    Parameters
    ----------
    results
        The study's folder; it is only read.
    structure, price
        As for `trainatlas.study.planning.write_plan`.
    job_seconds
        Predicted seconds of a job.
    at_once
        Jobs at a time.
    measured
        Whether `price` rests on measured times.
    """
    labour = Labour(at_once, job_seconds, start_seconds(results))
    homes = existing_homes(results) if (results / "packs").is_dir() else {}
    done = {trial for trial, pack in homes.items() if (results / "raw" / pack / CHECKSUMS).exists()}
    with tempfile.TemporaryDirectory() as folder:
        summary = plan_round(study, Path(folder), 1, structure, price=price, labour=labour)
        rows = read_plan(Path(folder), 1)
    first = _of_the_rest(rows, done, summary["pack_seconds"])
    rounds = planned_rounds(results)
    later = [row["trial_id"] for number in rounds[1:] for row in read_plan(results, number)]
    trained = len(done.intersection(later))
    later_trials = summary["later_trials"]
    if rounds and read_summary(results, rounds[-1])["last"] and _says_the_same(study, results):
        later_trials = len(later)  # what was foreseen is the most that it could have come to
    left = max(later_trials - trained, 0)
    later_seconds = summary["later_seconds"] * left / max(summary["later_trials"], 1)
    later_jobs = min(labour.packs(later_seconds, left), _stacks(study, left, structure)) if left else 0
    seconds = (sum(first) + len(first) * labour.start_seconds, later_seconds + later_jobs * labour.start_seconds)
    longest = max([*first, later_seconds / max(later_jobs, 1)]) + labour.start_seconds
    kept = sum(row["trial_id"] in done for row in rows) + later_trials - left
    trials = summary["trials"] + later_trials
    return Estimate(trials, kept, (len(first), later_jobs), seconds, longest, job_seconds, at_once, measured)


def _says_the_same(study: Study, results: Path) -> bool:
    """Return whether a study says what it said when it was planned."""
    return bool(read_summary(results, 1)["study_digest"] == study.digest())


def _stacks(study: Study, trials: int, structure: Structure) -> int:
    """Return how many stacks so many trials make that fall on structures as the first round's do; a pack holds at least one."""
    counts = Counter(repr(structure(item.trial)) for item in plan_of_round(study, 1).planned)
    limit = min(STACK_LIMIT, study.pack_trials)
    return sum(math.ceil(trials * count / counts.total() / limit) for count in counts.values()) or 1


def _of_the_rest(
    rows: Sequence[Mapping[str, str]], done: Container[str], pack_seconds: Mapping[str, float]
) -> list[float]:
    """Return the seconds of each pack that are left when trials that are done are taken out of it."""
    members: dict[str, list[bool]] = {}
    for row in rows:
        members.setdefault(row["pack"], []).append(row["trial_id"] not in done)
    shares = {pack: sum(wanted) / len(wanted) for pack, wanted in members.items()}
    return [pack_seconds[pack] * share for pack, share in shares.items() if share]


def read_profile(path: Path) -> tuple[int, bool]:
    """Return how many jobs a Snakemake profile allows at a time, and whether training has a GPU there.

    Parameters
    ----------
    path
        The profile's folder, such as profiles/slurm-gpu.

    Raises
    ------
    UserError
        Where it has no config.yaml, or one that says neither `jobs` nor `executor`.
    """
    file = path / "config.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        jobs, _ = int(content["jobs"]), content["executor"]
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; allowed: a folder of profiles/, such as profiles/slurm") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{file}: is no profile for a cluster: it has to say `executor` and `jobs`") from None
    asked = {**(content.get("default-resources") or {}), **((content.get("set-resources") or {}).get("train") or {})}
    return max(jobs, 1), bool(asked.get("gpu")) or "gpu" in f"{asked.get('gres', '')} {asked.get('lsf_extra', '')}"
