"""Tables as LaTeX, read back by a strict reader: no letter that LaTeX takes for a command, as many cells as columns."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainatlas.report.blocks import Table
from trainatlas.report.latex import latex_table, latex_text
from trainatlas.report.report_file import read_content

# Whatever `latex_text` may write, and what LaTeX sets for it; anything else must be an ordinary letter.
COMMANDS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textasciigrave{}": "`",
    r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#", r"\%": "%", r"\_": "_", "{}": "",
}  # fmt: skip
TOKEN = re.compile("|".join([*map(re.escape, COMMANDS), r"[^\\{}$&#%_~^`\n\r]"]))
ENDS = (r"\toprule", r"\midrule", r"\bottomrule")


def set_by_latex(source: str) -> str:
    """What LaTeX sets; an error where a letter is left that it would take for a command."""
    found, place = [], 0
    while place < len(source):
        token = TOKEN.match(source, place)
        assert token, f"{source[place:]!r} in {source!r}"
        found.append(COMMANDS.get(token[0], token[0]))
        place = token.end()
    return "".join(found)


def read(source: str) -> tuple[list[str], str, list[list[str]]]:
    """Comments, the columns, and rows of cells, header first."""
    lines = source.rstrip("\n").split("\n")
    comments = [line for line in lines if line.startswith("%")]
    lines = lines[len(comments) :]
    begin = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])
    assert begin and lines[-1] == r"\end{tabular}" and [line for line in lines if line in ENDS] == list(ENDS)
    assert (lines[1], lines[3], lines[-2]) == ENDS
    rows = []
    for line in (lines[2], *lines[4:-2]):
        assert line.endswith(r" \\")
        cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
        assert not cells[0].startswith(("[", "*")), "an option of the end of the row above"
        rows.append([set_by_latex(cell) for cell in cells])
    assert {len(row) for row in rows} == {len(begin[1])}
    return comments, begin[1], rows


def plain(text: str) -> str:
    return re.sub(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", text).strip(" ")


@given(st.text(st.sampled_from("\\{}$&#%_~^`'\"-<>,[]*? \n\r\tab1é한🧪−→\u00a0\u2028\x00"), max_size=12))
def test_every_text_comes_out_as_it_went_in(text: str) -> None:
    assert set_by_latex(latex_text(text)) == plain(text)


@settings(max_examples=40)
@given(st.text(max_size=20))
def test_letters_of_all_scripts_are_left(text: str) -> None:
    assert set_by_latex(latex_text(text)) == plain(text)


@pytest.mark.parametrize("text", ["--", "---", "''", "<<", ">>", ",,", "``"])
def test_letters_are_not_drawn_together(text: str) -> None:
    assert text not in latex_text(text)


def test_a_table_has_its_caption_as_a_comment_and_its_numbers_at_the_right() -> None:
    rows = [("[a & b]", "1_000", "100%"), ("* 한국어 🧪", "−3", "")]
    table = Table("50% of\nall", ("level", "n", "share"), rows, "Two\u2028lines.", "levels", text_columns=1)
    comments, columns, found = read(latex_table(table))
    assert comments == ["% 50% of all", "% Two lines.", "% Data: tables/levels.csv", r"% \usepackage{booktabs}"]
    assert columns == "lrr"
    assert found == [["level", "n", "share"], *map(list, rows)]


def test_a_table_without_rows_note_and_numbers_is_one() -> None:
    comments, columns, found = read(latex_table(Table("Nothing", ("a", "b"), [], text_columns=9)))
    assert (len(comments), columns, found) == (2, "ll", [["a", "b"]])


def test_every_table_that_the_report_shows_is_there_and_no_other(built_report: Any) -> None:
    shown = {
        f"{section.anchor}-{number}.tex": block
        for section in read_content(built_report.reports).sections
        for number, block in enumerate(section.blocks, 1)
        if isinstance(block, Table)
    }
    assert {path.name for path in (built_report.reports / "tables").glob("*.tex")} == set(shown)
    page = built_report.page.read_text(encoding="utf-8")
    for name, block in shown.items():
        _, _, (header, *rows) = read((built_report.reports / "tables" / name).read_text(encoding="utf-8"))
        assert header == [plain(cell) for cell in block.header]
        assert rows == [[plain(cell) for cell in row] for row in block.rows]
        assert f'id="{name.removesuffix(".tex")}"' in page
