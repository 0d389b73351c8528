"""Texts that tables hold in English and reports retell in their own language.

Such a text is put together by `worded` where it comes about. `trainatlas.report.language.retold` takes it apart again by the
same text in the catalogue, which has it from there (scripts/translations.py).
"""

from __future__ import annotations


def worded(text: str, /, **values: object) -> str:
    """Return a text with values for its names in braces.

    Parameters
    ----------
    text
        Written out where `worded` is called; each name at most once and without a format.
    """
    return text.format(**values) if values else text
