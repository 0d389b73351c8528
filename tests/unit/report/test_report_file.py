"""report.json is all that page and document are rendered from, and is refused in one line where it is not as it should be."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trainatlas.report import render as rendering
from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.report.render import render
from trainatlas.report.report_file import read_content, write_content
from trainatlas.study.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
MARKUP = """<script>alert("x")</script> & 'quotes' \\ 100 % — 한국어 🧪"""

CONTENT = Content(
    title=MARKUP,
    question="Does it come back?",
    findings=["One.", MARKUP],
    counts=[("trials", "1,000"), (MARKUP, "–")],
    sections=[
        Section("empty", "Nothing", [], []),
        Section(
            "all",
            MARKUP,
            ["A paragraph.", "Another."],
            [
                Figure("shares", "<svg>한</svg>\n", "Shares", MARKUP, "Bars.", "effects"),
                Table("A table", ("what", "value"), [("a", "1"), (MARKUP, "")], "A note.", "effects", 1),
                Table("Without rows", ("what",), []),
            ],
            listed=False,
        ),
    ],
    digest="0123456789abcdef",
    tables=["effects", "trials"],
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report's folder with the content above."""
    write_content(CONTENT, tmp_path)
    return tmp_path


def test_what_is_written_comes_back(folder: Path) -> None:
    assert read_content(folder) == CONTENT


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_content(read_content(folder), tmp_path / "again")
    for name in ("report.json", "figures/shares.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_drawings_are_beside_the_file_and_not_in_it(built_report: Any) -> None:
    text = (built_report.reports / "report.json").read_text(encoding="utf-8")
    content = read_content(built_report.reports)
    figures = [block for section in content.sections for block in section.blocks if isinstance(block, Figure)]
    assert len(figures) >= 8 and "<svg" not in text
    for figure in figures:
        assert figure.svg == (built_report.reports / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8")


def test_a_report_written_again_leaves_no_drawing_of_the_earlier_one(folder: Path) -> None:
    (drawing,) = (folder / "figures").glob("*.svg")
    notes = folder / "figures" / "notes.txt"
    notes.touch()
    write_content(CONTENT, folder)
    assert drawing.exists()
    write_content(replace(CONTENT, sections=[]), folder)
    assert not drawing.exists() and notes.exists()
    write_content(replace(CONTENT, sections=[]), folder / "new")
    assert (folder / "new" / "figures").is_dir(), "the pipeline's output, even where nothing is drawn"


def test_a_real_report_satisfies_the_schema(built_report: Any) -> None:
    schema = json.loads((ROOT / "workflow/schemas/report.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads((built_report.reports / "report.json").read_text(encoding="utf-8")), schema)


def test_rendered_again_from_its_folder_alone_a_report_has_the_same_bytes(built_report: Any, tmp_path: Path) -> None:
    for part in ("figures", "tables"):
        shutil.copytree(built_report.reports / part, tmp_path / part)
    for name in ("report.json", "explorer.bin"):
        shutil.copy(built_report.reports / name, tmp_path)
    render(tmp_path)
    for name in ("index.html", "report.pdf"):
        assert (tmp_path / name).read_bytes() == (built_report.reports / name).read_bytes()


def test_page_and_document_say_what_the_file_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "rendering_pdf", lambda html, attachments: nullcontext(html.encode))
    write_content(replace(CONTENT, tables=["effects"]), folder)
    (folder / "tables").mkdir()
    (folder / "tables" / "effects.csv").touch()
    path = folder / "report.json"
    given = json.loads(path.read_text(encoding="utf-8"))
    given["sections"][1]["blocks"][1]["rows"][0] = ["changed by hand", "7.25"]
    path.write_text(json.dumps(given), encoding="utf-8")
    for told in render(folder):
        words = told.read_text(encoding="utf-8")
        assert "changed by hand" in words and "7.25" in words and "Does it come back?" in words
        assert "<script" not in words


def _block(number: int) -> Callable[[Any], Any]:
    return lambda report: report["sections"][1]["blocks"][number]


# What is wrong, how it comes about, and words of the line that says so.
BROKEN: dict[str, tuple[Callable[[Any], object], list[str]]] = {
    "unknown key": (lambda r: r.update(titel=""), ["'titel'", "did you mean 'title'?", "allowed: "]),
    "missing key": (lambda r: r.pop("question"), ["'question' is missing"]),
    "no text": (lambda r: r.update(title=7), ["title is 7", "allowed: "]),
    "later format": (lambda r: r.update(format=2), ["format is 2", "allowed: 1"]),
    "unknown kind": (lambda r: _block(0)(r).update(kind="film"), ["sections.1.blocks.0.kind", "'film'", "figure, table"]),
    "unknown key of a figure": (lambda r: _block(0)(r).update(svg=""), ["'sections.1.blocks.0.svg'", "caption"]),
    "missing key of a table": (lambda r: _block(1)(r).pop("rows"), ["'sections.1.blocks.1.rows' is missing"]),
    "a row too short": (lambda r: _block(1)(r)["rows"].append(["x"]), ["sections.1.blocks.1", "rows.2 has 1", "allowed: 2"]),
    "a path out of the folder": (lambda r: _block(0)(r).update(name="../x"), ["sections.1.blocks.0.name", '"../x"']),
    "a drawing elsewhere": (lambda r: _block(0)(r).update(file="/etc/x"), ["'/etc/x'", "allowed: figures/shares.svg"]),
    "a picture undescribed": (lambda r: _block(0)(r).update(alt=""), ["sections.1.blocks.0.alt", "at least one"]),
    "a table that is not there": (lambda r: _block(0)(r).update(data="rates"), ["'rates'", "one of tables"]),
    "two anchors": (lambda r: r["sections"][0].update(anchor="all"), ["anchor 'all' is there twice"]),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_no_report_says_is_refused_in_one_line(what: str, folder: Path) -> None:
    change, words = BROKEN[what]
    path = folder / "report.json"
    given = json.loads(path.read_text(encoding="utf-8"))
    change(given)
    path.write_text(json.dumps(given), encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_content(folder)
    said = str(error.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read as JSON"), ("[]", "allowed: "), ("", "JSON")])
def test_a_file_that_is_no_report_is_refused(text: str, words: str, folder: Path) -> None:
    (folder / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        read_content(folder)


@pytest.mark.parametrize("name", ["report.json", "figures/shares.svg"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        read_content(folder)


def test_a_missing_table_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"effects\.csv: cannot be read \(No such file"):
        render(folder)
