"""A table is checked wherever it is read or written; what is wrong is said with file and column."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.analysis import tables
from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.analysis.table_rules import is_sound
from trainatlas.analysis.table_schemas import fault_of
from trainatlas.analysis.tables import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    SELECTED_COLUMNS,
    TRIAL_COLUMNS,
    read_packs,
    read_table,
    scan_table,
    table_writer,
    write_table,
)
from trainatlas.study.errors import UserError
from trainatlas.train.records import MEASURED, QUANTITIES, SPLITS, STATUSES, TIMING_COLUMNS, Column, names

TABLES = {
    "trials": TRIAL_COLUMNS,
    "curves": CURVE_COLUMNS,
    "layers": LAYER_COLUMNS,
    "histograms": HISTOGRAM_COLUMNS,
    "packs": PACK_COLUMNS,
    "selected": SELECTED_COLUMNS,
    "timing": TIMING_COLUMNS,
} | {f"analysis_{name}": columns for name, columns in ANALYSIS_TABLES.items()}


BAD_CELLS = {
    "text": ["", "a", None, "ok", *SPLITS],
    "whole": [-1, 0, 7, 2**60],
    "number": [-0.1, -0.0, 0.0, 1.0, 1.0000001, math.inf, -math.inf, math.nan],
}


def cell(column: Column) -> object:
    if column.name == "status":
        return STATUSES[0]
    if column.name == "split":
        return SPLITS[0]
    if column.name == "quantity":
        return QUANTITIES[0]
    if column.name == "how":
        return MEASURED
    return {"text": "a", "whole": 1, "number": 0.5}[column.kind]


def frame(columns: tuple[Column, ...], rows: int = 2) -> pd.DataFrame:
    kinds = {"text": "str", "whole": "int64", "number": "float64"}
    return pd.DataFrame({column.name: pd.Series([cell(column)] * rows, dtype=kinds[column.kind]) for column in columns})


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("rows", [0, 2])
def test_a_table_reads_back_as_it_was_written(name: str, rows: int, tmp_path: Path) -> None:
    path, columns = tmp_path / f"{name}.csv", TABLES[name]
    table = frame(columns, rows)
    write_table(table, path, columns)
    assert path.read_text(encoding="utf-8").splitlines()[0] == ",".join(names(columns))
    pd.testing.assert_frame_equal(read_table(path, columns, ""), table)


@pytest.mark.parametrize("name", TABLES)
def test_cells_that_may_be_empty_may_be_and_the_others_not(name: str, tmp_path: Path) -> None:
    path, columns = tmp_path / f"{name}.csv", TABLES[name]
    for column in columns:
        table = frame(columns).astype({column.name: object})
        table.loc[0, column.name] = None
        text = table.to_csv(index=False)
        path.write_text(text, encoding="utf-8")
        if column.optional or (column.kind == "text" and column.name not in ("status", "split", "quantity", "how")):
            assert len(read_table(path, columns, "")) == 2
        else:
            with pytest.raises(UserError) as caught:
                read_table(path, columns, "")
            assert str(caught.value).startswith(f"{path}: ") and column.name in str(caught.value)


@given(
    number=st.floats(allow_nan=False),
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1),
)
def test_numbers_and_texts_survive_a_file(number: float, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    columns = (Column("x", "number", ""), Column("name", "text", ""))
    path = tmp_path_factory.getbasetemp() / "table.csv"
    table = pd.DataFrame({"x": [number], "name": pd.Series([text], dtype="str")})
    write_table(table, path, columns)
    pd.testing.assert_frame_equal(read_table(path, columns, ""), table, check_exact=True)


def test_infinity_and_missing_are_two_things(tmp_path: Path) -> None:
    columns = (Column("steps", "number", "", optional=True),)
    path = tmp_path / "table.csv"
    path.write_text('steps\n3\ninf\n""\n', encoding="utf-8")
    steps = read_table(path, columns, "")["steps"]
    assert steps.iloc[:2].tolist() == [3.0, math.inf]
    assert math.isnan(steps.iloc[2])


Read = Callable[[Path, Sequence[Column], str], pd.DataFrame]

COLUMNS = (
    Column("trial_id", "text", ""),
    Column("status", "text", ""),
    Column("step", "whole", ""),
    Column("test_accuracy", "number", "", optional=True),
    Column("dead_fraction", "number", "", optional=True),
    Column("split", "text", ""),
)
GOOD = "trial_id,status,step,test_accuracy,dead_fraction,split\na,ok,1,0.5,0.1,train\n"

# what is wrong: (change of the text, words of the message)
FAULTS: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "missing column": (lambda text: text.replace("step,", "").replace("1,", "", 1), ["'step'", "missing"]),
    "misspelt column": (lambda text: text.replace("step", "stpe"), ["'stpe'", "'step'"]),
    "extra column": (lambda text: text.replace("split", "split,colour").replace("train", "train,red"), ["'colour'"]),
    "accuracy above one": (lambda text: text.replace("0.5", "1.5"), ["test_accuracy", "1.5"]),
    "accuracy below zero": (lambda text: text.replace("0.5", "-0.5"), ["test_accuracy", "-0.5"]),
    "fraction above one": (lambda text: text.replace("0.1", "10"), ["dead_fraction", "10"]),
    "infinite accuracy": (lambda text: text.replace("0.5", "inf"), ["test_accuracy", "inf"]),
    "negative step": (lambda text: text.replace(",1,", ",-1,"), ["step", "-1"]),
    "text for a number": (lambda text: text.replace("0.5", "good"), ["good"]),
    "fraction for a whole number": (lambda text: text.replace(",1,", ",1.5,"), ["1.5"]),
    "unknown status": (lambda text: text.replace("ok", "fine"), ["status", "fine"]),
    "unknown split": (lambda text: text.replace("train", "exam"), ["split", "exam"]),
    "empty cell": (lambda text: text.replace(",1,", ",,"), ["step"]),
    "torn row": (lambda text: text[:-12] + "\n", []),
    "empty file": (lambda text: "", []),
}


def test_the_table_without_a_fault_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(GOOD, encoding="utf-8")
    assert len(read_table(path, COLUMNS, "")) == 1


def read_in_parts(path: Path, columns: Sequence[Column], made_by: str) -> pd.DataFrame:
    return pd.concat(scan_table(path, columns, made_by), ignore_index=True)


@pytest.mark.parametrize("read", [read_table, read_in_parts])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_refused_in_one_line_with_file_and_column(fault: str, read: Read, tmp_path: Path) -> None:
    change, words = FAULTS[fault]
    path = tmp_path / "table.csv"
    path.write_text(change(GOOD), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read(path, COLUMNS, "trainatlas train")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("read", [read_table, read_in_parts])
def test_a_missing_table_names_the_command_that_makes_it(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(UserError, match=rf"^{path}: no such file; `trainatlas aggregate` makes it$"):
        read(path, COLUMNS, "trainatlas aggregate")


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_a_table_read_in_parts_is_the_table(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 300)
    path = tmp_path / "table.csv"
    table = frame(COLUMNS, rows).assign(step=range(rows))
    write_table(table, path, COLUMNS)
    parts = list(scan_table(path, COLUMNS, ""))
    assert len(parts) > 20 or rows < 500
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), read_table(path, COLUMNS, ""))


def test_a_fault_in_a_later_part_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 300)
    path = tmp_path / "table.csv"
    row = GOOD.splitlines()[1]
    path.write_text(GOOD + f"{row}\n" * 200 + row.replace("0.5", "1.5") + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"^{path}: .*test_accuracy.*1\.5"):
        read_in_parts(path, COLUMNS, "")


def test_a_table_written_in_parts_is_the_table(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    table = frame(COLUMNS, 7).assign(step=range(7))
    write_table(table, whole, COLUMNS)
    with table_writer(parts, COLUMNS) as write:
        for part in (table[:0], table[:3], table[3:]):
            write(part)
    assert parts.read_bytes() == whole.read_bytes()


def test_a_table_with_a_wrong_part_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="test_accuracy"), table_writer(tmp_path / "table.csv", COLUMNS) as write:
        write(frame(COLUMNS))
        write(frame(COLUMNS).assign(test_accuracy=2.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [1.5, -0.1, math.inf])
def test_a_wrong_table_is_not_written(value: float, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    table = frame(COLUMNS).assign(test_accuracy=value)
    with pytest.raises(UserError, match=f"{path}: .*test_accuracy"):
        write_table(table, path, COLUMNS)
    assert list(tmp_path.iterdir()) == []


def test_some_columns_alone_are_read_of_a_table_whose_header_is_right(tmp_path: Path) -> None:
    path, some = tmp_path / "trials.csv", ["status", "trial_id", "test_accuracy"]
    write_table(frame(TRIAL_COLUMNS), path, TRIAL_COLUMNS)
    whole = read_table(path, TRIAL_COLUMNS, "it")
    part = read_table(path, TRIAL_COLUMNS, "it", some)
    pd.testing.assert_frame_equal(part[some], whole[some])
    assert sorted(part) == sorted(some)
    path.write_text(path.read_text(encoding="utf-8").replace("optimizer", "optimiser", 1), encoding="utf-8")
    with pytest.raises(UserError, match="column 'optimizer' is missing; column 'optimiser' is unknown"):
        read_table(path, TRIAL_COLUMNS, "it", some)


def test_columns_are_put_into_the_order_of_the_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(frame(COLUMNS)[list(reversed(names(COLUMNS)))], path, COLUMNS)
    assert path.read_text(encoding="utf-8").splitlines()[0] == ",".join(names(COLUMNS))


def test_tables_of_packs_are_read_in_turn(tmp_path: Path) -> None:
    for pack in ("a", "b"):
        write_table(frame(COLUMNS).assign(trial_id=pack), tmp_path / "raw" / pack / "trials.csv", COLUMNS)
    read = [table["trial_id"].tolist() for table in read_packs(tmp_path, ["a", "b"], "trials", COLUMNS)]
    assert read == [["a", "a"], ["b", "b"]]
    with pytest.raises(UserError, match=r"c/trials\.csv: no such file; `trainatlas train` makes it"):
        list(read_packs(tmp_path, ["a", "c"], "trials", COLUMNS))


def test_a_study_without_a_trial_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}: the study has no trial to gather; allowed: "):
        read_packs(tmp_path, [], "trials", COLUMNS)


@given(data=st.data())
def test_a_quick_look_finds_sound_what_pandera_finds_sound(data: st.DataObject) -> None:
    columns = data.draw(st.sampled_from([TRIAL_COLUMNS, CURVE_COLUMNS, LAYER_COLUMNS, TIMING_COLUMNS]))
    table = frame(columns)
    column = data.draw(st.sampled_from(columns))
    table.loc[1, column.name] = data.draw(st.sampled_from(BAD_CELLS[column.kind]))
    told = fault_of(table, columns)
    assert is_sound(table, columns) == (not told)
    assert column.name in told or not told


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.iloc[:, ::-1],
        lambda table: table.astype({"step": "float64"}),
        lambda table: table.astype({"trial_id": "object"}),
        lambda table: table.assign(more=1),
        lambda table: pd.concat([table, table], axis=1),
    ],
    ids=["order", "kind of number", "objects", "a column more", "every column twice"],
)
def test_a_quick_look_finds_other_columns(spoil: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    assert is_sound(frame(CURVE_COLUMNS), CURVE_COLUMNS)
    assert not is_sound(spoil(frame(CURVE_COLUMNS)), CURVE_COLUMNS)
