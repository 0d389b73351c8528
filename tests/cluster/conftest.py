"""A real SLURM on loopback, and a study that Snakemake submits to it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import yaml

from trainatlas.catalogue import TABLES
from trainatlas.study.attempts import Attempt, attempts_at
from trainatlas.study.config import load_study

ROOT = Path(__file__).resolve().parents[2]
GATHERED = ("trials.csv", "curves.csv", "layers.csv", "histograms.csv", "selected.csv")
LIMIT = 280  # seconds that one thing may be waited for

# The SLURM plugin (2.8) looks at its jobs ever more rarely, up to every 3 minutes; here every second, in this process alone.
# And it can be interrupted, though tests may run where a shell has interrupts ignored: in the background.
IMPATIENT = """
import signal, sys
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1.0, lambda self, value: None)
from snakemake.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""

# An activation that the test can slow down, in SLURM's jobs alone: after some epochs so much that its pack does not end before
# what is to befall it has, whatever the machine's speed. It can also take up memory. Its numbers are those of relu.
HELD = """
import os, sys, time
from pathlib import Path
import torch

ORDERS = Path(os.environ.get("TRAINATLAS_TEST_ORDERS", "."))
JOB = os.environ.get("SLURM_JOB_ID")
PACK = Path(sys.argv[2]).stem if JOB else ""
calls, taken = 0, []


def held(x):
    global calls
    if JOB:
        calls += 1
        if calls == 1:
            (ORDERS / f"devices-{PACK}-{JOB}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        if len(taken) < 8 and (ORDERS / f"fatten-{PACK}-{JOB}").exists():
            taken.append(bytearray(os.urandom(1 << 20) * 250))
        if (ORDERS / "hold").exists() and not (ORDERS / f"free-{PACK}").exists():
            time.sleep(0.03 if calls < 40 else 1.0)
    return torch.relu(x)
"""


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


loopback = load_script(ROOT / "scripts" / "loopback_slurm.py")


@dataclass
class Submission:
    """A study of 200 trials in 9 packs, submitted to a SLURM; Snakemake runs from the repository's root, as a user's would."""

    folder: Path
    slurm: Any
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def study(self) -> Path:
        return self.folder / "studies" / "submitted.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results" / "submitted"

    @property
    def orders(self) -> Path:
        return self.folder / "orders"

    def start(self, profile: str, *more: str) -> subprocess.Popen[bytes]:
        """Start Snakemake with one of the project's profiles; what it says goes to a file of its own."""
        words = [
            "--profile", f"profiles/{profile}", "--latency-wait", "20", "--slurm-init-seconds-before-status-checks", "1",
            "--slurm-logdir", str(self.folder / "slurm-logs"), "--slurm-keep-successful-logs",
            "--default-resources", "runtime=10", "mem_mb=1500", *more,
            "--config", f"study={self.study}", f"results={self.folder / 'results'}",
            f"reports={self.folder / 'reports'}", "memory=1000", "progress=1",
        ]  # fmt: skip
        settings = {
            "TRAINATLAS_PACK_MINUTES": "0.0001",  # a pack to each stack
            "TRAINATLAS_CHECKPOINT_SECONDS": "0",
            "TRAINATLAS_GRACE_SECONDS": "0",
            "TRAINATLAS_TEST_ORDERS": str(self.orders),
        }
        with self.log(len(self.drivers)).open("wb") as log:
            driver = subprocess.Popen(
                [sys.executable, "-c", IMPATIENT, *words],
                cwd=ROOT,
                env=self.slurm.environment | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.drivers.append(driver)
        return driver

    def log(self, number: int) -> Path:
        return self.folder / f"driver-{number}.log"

    def said(self) -> str:
        """What all drivers have said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("driver-*.log")))

    def finish(self, driver: subprocess.Popen[bytes]) -> None:
        code = driver.wait(LIMIT)
        assert code == 0, self.said()[-6000:]

    def order(self, what: str) -> None:
        (self.orders / what).touch()

    def wait(self, what: str, reached: Callable[[], object]) -> None:
        """Wait for a state of things; the outcome does not depend on how long it takes."""
        end = time.monotonic() + LIMIT
        while not reached():
            assert time.monotonic() < end, f"in vain for {what}\n{self.said()[-6000:]}"
            assert not self.drivers or self.drivers[-1].poll() is None, self.said()[-6000:]
            time.sleep(0.2)

    def packs(self, plan: str) -> list[str]:
        path = self.results / plan
        return json.loads(path.read_text())["packs"] if path.exists() else []

    def attempts(self, pack: str) -> list[Attempt]:
        return attempts_at(self.results, pack)

    def has_checkpoint(self, pack: str) -> bool:
        return (self.results / "checkpoints" / pack / "checkpoint.npz").exists()

    def is_done(self, pack: str) -> bool:
        return (self.results / "raw" / pack / "checksums.json").exists()

    def in_training(self, pack: str, attempt: int) -> bool:
        """Whether an attempt, counted from 1, is past its first epoch."""
        begun = self.attempts(pack)
        if len(begun) < attempt or not self.has_checkpoint(pack):
            return False
        log = self.results / "logs" / "train" / f"{pack}.log"
        return attempt == 1 or (log.exists() and "continues at" in log.read_text())

    def job(self, pack: str) -> str:
        """The job of the last attempt."""
        return self.attempts(pack)[-1].job

    def described(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of a job."""
        words = self.slurm.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: str) -> str:
        return self.described(job)["JobState"]

    def tables(self) -> dict[str, bytes]:
        return {name: (self.results / name).read_bytes() for name in GATHERED}

    def trained_once(self) -> bool:
        """Whether the gathered trials are the planned ones, each once."""
        planned = pd.concat(pd.read_csv(self.results / name) for name in ("plan-1.csv", "plan-2.csv"))["trial_id"]
        gathered = pd.read_csv(self.results / "trials.csv")["trial_id"]
        return sorted(gathered) == sorted(planned) and len(gathered) == 200

    def end(self) -> None:
        for driver in self.drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()


@pytest.fixture(scope="session")
def submission(
    tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: dict[str, Any]
) -> Callable[..., AbstractContextManager[Submission]]:
    """Return a context manager: the study and a SLURM, with accounting or without; skips where there can be no SLURM."""

    @contextmanager
    def submitted(accounting: bool, **settings: int) -> Iterator[Submission]:
        if (reason := loopback.obstacle(accounting)) is not None:
            pytest.skip(reason)
        folder = tmp_path_factory.mktemp("submitted")
        write_study(folder, tiny_content_of_session)
        with loopback.running(accounting, **settings) as slurm:
            submission = Submission(folder, slurm)
            try:
                yield submission
            finally:
                submission.end()

    return submitted


def write_study(folder: Path, tiny: dict[str, Any]) -> Path:
    """Write the study, and the activation that can be held, into a folder."""
    (folder / "studies").mkdir()
    (folder / "orders").mkdir()
    (folder / "studies" / "held.py").write_text(HELD)
    factors = tiny["factors"] | {"activation": ["held.py:held"]}
    grid = {
        "name": "grid",
        "strategy": "grid",
        "tune": {"learning_rate": 4},
        "tuning_seeds": [0, 1, 2, 3],
        "seeds": list(range(10, 19)),
    }
    content = tiny | {"factors": factors, "samples": [grid], "epochs": 8, "batch_size": 128, "probes": "light"}
    content["pack_trials"] = 24
    path = folder / "studies" / "submitted.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def local_tables(
    run_study: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: dict[str, Any]
) -> dict[str, bytes]:
    """The gathered tables of the study, trained in this process."""
    folder = tmp_path_factory.mktemp("here")
    run_study(load_study(write_study(folder, tiny_content_of_session), TABLES), folder / "results")
    return {name: (folder / "results" / name).read_bytes() for name in GATHERED}
