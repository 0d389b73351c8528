import base64
import hashlib
import json
import os
import re
import signal
import subprocess

import pandas as pd
import pikepdf
import pytest
from tinyhtml5.parser import HTMLParser

from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.report import document
from trainatlas.report import render as rendering
from trainatlas.report.blocks import Content, Section
from trainatlas.report.document import render_pdf, rendering_pdf
from trainatlas.report.render import write_report
from trainatlas.report.report_file import write_content
from trainatlas.study.errors import UserError


@pytest.fixture(scope="module")
def words(built_report):
    done = subprocess.run(
        ["pdftotext", "-layout", built_report.document, "-"], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def pages(words):
    return words.rstrip("\f").split("\f")


def test_built_again_from_the_same_results_both_files_have_the_same_bytes(built_report, tmp_path):
    write_report(built_report.study, built_report.results, tmp_path)
    for name in ("index.html", "report.pdf", "report.json"):
        assert (tmp_path / name).read_bytes() == (built_report.reports / name).read_bytes()


def test_the_page_is_one_file_that_asks_nobody_for_anything(built_report):
    html = built_report.page.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=.(?:https?:|//)", html) == []
    sources = re.findall(r'src="([^"]{12})', html)
    assert sources and set(sources) == {"data:image/s"}


def test_the_page_is_html_without_errors(built_report):
    """By the parser that the HTML standard describes, which notes every error that browsers mend in silence."""
    text = built_report.page.read_text(encoding="utf-8")
    assert errors_of(text) == []
    assert errors_of(text.replace("</figcaption>", "</figcaption></b>", 1)) != []


def errors_of(text):
    parser = HTMLParser()
    parser.parse(text)
    return parser.errors


def test_markup_in_a_title_is_text(built_report, words):
    html = built_report.page.read_text(encoding="utf-8")
    assert 'alert("x")' not in html
    assert "&lt;script&gt;" in html and "한국어" in html
    assert "한국어" in words


def test_the_page_runs_its_own_script_and_no_other(built_report):
    html = built_report.page.read_text(encoding="utf-8")
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, flags=re.DOTALL)
    data = [
        f' type="application/{kind}" id="explorer-{name}"'
        for kind, name in (("octet-stream", "data"), ("json", "texts"))
    ]
    assert [words for words, _ in scripts] == [*data, ""]
    assert html.count("<script") == html.count("</script") == 3
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    digest = base64.b64encode(hashlib.sha256(scripts[-1][1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in policy


def test_print_has_no_script_but_the_best_and_worst_trials(built_report, words):
    assert "Without JavaScript" not in words
    trials = pd.read_csv(built_report.results / "trials.csv", dtype={"trial_id": str})
    shown = trials[trials["stage"].isin(["final", "random"])].sort_values("final_validation_accuracy")
    assert len(shown) > 20
    for trial_id in (*shown["trial_id"].iloc[[0, -1]],):
        assert trial_id in words


def test_every_page_has_its_number_out_of_all(pages):
    for number, text in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in text


def test_the_contents_name_the_page_on_which_each_section_begins(pages):
    contents = "\n".join(text for text in pages if re.match(r"\s*trainatlas\s+Contents\s*\n", text))
    entries = re.findall(r"^\s*(What matters|Loss curves|Accuracy|Provenance)[ .]+(\d+)\s*$", contents, re.MULTILINE)
    assert {title for title, _ in entries} == {"What matters", "Loss curves", "Accuracy", "Provenance"}
    for title, number in entries:
        assert title in pages[int(number) - 1]


def test_table_heads_are_repeated_on_every_page_of_a_long_table(pages):
    heads = [page for page in pages if re.search(r"factor\s+level\s+formula\s+source", page)]
    body = [page for page in pages if "Kingma and Ba 2015" in page or "Nair and Hinton" in page]
    assert body and all(page in heads for page in body)


def test_the_document_is_tagged_in_english_with_bookmarks(built_report):
    with pikepdf.open(built_report.document) as pdf:
        assert bool(pdf.Root.MarkInfo.Marked)
        assert str(pdf.Root.StructTreeRoot.Type) == "/StructTreeRoot" and len(pdf.Root.StructTreeRoot.K) >= 1
        assert str(pdf.Root.Lang) == "en"
        with pdf.open_outline() as outline:
            titles = [part.title for chapter in outline.root for part in (chapter, *chapter.children)]
    assert {"What matters", "Accuracy", "Provenance"} <= set(titles)


def test_every_picture_of_the_document_is_described_as_on_the_page(built_report):
    told = json.loads((built_report.reports / "report.json").read_text(encoding="utf-8"))
    blocks = [block for section in told["sections"] for block in section["blocks"]]
    with pikepdf.open(built_report.document) as pdf:
        tagged = [
            thing for thing in pdf.objects if isinstance(thing, pikepdf.Dictionary) and thing.get("/S") == "/Figure"
        ]
        described = {str(thing.Alt) for thing in tagged}
    assert len(tagged) >= 8
    assert {block["alt"] for block in blocks if block["kind"] == "figure"} <= described


def test_the_document_holds_the_tables_behind_it(built_report):
    held = attached(built_report.document)
    assert set(held) == {f"{name}.csv" for name in (*ANALYSIS_TABLES, "trials")}
    for name, content in held.items():
        assert content == (built_report.reports / "tables" / name).read_bytes()


def attached(document):
    """The files that a document holds, by name, listed as readers need them: in the order of their names."""
    with pikepdf.open(document) as pdf:
        listed = [str(name) for name in list(pdf.Root.Names.EmbeddedFiles.Names)[::2]]
        assert listed == sorted(listed)
        return {name: held.get_file().read_bytes() for name, held in pdf.attachments.items()}


def test_what_would_make_the_document_too_large_is_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "ATTACHED_BYTES", 100)
    (tmp_path / "tables").mkdir()
    for name, size in (("small", 10), ("huge", 101), ("middle", 90), ("next", 91)):
        (tmp_path / "tables" / f"{name}.csv").write_bytes(b"x" * size)
    content = Content(
        "Title", "Question?", [], [], [Section("a", "A", ["b"])], "0", ["next", "huge", "small", "middle"]
    )
    write_content(content, tmp_path)
    _, document = rendering.render(tmp_path)
    assert attached(document) == {"middle.csv": b"x" * 90, "small.csv": b"x" * 10}
    said = " ".join(
        subprocess.run(["pdftotext", document, "-"], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "2 of the 4 tables behind it. Too large, and beside it in tables/: huge, next." in said


def test_a_character_without_a_glyph_is_an_error_not_a_hole():
    with pytest.raises(UserError, match="lack characters"):
        render_pdf("<html lang=en><title>x</title><p>\U0001f9ff\U000132f9</p></html>")
    with pytest.raises(UserError, match="would lack characters"), rendering_pdf("<p>\U000132f9</p>") as pdf:
        pdf()


def killed(*given: object) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def test_a_killed_renderer_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(document, "_render_in", killed)
    with pytest.raises(UserError, match=r"renders report\.pdf was killed; allowed: "), rendering_pdf("<p>x</p>") as pdf:
        pdf()
