"""What the Snakefile needs beyond rules: its settings, checked, and a lock on the results folder."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import math
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NoReturn

from trainatlas.catalogue import TABLES, structure
from trainatlas.claims.config import ClaimSet, StudyFile, load_claims
from trainatlas.costs import calibrated
from trainatlas.scheduler import RELEASE, check_scheduler, release
from trainatlas.study import user_code
from trainatlas.study.attempts import given_up
from trainatlas.study.checksums import damaged_packs, forget_pack, put_aside
from trainatlas.study.config import FULL, Study, load_study
from trainatlas.study.dealing import Labour
from trainatlas.study.errors import UserError
from trainatlas.study.growth import growth
from trainatlas.study.languages import language_asked
from trainatlas.study.planning import read_summary, summary_path
from trainatlas.study.rounds import refuse_too_many
from trainatlas.study.trial import TRAINING_VERSION

DEFAULTS = {
    "study": "benchmarks/digits.yaml",
    "profile": "",
    "language": "",
    "claims": "benchmarks/claims.yaml",
    "memory": "4000",
    "device": "auto",
    "progress": "15",
    "allow_large": "false",
    "pack_minutes": "20",
    "scratch": "",
    "container": "containers/trainatlas.sif",
    "results": "results",
    "reports": "reports",
}
"""What `--config` may set, and what holds otherwise."""

SMALLEST_MEMORY = 500
"""MiB that a job takes before it has loaded anything but its libraries."""

DEVICES = ("auto", "cpu", "cuda")

_held: list[IO[str]] = []


@dataclass(frozen=True)
class Settings:
    """The studies and the folders of one Snakemake run.

    Attributes
    ----------
    study
        The study that `all` makes the report of.
    claim_set
        The claims that `claims` gives verdicts on; None where there is no such file.
    language
        What reports are written in; empty: what the files of studies and claims say.
    """

    study: StudyFile
    claim_set: ClaimSet | None
    memory: int
    device: str
    progress: float
    results: str
    reports: str
    pack_minutes: float
    scratch: str
    container: str
    language: str

    @cached_property
    def files(self) -> dict[str, StudyFile]:
        """The files of all studies that this run can make, by the studies' names."""
        feeding = self.claim_set.studies.values() if self.claim_set else ()
        return {study.name: study for study in (*feeding, self.study)}

    def file(self, name: str) -> str:
        """Return the file of a study."""
        return str(self.files[name].path)

    def profile_option(self, name: str) -> str:
        """Return what the commands are told of a study's profile."""
        profile = self.files[name].profile
        return f"--profile {profile}" if profile not in ("", FULL) else ""

    @property
    def language_option(self) -> str:
        """What the commands that write reports are told of the language."""
        return f"--language {self.language}" if self.language else ""

    def results_of(self, name: str) -> Path:
        """Return the folder of a study's results."""
        return Path(self.results, name)

    def load(self, name: str) -> Study:
        """Return a study, read once."""
        if name not in self.loaded:
            file = self.files[name]
            self.loaded[name] = load_study(file.path, TABLES, file.profile)
        return self.loaded[name]

    @cached_property
    def loaded(self) -> dict[str, Study]:
        """The studies that `load` has read so far."""
        return {}

    def foundations(self, name: str) -> str:
        """Return what trials rest on beside the study's file: the training version, the user's own data and code, by digest."""
        study = self.load(name)
        levels = {str(i): level for i, level in enumerate(itertools.chain(*study.factors.values()))}
        code = user_code.digests({**levels, "network": study.network})
        return " ".join(filter(None, (str(TRAINING_VERSION), study.facts.digest, code)))

    def wanted(self, targets: Iterable[str]) -> list[str]:
        """Return the names of the studies that a run for these targets works on: rules, or files of a study."""
        wanted = dict.fromkeys([self.study.name]) if not list(targets) else {}
        for target in targets:
            of_study = next((name for name in self.files if name in Path(target).parts), self.study.name)
            wanted |= dict.fromkeys(self.feeding if self.wants_claims([target]) else [of_study])
        return list(wanted)

    def wants_claims(self, targets: Iterable[str]) -> bool:
        """Return whether one of these targets rests on claims."""
        return any({"claims", self.claim_set.name} & {*Path(target).parts} for target in targets if self.claim_set)

    @property
    def feeding(self) -> list[str]:
        """The names of the studies that feed the claims, each once."""
        return list(dict.fromkeys(study.name for study in self.claim_set.studies.values())) if self.claim_set else []

    def growth_lines(self, name: str) -> list[str]:
        """Say what a study that was planned before keeps and trains anew; nothing of one that was not."""
        results = self.results_of(name)
        if not summary_path(results, 1).exists():
            return []
        try:
            study = self.load(name)
            found = growth(study, results, structure, calibrated(results, study.folder))
        except UserError as error:
            return [str(error)]
        return [f"{name}: {line}" for line in found.lines]


def settle_config(config: dict[str, Any], on_error: Callable[[str], NoReturn]) -> Settings:
    """Return the settings that `--config` asks for; a bad one ends with one line before any job starts.

    Parameters
    ----------
    config
        Snakemake's own; keys as in DEFAULTS.
    on_error
        Called with the line to print.
    """
    try:
        for key in config:
            if key not in DEFAULTS:
                raise UserError(f"--config: unknown key '{key}'; allowed: {', '.join(DEFAULTS)}")
        # Snakemake reads an empty value (`profile=""`, as the Makefile gives) as None.
        values = {
            key: str(config[key]) if config.get(key) is not None else default for key, default in DEFAULTS.items()
        }
        study = load_study(Path(values["study"]), TABLES, values["profile"])
        for key in ("results", "reports"):
            _refuse_unwritable(key, Path(values[key]))
        if not values["memory"].isdigit() or int(values["memory"]) < SMALLEST_MEMORY:
            raise UserError(
                f"--config memory={values['memory']}; allowed: a whole number of MiB a job may take, at least {SMALLEST_MEMORY}"
            )
        if values["device"] not in DEVICES:
            raise UserError(f"--config device={values['device']}; allowed: {', '.join(DEVICES)}")
        if values["language"]:
            language_asked(values["language"], "--config language=")
        if (allow_large := values["allow_large"].lower()) not in ("true", "false"):
            raise UserError(f"--config allow_large={values['allow_large']}; allowed: true or false")
        if allow_large == "true":
            os.environ["TRAINATLAS_ALLOW_LARGE"] = "1"
        elif "TRAINATLAS_ALLOW_LARGE" not in os.environ:
            refuse_too_many(study)
        progress = _number(
            values, "progress", 0, threading.TIMEOUT_MAX, "seconds between two lines of progress, 0 for none"
        )
        minutes = _number(values, "pack_minutes", 1, 10_000, "predicted minutes of a scheduler's job, 1 to 10000")
        settings = Settings(
            StudyFile(Path(values["study"]), values["profile"]),
            _claim_set(Path(values["claims"]), values["profile"], "claims" in config),
            int(values["memory"]),
            values["device"],
            progress,
            values["results"],
            values["reports"],
            minutes,
            values["scratch"],
            values["container"],
            values["language"],
        )
    except UserError as error:
        on_error(f"trainatlas: {error}")
    settings.loaded[study.name] = study
    return settings


def _claim_set(path: Path, profile: str, asked_for: bool) -> ClaimSet | None:
    """Return the claims at a profile; None where nobody asked for them and they have no such profile."""
    if not asked_for and not path.exists():
        return None
    claim_set = load_claims(path)
    if profile in ("", FULL) or profile in claim_set.claims.profiles:
        return replace(claim_set, profile=profile or FULL)
    return load_claims(path, profile) if asked_for else None


def check_claims(claim_set: ClaimSet, on_error: Callable[[str], NoReturn]) -> None:
    """End with one line where claims name what does not exist, before hours are spent on the studies that feed them.

    In a process of its own: exact claims and experiments load torch.
    """
    command = [
        sys.executable,
        "-m",
        "trainatlas",
        "claims",
        "check",
        str(claim_set.path),
        "--profile",
        claim_set.profile,
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        on_error(found.stderr.strip())


def _number(values: dict[str, str], key: str, low: float, high: float, allowed: str) -> float:
    try:
        number = float(values[key])
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise UserError(f"--config {key}={values[key]}; allowed: {allowed}")
    return number


def labour(local: bool, cores: int | None, jobs: int | None, gpus: int | None, pack_minutes: float) -> Labour:
    """Return who trains the packs.

    Parameters
    ----------
    local
        Whether jobs run on this machine.
    cores, jobs
        What Snakemake may use of this machine, and how many jobs may run at once elsewhere; None where it was not said.
    gpus
        Value of `--resources gpus=`; None where it is not given.
    pack_minutes
        Predicted minutes of a pack where jobs run elsewhere.
    """
    if not local:
        return Labour(jobs or 1, pack_minutes * 60)
    return Labour(max(min(cores or 1, gpus or cores or 1), 1))


def announce(settings: Settings) -> None:
    """Tell the commands on what and where they train, by their environment; what stands there already is kept.

    No rule takes these as parameters, or another device would train anew.
    """
    os.environ.setdefault("TRAINATLAS_DEVICE", settings.device)
    os.environ.setdefault("TRAINATLAS_SCRATCH", settings.scratch)
    os.environ.setdefault(RELEASE, release())
    for name in ("WORKERS", "PACK_MINUTES", "TRIES", "LATENCY"):  # see `announce_crew`; empty counts as not there
        os.environ.setdefault(f"TRAINATLAS_{name}", "")


def announce_crew(crew: Labour, tries: int, latency: float) -> None:
    """Tell the commands who trains the packs, and a scheduler's jobs what only the Snakemake that submits them knows.

    Parameters
    ----------
    crew
        What the user has set of it in the environment is kept.
    tries
        As for `trainatlas.cluster.Requests`.
    latency
        Seconds after which a file that one machine has written is seen by all.
    """
    for name, value in (("WORKERS", crew.workers), ("PACK_MINUTES", crew.pack_seconds / 60)):
        os.environ[f"TRAINATLAS_{name}"] = os.environ.get(f"TRAINATLAS_{name}") or str(value)
    os.environ["TRAINATLAS_TRIES"] = str(tries)
    os.environ["TRAINATLAS_LATENCY"] = str(latency if tries else 0)


def tries_of(workflow: Any) -> Callable[[], int]:
    """Return a function that returns how often a scheduler's job may be tried; 0 where jobs run on this machine.

    Which it is Snakemake knows only once it has read the Snakefile, so the function is to be called after that. Jobs know it by
    their environment.

    Parameters
    ----------
    workflow
        Snakemake's own.
    """

    def tries() -> int:
        if not workflow.is_main_process:
            return int(os.environ.get("TRAINATLAS_TRIES") or 0)
        return 0 if workflow.local_exec else int(workflow.execution_settings.retries) + 1

    return tries


def check_submission(workflow: Any, on_error: Callable[[str], NoReturn]) -> None:
    """Refuse to begin where the jobs of this run cannot be submitted."""
    try:
        check_scheduler(workflow)
    except UserError as error:
        on_error(f"trainatlas: {error}")


def pack_seconds(results: Path, pack: str) -> float:
    """Return what a pack is predicted to take, by the plan that names it; 0 where none does."""
    for number in itertools.takewhile(lambda number: summary_path(results, number).exists(), itertools.count(1)):
        with contextlib.suppress(UserError):
            found = read_summary(results, number).get("pack_seconds", {})
            if pack in found:
                return float(found[pack])
    return 0.0


def _refuse_unwritable(key: str, folder: Path) -> None:
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--config {key}={folder}: {nearest} is a file; allowed: a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--config {key}={folder}: {nearest} is not writable; allowed: a folder you may write to")


def mend_results(results: Path, dry_run: bool, say: Callable[[str], None]) -> None:
    """Put right, before jobs are planned, what would lead Snakemake astray.

    Files from the future, left by a clock that was ahead, are stamped with the present: what is made from them now would
    be older than they are, which Snakemake takes for a failure. Packs whose tables are damaged are put aside, and those that were
    given up forgotten, so that they and no others are trained again. Where another Snakemake is at work, nothing is touched.

    Parameters
    ----------
    dry_run
        Change nothing.
    say
        Takes one line for all files from the future, and one for each damaged pack.
    """
    lock = results / ".lock"
    with lock.open("a", encoding="utf-8") if lock.exists() else contextlib.nullcontext() as file:
        if file is None or _locked(file, say):
            _mend(results, dry_run, say)


def _mend(results: Path, dry_run: bool, say: Callable[[str], None]) -> None:
    now = time.time_ns()
    early = [path for path in results.rglob("*") if path.is_file() and path.stat().st_mtime_ns > now]
    if early:
        for path in early if not dry_run else []:
            os.utime(path, ns=(now, now))
        say(f"trainatlas: {results}: {len(early):,} files are stamped in the future; they get the present time")
    for pack in given_up(results):
        if (results / "raw" / pack).is_dir():
            if not dry_run:
                forget_pack(results / "raw" / pack)
            say(f"trainatlas: {results}: pack {pack} was given up; it will be trained again")
    for folder, fault in list(damaged_packs(results)):
        aside = "" if dry_run else f"; the pack now lies in {put_aside(folder)} and"
        say(f"trainatlas: {fault}{aside or '; the pack'} will be trained again")


def hold_results(results: Path, on_error: Callable[[str], NoReturn]) -> None:
    """Refuse to work on `results` beside another Snakemake.

    The lock is the operating system's, so it goes when its holder goes, however that ends: unlike
    Snakemake's own, which the default profile turns off, it never has to be removed by hand. Where the file system knows no
    locks, a line says so and nothing keeps two of them apart.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        file = (results / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        on_error(f"trainatlas: {results}: cannot be written: {error.strerror}; allowed: a folder you may write to")
    if not _locked(file, lambda line: print(line, file=sys.stderr)):
        file.seek(0)
        holder = file.read().strip() or "unknown"
        on_error(f"trainatlas: {results}: another Snakemake (process {holder}) is at work on this study; wait for it")
    file.truncate(0)
    file.write(f"{os.getpid()} on {platform.node()}\n")
    file.flush()
    _held.append(file)


def _locked(file: IO[str], say: Callable[[str], None]) -> bool:
    """Lock a file opened for writing, as NFS wants it, and return whether nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        say(f"trainatlas: {file.name}: cannot be locked ({error.strerror}): start no second Snakemake on this study")
    return True
