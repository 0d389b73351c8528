"""The languages that reports may be written in. The command line names them in its help, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal, cast, get_args

from trainatlas.study.errors import UserError

Language = Literal["en", "ko"]
"""Languages that reports are written in."""

ENGLISH: Language = "en"


def language_asked(given: str, option: str) -> Language:
    """Return the language that is asked for beside the file; raises UserError, which names the `option`, where it is none."""
    if given in get_args(Language):
        return cast(Language, given)
    raise UserError(f"{option}{given}; allowed: {', '.join(get_args(Language))}")
