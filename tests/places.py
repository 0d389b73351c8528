"""A study in folders of its own, under a real Snakemake; and what many tests start from, made once."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GATHERED = ("trials.csv", "curves.csv", "layers.csv", "selected.csv")
LIMIT = 300


@dataclass(frozen=True)
class Place:
    """A study file and folders of its own; Snakemake runs from the repository's root, as a user's would."""

    folder: Path
    name: str = "tiny"

    @property
    def study(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.name

    @property
    def report(self) -> Path:
        return self.folder / "reports" / self.name

    @property
    def gathered(self) -> str:
        """The last table that gathering writes, as a target that needs no report."""
        return str(self.results / "trials.csv")

    def write(self, content: dict[str, Any]) -> None:
        self.study.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def copy(self, folder: Path) -> "Place":
        """Return a copy to go on from; file times are kept."""
        shutil.copytree(self.folder, folder)
        return Place(folder, self.name)

    def start(self, *more: str, settings: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
        """Start Snakemake, for the report or for what `more` says."""
        places = [f"study={self.study}", f"results={self.folder / 'results'}", f"reports={self.folder / 'reports'}"]
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *more, "--config", *places, *settings],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | environment,
        )

    def run(self, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end, good or bad."""
        running = self.start(*more, **options)
        try:
            out, said = running.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(running.args, running.returncode, out, said)

    def finish(self, *more: str, **options: Any) -> str:
        """Run Snakemake to a good end; return what it said."""
        done = self.run(*more, **options)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def disturb(self, number: int, moment: Callable[[], bool], *more: str, **options: Any) -> None:
        """Start Snakemake, and send all its processes a signal once the moment has come."""
        running = self.start(*more, **options)
        give_up = time.monotonic() + LIMIT
        while not moment() and running.poll() is None and time.monotonic() < give_up:
            time.sleep(0.005)  # waits for the moment; the outcome does not depend on how long it takes
        assert running.poll() is None, running.communicate()[1]
        os.killpg(running.pid, number)
        _, said = running.communicate(timeout=LIMIT)
        assert running.returncode != 0, said

    def checkpoints(self) -> set[str]:
        return {path.parent.name for path in self.results.glob("checkpoints/*/checkpoint.npz")}

    def log(self, pack: str) -> str:
        return (self.results / "logs" / "train" / f"{pack}.log").read_text(encoding="utf-8")

    def trained(self) -> dict[str, int]:
        """When each pack's tables were sealed, by pack."""
        found = self.results.glob("raw/*/checksums.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in found if ".damaged" not in path.parent.name}

    def tables(self) -> dict[str, bytes]:
        """Return the gathered tables, whose trials are those planned, each once."""
        planned = pd.concat(pd.read_csv(self.results / name)["trial_id"] for name in ("plan-1.csv", "plan-2.csv"))
        assert sorted(pd.read_csv(self.results / "trials.csv")["trial_id"]) == sorted(planned)
        return {name: (self.results / name).read_bytes() for name in GATHERED}


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled: in one process of those that share the tests, while the others wait.

    Tests leave it as it is.
    """
    shared = factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
