"""A page of single sections, and what of it no catalogue has."""

import re
from collections.abc import Iterable

from brackets import outside_brackets, words_of
from trainatlas.report.blocks import Content, Section
from trainatlas.report.render import render_html

_FILES = re.compile(r"\b(tables/)?\w+\.csv\b")


def words_of_its_own(sections: list[Section], names: Iterable[str] = ()) -> set[str]:
    """Return the words of sections that stand in no brackets, but for names of files and `names`: of levels, samples, people.

    Sections are to be made, and this called, where everything is said in brackets.
    """
    said = outside_brackets(words_of(render_html(Content("", "", [], [], sections, ""), printed=False)))
    said = _FILES.sub("", said)
    for name in sorted({"trainatlas", *names}, key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", said)
    return set(re.findall(r"[^\W\d_]{2,}", said))
