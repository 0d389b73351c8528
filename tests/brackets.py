"""What of a report does not come from a catalogue: it stands outside the brackets that everything else is said in."""

import base64
import html
import re
from gettext import NullTranslations


class Bracketed(NullTranslations):
    """Says everything in brackets, so that what does not come from a catalogue stands out, and keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str | tuple[str, str]] = set()

    def gettext(self, message: str) -> str:
        self.asked.add(message)
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        self.asked.add((msgid1, msgid2))
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


def outside_brackets(text: str) -> str:
    """Return what of a text is in no brackets; brackets may hold brackets."""
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = shorter
    return text


def words_of(page: str) -> str:
    """Return what a page says: its texts, those for screen readers, and those in drawings."""
    page = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    spoken_only = " ".join(re.findall(r'(?:alt|aria-label|title)="([^"]*)"', page))
    drawings = " ".join(
        text
        for drawing in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
        for text in re.findall(r"<text[^>]*>([^<]*)<", base64.b64decode(drawing).decode())
    )
    return html.unescape(" ".join([re.sub(r"<[^>]+>", " ", page), spoken_only, drawings]))
