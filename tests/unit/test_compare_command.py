"""`trainatlas compare` as a user meets it: what it writes and says, and the status that it ends with."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pikepdf
import pytest
from typer.testing import CliRunner

from trainatlas.cli import app
from trainatlas.report import render as rendering
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.report_file import read_content

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def run_of(built_report: Any, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a results folder of a name, with the built report's trials, changed."""

    def make(name: str, change: Change = lambda trials: trials, **study: Any) -> Path:
        folder = tmp_path / name / "tiny"
        folder.mkdir(parents=True)
        trials = pd.read_csv(built_report.results / "trials.csv", dtype=str, keep_default_na=False)
        trials["test_accuracy"] = [str(0.3 + 0.5 * float(value or 0)) for value in trials["test_accuracy"]]
        change(trials).to_csv(folder / "trials.csv", index=False)
        told = json.loads((built_report.results / "provenance.json").read_text(encoding="utf-8"))
        told["study"] |= study
        (folder / "provenance.json").write_text(json.dumps(told), encoding="utf-8")
        return folder

    return make


def worse(trials: pd.DataFrame, by: float = 0.05, where: str = "") -> pd.DataFrame:
    hit = trials["activation"] == where if where else trials["activation"] != ""
    lower = [str(float(value) - by) for value in trials["test_accuracy"]]
    return trials.assign(test_accuracy=trials["test_accuracy"].mask(hit, pd.Series(lower, index=trials.index)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the document unprinted, which takes most of the time."""
    monkeypatch.setattr(rendering, "rendering_pdf", lambda html, attachments: nullcontext(lambda: b"%PDF-"))


def compare(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_a_regression_ends_with_status_1_and_a_report(
    run_of: Callable[..., Path], tmp_path: Path, command: Callable[..., Any]
) -> None:
    old, new = run_of("old"), run_of("new", worse, epochs=3)
    done = command("compare", old, new, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (1, ""), done.stderr
    assert "new minus old: −5.00 points (95% interval −5.00 to −5.00); margin 1 point" in done.stdout
    assert f"{tmp_path / 'out' / 'index.html'}\n" in done.stdout
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and "한국어" in page
    told = pd.read_csv(tmp_path / "out" / "tables" / "compare.csv", keep_default_na=False)
    assert set(told["verdict"]) == {"worse"}
    pairs = pd.read_csv(tmp_path / "out" / "tables" / "pairs.csv")
    assert len(pairs) == told["pairs"][0] and pairs["difference"].tolist() == pytest.approx([-0.05] * len(pairs))
    with pikepdf.open(tmp_path / "out" / "report.pdf") as pdf:
        assert set(pdf.attachments) == {"compare.csv", "pairs.csv"}
    settings = next(
        block
        for section in read_content(tmp_path / "out").sections
        for block in section.blocks
        if block.title == "Settings"
    )
    assert isinstance(settings, Table) and ("epochs", "2", "3") in settings.rows


def test_equal_runs_end_with_status_0_and_differ_by_nothing(
    run_of: Callable[..., Path], tmp_path: Path, quick: None
) -> None:
    done = compare(run_of("old"), run_of("new"), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "+0.00 points (95% interval +0.00 to +0.00)" in done.stdout and "no regression" in done.stdout
    content = read_content(tmp_path / "out")
    assert "Study, code, packages and hardware are the same." in content.findings
    blocks = [block for section in content.sections for block in section.blocks]
    assert [block.name for block in blocks if isinstance(block, Figure)] == ["run_differences"]


def test_a_single_level_is_enough(run_of: Callable[..., Path], tmp_path: Path, quick: None) -> None:
    old, new = run_of("old"), run_of("new", lambda trials: worse(trials, 0.03, "tanh"))
    assert compare(old, new, "--out", tmp_path / "out").exit_code == 1
    told = pd.read_csv(tmp_path / "out" / "tables" / "compare.csv", keep_default_na=False)
    assert {"tanh"} == set(told.loc[(told["verdict"] == "worse") & (told["factor"] == "activation"), "level"])
    assert compare(old, new, "--out", tmp_path / "out", "--margin", "0.04").exit_code == 0
    assert compare(new, old, "--out", tmp_path / "out").exit_code == 0


def test_one_seed_is_told_without_an_interval_and_passes(
    run_of: Callable[..., Path], tmp_path: Path, quick: None
) -> None:
    old, new = run_of("old"), run_of("new", lambda trials: worse(trials[trials["seed"] == "1"]))
    done = compare(old, new, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "−5.00 points (one seed: no interval)" in done.stdout and "fewer than two seeds" in done.stdout


def test_every_name_of_the_study_is_escaped(run_of: Callable[..., Path], tmp_path: Path, quick: None) -> None:
    nasty = "mine.py:<b>bold</b>&amp;"

    def renamed(trials: pd.DataFrame) -> pd.DataFrame:
        return trials.assign(activation=trials["activation"].replace("tanh", nasty))

    runs = [
        run_of(name, renamed, question="<i>?</i>", factors={"activation": ["relu", nasty]}) for name in ("old", "<u>")
    ]
    done = compare(*runs, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;bold" in page and "&lt;u&gt;" in page
    assert not any(tag in page for tag in ("<b>", "<u>", "<i>", "<script"))


def test_built_again_a_comparison_has_the_same_bytes(run_of: Callable[..., Path], tmp_path: Path, quick: None) -> None:
    runs = run_of("old"), run_of("new", worse)
    for out in ("a", "b"):
        compare(*runs, "--out", tmp_path / out)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 8
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


# What is wrong with the new run, and words of the line that says so.
MISTAKES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no such folder": (shutil.rmtree, ["no such folder", "allowed: "]),
    "no results": (lambda folder: (folder / "trials.csv").unlink(), ["no results folder", "trials.csv", "allowed: "]),
    "no provenance": (
        lambda folder: (folder / "provenance.json").unlink(),
        ["provenance.json", "trainatlas aggregate"],
    ),
    "broken provenance": (lambda folder: (folder / "provenance.json").write_text("{"), ["provenance.json", "JSON"]),
    "a list": (lambda folder: (folder / "provenance.json").write_text("[]"), ["study is null", "allowed: a mapping"]),
    "no levels": (
        lambda folder: (folder / "provenance.json").write_text('{"study": {"factors": {"init": 7}}, "packages": {}}'),
        ["factors.init is 7", "allowed: a list"],
    ),
    "no table": (
        lambda folder: (folder / "trials.csv").write_text("a,b\n1,2\n"),
        ["'trial_id' is missing", "allowed: "],
    ),
    "no trial in common": (
        lambda folder: (folder / "trials.csv").write_text((folder / "trials.csv").read_text().split("\n")[0] + "\n"),
        ["no trial in common", "allowed: "],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_ends_with_status_2_and_one_line(mistake: str, run_of: Callable[..., Path], tmp_path: Path) -> None:
    old, new = run_of("old"), run_of("new")
    change, words = MISTAKES[mistake]
    change(new)
    done = compare(old, new, "--out", tmp_path / "out")
    assert done.exit_code == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and str(new) in done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("--margin", "-1"), ("--margin", "nan"), ("--metric", "test_loss")])
def test_options_that_make_no_sense_end_with_status_2(words: tuple[str, str], run_of: Callable[..., Path]) -> None:
    done = compare(run_of("old"), run_of("new"), *words)
    assert done.exit_code == 2 and done.stderr.startswith(f"trainatlas: {words[0]} is ") and "allowed: " in done.stderr
