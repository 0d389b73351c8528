"""Everything fixed that a report says comes from its catalogue, and each catalogue is whole."""

import base64
import importlib.util
import re
import string
from gettext import NullTranslations
from pathlib import Path
from types import ModuleType

import pytest

from trainatlas.report import language
from trainatlas.report.language import messages_of, speaking, spoken, tr, trn

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
        untranslated = [text for text, told in found.items() if not told or told == ("",)]
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


class Bracketed(NullTranslations):
    """Says everything in brackets, so that what does not come from a catalogue stands out."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


@pytest.fixture
def bracketed(monkeypatch):
    monkeypatch.setattr(language, "_translations", lambda code: Bracketed())


def outside_brackets(text: str) -> str:
    """Return what of a text is in no brackets; brackets may hold brackets."""
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = shorter
    return text


def words_of(html: str) -> str:
    """Return what a page says: its texts, those for screen readers, and those in drawings."""
    html = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", html, flags=re.DOTALL)
    spoken_only = " ".join(re.findall(r'(?:alt|aria-label|title)="([^"]*)"', html))
    drawings = " ".join(
        text
        for drawing in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
        for text in re.findall(r"<text[^>]*>([^<]*)<", base64.b64decode(drawing).decode())
    )
    return " ".join([re.sub(r"<[^>]+>", " ", html), spoken_only, drawings])
