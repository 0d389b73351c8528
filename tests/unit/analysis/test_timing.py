"""Seconds of a step, beside the runs whose steps they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainatlas.analysis.tables import write_table
from trainatlas.analysis.timing import read_timing, with_step_seconds
from trainatlas.study.errors import UserError
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import TIMED_BY, TIMING_COLUMNS


def table(*seconds: tuple[str, int, float]) -> pd.DataFrame:
    """Return a timing table: activation, batch size and seconds of each row."""
    rows = [
        dict.fromkeys(TIMED_BY, "only") | {"activation": level, "batch_size": size, "step_seconds": each}
        for level, size, each in seconds
    ]
    return pd.DataFrame(rows).assign(fastest_turn=0.5, slowest_turn=np.nan, turns=3, how="measured", device="cpu")


TIMING = table(("relu", 8, 1.0), ("tanh", 8, 2.0), ("relu", 64, 3.0))


def test_each_run_has_the_seconds_of_its_kind_and_none_where_nobody_timed_it() -> None:
    runs = pd.DataFrame(
        dict.fromkeys(FACTORS, "only")
        | {"activation": ["tanh", "relu", "relu", "tanh"], "init": list("abcd"), "batch_size": [8, 64, 8, 64]},
        index=[4, 7, 1, 0],
    )
    for given in (runs, runs.astype(dict.fromkeys(FACTORS, "category"))):
        found = with_step_seconds(given, TIMING)
        assert found.index.tolist() == [4, 7, 1, 0]
        np.testing.assert_array_equal(found["step_seconds"], [2.0, 3.0, 1.0, np.nan])
        pd.testing.assert_frame_equal(found.drop(columns="step_seconds"), given)


def test_where_steps_were_not_timed_all_are_missing(tmp_path: Path) -> None:
    timing = read_timing(tmp_path)
    assert timing.empty
    runs = pd.DataFrame([dict.fromkeys(FACTORS, "only") | {"batch_size": 8}])
    assert with_step_seconds(runs, timing)["step_seconds"].isna().all()
    assert with_step_seconds(runs.iloc[:0], TIMING)["step_seconds"].empty


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_table(TIMING, tmp_path / "timing.csv", TIMING_COLUMNS)
    pd.testing.assert_frame_equal(read_timing(tmp_path), TIMING, check_dtype=False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace("step_seconds", "seconds"), ["'step_seconds' is missing", "'seconds' is unknown"]),
        (lambda text: text.replace(",2,", ",0,"), ["step_seconds"]),
        (lambda text: text.replace(",2,", ",-1,"), ["step_seconds"]),
        (lambda text: text.replace(",2,", ",,"), ["step_seconds"]),
        (lambda text: text.replace(",2,", ",fast,"), ["fast"]),
        (lambda text: text.replace("measured", "guessed"), ["how"]),
        (lambda text: text.replace("tanh", "relu"), ["relu, only", "twice", "trainatlas time"]),
    ],
)
def test_a_bad_table_is_named_with_its_column(spoil: object, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "timing.csv"
    write_table(TIMING, path, TIMING_COLUMNS)
    text = path.read_text(encoding="utf-8")
    spoilt = spoil(text)  # type: ignore[operator]
    assert spoilt != text
    path.write_text(spoilt, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_timing(tmp_path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line
    assert [word for word in words if word not in line] == []
