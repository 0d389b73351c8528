"""The command line: each stage by hand, and one line for each mistake."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from trainatlas.cli import app
from trainatlas.report import render as rendering

Command = Callable[..., Any]
Content = dict[str, Any]

# One mistake of every kind that the issue names: (change, words of the line).
MISTAKES: dict[str, tuple[Callable[[Content], object], list[str]]] = {
    "unknown level": (lambda study: study["factors"].update(activation=["rleu"]), ["activation", "'rleu'", "relu, "]),
    "misspelt key": (lambda study: study.update(epocs=3), ["'epocs'", "did you mean 'epochs'?", "allowed: "]),
    "misspelt nested key": (lambda study: study["samples"][0].update(tuen=3), ["'samples.0.tuen'", "'tune'"]),
    "empty grid": (lambda study: study["factors"].update(activation=[]), ["activation", "[]", "at least one level"]),
    "negative rate": (lambda study: study["learning_rate"]["sgd"].update(low=-1), ["learning_rate.sgd.low", "-1"]),
    "zero seeds": (lambda study: study["samples"][0].update(seeds=[]), ["samples.0.seeds", "[]", "at least one"]),
    "batch size above the data": (lambda study: study.update(batch_size=9999), ["batch_size", "9999", "1 to 1079"]),
    "tuning and final seed": (lambda study: study["samples"][0].update(seeds=[0]), ["samples.0", "[0]"]),
    "not a number": (lambda study: study.update(test_share=float("nan")), ["test_share", "NaN"]),
    "level over two lines": (lambda study: study["factors"].update(activation=["re\nlu"]), ["activation"]),
}
TEXTS: dict[str, tuple[str | None, list[str]]] = {
    "missing file": (None, ["no such study file"]),
    "not YAML": ("a: [1,\nb: }", ["not YAML", "line 2"]),
    "empty file": ("", ["empty", "mapping"]),
    "a list": ("- a\n", ["list", "mapping"]),
    "a key twice": ("title: a\ntitle: b\n", ["'title'", "line 2"]),
}


def write(content: Content, folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def assert_one_line(done: Any, *words: object) -> None:
    """Status 1, nothing on standard output, one line on standard error that holds `words`."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("trainatlas: ")
    assert [word for word in map(str, words) if word not in done.stderr] == [], done.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_study_ends_with_one_line_and_nothing_written(
    mistake: str, tiny: Content, tmp_path: Path, command: Command
) -> None:
    change, words = MISTAKES[mistake]
    change(tiny)
    study = write(tiny, tmp_path)
    assert_one_line(command("plan", study, "--results", tmp_path / "results"), study, *words)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("mistake", TEXTS)
def test_a_file_that_is_no_study_ends_with_one_line_and_nothing_written(
    mistake: str, tmp_path: Path, command: Command
) -> None:
    text, words = TEXTS[mistake]
    study = tmp_path / "tiny.yaml"
    if text is not None:
        study.write_text(text, encoding="utf-8")
    assert_one_line(command("plan", study, "--results", tmp_path / "results"), study, *words)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("stage", ["plan --round 2", "status", "aggregate", "time", "analyse", "report"])
def test_every_stage_checks_the_study_first(stage: str, tiny: Content, tmp_path: Path, command: Command) -> None:
    tiny["epochs"] = 0
    study = write(tiny, tmp_path)
    assert_one_line(command(*stage.split(), study, "--results", tmp_path / "results"), study, "epochs", "0")


@pytest.mark.parametrize(
    ("stage", "before"),
    [
        ("plan --round 2", "plan"),
        ("plan --round 3", "plan"),
        ("status", "plan"),
        ("aggregate", "plan"),
        ("time", "plan"),
        ("analyse", "aggregate"),
        ("report", "aggregate"),
    ],
)
def test_a_stage_before_its_time_names_the_one_that_is_due(
    stage: str, before: str, tiny: Content, tmp_path: Path, command: Command
) -> None:
    if "3" in stage:  # what a grid chose is in the plan of the second round; a search needs all rounds before
        search = {"name": "search", "strategy": "coarse_to_fine", "draws": 20, "coarse_epochs": 1, "seeds": [7]}
        tiny["samples"].append(search)
    done = command(*stage.split(), write(tiny, tmp_path), "--results", tmp_path / "results")
    assert_one_line(done, tmp_path / "results", "no such file", f"`trainatlas {before}` makes it")


def test_a_pack_that_does_not_exist_is_named(tmp_path: Path, command: Command) -> None:
    pack = tmp_path / "0123456789ab.json"
    assert_one_line(command("train", pack, "--out", tmp_path / "raw"), pack, "no such file; `trainatlas plan` makes it")


CLAIMS = {
    "title": "Claims", "seeds": [1, 2, 3], "chapters": {"A": "Activations"}, "studies": {}, "language": "ko",
    "claims": [{"id": "A12", "statement": "s", "source": "S0", "exact": True}],
}  # fmt: skip


@pytest.mark.parametrize("words", [["report"], ["claims", "report"]], ids=["study", "claims"])
def test_a_report_is_in_the_language_asked_for_and_else_in_that_of_the_file(
    words: list[str], tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    path = write(CLAIMS if "claims" in words else tiny | {"language": "ko"}, tmp_path)
    written: list[str] = []
    monkeypatch.setattr(rendering, "write_report", lambda study, *_: written.append(study.language) or ())
    monkeypatch.setattr(rendering, "write_claims_report", lambda told, *_: written.append(told.claims.language) or ())
    for options in ([], ["--language", "en"], ["--language", "ko"]):
        assert CliRunner().invoke(app, [*words, str(path), *options]).exit_code == 0
    assert written == ["ko", "en", "ko"]
    assert_one_line(command(*words, path, "--language", "kr"), "--language kr; allowed: en, ko")


def test_a_plan_made_twice_by_hand_says_how_large_it_is_and_writes_nothing_anew(
    tiny: Content, tmp_path: Path, command: Command
) -> None:
    study = write(tiny, tmp_path)
    first = command("plan", study, "--results", tmp_path / "results")
    assert (first.returncode, first.stderr) == (0, "")
    assert "32" in first.stdout and "tiny" in first.stdout
    packs = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "tiny" / "packs").iterdir()}
    again = command("plan", study, "--results", tmp_path / "results")
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in packs} == packs


def test_a_target_that_cannot_be_written_ends_with_one_line(tiny: Content, tmp_path: Path, command: Command) -> None:
    (tmp_path / "results").write_text("in the way", encoding="utf-8")
    done = command("plan", write(tiny, tmp_path), "--results", tmp_path / "results")
    assert_one_line(done, tmp_path / "results", "cannot be written")
    assert (tmp_path / "results").read_text(encoding="utf-8") == "in the way"


PLAN_AS_NOBODY = """
import os, sys
import trainatlas.catalogue, trainatlas.cli, trainatlas.costs, trainatlas.study.config, trainatlas.study.planning
if os.geteuid() == 0:
    os.setuid(65534)
sys.argv[0] = "trainatlas"
trainatlas.cli.main()
"""


def test_a_folder_without_permission_ends_with_one_line(tiny: Content, python: Command) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = write(tiny, folder)
        study.chmod(0o444)
        folder.chmod(0o555)
        done = python(PLAN_AS_NOBODY, "plan", study, "--results", folder / "results")
        assert_one_line(done, folder / "results", "cannot be written: Permission denied")
        assert list(folder.iterdir()) == [study]
        folder.chmod(0o755)


def test_a_full_disk_ends_with_one_line_and_no_half_plan(tiny: Content, tiny_disk: Path, command: Command) -> None:
    study = write(tiny, tiny_disk)
    (tiny_disk / "ballast").write_bytes(bytes(56 * 1024))
    done = command("plan", study, "--results", tiny_disk / "results")
    assert_one_line(done, tiny_disk / "results", "cannot be written: No space left on device")
    assert not (tiny_disk / "results" / "tiny" / "plan-1.json").exists()
    assert list(tiny_disk.rglob("*.part")) == []


@pytest.mark.parametrize(
    "stage",
    ["plan", "prepare", "train", "rerun", "status", "aggregate", "time", "analyse", "report", "schema", "bench"],
)
def test_every_command_explains_itself(stage: str, command: Command) -> None:
    done = command(stage, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_word_that_is_no_command_is_refused(command: Command) -> None:
    done = command("plna")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "plna" in done.stderr
