"""The report on claims: no verdict without its interval, words that agree with the numbers, and files that render."""

import math
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pikepdf
import pytest
import yaml

from brackets import Bracketed, outside_brackets, words_of
from cases import naming
from trainatlas.claims.columns import CLAIM_TABLES
from trainatlas.claims.config import ClaimSet, load_claims
from trainatlas.claims.tables import read_verdicts, write_verdicts
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.claims import SIGNS, claims_content, expectation, sentence
from trainatlas.report.claims_figures import TITLE_WIDTH, _filled
from trainatlas.report.language import speaking, tr
from trainatlas.report.render import render_html, write_claims_report
from trainatlas.train.records import names

Row = dict[str, Any]
MARKUP = """<script>alert("x")</script> & 'quotes' – 한국어"""
SEEDS = np.arange(1, 6)


def verdict_row(**changes: Any) -> Row:
    """A row of verdicts.csv: a gain of 3 points where more than 1 was expected."""
    row = {
        "claim": "A1", "part": 1, "what": "test accuracy, tanh against ReLU", "study": "tiny", "case": "digits, mlp(depth=2)",
        "direction": "greater", "scale": "difference", "unit": "points", "expected_low": 0.01, "expected_high": math.inf,
        "effect": 0.03, "low": 0.02, "high": 0.04, "p": 0.0004, "p_holm": 0.0008, "verdict": "supported", "reason": "",
        "stable": 1, "seeds": 5, "pairs": 10, "trials": 20, "diverged": 0,
    }  # fmt: skip
    return row | changes


ROWS = [
    verdict_row(),
    verdict_row(part=2, case="<b>clothes</b> & all", effect=-0.02, low=-0.03, high=-0.01, p_holm=0.012, verdict="refuted"),
    verdict_row(claim="A2", what="steps, tanh against ReLU", scale="ratio", unit="", direction="less",
                expected_low=-math.inf, expected_high=0.0, effect=math.log(0.5), low=math.log(0.25), high=math.log(1.5),
                p_holm=0.3, verdict="inconclusive", stable=0),
    verdict_row(claim="A2", part=2, study="", case="", effect=math.nan, low=math.nan, high=math.nan, p=math.nan,
                p_holm=math.nan, verdict="not run", reason="updates was not measured", seeds=0, pairs=0, trials=0),
    verdict_row(claim="A2", part=3, what="loss", scale="ratio", unit="", direction="differs", expected_low=-math.log(1.25),
                expected_high=math.log(1.25), effect=0.0, low=0.0, high=0.0, p_holm=0.0, verdict="refuted"),
]  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A report on two measured claims and a proved one, rendered."""

    claim_set: ClaimSet
    results: Path
    reports: Path

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return read_verdicts(self.results)

    @property
    def html(self) -> str:
        return (self.reports / "index.html").read_text(encoding="utf-8")


def part(what: str) -> Row:
    return {"what": what, "experiment": "updates", "direction": "greater", "margin": 0.01}


CONTENT = {
    "title": MARKUP,
    "seeds": [1, 2, 3],
    "chapters": {"A": "Activations"},
    "studies": {},
    "claims": [
        {"id": "A1", "statement": f"A statement. {MARKUP}", "source": "S0", "parts": [part("one"), part("two")],
         "limits": "Small networks."},
        {"id": "A2", "statement": "Another.", "source": "S1", "parts": [part(text) for text in ("one", "two", "three")]},
        {"id": "A12", "statement": "A third.", "source": "S0", "exact": True},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("claims")
    (folder / "claims.yaml").write_text(yaml.safe_dump(CONTENT, allow_unicode=True), encoding="utf-8")
    summary = [
        ("A1", "A", f"A statement. {MARKUP}", "S0", "experiment", "mixed", 1, 1, 0, 0, 0, "digits, mlp(depth=2)"),
        ("A2", "A", "Another.", "S1", "experiment", "refuted", 0, 1, 1, 1, 0, ""),
        ("A12", "A", "A third.", "S0", "mathematics", "supported", 1, 0, 0, 0, 1, ""),
    ]
    evidence = [
        (row["claim"], row["part"], row["study"], row["case"], seed, "", row["effect"] + (seed - 3) / 1000)
        for row in ROWS
        for seed in SEEDS
        if row["verdict"] != "not run"
    ]
    rows = {
        "summary": summary,
        "verdicts": [tuple(row.values()) for row in ROWS],
        "checks": [("A12", "parameters", 2.0, 2.0, 0.0, 1)],
        "evidence": evidence,
        "trials": [("A1", 1, "tiny", f"{number:016x}") for number in range(20)],
    }
    tables = {
        name: pd.DataFrame(rows.get(name, []), columns=list(names(columns))) for name, columns in CLAIM_TABLES.items()
    }
    write_verdicts(tables, folder / "results")
    claim_set = load_claims(folder / "claims.yaml")
    write_claims_report(claim_set, folder / "results", folder / "reports")
    return Told(claim_set, folder / "results", folder / "reports")


@pytest.mark.parametrize("verdict", ["supported", "refuted", "inconclusive"])
@pytest.mark.parametrize("missing", ["effect", "low", "high"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_verdict_is_told_without_its_interval(verdict: str, missing: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"A1: a verdict '{verdict}' without an interval"):
        sentence(verdict_row(verdict=verdict) | {missing: value})


def test_a_sentence_has_the_numbers_of_its_row() -> None:
    said = sentence(verdict_row())
    for words in (
        "test accuracy, tanh against ReLU, digits, mlp(depth=2): ", "+3.00 (95 % interval +2.00 to +4.00) points",
        "5 seeds, 10 pairs, p < 0.001", "expected above +1.00 points: supported.",
    ):  # fmt: skip
        assert words in said
    said = sentence(ROWS[2])
    for words in ("0.5 (95 % interval 0.25 to 1.5) times", "p 0.300", "expected below 1 times: inconclusive."):
        assert words in said
    assert sentence(ROWS[3]) == "test accuracy, tanh against ReLU: not run (updates was not measured)."


def test_what_is_expected_is_told_as_it_was_stated() -> None:
    for direction, scale, ends, words in (
        ("greater", "difference", (-0.05, math.inf), "above −5.00 points"),
        ("less", "difference", (-math.inf, 0.05), "below +5.00 points"),
        ("equal", "difference", (-0.05, 0.05), "within −5.00 to +5.00 points"),
        ("differs", "difference", (-0.05, 0.05), "outside −5.00 to +5.00 points"),
        ("between", "ratio", (math.log(0.5), math.log(3)), "within 0.5 to 3 times"),
    ):
        with naming(direction, scale):
            row = verdict_row(direction=direction, scale=scale, expected_low=ends[0], expected_high=ends[1])
            assert expectation(row) == words


def test_every_decided_row_of_the_page_has_its_interval(told: Told) -> None:
    """In sentences as "95 % interval"; in tables under a head that says so, a cell of two ends beside each verdict."""
    content = claims_content(told.claim_set, told.tables, "digest")
    sentences = [text for text in content.findings if "refuted in one row" in text]
    assert len(sentences) == 2 and all("95 % interval" in text for text in sentences)
    tables = [block for section in content.sections for block in section.blocks if isinstance(block, Table)]
    shown = 0
    for table in (each for each in tables if each.title == "The numbers"):
        column = table.header.index("effect (95 % interval)")
        for row in table.rows:
            decided = any(SIGNS[verdict] == row[-1] for verdict in ("supported", "refuted", "inconclusive"))
            assert decided == bool(re.search(r"\(\S+ to \S+\)", row[column])), row
            shown += decided
    assert shown == 4


def test_words_agree_with_the_numbers(told: Told) -> None:
    content = claims_content(told.claim_set, told.tables, "digest")
    counts = dict(content.counts)
    assert {name: counts[name] for name in SIGNS} == {
        "supported": "1", "refuted": "1", "inconclusive": "0", "not run": "0", "mixed": "1",
    }  # fmt: skip
    assert (counts["rows"], counts["trials behind them"], counts["exact checks"]) == ("4", "20", "1")
    assert content.findings[0].startswith("Of 3 claims 1 are supported")
    pages = {section.anchor: section for section in content.sections}
    assert "1 for and 1 against" in pages["A1"].paragraphs[0] and SIGNS["mixed"] in pages["A1"].paragraphs[0]
    assert any("Unstable: the verdict would be another without digits" in text for text in pages["A1"].paragraphs)
    assert any("Unstable: without one of the seeds" in text for text in pages["A2"].paragraphs)
    assert "Limits: Small networks." in pages["A1"].paragraphs


def test_the_page_is_one_file_in_which_markup_is_text(told: Told) -> None:
    assert "<script" not in told.html
    assert "&lt;script&gt;" in told.html and "한국어" in told.html
    assert "<b>clothes" not in told.html and "&lt;b&gt;clothes&lt;/b&gt; &amp; all" in told.html
    assert re.findall(r"(?:src|href)=.(?:https?:|//)", told.html) == []
    for text in SIGNS.values():
        if "not" not in text:
            assert text in told.html


def test_figures_are_drawn_for_what_was_measured(told: Told) -> None:
    content = claims_content(told.claim_set, told.tables, "digest")
    figures = [block for section in content.sections for block in section.blocks if isinstance(block, Figure)]
    assert [figure.name for figure in figures] == ["claim_A1", "claim_A2"]
    for figure in figures:
        assert len(figure.alt) > 20 and "<text" in figure.svg
        assert (told.reports / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8") == figure.svg
    assert "1 of 2 rows support the claim, 1 refute it" in figures[0].caption


def test_the_document_is_tagged_and_lacks_no_character(told: Told) -> None:
    path = told.reports / "report.pdf"
    words = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "한국어" in words and "✓" in words and "✗" in words
    with pikepdf.open(path) as pdf:
        assert bool(pdf.Root.MarkInfo.Marked)
        assert str(pdf.Root.Lang) == "en"


def test_built_again_both_files_have_the_same_bytes(told: Told, tmp_path: Path) -> None:
    write_claims_report(told.claim_set, told.results, tmp_path)
    for name in ("index.html", "report.pdf", "report.json"):
        assert (tmp_path / name).read_bytes() == (told.reports / name).read_bytes()
    copies = {path.stem for path in (tmp_path / "tables").glob("*.csv")}
    assert copies == set(CLAIM_TABLES)


def test_a_report_in_which_nothing_was_run_is_still_one(told: Told, tmp_path: Path) -> None:
    tables = told.tables
    lost = {"effect": math.nan, "low": math.nan, "high": math.nan, "p_holm": math.nan, "verdict": "not run"}
    tables["verdicts"] = tables["verdicts"].assign(**lost, reason="the study has no results", stable=1)
    tables["evidence"] = tables["evidence"].iloc[:0]
    content = claims_content(told.claim_set, tables, "digest")
    assert not any(isinstance(block, Figure) for section in content.sections for block in section.blocks)
    assert dict(content.counts)["rows"] == "0"


PUBLISHED = [
    ("A1", 1, "six times sooner", "A paper 2012, figure 1", 1, "tiny", "digits, linear classifier", "ratio", "",
     0.1, 0.05, 0.2, "agrees", "four layers"),
    ("", 0, "arithmetic", "somebody", 0, "", "", "", "", math.nan, math.nan, math.nan, "not comparable",
     "ours measures nothing like it"),
]  # fmt: skip
BROKEN = ("A12", "first loss of a trial that starts at 0, 10 classes", 2.0, 3.0, 0.0, 0)
REASONS = ["1 seed; at least 3 are needed", "tiny has no tuning or random runs", "updates was not measured"]


def of_every_kind(told: Told) -> dict[str, pd.DataFrame]:
    """Tables in which everything is that a report on claims shows: cases in words, broken checks, what was published."""
    tables = told.tables
    not_run = [
        verdict_row(claim="A2", part=4 + i, case="", verdict="not run", reason=why) for i, why in enumerate(REASONS)
    ]
    few = verdict_row(
        claim="A2", part=9, study="", unit="", case="20 examples of digits, mlp(depth=2)", direction="between"
    )
    more = pd.DataFrame([*not_run, few])
    tables["verdicts"] = pd.concat([tables["verdicts"], more[tables["verdicts"].columns]], ignore_index=True)
    tables["checks"] = pd.DataFrame([*tables["checks"].values.tolist(), BROKEN], columns=tables["checks"].columns)
    tables["literature"] = pd.DataFrame(PUBLISHED, columns=tables["literature"].columns)
    return tables


def test_all_but_names_and_numbers_comes_from_the_catalogue(told: Told, bracketed: Bracketed) -> None:
    claim_set = told.claim_set.in_language("ko")
    with speaking("ko"):
        content = claims_content(claim_set, of_every_kind(told), "digest")
    names = {"trainatlas", "tables", "csv", "tiny", "mlp", "depth", "digits", "clothes", "all", "updates", "parameters"}
    for printed in (False, True):
        left = set(re.findall("[A-Za-z]{2,}", outside_brackets(words_of(render_html(content, printed)))))
        assert left - names - set(CLAIM_TABLES) == set()


def test_a_korean_report_has_page_and_document(told: Told, tmp_path: Path) -> None:
    write_verdicts(of_every_kind(told), tmp_path / "results")
    write_claims_report(told.claim_set.in_language("ko"), tmp_path / "results", tmp_path / "reports")
    html = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    path = tmp_path / "reports" / "report.pdf"
    words = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True).stdout
    for text in (html, words):
        assert "지지됨" in text and "반박됨" in text and "95% 신뢰구간" in text
        assert "supported" not in text and "refuted" not in text and "95 % interval" not in text
    assert '<html lang="ko">' in html
    with speaking("ko"):
        assert tr("{number} points", number="+1.00") == "+1.00%p" and sentence(ROWS[0]).endswith(": 지지됨.")
    with pikepdf.open(path) as pdf:
        assert str(pdf.Root.Lang) == "ko"


def test_tables_are_the_same_in_every_language(told: Told, tmp_path: Path) -> None:
    write_claims_report(told.claim_set.in_language("ko"), told.results, tmp_path)
    for name in CLAIM_TABLES:
        path = Path("tables") / f"{name}.csv"
        assert (tmp_path / path).read_bytes() == (told.reports / path).read_bytes()


@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_a_claims_file_of_somebody_else_says_is_shown_as_given(language: Any, told: Told) -> None:
    odd = "50 % of {units}, {0:>9} and %s {"
    claims = told.claim_set.claims
    claim = claims.claims[0].model_copy(update={"statement": odd, "source": odd, "limits": odd})
    claim_set = replace(told.claim_set, claims=claims.model_copy(update={"claims": (claim,), "title": odd}))
    tables = told.tables
    for name in ("summary", "verdicts", "evidence", "checks"):
        tables[name] = tables[name][tables[name]["claim"] == "A1"]
    tables["summary"] = tables["summary"].assign(statement=odd)
    tables["verdicts"] = tables["verdicts"].assign(what=odd)
    with speaking(language):
        content = claims_content(claim_set, tables, "digest")
    page = next(section for section in content.sections if section.anchor == "A1")
    assert (content.title, page.title) == (odd, f"A1. {odd}")
    assert page.paragraphs[0].endswith(f": {odd}.") and page.paragraphs[-1].endswith(f": {odd}")
    assert odd in content.findings[1]
    assert any(row[0] == odd for block in page.blocks if isinstance(block, Table) for row in block.rows)


@pytest.mark.parametrize("letter", ["x", "한"])
def test_titles_of_rows_are_broken_where_letters_of_their_width_fill_the_line(letter: str) -> None:
    lines = _filled(" ".join([letter * 9] * 30)).splitlines()
    columns = 2 if letter == "한" else 1
    assert len(lines) > 1 and all(TITLE_WIDTH / 2 < columns * len(line) <= 1.1 * TITLE_WIDTH for line in lines[:-1])
