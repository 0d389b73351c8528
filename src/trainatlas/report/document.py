"""The document: a printed page made into a PDF by WeasyPrint, tagged, with tables attached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

from trainatlas.report.language import speaking, spoken, tr
from trainatlas.study.errors import UserError
from trainatlas.study.languages import Language

_ATTACHED_AT = datetime(1980, 1, 1)
"""The time that attachments bear: a document must have one, and its bytes are to depend on its contents alone."""


class _Complaints(logging.Handler):
    """Collects WeasyPrint's warnings, which otherwise pass unseen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def rendering_pdf(html: str, attachments: Sequence[Path] = ()) -> Iterator[Callable[[], bytes]]:
    """Do what `render_pdf` does in a process of its own, and yield a function that waits for the document.

    A fresh process holds the document alone and nothing of what the report was worked out from: together they would take more
    than half a gigabyte.

    Raises
    ------
    UserError
        As `render_pdf`, and when that process is killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        document = elsewhere.submit(_render_in, spoken(), html, attachments)

        def wait() -> bytes:
            try:
                return document.result()
            except BrokenProcessPool:
                raise UserError(
                    "the process that renders report.pdf was killed; allowed: a machine with about 500 MB of memory to spare"
                ) from None

        yield wait


def _render_in(language: Language, html: str, attachments: Sequence[Path]) -> bytes:
    with speaking(language):
        return render_pdf(html, attachments)


def render_pdf(html: str, attachments: Sequence[Path] = ()) -> bytes:
    """Return the document of a printed page, tagged for screen readers (PDF/UA-1).

    Parameters
    ----------
    attachments
        Files that the document holds, in the order of their names, which readers search by halving.

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
        held = [
            weasyprint.Attachment(
                filename=path,
                name=path.name,
                description=tr("table {name}", name=path.stem),
                created=_ATTACHED_AT,
                modified=_ATTACHED_AT,
            )
            for path in attachments
        ]
        document: bytes = weasyprint.HTML(string=html).write_pdf(pdf_variant="pdf/ua-1", attachments=held)
    finally:
        logger.removeHandler(complaints)
    missing = [line for line in complaints.lines if ".notdef" in line]
    if missing:
        raise UserError(
            f"the PDF would lack characters ({missing[0]}); install fonts that have them, such as fonts-nanum"
        )
    return document
