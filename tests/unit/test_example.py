"""The example report in the repository is one that the present code would make of the present study."""

import re
from pathlib import Path

import pikepdf
import pytest

from trainatlas.catalogue import TABLES
from trainatlas.report.blocks import Content
from trainatlas.report.report_file import read_content
from trainatlas.study.config import load_study
from trainatlas.study.trial import TRAINING_VERSION

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "reports" / "example"


@pytest.fixture(scope="module")
def content() -> Content:
    return read_content(EXAMPLE)


def test_it_is_of_the_study_and_the_training_that_are_here(content: Content) -> None:
    study = load_study(ROOT / "benchmarks" / "digits.yaml", TABLES, "quick")
    assert content.digest == study.digest(), "make example"
    assert content.title == study.title
    (provenance,) = [section for section in content.sections if section.anchor == "provenance"]
    cells = {row[0]: row[1] for block in provenance.blocks if hasattr(block, "rows") for row in block.rows}
    assert cells["trainatlas"].endswith(f"training version {TRAINING_VERSION}"), "make example"


def test_the_page_is_whole(content: Content) -> None:
    page = (EXAMPLE / "index.html").read_text(encoding="utf-8")
    assert '<html lang="en">' in page
    for section in content.sections:
        assert f'<section class="chapter" id="{section.anchor}">' in page
    for link in set(re.findall(r'href="(tables/[^"]+)"', page)):
        assert (EXAMPLE / link).is_file(), link


def test_the_document_is_whole_in_both_languages(content: Content) -> None:
    for name, language in (("report.pdf", "en"), ("report-ko.pdf", "ko")):
        with pikepdf.open(EXAMPLE / name) as document:
            assert str(document.Root.Lang) == language
            assert set(document.attachments) == {f"{table}.csv" for table in content.tables}
