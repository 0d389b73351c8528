"""Everything fixed that a report says comes from its catalogue, and each catalogue is whole."""

import importlib.util
import logging
import re
import string
from pathlib import Path
from types import ModuleType

import pikepdf
import pytest
from matplotlib.font_manager import fontManager

from brackets import outside_brackets, words_of
from trainatlas.catalogue import TABLES
from trainatlas.claims.config import load_claims
from trainatlas.report import language
from trainatlas.report.drawing import canvas_of, svg_of
from trainatlas.report.language import WORDED_IN, messages_of, retold, speaking, spoken, tr, trn
from trainatlas.report.render import write_report
from trainatlas.report.wording import level_name
from trainatlas.study.storage import read_json
from trainatlas.study.texts import worded
from trainatlas.study.trial import FACTORS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def translations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("translations", ROOT / "scripts" / "translations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fields(text: str) -> set[tuple[str, str]]:
    """Return the names in braces of a text and how their values are to be written."""
    return {(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


def test_each_catalogue_has_all_that_reports_say_and_nothing_else(translations):
    said = {message.id for message in translations.said() if message.id}
    assert len(said) > 70
    for code, catalogue in translations.catalogues().items():
        found = {message.id: message.string for message in catalogue if message.id}
        assert sorted(map(str, said - set(found))) == [], f"{code}: make translations"
        assert sorted(map(str, set(found) - said)) == [], f"{code}: make translations"
        untranslated = [text for text, told in found.items() if not all([told] if isinstance(told, str) else told)]
        assert untranslated == [], f"{code}: {len(untranslated)} texts"


def test_a_translation_has_the_same_values_as_its_text(translations):
    for catalogue in translations.catalogues().values():
        for message in catalogue:
            texts = message.id if isinstance(message.id, tuple) else (message.id,)
            told = message.string if isinstance(message.string, tuple) else (message.string,)
            for each in told:
                assert fields(each) == fields(texts[-1]), message.id


def test_every_language_of_studies_has_a_catalogue(translations):
    assert {language.ENGLISH, *translations.catalogues()} == set(language.Language.__args__)


def test_english_is_what_stands_in_the_code():
    assert spoken() == "en"
    assert tr("{low} to {high}", low="1", high="2") == "1 to 2"
    assert tr("100 % {sic}") == "100 % {sic}"
    assert trn("{number} run", "{number} runs", 1) == "1 run"
    assert trn("{number} run", "{number} runs", 0) == "0 runs"
    assert messages_of('tr("never")') == {}


def test_a_language_is_spoken_within_and_no_longer():
    with speaking("ko"):
        assert spoken() == "ko"
        assert tr("never") != "never"
        assert messages_of('say(tr("never"))') == {"never": tr("never")}
        assert tr("not in any catalogue") == "not in any catalogue"
    assert tr("never") == "never"


NAMES = {"#", *(level_name(level) for factor in FACTORS for level in TABLES[factor])}
"""What is asked for and in no catalogue, since it is a name in every language."""


def test_no_word_of_a_report_is_outside_the_catalogue(bracketed, built_report, translations, tmp_path):
    study = built_report.study
    page, _ = write_report(study, built_report.results, tmp_path)
    said = outside_brackets(words_of(page.read_text(encoding="utf-8")))
    provenance = read_json(built_report.results / "provenance.json", "test")
    hardware = provenance["hardware"]
    names = [
        study.title,
        study.question,
        *(entry.source for factor in FACTORS for entry in TABLES[factor].values() if entry.source != "-"),
        *(f"{name} {version}" for name, version in provenance["packages"].items()),
        *(f"{sample.name}:" for sample in study.samples),
    ]
    said = " ".join(said.split())
    for name in sorted(names, key=len, reverse=True):
        said = said.replace(name, "")
    said = re.sub(r"\b(tables/)?\w+\.csv\b|\b[0-9a-f]{12,}\b|\bSHA-256\b", "", said)
    known = {"trainatlas", "digits", "Python", "MiB", provenance["source"]["commit"], *hardware["training_devices"]}
    assert set(re.findall("[A-Za-z]{3,}", said)) - known == set()
    in_catalogue = {message.id for message in translations.said()}
    given = {study.title, study.question, *(rule.reason for rule in study.exclude)}
    assert bracketed.asked - in_catalogue - NAMES == given


HANGUL = re.compile("[가-힣]")


def test_a_report_in_korean(built_report, tmp_path, caplog, recwarn):
    study = built_report.study.model_copy(update={"language": "ko"})
    page, document = write_report(study, built_report.results, tmp_path)  # refuses a document that lacks a character
    text = page.read_text(encoding="utf-8")
    assert '<html lang="ko">' in text
    for part in text.split('<section class="chapter"')[1:]:
        told = re.findall("<(?:h2|h3|figcaption)>(.*?)</", part, re.DOTALL)
        assert told and all(HANGUL.search(each) for each in told), told
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "figures").glob("*.svg")}
    for name in ("variance_shares", "differences", "loss_level", "time_to_target", "survival", "rates", "units"):
        assert any(HANGUL.search(label) for label in re.findall("<text[^>]*>([^<]*)<", drawn[name])), name
        assert "'DejaVu Sans', 'NanumGothic'" in drawn[name]
    assert [record for record in caplog.records if record.name.startswith("matplotlib")] == []
    assert [warning for warning in recwarn if "Glyph" in str(warning.message)] == []
    with pikepdf.open(document) as pdf:
        assert str(pdf.Root.Lang) == "ko"
        with pdf.open_outline() as outline:
            assert "읽는 법" in [part.title for top in outline.root for part in (top, *top.children)]


def test_where_there_is_no_korean_font_drawings_do_without_and_without_complaint(monkeypatch, caplog):
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if "Nanum" not in font.name])
    canvas, axes = canvas_of(1, 1, 2.0)
    axes[0, 0].set_title("A title", fontweight="bold", fontsize=11.25)
    with caplog.at_level(logging.WARNING, "matplotlib"):
        drawing = svg_of(canvas)
    assert "'DejaVu Sans'" in drawing and "Nanum" not in drawing
    assert caplog.records == []


def test_what_our_claims_file_says_is_said_in_every_language():
    claims = load_claims(ROOT / "benchmarks" / "claims.yaml").claims
    with speaking("ko"):
        for text in (claims.title, *claims.chapters.values(), *(claim.statement for claim in claims.claims)):
            assert re.search("[가-힣]", tr(text)), text


def test_texts_of_tables_are_told_apart_from_their_values_and_retold(translations):
    for code, catalogue in translations.catalogues().items():
        texts = [
            message.id for message in catalogue if any(place.startswith(WORDED_IN) for place, _ in message.locations)
        ]
        assert len(texts) > 50
        for text in texts:
            values = {name: f"v{number}" for number, (name, _) in enumerate(sorted(fields(text)))}
            assert len(values) == text.count("{") and not any(spec for _, spec in fields(text)), text
            with speaking(code):
                assert retold(worded(text, **values)) == tr(text, **values)
            assert retold(worded(text, **values)) == worded(text, **values)


def test_values_of_a_text_are_retold_too_and_what_nobody_worded_stays():
    with speaking("ko"):
        assert retold("tiny has no coarse or fine runs") == f"tiny에 {tr('coarse')} 또는 {tr('fine')} 실행이 없다"
        assert retold("digits, linear classifier") == f"digits, {tr('linear classifier')}"
        assert retold("parameters a unit of layer 2 of mlp(depth=2, width=6), maxout(k=3)") == tr(
            "parameters a unit of layer {number} of {network}, {activation}",
            number="2",
            network="mlp(depth=2, width=6)",
            activation="maxout(k=3)",
        )
        for text in ("", "mlp(depth=2, width=64)", "clothes", "claim", "{sic} 100 %"):
            assert retold(text) == text
