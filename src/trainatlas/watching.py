"""A study's status in words: one line for logs, a page for terminals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainatlas.study.attempts import slurm_jobs
from trainatlas.study.errors import UserError
from trainatlas.study.status import Status, StatusReader
from trainatlas.train.records import STATUSES

_PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}


def status_line(status: Status) -> str:
    """Return the status in one line."""
    ends = status.ends
    parts = [
        f"{status.done:,} of {status.planned:,} trials done",
        f"{ends['diverged']:,} diverged, {ends['failed']:,} failed",
        f"packs: {status.packs['done']} done, {status.packs['running']} running, {status.packs['waiting']} waiting",
    ]
    if status.packs["stopped"]:
        parts.append(f"{status.packs['stopped']} stopped")
    if status.running:
        parts.append(f"{status.steps_per_second:,.0f} trial-steps/s")
    if status.running and status.seconds_left is not None:
        parts.append(f"about {duration(status.seconds_left)} left to train")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in words, to two units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def status_page(name: str, status: Status) -> Group:
    """Return the status as tables: rounds, jobs at work, and what stopped."""
    rounds = Table(title=name, title_justify="left", **_PLAIN)
    rounds.add_column("trials", no_wrap=True)
    for column in ("planned", "done", "running", *(status.replace("_", "\n") for status in STATUSES)):
        rounds.add_column(column, justify="right", no_wrap=True)
    for each in status.rounds:
        ends = [each.ends[end] for end in STATUSES]
        cells = (f"{number:,}" for number in (each.planned, each.done, each.running, *ends))
        rounds.add_row(" and ".join(each.stages) or "not planned yet", *cells)
    parts: list[Table | Text] = [rounds]
    if status.running:
        parts.append(_jobs(status))
    parts.append(Text(status_line(status)))
    for pack in status.stopped:
        parts.append(Text(f"pack {pack.pack} stopped: {pack.last_line or 'nothing said'} ({pack.log})", style="red"))
    return Group(*parts)


def _jobs(status: Status) -> Table:
    jobs = Table(**_PLAIN)
    scheduled = any(progress.job for progress in status.running)
    limits = any(progress.share_of_limit is not None for progress in status.running)
    jobs.add_column("pack", no_wrap=True)
    jobs.add_column("process", overflow="fold")
    jobs.add_column("begun", no_wrap=True)
    for column in ("trials", "done", "steps", "trial-\nsteps/s", *(["of the\nlimit"] if limits else [])):
        jobs.add_column(column, justify="right", no_wrap=True)
    for progress in status.running:
        share = progress.trial_steps / max(progress.planned_trial_steps, 1)
        cells = [f"{progress.trials:,}", f"{progress.done:,}", f"{share:.0%}", f"{progress.steps_per_second:,.0f}"]
        if limits:
            cells.append("" if progress.share_of_limit is None else f"{progress.share_of_limit:.0%}")
        process = f"job {progress.job}, " * scheduled + f"{progress.process} on {progress.host}"
        jobs.add_row(progress.pack, process, progress.started[11:16], *cells)
    return jobs


def show(name: str, results: Path, console: Console) -> None:
    """Print a study's status once."""
    console.print(status_page(name, StatusReader(results, slurm_jobs).read()), soft_wrap=not console.is_terminal)


def show_jobs(results: Path, console: Console, trial: str | None = None) -> None:
    """Print every pack with the jobs that have tried to train it and its log, or the one that a trial is in.

    Raises UserError where no planned trial's id begins with `trial`.
    """
    packs = StatusReader(results, slurm_jobs).jobs()
    if trial is not None:
        packs = [pack for pack in packs if any(each.startswith(trial) for each in pack.trials)]
        if not packs:
            raise UserError(f"--trial {trial}: no planned trial of {results} begins so; {results}/plan*.csv lists them")
    table = Table(**_PLAIN)
    for column in ("pack", "state", "trials", "job", "host", "begun", "end"):
        table.add_column(column, no_wrap=True, justify="right" if column == "trials" else "left")
    for pack in packs:
        lead = (pack.pack, pack.state, f"{len(pack.trials):,}")
        for attempt in pack.attempts:
            job = f"{attempt.scheduler} {attempt.job}" if attempt.job else f"process {attempt.process}"
            running = pack.state == "running" and attempt == pack.attempts[-1]
            end = attempt.end or ("" if running else "killed or lost")
            table.add_row(*lead, job, attempt.host, attempt.started, end)
            lead = ("", "", "")
        if not pack.attempts:
            table.add_row(*lead, "", "", "", "")
    console.print(table, soft_wrap=not console.is_terminal)
    for pack in packs:
        said = [attempt.last_line for attempt in pack.attempts if attempt.last_line]
        if trial is not None or (said and pack.state != "done"):
            console.print(f"pack {pack.pack}: {said[-1] if said else 'log'} ({pack.log})", soft_wrap=True, markup=False)


def watch(
    name: str, results: Path, console: Console, every: float, wait: Callable[[float], object] = time.sleep
) -> None:
    """Show a study's status until all its trials are done: a page kept up to date in a terminal, else line after line.

    Parameters
    ----------
    every
        Seconds between two looks.
    """
    reader = StatusReader(results, slurm_jobs)
    if not console.is_terminal:
        while True:
            status = reader.read()
            console.print(f"{name}: {status_line(status)}", soft_wrap=True, highlight=False, markup=False)
            if status.done >= status.planned:
                return
            wait(every)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status = reader.read()
            live.update(status_page(name, status), refresh=True)
            if status.done >= status.planned:
                return
            wait(every)


class Teller:
    """Says a study's status now and then while something else is at work, in a thread that ends with the process.

    Parameters
    ----------
    results
        The study's folder.
    every
        Seconds between two lines; 0 for none. A line that is as the last one is not said again.
    say
        Takes a line.
    """

    def __init__(self, name: str, results: Path, every: float, say: Callable[[str], object]) -> None:
        self._name, self._reader, self._every, self._say = name, StatusReader(results), every, say
        self._said = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        if self._every:
            self._thread.start()

    def stop(self) -> None:
        """Tell a last time and end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        try:
            line = f"{self._name}: {status_line(self._reader.read())}"
        except UserError:  # not planned yet, or a file between two states
            return
        if line != self._said:
            self._said = line
            self._say(line)
