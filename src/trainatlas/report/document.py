"""The document: a printed page made into a PDF by WeasyPrint, tagged, with tables attached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from trainatlas.report.language import tr
from trainatlas.study.errors import UserError

_ATTACHED_AT = datetime(1980, 1, 1)
"""The time that attachments bear: a document must have one, and its bytes are to depend on its contents alone."""


class _Complaints(logging.Handler):
    """Collects WeasyPrint's warnings, which otherwise pass unseen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


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
