"""report.json: all that a report says, in one file that the page and the document are rendered from.

Drawings are left out: they lie beside it as figures/NAME.svg. `workflow/schemas/report.schema.json` follows from the
models here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.study.errors import UserError, said
from trainatlas.study.languages import ENGLISH, Language
from trainatlas.study.ranges import StrictModel, Whole
from trainatlas.study.reading import problem_in_words
from trainatlas.study.storage import read_json, write_json, write_text

REPORT_FILE = "report.json"
FORMAT: Literal[1] = 1
"""Raised when readers of earlier files could not read new ones."""

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
_TableName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$")]


class StoredFigure(StrictModel):
    """A figure; `file` is its drawing, `data` the table tables/DATA.csv that it was drawn from."""

    kind: Literal["figure"]
    name: _Name
    file: str
    title: str
    caption: str
    alt: Annotated[str, Field(min_length=1)]
    data: _TableName

    @model_validator(mode="after")
    def _beside(self) -> StoredFigure:
        if self.file != f"figures/{self.name}.svg":
            raise ValueError(f"file is '{self.file}'; allowed: figures/{self.name}.svg")
        return self


class StoredTable(StrictModel):
    """A table as it is shown: cells are texts; columns after the first `text_columns` are set right."""

    kind: Literal["table"]
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    data: _TableName
    text_columns: Annotated[Whole, Field(ge=0)]

    @model_validator(mode="after")
    def _rectangular(self) -> StoredTable:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"rows.{number} has {len(row)} cells; allowed: {len(self.header)}, one for each column"
                )
        return self


class StoredSection(StrictModel):
    """A part of the report with its own heading; `listed`: whether the printed contents list what it shows."""

    anchor: _Name
    title: str
    paragraphs: tuple[str, ...]
    blocks: tuple[Annotated[StoredFigure | StoredTable, Field(discriminator="kind")], ...]
    listed: bool


class StoredReport(StrictModel):
    """Everything that a report says; `tables` are the names of the CSV files that lie beside it in tables/."""

    format: Literal[1]
    language: Language = ENGLISH
    title: str
    question: str
    findings: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]
    digest: str
    tables: tuple[_Name, ...]
    sections: tuple[StoredSection, ...]

    @model_validator(mode="after")
    def _consistent(self) -> StoredReport:
        anchors = [section.anchor for section in self.sections]
        blocks = [block for section in self.sections for block in section.blocks]
        figures = [block.name for block in blocks if isinstance(block, StoredFigure)]
        for what, given in (("anchor", anchors), ("figure", figures)):
            for name in given:
                if given.count(name) > 1:
                    raise ValueError(f"sections: {what} '{name}' is there twice; allowed: each once")
        for block in blocks:
            if block.data and block.data not in self.tables:
                raise ValueError(
                    f"sections: '{block.title}': data is '{block.data}'; allowed: one of tables, or nothing"
                )
        return self


_KINDS: dict[str, type[StrictModel]] = {"figure": StoredFigure, "table": StoredTable}
_MODELS: dict[str, type[StrictModel]] = {**_KINDS, "sections": StoredSection}


def write_content(content: Content, reports: Path) -> None:
    """Write report.json and the drawings into the folder of a report, in place of those of an earlier one."""
    figures = [block for section in content.sections for block in section.blocks if isinstance(block, Figure)]
    (reports / "figures").mkdir(parents=True, exist_ok=True)  # the pipeline's output, even where nothing is drawn
    for figure in figures:
        write_text(reports / _drawing(figure.name), figure.svg)
    keep_only(reports / "figures", ".svg", {figure.name for figure in figures})
    write_json(reports / REPORT_FILE, _stored(content).model_dump(mode="json"))


def keep_only(folder: Path, suffix: str, stems: set[str]) -> None:
    """Remove files with this suffix from a folder of a report that an earlier report left there: all but those of `stems`."""
    for path in folder.glob(f"*{suffix}"):
        if path.stem not in stems:
            path.unlink()


def read_content(reports: Path) -> Content:
    """Return what `write_content` wrote.

    Raises
    ------
    UserError
        One line naming the file, the key, its value and what is allowed: where report.json or a drawing is missing or cannot
        be read, or says what no report says.
    """
    path = reports / REPORT_FILE
    given = read_json(path, "trainatlas report")
    try:
        stored = StoredReport.model_validate(given)
    except ValidationError as error:
        problem = problem_in_words(error, StoredReport, _MODELS, tags=_KINDS)
        raise UserError(f"{path}: {problem.strip()}") from None
    return Content(
        title=stored.title,
        question=stored.question,
        findings=list(stored.findings),
        counts=list(stored.counts),
        sections=[_section(section, reports) for section in stored.sections],
        digest=stored.digest,
        tables=list(stored.tables),
        language=stored.language,
    )


def _drawing(name: str) -> str:
    return f"figures/{name}.svg"


def _stored(content: Content) -> StoredReport:
    return StoredReport(
        format=FORMAT,
        language=content.language,
        title=content.title,
        question=content.question,
        findings=tuple(content.findings),
        counts=tuple(content.counts),
        digest=content.digest,
        tables=tuple(content.tables),
        sections=tuple(
            StoredSection(
                anchor=section.anchor,
                title=section.title,
                paragraphs=tuple(section.paragraphs),
                blocks=tuple(map(_stored_block, section.blocks)),
                listed=section.listed,
            )
            for section in content.sections
        ),
    )


def _stored_block(block: Figure | Table) -> StoredFigure | StoredTable:
    if isinstance(block, Figure):
        return StoredFigure(
            kind="figure",
            name=block.name,
            file=_drawing(block.name),
            title=block.title,
            caption=block.caption,
            alt=block.alt,
            data=block.data,
        )
    return StoredTable(
        kind="table",
        title=block.title,
        header=tuple(block.header),
        rows=tuple(map(tuple, block.rows)),
        note=block.note,
        data=block.data,
        text_columns=block.text_columns,
    )


def _section(stored: StoredSection, reports: Path) -> Section:
    blocks = [_block(block, reports) for block in stored.blocks]
    return Section(stored.anchor, stored.title, list(stored.paragraphs), blocks, stored.listed)


def _block(stored: StoredFigure | StoredTable, reports: Path) -> Figure | Table:
    if isinstance(stored, StoredTable):
        return Table(stored.title, stored.header, list(stored.rows), stored.note, stored.data, stored.text_columns)
    path = reports / stored.file
    try:
        svg = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({said(error)}); {REPORT_FILE} names it: build the report again"
        ) from None
    return Figure(stored.name, svg, stored.title, stored.caption, stored.alt, stored.data)
