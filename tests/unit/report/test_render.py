import base64
import hashlib
import re
import subprocess

import pandas as pd
import pikepdf
import pytest

from trainatlas.report.render import render_pdf, write_report
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
    for name in ("index.html", "report.pdf"):
        assert (tmp_path / name).read_bytes() == (built_report.reports / name).read_bytes()


def test_the_page_is_one_file_that_asks_nobody_for_anything(built_report):
    html = built_report.page.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=.(?:https?:|//)", html) == []
    sources = re.findall(r'src="([^"]{12})', html)
    assert sources and set(sources) == {"data:image/s"}


def test_markup_in_a_title_is_text(built_report, words):
    html = built_report.page.read_text(encoding="utf-8")
    assert 'alert("x")' not in html
    assert "&lt;script&gt;" in html and "한국어" in html
    assert "한국어" in words


def test_the_page_runs_its_own_script_and_no_other(built_report):
    html = built_report.page.read_text(encoding="utf-8")
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, flags=re.DOTALL)
    assert [words for words, _ in scripts] == [' type="application/octet-stream" id="explorer-data"', ""]
    assert html.count("<script") == html.count("</script") == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    digest = base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()
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


def test_the_document_is_tagged_in_english_with_bookmarks_and_described_pictures(built_report):
    with pikepdf.open(built_report.document) as pdf:
        assert bool(pdf.Root.MarkInfo.Marked)
        assert str(pdf.Root.Lang) == "en"
        with pdf.open_outline() as outline:
            assert len(outline.root) >= 1
        described = [
            str(thing.Alt)
            for thing in pdf.objects
            if isinstance(thing, pikepdf.Dictionary) and thing.get("/S") == "/Figure" and "/Alt" in thing
        ]
    assert len(described) >= 8


def test_a_character_without_a_glyph_is_an_error_not_a_hole():
    with pytest.raises(UserError, match="lack characters"):
        render_pdf("<html lang=en><title>x</title><p>\U0001f9ff\U000132f9</p></html>")
