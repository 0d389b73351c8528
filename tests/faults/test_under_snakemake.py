"""Interruption and damage under a real Snakemake, in one study that has to bear all of it."""

import copy
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

from trainatlas.catalogue import TABLES
from trainatlas.study.config import load_study

ROOT = Path(__file__).resolve().parents[2]
GATHERED = ("trials.csv", "curves.csv", "layers.csv", "selected.csv")
LIMIT = 300

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


@dataclass
class Place:
    """A study of one tuning pack and a final one, and its folders."""

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "small.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results" / "small"

    def start(self) -> subprocess.Popen[str]:
        places = [f"study={self.study}", f"results={self.folder / 'results'}", f"reports={self.folder / 'reports'}"]
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", "--until", "aggregate", "--config", *places],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"TRAINATLAS_CHECKPOINT_SECONDS": "0"},
        )

    def run(self) -> str:
        """Run to the end and return what was said."""
        running = self.start()
        _, said = running.communicate(timeout=LIMIT)
        assert running.returncode == 0, said
        return said

    def disturb(self, number: int, moment: Callable[[], bool]) -> None:
        """Start and send all its processes a signal once the moment has come."""
        running = self.start()
        give_up = time.monotonic() + LIMIT
        while not moment() and running.poll() is None and time.monotonic() < give_up:
            time.sleep(0.005)  # waits for the moment; the outcome does not depend on how long it takes
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: dict[str, Any]) -> Place:
    place = Place(tmp_path_factory.mktemp("disturbed"))
    content = copy.deepcopy(tiny_content_of_session)
    content["factors"] |= {"activation": ["relu"], "init": ["kaiming_normal"], "preprocessing": ["raw"]}
    content |= {"samples": content["samples"][:1], "epochs": 60, "pack_trials": 4}
    place.study.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def disturbed(place: Place) -> Place:
    """The study, interrupted in the midst of packs, then killed in the midst of packs, and brought to its end."""
    place.disturb(signal.SIGINT, lambda: bool(place.checkpoints()))
    waiting = place.checkpoints()
    assert waiting, "it was interrupted in the midst of a pack"
    for pack in waiting:
        assert f"pack {pack}: stopped at epoch " in place.log(pack)

    def going_on() -> bool:
        logs = [place.log(pack) for pack in waiting if (place.results / "logs" / "train" / f"{pack}.log").exists()]
        return any("continues at epoch" in log for log in logs)

    place.disturb(signal.SIGKILL, going_on)
    waiting = place.checkpoints()
    place.run()
    for pack in waiting:
        assert f"pack {pack}: continues at epoch " in place.log(pack)
    return place


def test_interrupted_and_killed_it_goes_on_to_the_tables_of_a_study_left_alone(
    disturbed: Place, run_study: Callable[..., Any], tmp_path: Path
) -> None:
    run_study(load_study(disturbed.study, TABLES), tmp_path)
    alone = {name: (tmp_path / name).read_bytes() for name in GATHERED}
    assert disturbed.tables() == alone
    assert disturbed.checkpoints() == set()


@pytest.fixture
def copied(disturbed: Place, tmp_path: Path) -> Place:
    """The finished study, to be harmed; file times are kept."""
    shutil.copytree(disturbed.folder, tmp_path / "copy")
    return Place(tmp_path / "copy")


def test_a_damaged_pack_alone_is_trained_again(copied: Place) -> None:
    before, tables = copied.trained(), copied.tables()
    harmed = copied.results / "raw" / min(before) / "curves.csv"
    harmed.write_bytes(harmed.read_bytes()[:-30])
    said = copied.run()
    (line,) = [line for line in said.splitlines() if line.startswith("trainatlas:")]
    assert line.startswith(f"trainatlas: {harmed}: has ") and line.endswith("will be trained again")
    after = copied.trained()
    assert {pack for pack in before if after[pack] != before[pack]} == {harmed.parent.name}
    assert copied.tables() == tables


def test_files_from_the_future_train_nothing_and_change_no_table(copied: Place) -> None:
    """As after a clock that was ahead: every file of the results is stamped a day from now, in one order or another."""
    tables = copied.tables()
    tomorrow = time.time_ns() + 86_400 * 10**9
    files = sorted(path for path in copied.results.rglob("*") if path.is_file())
    for place, path in enumerate(files):
        os.utime(path, ns=(tomorrow, tomorrow - place * 10**6))
    content = {path: path.read_bytes() for path in files if path.parent.parent.name == "raw"}
    copied.run()
    assert {path: path.read_bytes() for path in content} == content
    assert copied.tables() == tables
