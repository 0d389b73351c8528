"""What a report is made of: figures and tables, in sections.

Plain data; `trainatlas.report.content` puts them together and the templates show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainatlas.report.language import spoken
from trainatlas.study.languages import Language


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes
    ----------
    name
        Stem of its file.
    svg
        The drawing.
    title, caption, alt
        What it shows; what it says and how to read it; the same for those who cannot see it.
    data
        Name of the table it was drawn from.
    """

    name: str
    svg: str
    title: str
    caption: str
    alt: str
    data: str


@dataclass(frozen=True)
class Table:
    """A table as it is shown: cells are text, numeric columns are set right.

    Attributes
    ----------
    data
        Name of the analysis table it was made from, or "" when there is none.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    data: str = ""
    text_columns: int = 1


@dataclass(frozen=True)
class Section:
    """A part of the report with its own heading.

    Attributes
    ----------
    listed
        Whether the printed contents list its figures and tables.
    """

    anchor: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    blocks: list[Figure | Table] = field(default_factory=list)
    listed: bool = True


@dataclass(frozen=True)
class Content:
    """Everything the templates show.

    Attributes
    ----------
    tables
        Names of the tables that the report rests on: tables/NAME.csv beside it.
    language
        What it is written in.
    """

    title: str
    question: str
    findings: list[str]
    counts: list[tuple[str, str]]
    sections: list[Section]
    digest: str
    tables: list[str] = field(default_factory=list)
    language: Language = field(default_factory=spoken)
