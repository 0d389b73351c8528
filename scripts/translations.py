"""Bring the catalogues of the report's languages up to date with what the report says: `make translations`.

That is what its own code, templates and scripts say, what the tables of claims are worded in, what our claims file says, and
the titles and questions of our studies.

New texts are added without a translation, which the tests do not let pass; texts that are no longer said are taken out.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from trainatlas.analysis.diagnosis import LABELS, RULES
from trainatlas.analysis.stability import CONCLUSIONS
from trainatlas.catalogue import RULES as COMBINATIONS
from trainatlas.catalogue import TABLES
from trainatlas.claims.literature import AGREEMENTS
from trainatlas.claims.verdicts import MIXED, VERDICTS
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import STATUSES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "trainatlas"
REPORT, WORDED = PACKAGE / "report", PACKAGE / "claims"
CLAIMS = ROOT / "benchmarks" / "claims.yaml"
LANGUAGES = REPORT / "languages"

_CALLS = {"tr": None, "trn": (1, 2)}
_KINDS = {
    ".py": ("python", {**_CALLS, "mark": None}),
    ".j2": ("jinja2.ext:babel_extract", _CALLS),
    ".js": ("javascript", {"tr": None}),
}
"""How each kind of file is read, and the functions of `trainatlas.report.language` whose texts are said: which arguments."""
_WORD = re.compile("[a-z]{2}")
"""What a source has that is more than the number of a document."""
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
    """Return everything that reports say, with the files that say it."""
    catalogue = Catalog()
    for place, text in _texts():
        catalogue.add(text, locations=[(place, 0)])
    return catalogue


def _texts() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for path in sorted(REPORT.rglob("*")):
        if path.suffix in _KINDS:
            yield from ((path.name, text) for text in _extracted(path, *_KINDS[path.suffix]))
    for path in sorted(WORDED.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()  # by which `retold` knows them
        yield from ((place, text) for text in _extracted(path, "python", {"worded": None}))
    yield from _texts_of_tables()
    yield from ((CLAIMS.name, text) for text in _claimed() if text)
    yield from _asked()


def _texts_of_tables() -> Iterator[tuple[str, str]]:
    """Yield what tables outside the report say in their rows, where nothing marks it."""
    for factor in FACTORS:
        for entry in TABLES[factor].values():
            yield "catalogue.py", entry.formula
    for combination in COMBINATIONS:
        yield "catalogue.py", combination.reason
    for rule in RULES:
        yield "diagnosis.py", rule.meaning
    words = {"diagnosis.py": LABELS, "records.py": STATUSES, "stability.py": CONCLUSIONS.values()}
    for place, few in {**words, "verdicts.py": (*VERDICTS, MIXED), "literature.py": AGREEMENTS}.items():
        yield from ((place, name.replace("_", " ")) for name in few)


def _extracted(path: Path, kind: str, calls: dict[str, Any]) -> Iterator[str | tuple[str, ...]]:
    source = io.BytesIO(path.read_bytes())
    for _, text, _, _ in extract(kind, source, calls, options={"encoding": "utf-8", "silent": "false"}):
        yield text


def _claimed() -> Iterator[str]:
    """Return what our claims file says in words."""
    given = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
    yield given["title"]
    yield from given["chapters"].values()
    for claim in given["claims"]:
        yield claim["statement"]
        yield from (part["what"] for part in claim.get("parts", ()))
        yield claim.get("limits", "")
    for published in given["literature"]:
        yield published["figure"]
        yield published.get("differs", "")
    for each in (*given["claims"], *given["literature"]):
        if _WORD.search(each["source"]):
            yield each["source"]


def _asked() -> Iterator[tuple[str, str]]:
    """Yield the titles and questions of our studies and of their profiles."""
    for path in sorted(CLAIMS.parent.glob("*.yaml")):
        if path != CLAIMS:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
            for edition in (given, *given.get("profiles", {}).values()):
                yield from ((path.name, edition[key]) for key in ("title", "question") if key in edition)


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
        missing = sum(not message.string or not all(message.string) for message in new if message.id)
        print(f"{language}: {len(new):,} texts, {missing:,} without a translation", file=sys.stderr)


if __name__ == "__main__":
    main()
