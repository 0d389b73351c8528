"""Rendering: one template, two style sheets, an HTML file and a PDF.

The page is one file that needs nothing from anywhere; the document is the same template printed by
WeasyPrint, with the tables behind it attached. Both are rendered from report.json and the files beside it, from nothing
else. Built again from the same results, all have the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainatlas.analysis.analyse import read_analysis
from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.analysis.compared_columns import COMPARE_COLUMNS, PAIR_COLUMNS
from trainatlas.analysis.runs import Run
from trainatlas.analysis.runs_compared import Comparison
from trainatlas.analysis.tables import CURVE_COLUMNS, LAYER_COLUMNS, read_table, scan_table, trial_columns, write_table
from trainatlas.claims.columns import CLAIM_TABLES
from trainatlas.claims.config import ClaimSet
from trainatlas.claims.tables import read_verdicts
from trainatlas.report.blocks import Content, Figure, Table
from trainatlas.report.claims import claims_content
from trainatlas.report.compared import compared_content
from trainatlas.report.content import build_content
from trainatlas.report.document import rendering_pdf
from trainatlas.report.explorer import embedded, explorer_data
from trainatlas.report.language import messages_of, speaking, tr, trn
from trainatlas.report.latex import latex_table
from trainatlas.report.provenance import Origin, checksums_of
from trainatlas.report.report_file import keep_only, read_content, write_content
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError, said
from trainatlas.study.languages import Language
from trainatlas.study.stage_times import stage_times
from trainatlas.study.storage import atomic_write, read_json, write_text

EXPLORER = "explorer.bin"
"""The trial explorer's data, as `trainatlas.report.explorer.explorer_data` packs them; a report without has no such file."""

ATTACHED_BYTES = 12 * 2**20
"""Tables of at most so many bytes in all are attached to the document, where they take about a quarter of that."""


def write_report(study: Study, results: Path, reports: Path) -> tuple[Path, Path]:
    """Render a study's report.

    Parameters
    ----------
    results
        The study's results folder, with what `trainatlas prepare`, `aggregate` and `analyse` wrote.
    reports
        The study's report folder: index.html, report.pdf, report.json, figures/ and tables/ go there.

    Returns
    -------
    tuple
        Paths of the page and of the document.
    """
    _write_study(study, results, reports)
    return render(reports)


def _write_study(study: Study, results: Path, reports: Path) -> None:
    """Write what the report of a study says, and nothing is left in memory of the tables that it says it from."""
    trials = read_table(results / "trials.csv", trial_columns(study), "trainatlas aggregate")
    provenance: dict[str, Any] = read_json(results / "provenance.json", "trainatlas aggregate")
    data: dict[str, Any] = read_json(results / "data.json", "trainatlas prepare")
    tables = [*(results / "analysis" / f"{name}.csv" for name in ANALYSIS_TABLES), results / "trials.csv"]
    origin = Origin(stage_times(results), checksums_of(tables))
    curves, layers = (
        scan_table(results / f"{name}.csv", columns, "trainatlas aggregate")
        for name, columns in (("curves", CURVE_COLUMNS), ("layers", LAYER_COLUMNS))
    )
    with speaking(study.language):
        content = build_content(study, trials, read_analysis(results), provenance, data, origin)
        explorer = explorer_data(study, trials, curves, layers, results)
    _write(content, tables, reports, explorer)


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
    with speaking(claim_set.claims.language):
        content = claims_content(claim_set, read_verdicts(results), digest)
    _write(content, [results / f"{name}.csv" for name in CLAIM_TABLES], reports)
    return render(reports)


def write_comparison(
    old: Run, new: Run, comparison: Comparison, reports: Path, language: Language
) -> tuple[Path, Path]:
    """Write the report on two runs of a study, with compare.csv and pairs.csv in its tables.

    Parameters
    ----------
    reports
        The report's folder.

    Returns
    -------
    tuple
        Paths of the page and of the document.
    """
    with speaking(language):
        content = compared_content(old, new, comparison)
    given = {"compare": (comparison.rows, COMPARE_COLUMNS), "pairs": (comparison.pairs, PAIR_COLUMNS)}
    paths = {name: reports / "tables" / f"{name}.csv" for name in given}
    for name, (frame, columns) in given.items():
        write_table(frame, paths[name], columns)
    _write(content, list(paths.values()), reports)
    return render(reports)


def _write(content: Content, tables: Sequence[Path], reports: Path, explorer: bytes = b"") -> None:
    """Write what the report says and rests on: what page and document are rendered from."""
    for table in tables:
        target = reports / "tables" / table.name
        if table != target:
            _copy(table, target)
    shown = {  # named as the page's own anchors for them
        f"{section.anchor}-{number}": block
        for section in content.sections
        for number, block in enumerate(section.blocks, 1)
        if isinstance(block, Table)
    }
    with speaking(content.language):
        for name, block in shown.items():
            write_text(reports / "tables" / f"{name}.tex", latex_table(block))
    keep_only(reports / "tables", ".tex", set(shown))
    if explorer:
        with atomic_write(reports / EXPLORER, "wb") as file:
            file.write(explorer)
    else:
        (reports / EXPLORER).unlink(missing_ok=True)
    write_content(replace(content, tables=[table.stem for table in tables]), reports)


def render(reports: Path) -> tuple[Path, Path]:
    """Render page and document from what else lies in a report's folder: report.json, figures/ and tables/.

    Returns
    -------
    tuple
        Paths of the page and of the document.

    Raises
    ------
    UserError
        One line naming the file, where one of these is missing or not as it should be.
    """
    content = read_content(reports)
    page, document = reports / "index.html", reports / "report.pdf"
    attachments, left_out = _attached([reports / "tables" / f"{name}.csv" for name in content.tables])
    printed = render_html(content, True, [path.stem for path in left_out])
    with speaking(content.language), rendering_pdf(printed, attachments) as pdf:
        explorer = reports / EXPLORER
        data = embedded(explorer.read_bytes()) if explorer.exists() else ""
        text = render_html(content, printed=False, explorer=data)
        with atomic_write(document, "wb") as file:
            file.write(pdf())
        write_text(page, text)
    return page, document


def _attached(tables: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide tables into those that the document holds, as many as there is room for, and the largest ones; by name."""
    try:
        sizes = {path: path.stat().st_size for path in tables}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({said(error)}); build the report again") from None
    room, inside = ATTACHED_BYTES, set()
    for path in sorted(tables, key=lambda path: (sizes[path], path.name)):
        room -= sizes[path]
        if room < 0:
            break
        inside.add(path)
    by_name = sorted(tables, key=lambda path: path.name)
    return [path for path in by_name if path in inside], [path for path in by_name if path not in inside]


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target, "wb") as file, source.open("rb") as original:
        shutil.copyfileobj(original, file)


def render_html(content: Content, printed: bool, left_out: Sequence[str] = (), explorer: str = "") -> str:
    """Return the report as one HTML text, for the screen or for print.

    Parameters
    ----------
    left_out
        Names of the tables that are not attached to the printed document.
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
    environment.globals |= {"tr": tr, "trn": trn}
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    style = _template("shared.css") + _template("print.css" if printed else "screen.css")
    script = _template("explorer.js") if explorer else ""
    with speaking(content.language):
        return environment.get_template("report.html.j2").render(
            content=content,
            style=style + (_template("explorer.css") if explorer else ""),
            printed=printed,
            left_out=left_out,
            explorer=explorer,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            script_texts=messages_of(script),
        )


def _template(name: str) -> str:
    return (files("trainatlas.report") / "templates" / name).read_text("utf-8")


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
