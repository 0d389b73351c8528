"""The whole pipeline under a real Snakemake, undisturbed, disturbed and grown."""

import json
import os
import re
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

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("trials.csv", "curves.csv", "layers.csv", "selected.csv")
LIMIT = 300

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


@dataclass
class Workplace:
    """A study file and folders of its own; Snakemake runs from the repository's root, as a user's would."""

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results" / "tiny"

    @property
    def report(self) -> Path:
        return self.folder / "reports" / "tiny"

    def write(self, content: dict[str, Any]) -> None:
        self.study.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def words(self, *more: str, settings: tuple[str, ...] = ()) -> list[str]:
        places = [f"study={self.study}", f"results={self.folder / 'results'}", f"reports={self.folder / 'reports'}"]
        return [sys.executable, "-m", "snakemake", "--cores", "2", *more, "--config", *places, *settings]

    def start(self, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(*more),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *more: str, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        words = self.words(*more, settings=settings)
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)

    def tables(self) -> dict[str, bytes]:
        return {name: (self.results / name).read_bytes() for name in TABLES}

    def trained(self) -> dict[str, int]:
        """When each pack's table was written, by pack."""
        return {path.parent.name: path.stat().st_mtime_ns for path in self.results.glob("raw/*/trials.csv")}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: dict[str, Any]) -> Workplace:
    """The tiny study, run to the end; tests copy it before they change it."""
    place = Workplace(tmp_path_factory.mktemp("undisturbed"))
    place.write(tiny_content_of_session)
    done = place.run()
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def copied(undisturbed: Workplace, tmp_path: Path) -> Workplace:
    """The finished run, to go on from; file times are kept."""
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    return Workplace(tmp_path / "copy")


def test_one_command_leads_from_the_study_to_page_and_document(undisturbed: Workplace) -> None:
    assert (undisturbed.report / "index.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (undisturbed.report / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_make_hands_the_study_to_snakemake(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Workplace(tmp_path)
    place.write(tiny)
    words = ["make", "-o", "setup", "report", f"BIN={Path(sys.executable).parent}", f"STUDY={place.study}"]
    plan = "SNAKEMAKE_ARGS=--cores 2 --dry-run --printshellcmds"
    done = subprocess.run([*words, plan], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert f"trainatlas plan {place.study} " in done.stdout


def test_trials_in_are_trials_out(undisturbed: Workplace) -> None:
    plans = [pd.read_csv(undisturbed.results / name) for name in ("plan-1.csv", "plan-2.csv")]
    planned = pd.concat(plans)["trial_id"]
    gathered = pd.read_csv(undisturbed.results / "trials.csv")["trial_id"]
    assert sorted(planned) == sorted(gathered)
    assert len(gathered) == 32 + 32 + 6


def test_a_finished_study_has_nothing_left_to_do(copied: Workplace) -> None:
    done = copied.run()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_another_number_of_cores_leaves_nothing_to_do(copied: Workplace) -> None:
    done = copied.run("--cores", "1")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_second_run_elsewhere_in_other_packs_gives_the_same_bytes(
    undisturbed: Workplace, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINATLAS_WORKERS", "1")
    other = Workplace(tmp_path)
    other.write(dict(reversed(tiny.items())))  # the order of keys means nothing
    done = other.run("--until", "aggregate")
    assert done.returncode == 0, done.stderr
    assert set(other.trained()).isdisjoint(undisturbed.trained())
    assert other.tables() == undisturbed.tables()


def test_the_longest_pack_starts_first_and_progress_is_told(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINATLAS_WORKERS", "3")
    tiny["factors"]["activation"] = ["gelu", "relu", "soft_exponential"]
    place = Workplace(tmp_path)
    place.write(tiny)
    done = place.run("--cores", "1", str(place.results / "plan-2.json"), settings=("progress=0.5",))
    assert done.returncode == 0, done.stderr
    seconds = json.loads((place.results / "plan-1.json").read_text())["pack_seconds"]
    assert len(set(seconds.values())) == 3
    rows = [pd.read_csv(place.results / "raw" / pack / "pack.csv", dtype={"pack": str}).iloc[0] for pack in seconds]
    started = [row["pack"] for row in sorted(rows, key=lambda row: row["started"])]
    assert started == sorted(seconds, key=lambda pack: -seconds[pack])
    told = [line for line in done.stderr.splitlines() if line.startswith("tiny: ")]
    counts = [int(line.split()[1]) for line in told]
    assert counts == sorted(counts) and counts[0] < 48 and counts[-1] == 48
    assert not list((place.results / "progress").iterdir())


def test_a_pack_that_fails_is_told_with_its_last_line(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Workplace(tmp_path)
    place.write(tiny)
    assert place.run(str(place.results / "plan-1.json")).returncode == 0
    path = next((place.results / "packs").glob("*.json"))
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 5'), encoding="utf-8")
    assert place.run("--until", "aggregate").returncode != 0
    words = [sys.executable, "-m", "trainatlas.cli", "status", place.study, "--results", place.folder / "results"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert "packs: 1 done, 0 running, 0 waiting; 1 stopped" in done.stdout
    assert f"pack {path.stem} stopped: trainatlas: {path}: its trials were altered" in done.stdout
    assert str(place.results / "logs" / "train" / f"{path.stem}.log") in done.stdout


def test_reformatting_the_study_trains_nothing(copied: Workplace, tiny: dict[str, Any]) -> None:
    before, tables = copied.trained(), copied.tables()
    copied.study.write_text("# a comment\n" + yaml.safe_dump(tiny, indent=6), encoding="utf-8")
    done = copied.run("--until", "aggregate")
    assert done.returncode == 0, done.stderr
    assert copied.trained() == before
    assert copied.tables() == tables


def test_a_new_seed_trains_only_its_own_runs(copied: Workplace, tiny: dict[str, Any]) -> None:
    before, old = copied.trained(), pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    tiny["samples"][0]["seeds"].append(9)
    copied.write(tiny)
    done = copied.run("--until", "aggregate")
    assert done.returncode == 0, done.stderr
    after = copied.trained()
    assert before.items() <= after.items()
    assert "tiny: 70 trials kept, 16 new, 0 planned but not trained, 0 retired" in done.stderr
    fresh = pd.concat(pd.read_csv(copied.results / "raw" / pack / "trials.csv") for pack in set(after) - set(before))
    assert len(fresh) == 16 and set(fresh["seed"]) == {9}
    new = pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    pd.testing.assert_frame_equal(new.loc[old.index], old)


def test_a_new_level_trains_only_its_own_runs(copied: Workplace, tiny: dict[str, Any]) -> None:
    """One of the catalogue and one of the user's own, from a file beside the study."""
    before, old = copied.trained(), pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    (copied.folder / "mine.py").write_text("def cubic(x, share=0.1):\n    return x + share * x**3\n", encoding="utf-8")
    tiny["factors"]["activation"] += ["gelu", "mine.py:cubic"]
    tiny["samples"] = tiny["samples"][:1]
    copied.write(tiny)
    done = copied.run()
    assert done.returncode == 0, done.stderr
    after = copied.trained()
    assert before.items() <= after.items()
    fresh = pd.concat(pd.read_csv(copied.results / "raw" / pack / "trials.csv") for pack in set(after) - set(before))
    assert set(fresh["activation"]) == {"gelu", "mine.py:cubic"}
    assert len(fresh) == 2 * (16 + 16)
    new = pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    kept = old[old["stage"] != "random"]
    pd.testing.assert_frame_equal(new.loc[kept.index], kept, check_dtype=False)  # no texts in user_code before
    assert "mine.py:cubic" in (copied.report / "index.html").read_text(encoding="utf-8")
    (copied.folder / "mine.py").write_text("def cubic(x, share=0.2):\n    return x + share * x**3\n", encoding="utf-8")
    done = copied.run("--dry-run")
    assert re.search(r"checkpoint plan:.*?reason: Params have changed", done.stdout, re.DOTALL), done.stdout


def test_a_level_of_the_users_own_that_cannot_be_trained_ends_before_anything_is(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    place = Workplace(tmp_path)
    (tmp_path / "mine.py").write_text("def total(x):\n    return x.sum()\n", encoding="utf-8")
    tiny["factors"]["activation"] = ["mine.py:total"]
    place.write(tiny)
    done = place.run()
    assert done.returncode != 0
    assert "mine.py:total: returns shape () for (5, 6); allowed: the shape it is given" in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.trained()


def test_merged_results_of_another_machine_are_not_trained_again(
    undisturbed: Workplace, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    place = Workplace(tmp_path)
    place.write(tiny)
    options = ["--results", place.folder / "results"]
    words = [sys.executable, "-m", "trainatlas.cli", "merge", place.study, undisturbed.results, *options]
    merged = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert merged.returncode == 0, merged.stderr
    assert "tiny: 70 trials in 4 packs taken over" in merged.stdout
    done = place.run("--until", "aggregate")
    assert done.returncode == 0, done.stderr
    assert place.trained() == undisturbed.trained()
    assert place.tables() == undisturbed.tables()


def test_a_level_taken_away_trains_nothing_and_leaves_the_tables(copied: Workplace, tiny: dict[str, Any]) -> None:
    before = copied.trained()
    tiny["factors"]["activation"] = ["relu"]
    tiny["samples"] = tiny["samples"][:1]
    copied.write(tiny)
    done = copied.run("--until", "aggregate")
    assert done.returncode == 0, done.stderr
    assert copied.trained() == before
    assert set(pd.read_csv(copied.results / "trials.csv")["activation"]) == {"relu"}


def planned(place: Workplace) -> bool:
    return (place.results / "plan-1.json").exists()


def half_trained(place: Workplace) -> bool:
    return len(place.trained()) >= 1


def gathering(place: Workplace) -> bool:
    return (place.results / "curves.csv").exists()


@pytest.mark.parametrize("moment", [planned, half_trained, gathering])
def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_tables(
    moment: Callable[[Workplace], bool], undisturbed: Workplace, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    place = Workplace(tmp_path)
    place.write(tiny)
    running = place.start("--until", "aggregate")
    give_up = time.monotonic() + LIMIT
    while not moment(place) and running.poll() is None and time.monotonic() < give_up:
        time.sleep(0.005)  # waits for the moment; the outcome does not depend on how long it takes
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    again = place.run("--until", "aggregate")
    assert again.returncode == 0, again.stderr
    assert place.tables() == undisturbed.tables()


def test_a_second_snakemake_on_one_study_is_refused_in_one_line(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Workplace(tmp_path)
    place.write(tiny)
    first = place.start("--until", "aggregate")
    lock = place.results / ".lock"
    give_up = time.monotonic() + LIMIT
    while not (lock.exists() and lock.read_text()) and time.monotonic() < give_up:
        time.sleep(0.005)
    second = place.run("--until", "aggregate")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.returncode == 1
    (line,) = [line for line in second.stderr.splitlines() if line.startswith("trainatlas:")]
    assert "another Snakemake" in line and str(first.pid) in line
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, ["epochs", "0", "greater than or equal to 1"]),
        ({"batch_size": 100_000}, ["batch_size", "100000", "1 to"]),
        ({"epcohs": 3}, ["epcohs", "epochs"]),
    ],
)
def test_a_bad_study_ends_before_anything_starts_with_one_line(
    change: dict[str, Any], words: list[str], tmp_path: Path, tiny: dict[str, Any]
) -> None:
    place = Workplace(tmp_path)
    place.write(tiny | change)
    done = place.run()
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert str(place.study) in line
    for word in words:
        assert word in line
    assert not place.results.exists()


def test_a_target_folder_that_is_a_file_is_named(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Workplace(tmp_path)
    place.write(tiny)
    (tmp_path / "results").write_text("in the way")
    done = place.run()
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert str(tmp_path / "results") in line and "folder" in line
    assert (tmp_path / "results").read_text() == "in the way"


def test_a_full_disk_leaves_no_table_behind(undisturbed: Workplace, tiny_disk: Path) -> None:
    pack = next(iter(undisturbed.trained()))
    words = ["train", undisturbed.results / "packs" / f"{pack}.json", "--out", tiny_disk / "raw"]
    (tiny_disk / "ballast").write_bytes(bytes(48 * 1024))
    done = subprocess.run(
        [sys.executable, "-m", "trainatlas.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written: No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    whole = undisturbed.results / "raw" / pack
    for path in (tiny_disk / "raw").glob("*"):
        if path.name != "pack.csv":
            assert path.read_bytes() == (whole / path.name).read_bytes()
    assert not (tiny_disk / "raw" / "trials.csv").exists()
