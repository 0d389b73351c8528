"""Rendering: one template, two style sheets, an HTML file and a PDF.

The page is one file that needs nothing from anywhere; the document is the same template printed by
WeasyPrint. Built again from the same results, both have the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import shutil
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainatlas.analysis.analyse import read_analysis
from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.analysis.tables import CURVE_COLUMNS, LAYER_COLUMNS, read_table, scan_table, trial_columns
from trainatlas.claims.columns import CLAIM_TABLES
from trainatlas.claims.config import ClaimSet
from trainatlas.claims.tables import read_verdicts
from trainatlas.report.blocks import Content, Figure
from trainatlas.report.claims import claims_content
from trainatlas.report.content import build_content
from trainatlas.report.explorer import embedded, explorer_data
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.storage import atomic_write, read_json, write_text


def write_report(study: Study, results: Path, reports: Path) -> tuple[Path, Path]:
    """Render a study's report.

    Parameters
    ----------
    results
        The study's results folder, with what `trainatlas prepare`, `aggregate` and `analyse` wrote.
    reports
        The study's report folder: index.html, report.pdf, figures/ and tables/ go there.

    Returns
    -------
    tuple
        Paths of the page and of the document.
    """
    trials = read_table(results / "trials.csv", trial_columns(study), "trainatlas aggregate")
    provenance: dict[str, Any] = read_json(results / "provenance.json", "trainatlas aggregate")
    data: dict[str, Any] = read_json(results / "data.json", "trainatlas prepare")
    content = build_content(study, trials, read_analysis(results), provenance, data)
    tables = [*(results / "analysis" / f"{name}.csv" for name in ANALYSIS_TABLES), results / "trials.csv"]
    curves, layers = (
        scan_table(results / f"{name}.csv", columns, "trainatlas aggregate")
        for name, columns in (("curves", CURVE_COLUMNS), ("layers", LAYER_COLUMNS))
    )
    explorer = embedded(explorer_data(study, trials, curves, layers, results))
    return _write(content, tables, reports, explorer)


def write_claims_report(claim_set: ClaimSet, results: Path, reports: Path) -> tuple[Path, Path]:
    """Render the report on claims.

    Parameters
    ----------
    results
        The claims' results folder, with what `trainatlas claims judge` wrote.
    reports
        The claims' report folder.

    Returns
    -------
    tuple
        Paths of the page and of the document.
    """
    digest = hashlib.sha256(claim_set.path.read_bytes()).hexdigest()[:16]
    content = claims_content(claim_set, read_verdicts(results), digest)
    return _write(content, [results / f"{name}.csv" for name in CLAIM_TABLES], reports)


def _write(content: Content, tables: Iterable[Path], reports: Path, explorer: str = "") -> tuple[Path, Path]:
    """Write figures, copies of tables, the page and the document; return the paths of the last two."""
    for section in content.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                write_text(reports / "figures" / f"{block.name}.svg", block.svg)
    for table in tables:
        _copy(table, reports / "tables" / table.name)
    page, document = reports / "index.html", reports / "report.pdf"
    pdf = render_pdf(render_html(content, printed=True))
    write_text(page, render_html(content, printed=False, explorer=explorer))
    with atomic_write(document, "wb") as file:
        file.write(pdf)
    return page, document


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target, "wb") as file, source.open("rb") as original:
        shutil.copyfileobj(original, file)


def render_html(content: Content, printed: bool, explorer: str = "") -> str:
    """Return the report as one HTML text, for the screen or for print.

    Parameters
    ----------
    explorer
        Data of the trial explorer, as `trainatlas.report.explorer.embedded` has them; where there are none there is no explorer,
        and the page runs no script.
    """
    environment = Environment(
        loader=PackageLoader("trainatlas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    style = _template("shared.css") + _template("print.css" if printed else "screen.css")
    script = _template("explorer.js") if explorer else ""
    return environment.get_template("report.html.j2").render(
        content=content,
        style=style + (_template("explorer.css") if explorer else ""),
        printed=printed,
        explorer=explorer,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _template(name: str) -> str:
    return (files("trainatlas.report") / "templates" / name).read_text("utf-8")


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


class _Complaints(logging.Handler):
    """Collects WeasyPrint's warnings, which otherwise pass unseen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def render_pdf(html: str) -> bytes:
    """Return the document of a printed page, tagged for screen readers (PDF/UA-1).

    Raises
    ------
    UserError
        When WeasyPrint's system libraries are missing, or a character has no glyph in any font here.
    """
    try:
        import weasyprint
    except OSError as error:
        raise UserError(
            f"WeasyPrint cannot load a system library ({error}); allowed: libpango-1.0-0, libpangoft2-1.0-0 and "
            "libharfbuzz-subset0 installed (`make setup` does it)"
        ) from None
    complaints = _Complaints()
    logger = logging.getLogger("weasyprint")
    logger.addHandler(complaints)
    try:
        document: bytes = weasyprint.HTML(string=html).write_pdf(pdf_variant="pdf/ua-1")
    finally:
        logger.removeHandler(complaints)
    missing = [line for line in complaints.lines if ".notdef" in line]
    if missing:
        raise UserError(
            f"the PDF would lack characters ({missing[0]}); install fonts that have them, such as fonts-nanum"
        )
    return document
