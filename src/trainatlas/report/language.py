"""The languages of reports: English stands in the code, every other language in a catalogue, languages/LANGUAGE.po.

What a reader sees is said by `tr`, or by `trn` where a number decides on the wording; a text that is said later, such as one
in a table of names, is marked by `mark` where it stands and goes through `tr` where it is used. Catalogues are gettext's
(PO files), so that any editor for translators opens them; docs/how-to/translate.md tells how to add to them.

Tables hold English whatever the report's language. What of them is text goes through `tr` where it is one of a few words, and
through `retold` where `trainatlas.study.texts.worded` has put values into it.
"""

from __future__ import annotations

import io
import json
import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from trainatlas.study.languages import ENGLISH, Language

WORDED_IN = "claims/"
"""What the location of a text of `worded` begins with in a catalogue: it belongs to tables, every other text to reports."""

_SPOKEN: ContextVar[Language] = ContextVar("language", default=ENGLISH)


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Say everything within in a language."""
    token = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def spoken() -> Language:
    """Return the language that is spoken at present."""
    return _SPOKEN.get()


@cache
def _catalogue(language: Language) -> Catalog:
    if language == ENGLISH:
        return Catalog()
    with (files("trainatlas.report") / "languages" / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@cache
def _translations(language: Language) -> NullTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, _catalogue(language))
    compiled.seek(0)
    return GNUTranslations(compiled)


def tr(text: str, /, **values: Any) -> str:
    """Return a text in the language spoken, with values for its names in braces, as `str.format` puts them in.

    Parameters
    ----------
    text
        The English text, written out where `tr` is called, or marked by `mark`; English itself where the catalogue lacks it.
    """
    said = _translations(spoken()).gettext(text) if text else text
    return said.format(**values) if values else said


def trn(one: str, more: str, number: int, /, **values: Any) -> str:
    """Return `one` where `number` is 1, else `more`, in the language spoken, by its own rule; `number` is a value too."""
    return _translations(spoken()).ngettext(one, more, number).format(number=number, **values)


def mark(text: str) -> str:
    """Return a text as it is: marks it for the catalogue."""
    return text


def retold(text: str) -> str:
    """Return a text that `worded` has put together, in the language spoken; its values are retold too.

    A text that the catalogue lacks stays as it is. Where several could have made it, the one with the most letters of its
    own has.
    """
    words, patterns = _worded(spoken())
    if text in words:
        return tr(text)
    for pattern, template in patterns:
        if found := pattern.fullmatch(text):
            return tr(template, **{name: retold(value) for name, value in found.groupdict().items()})
    return text


@cache
def _worded(language: Language) -> tuple[frozenset[str], tuple[tuple[re.Pattern[str], str], ...]]:
    """Return the texts of `worded` without names in braces, and those with them, each with what it may have become."""
    texts = [
        message.id
        for message in _catalogue(language)
        if isinstance(message.id, str) and any(place.startswith(WORDED_IN) for place, _ in message.locations)
    ]
    pieces = {text: list(string.Formatter().parse(text)) for text in texts}
    patterned = [text for text in texts if any(name for _, name, _, _ in pieces[text])]
    patterned.sort(key=lambda text: -sum(len(letters) for letters, *_ in pieces[text]))
    patterns = (
        "".join(re.escape(letters) + (f"(?P<{name}>.+)" if name else "") for letters, name, _, _ in pieces[text])
        for text in patterned
    )
    return frozenset(texts) - set(patterned), tuple(zip(map(re.compile, patterns), patterned, strict=True))


def messages_of(script: str) -> dict[str, str]:
    """Return what the catalogue of the language spoken has for the texts of a script: those that stand in it in double quotes."""
    return {
        message.id: str(message.string)
        for message in _catalogue(spoken())
        if isinstance(message.id, str)
        and message.id
        and message.string
        and json.dumps(message.id, ensure_ascii=False) in script
    }
