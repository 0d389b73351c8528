"""Bring the catalogues of the report's languages up to date with what the report says: `make translations`.

New texts are added without a translation, which the tests do not let pass; texts that are no longer said are taken out.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from trainatlas.analysis.diagnosis import RULES
from trainatlas.catalogue import RULES as COMBINATIONS
from trainatlas.catalogue import TABLES
from trainatlas.study.trial import FACTORS

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "src" / "trainatlas" / "report"
LANGUAGES = REPORT / "languages"

_CALLS = {"tr": None, "trn": (1, 2)}
_KINDS = {
    ".py": ("python", {**_CALLS, "mark": None}),
    ".j2": ("jinja2.ext:babel_extract", _CALLS),
    ".js": ("javascript", {"tr": None}),
}
"""How each kind of file is read, and the functions of `trainatlas.report.language` whose texts are said: which arguments."""
_HEADER = r"""msgid ""
msgstr ""
"Project-Id-Version: trainatlas\n"
"Language: {language}\n"
"Plural-Forms: {plural_forms}\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=utf-8\n"
"Content-Transfer-Encoding: 8bit\n"

"""


def said() -> Catalog:
    """Return everything that reports say: from code, templates, scripts and tables, with the files that say it."""
    catalogue = Catalog()
    for name, text in (*_marked_texts(), *_texts_of_tables()):
        catalogue.add(text, locations=[(name, 0)])
    return catalogue


def _texts_of_tables() -> Iterator[tuple[str, str]]:
    """Yield what tables outside the report say in their rows, where nothing marks it."""
    for factor in FACTORS:
        for entry in TABLES[factor].values():
            yield "catalogue.py", entry.formula
    for combination in COMBINATIONS:
        yield "catalogue.py", combination.reason
    for rule in RULES:
        yield "diagnosis.py", rule.meaning


def _marked_texts() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for path in sorted(REPORT.rglob("*")):
        if path.suffix in _KINDS:
            kind, calls = _KINDS[path.suffix]
            source = io.BytesIO(path.read_bytes())
            for _, text, _, _ in extract(kind, source, calls, options={"encoding": "utf-8", "silent": "false"}):
                yield path.name, text


def catalogues() -> dict[str, Catalog]:
    """Return the catalogue of every language but English, by the language's code."""
    found = {}
    for path in sorted(LANGUAGES.glob("*.po")):
        with path.open("rb") as file:
            found[path.stem] = read_po(file, locale=path.stem, abort_invalid=True)
    return found


def main() -> None:
    """Rewrite every catalogue, and say what is left to translate."""
    template = said()
    for language, catalogue in catalogues().items():
        before = {message.id: message.string for message in catalogue if message.id}
        new = Catalog(locale=language)
        for message in template:
            if message.id:
                new.add(message.id, before.get(message.id, ""), locations=message.locations)
        text = io.BytesIO()
        write_po(text, new, width=130, sort_by_file=True, include_lineno=False, omit_header=True)
        header = _HEADER.format(language=language, plural_forms=new.plural_forms)
        (LANGUAGES / f"{language}.po").write_bytes(header.encode() + text.getvalue())
        missing = sum(not any(message.string) for message in new if message.id)
        print(f"{language}: {len(new):,} texts, {missing:,} without a translation", file=sys.stderr)


if __name__ == "__main__":
    main()
