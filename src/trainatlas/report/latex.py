"""Tables as LaTeX, to be read into a paper: one tabular each, set with booktabs.

Letters of other scripts stay as they are, so a text with such letters wants LuaLaTeX or XeLaTeX.
"""

from __future__ import annotations

import re

from trainatlas.report.blocks import Table
from trainatlas.report.language import tr

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "`": r"\textasciigrave{}",
    }
)
_BREAKS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
"""Blanks, ends of lines and control characters; a hard space is none of them."""
_LIGATURES = re.compile(r"(?<=([-'<>,]))(?=\1)")
"""Between two letters that LaTeX would draw together as another one."""


def latex_text(text: str) -> str:
    """Return a text as LaTeX sets it letter by letter, on one line.

    A text that begins with `[` or `*` is guarded: after the end of a row LaTeX would take it for an option.
    """
    plain = _BREAKS.sub(" ", text).strip(" ")
    escaped = _LIGATURES.sub("{}", plain.translate(_ESCAPES))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def latex_table(table: Table) -> str:
    """Return a table as LaTeX: comments with its title, note and source, and one tabular without a float."""
    data = tr("Data:")
    told = [table.title, table.note, f"{data} tables/{table.data}.csv" if table.data else ""]
    comments = [_BREAKS.sub(" ", line).strip() for line in told]
    texts = min(table.text_columns, len(table.header))
    lines = [
        *(f"% {line}" for line in comments if line),
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{" + "l" * texts + "r" * (len(table.header) - texts) + "}",
        r"\toprule",
        _row(table.header),
        r"\midrule",
        *map(_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"
