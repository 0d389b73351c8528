"""A file that the project writes is whole or absent, whatever goes wrong."""

import json
import math
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.study.errors import UserError
from trainatlas.study.storage import atomic_write, json_object, json_text, read_json, write_csv, write_json, write_text

Python = Callable[..., Any]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_content_and_missing_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.csv"
    write_text(path, "x\n1\n")
    assert path.read_bytes() == b"x\n1\n"
    assert names(path.parent) == ["table.csv"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old", encoding="utf-8")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("error", [ValueError("in the middle"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("existing", [True, False])
def test_an_error_leaves_nothing_behind_and_the_old_file_alone(
    error: BaseException, existing: bool, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    if existing:
        path.write_text("old", encoding="utf-8")
    with pytest.raises(type(error)), atomic_write(path) as file:
        file.write("half a ")
        raise error
    assert names(tmp_path) == (["table.csv"] if existing else [])
    assert not existing or path.read_text(encoding="utf-8") == "old"


def test_rows_that_cannot_be_made_leave_no_table(tmp_path: Path) -> None:
    def rows() -> Any:
        yield (1,)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_csv(tmp_path / "table.csv", ["x"], rows())
    assert names(tmp_path) == []


def test_a_new_file_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "table.csv", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "table.csv").stat().st_mode) == 0o640


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_ends_in_one_line_and_no_half_file(existing: bool, tiny_disk: Path) -> None:
    path = tiny_disk / "table.csv"
    if existing:
        write_text(path, "old")
    with pytest.raises(UserError, match=rf"^{path}: cannot be written: No space left on device$"):
        write_text(path, "x" * 200_000)
    assert names(tiny_disk) == (["table.csv"] if existing else [])
    assert not existing or path.read_text(encoding="utf-8") == "old"


WRITE_TOO_MUCH = """
import resource, sys
from pathlib import Path
from trainatlas.study.errors import UserError
from trainatlas.study.storage import write_csv
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_csv(Path(sys.argv[1]), ["x"], ((number,) for number in range(100_000)))
except UserError as error:
    print(error)
"""


def test_a_file_above_the_limit_ends_in_one_line_and_no_half_file(tmp_path: Path, python: Python) -> None:
    path = tmp_path / "table.csv"
    done = python(WRITE_TOO_MUCH, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}: cannot be written: File too large\n"
    assert names(tmp_path) == []


WRITE_AS_NOBODY = """
import os, sys
from pathlib import Path
from trainatlas.study.errors import UserError
from trainatlas.study.storage import write_text
if os.geteuid() == 0:
    os.setuid(65534)
try:
    write_text(Path(sys.argv[1]), "x")
except UserError as error:
    print(error)
"""


def test_a_folder_that_may_not_be_written_ends_in_one_line(python: Python) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: nobody but its owner may look into that
        folder = Path(name)
        folder.chmod(0o555)
        done = python(WRITE_AS_NOBODY, folder / "table.csv")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{folder / 'table.csv'}: cannot be written: Permission denied\n"
        assert names(folder) == []
        folder.chmod(0o755)


def test_a_folder_below_a_file_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = tmp_path / "file" / "table.csv"
    with pytest.raises(UserError, match=f"^{path}: cannot be written: "):
        write_text(path, "x")


def test_a_table_that_is_a_folder_ends_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.mkdir()
    with pytest.raises(UserError, match=f"^{path}: cannot be written: "):
        write_text(path, "x")
    assert names(tmp_path) == ["table.csv"]


@given(value=st.floats(allow_nan=False))
def test_numbers_in_a_table_read_back_the_same(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "number.csv"
    write_csv(path, ["x"], [(value,)])
    assert float(path.read_text(encoding="utf-8").splitlines()[1]) == value


def test_tables_have_one_header_unix_line_ends_and_empty_cells_for_what_is_missing(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["a", "b"], [(None, 'says "no", twice'), (0.1, "ü")])
    assert (tmp_path / "table.csv").read_bytes() == 'a,b\n,"says ""no"", twice"\n0.1,ü\n'.encode()


def test_json_does_not_depend_on_the_order_of_its_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"a": 1, "b": [1.5, "ü"]})
    write_json(tmp_path / "two.json", {"b": [1.5, "ü"], "a": 1})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text(encoding="utf-8")) == {"a": 1, "b": [1.5, "ü"]}
    assert read_json(tmp_path / "one.json", "trainatlas plan") == {"a": 1, "b": [1.5, "ü"]}


@given(
    content=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.floats()))
)
def test_json_put_together_from_its_parts_is_that_of_the_whole(content: dict[str, Any]) -> None:
    whole = json.dumps(content, sort_keys=True, ensure_ascii=False)
    assert json_object({name: json_text(value) for name, value in content.items()}) == json_text(content) == whole


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_json_that_cannot_be_read_names_the_file_and_what_makes_it(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "plan-1.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: .*`trainatlas plan` makes it"):
        read_json(path, "trainatlas plan")


def test_infinity_is_written_so_that_it_reads_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["x"], [(math.inf,)])
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "x\ninf\n"
