"""What of a report does not come from a catalogue: it stands outside the brackets that everything else is said in."""

import base64
import re
from gettext import NullTranslations
from html import unescape


class Bracketed(NullTranslations):
    """Says everything in brackets, so that what does not come from a catalogue stands out."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


def outside_brackets(text: str) -> str:
    """Return what of a text is in no brackets; brackets may hold brackets."""
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = shorter
    return text


def words_of(html: str) -> str:
    """Return what a page says: its texts, those for screen readers, and those in drawings."""
    html = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", html, flags=re.DOTALL)
    spoken_only = " ".join(re.findall(r'(?:alt|aria-label|title)="([^"]*)"', html))
    drawings = " ".join(
        text
        for drawing in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
        for text in re.findall(r"<text[^>]*>([^<]*)<", base64.b64decode(drawing).decode())
    )
    return unescape(" ".join([re.sub(r"<[^>]+>", " ", html), spoken_only, drawings]))
