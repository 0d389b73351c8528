"""The whole pipeline under a real Snakemake, undisturbed, disturbed and grown."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from places import LIMIT, ROOT, Place, made_once

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: dict[str, Any]) -> Place:
    """The tiny study, run to the end; tests copy it before they change it."""

    def make(folder: Path) -> None:
        Place(folder).write(tiny_content_of_session)
        Place(folder).finish()

    return Place(made_once(tmp_path_factory, "undisturbed", make))


@pytest.fixture
def copied(undisturbed: Place, tmp_path: Path) -> Place:
    """The finished run, to go on from."""
    return undisturbed.copy(tmp_path / "copy")


def test_one_command_leads_from_the_study_to_page_and_document(undisturbed: Place) -> None:
    assert (undisturbed.report / "index.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (undisturbed.report / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_make_hands_the_study_to_snakemake(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Place(tmp_path)
    place.write(tiny)
    words = ["make", "-o", "setup", "report", f"BIN={Path(sys.executable).parent}", f"STUDY={place.study}"]
    plan = "SNAKEMAKE_ARGS=--cores 2 --dry-run --printshellcmds"
    done = subprocess.run([*words, plan], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert f"trainatlas plan {place.study} " in done.stdout


def test_trials_in_are_trials_out(undisturbed: Place) -> None:
    plans = [pd.read_csv(undisturbed.results / name) for name in ("plan-1.csv", "plan-2.csv")]
    planned = pd.concat(plans)["trial_id"]
    gathered = pd.read_csv(undisturbed.results / "trials.csv")["trial_id"]
    assert sorted(planned) == sorted(gathered)
    assert len(gathered) == 32 + 32 + 6


def test_times_to_targets_are_told_in_seconds(undisturbed: Place) -> None:
    """Steps that tests of timing do not look at are timed here: those of a real study, each network alone."""
    timing = pd.read_csv(undisturbed.results / "timing.csv", keep_default_na=False)
    trials = pd.read_csv(undisturbed.results / "trials.csv", keep_default_na=False)
    by = ["activation", "normalisation", "optimizer", "preprocessing", "regularisation", "augmentation", "batch_size"]
    final = trials[trials["stage"] == "final"].merge(timing, on=by, how="left", validate="many_to_one")
    assert len(final) == 32 and final["step_seconds"].between(1e-6, 1).all()
    convergence = pd.read_csv(undisturbed.results / "analysis" / "convergence.csv")
    steps, seconds = convergence["median"], convergence["median_seconds"]
    assert seconds.notna().all() and (np.isinf(seconds) == np.isinf(steps)).all() and np.isfinite(seconds).any()
    least, most = final["step_seconds"].min(), final["step_seconds"].max()
    reached = np.isfinite(steps)
    assert (seconds[reached] / steps[reached]).between(least * 0.999, most * 1.001).all()


def test_what_has_not_been_timed_is_timed_and_not_trained_again(copied: Place) -> None:
    for path in (
        copied.results / "timing.csv",
        copied.results / "analysis" / "convergence.csv",
        copied.report / "index.html",
    ):
        path.unlink()
    done = copied.run("--dry-run")
    assert done.returncode == 0, done.stderr
    rules = set(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", done.stdout, re.MULTILINE))
    assert rules == {"time", "analyse", "report", "all"}
    assert re.search(r"rule time:.*?threads: 2\n", done.stdout, re.DOTALL), "nothing trains beside it"


def test_a_finished_study_has_nothing_left_to_do(copied: Place) -> None:
    done = copied.run()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_snakemakes_own_report_holds_page_document_and_tables_with_captions(undisturbed: Place, tmp_path: Path) -> None:
    undisturbed.finish("--report", str(tmp_path / "report.zip"))
    with zipfile.ZipFile(tmp_path / "report.zip") as held:
        files = {Path(name).name: held.read(name) for name in held.namelist()}
    for path in (undisturbed.report / "index.html", undisturbed.report / "report.pdf"):
        assert files[path.name] == path.read_bytes()
    assert {"effects.csv", "differences.csv", "levels.csv", "coverage.csv"} <= set(files)
    text = files["report.html"].decode()
    for caption in sorted((ROOT / "workflow" / "report").glob("*.rst")):
        first = " ".join(
            caption.read_text(encoding="utf-8").replace("{{ snakemake.wildcards.study }}", "tiny").split()
        )[:60]
        assert caption.stem.startswith("claims") or first in " ".join(text.replace("\\n", " ").split()), caption


def test_another_number_of_cores_leaves_nothing_to_do(copied: Place) -> None:
    done = copied.run("--cores", "1")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_another_language_writes_the_report_anew_and_nothing_else(undisturbed: Place, copied: Place) -> None:
    done = undisturbed.run("--dry-run", settings=("language=ko",))
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", done.stdout, re.MULTILINE)) == {"report", "all"}

    before = {path: path.stat().st_mtime_ns for path in copied.results.rglob("*.csv")}
    page = copied.report / "index.html"
    page.unlink()  # Snakemake knows nothing of a copy, neither what made it
    copied.finish(settings=("language=ko",))
    assert '<html lang="ko">' in page.read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in copied.results.rglob("*.csv")} == before


def test_an_edited_rule_trains_nothing(undisturbed: Place, tmp_path: Path) -> None:
    """Nor does other code: what training yields is told by TRAINING_VERSION. By Snakemake's own triggers the edit counts."""
    code = tmp_path / "code"
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, code / name)
    shutil.copy(ROOT / "Snakefile", code)
    rule = code / "workflow" / "rules" / "train.smk"
    rule.write_text(
        rule.read_text(encoding="utf-8").replace("exec trainatlas train", "exec  trainatlas train"), "utf-8"
    )
    edited = ["--snakefile", str(code / "Snakefile"), "--directory", str(ROOT), "--dry-run"]
    done = undisturbed.run(*edited)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr
    counted = undisturbed.run(*edited, "--rerun-triggers", "code")
    assert counted.returncode == 0 and "Code has changed" in counted.stdout + counted.stderr, "the edit is one"


def test_the_longest_pack_starts_first_and_progress_is_told(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINATLAS_WORKERS", "3")
    one = {"init": ["kaiming_normal"], "preprocessing": ["raw"]}
    tiny["factors"] |= one | {"activation": ["gelu", "relu", "soft_exponential"]}
    place = Place(tmp_path)
    place.write(tiny)
    said = place.finish("--cores", "1", str(place.results / "plan-2.json"), settings=("progress=0.5",))
    seconds = json.loads((place.results / "plan-1.json").read_text())["pack_seconds"]
    assert len(set(seconds.values())) == 3
    rows = [pd.read_csv(place.results / "raw" / pack / "pack.csv", dtype={"pack": str}).iloc[0] for pack in seconds]
    started = [row["pack"] for row in sorted(rows, key=lambda row: row["started"])]
    assert started == sorted(seconds, key=lambda pack: -seconds[pack])
    told = [line for line in said.splitlines() if line.startswith("tiny: ")]
    counts = [int(line.split()[1]) for line in told]
    assert counts == sorted(counts) and counts[0] < 12 and counts[-1] == 12
    assert not list((place.results / "progress").iterdir())


def test_a_pack_that_fails_is_told_with_its_last_line(copied: Place) -> None:
    place = copied
    pack = json.loads((place.results / "plan-1.json").read_text(encoding="utf-8"))["packs"][0]
    shutil.rmtree(place.results / "raw" / pack)
    (place.results / "trials.csv").unlink()
    path = place.results / "packs" / f"{pack}.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seed":0', '"seed":5'), encoding="utf-8")
    assert place.run(place.gathered).returncode != 0
    words = [sys.executable, "-m", "trainatlas.cli", "status", place.study, "--results", place.folder / "results"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert "packs: 3 done, 0 running, 0 waiting; 1 stopped" in done.stdout
    assert f"pack {path.stem} stopped: trainatlas: {path}: its trials were altered" in done.stdout
    assert str(place.results / "logs" / "train" / f"{path.stem}.log") in done.stdout


def test_a_damaged_pack_of_a_finished_study_is_trained_again(copied: Place) -> None:
    before, tables = copied.trained(), copied.tables()
    harmed = copied.results / "raw" / min(before) / "curves.csv"
    harmed.write_bytes(harmed.read_bytes()[:-30])
    assert f"trainatlas: {harmed}: has " in copied.finish(copied.gathered)
    after = copied.trained()
    assert {pack for pack in before if after[pack] != before[pack]} == {harmed.parent.name}
    assert copied.tables() == tables


def test_reformatting_the_study_trains_nothing(copied: Place, tiny: dict[str, Any]) -> None:
    before, tables = copied.trained(), copied.tables()
    copied.study.write_text("# a comment\n" + yaml.safe_dump(tiny, indent=6), encoding="utf-8")
    copied.finish(copied.gathered)
    assert copied.trained() == before
    assert copied.tables() == tables


def test_a_new_seed_trains_only_its_own_runs(copied: Place, tiny: dict[str, Any]) -> None:
    before, old = copied.trained(), pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    tiny["samples"][0]["seeds"].append(9)
    copied.write(tiny)
    said = copied.finish(copied.gathered)
    after = copied.trained()
    assert before.items() <= after.items()
    assert "tiny: 70 trials kept, 16 new, 0 planned but not trained, 0 retired" in said
    fresh = pd.concat(pd.read_csv(copied.results / "raw" / pack / "trials.csv") for pack in set(after) - set(before))
    assert len(fresh) == 16 and set(fresh["seed"]) == {9}
    new = pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    pd.testing.assert_frame_equal(new.loc[old.index], old)


def test_a_new_level_trains_only_its_own_runs(
    copied: Place, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the catalogue and one of the user's own, from a file beside the study."""
    monkeypatch.setenv("TRAINATLAS_WORKERS", "1")
    before, old = copied.trained(), pd.read_csv(copied.results / "trials.csv", index_col="trial_id")
    (copied.folder / "mine.py").write_text("def cubic(x, share=0.1):\n    return x + share * x**3\n", encoding="utf-8")
    tiny["factors"]["activation"] += ["gelu", "mine.py:cubic"]
    tiny["samples"] = tiny["samples"][:1]
    copied.write(tiny)
    copied.finish()
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
    assert re.search(r"rule prepare:.*?reason: Params have changed", done.stdout, re.DOTALL), done.stdout
    assert re.search(r"checkpoint plan:.*?reason: Input files updated by another job", done.stdout, re.DOTALL)


def test_a_level_of_the_users_own_that_cannot_be_trained_ends_before_anything_is(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    place = Place(tmp_path)
    (tmp_path / "mine.py").write_text("def total(x):\n    return x.sum()\n", encoding="utf-8")
    tiny["factors"]["activation"] = ["mine.py:total"]
    place.write(tiny)
    done = place.run()
    assert done.returncode != 0
    assert "mine.py:total: returns shape () for (5, 6); allowed: the shape it is given" in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.trained()


def test_merged_results_of_another_machine_are_not_trained_again(
    undisturbed: Place, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    place = Place(tmp_path)
    place.write(tiny)
    options = ["--results", place.folder / "results"]
    words = [sys.executable, "-m", "trainatlas.cli", "merge", place.study, undisturbed.results, *options]
    merged = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert merged.returncode == 0, merged.stderr
    assert "tiny: 70 trials in 4 packs taken over" in merged.stdout
    place.finish(place.gathered)
    assert place.trained() == undisturbed.trained()
    assert place.tables() == undisturbed.tables()


def test_a_level_taken_away_trains_nothing_and_leaves_the_tables(copied: Place, tiny: dict[str, Any]) -> None:
    before = copied.trained()
    tiny["factors"]["activation"] = ["relu"]
    tiny["samples"] = tiny["samples"][:1]
    copied.write(tiny)
    copied.finish(copied.gathered)
    assert copied.trained() == before
    assert set(pd.read_csv(copied.results / "trials.csv")["activation"]) == {"relu"}


def test_killed_again_and_again_elsewhere_and_in_other_packs_it_ends_with_the_same_tables(
    undisturbed: Place, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINATLAS_WORKERS", "1")
    place = Place(tmp_path)
    place.write(dict(reversed(tiny.items())))  # the order of keys means nothing
    planned, gathering = place.results / "plan-1.json", place.results / "curves.csv"
    for moment in (planned.exists, lambda: bool(place.trained()), gathering.exists):
        place.disturb(signal.SIGKILL, moment)
    place.finish(place.gathered)
    assert set(place.trained()).isdisjoint(undisturbed.trained())
    assert place.tables() == undisturbed.tables()


def test_a_second_snakemake_on_one_study_is_refused_in_one_line(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Place(tmp_path)
    place.write(tiny)
    first = place.start(place.gathered)
    lock = place.results / ".lock"
    give_up = time.monotonic() + LIMIT
    while not (lock.exists() and lock.read_text()) and time.monotonic() < give_up:
        time.sleep(0.005)
    second = place.run(place.gathered)
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
    place = Place(tmp_path)
    place.write(tiny | change)
    done = place.run()
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert str(place.study) in line
    for word in words:
        assert word in line
    assert not place.results.exists()


def test_a_target_folder_that_is_a_file_is_named(tmp_path: Path, tiny: dict[str, Any]) -> None:
    place = Place(tmp_path)
    place.write(tiny)
    (tmp_path / "results").write_text("in the way")
    done = place.run()
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert str(tmp_path / "results") in line and "folder" in line
    assert (tmp_path / "results").read_text() == "in the way"


def test_a_full_disk_leaves_no_table_behind(undisturbed: Place, tiny_disk: Path) -> None:
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
