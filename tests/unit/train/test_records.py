"""What training writes down."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    TRIAL_COLUMNS,
    Column,
    kept_steps,
    names,
    number,
)

TABLES = {
    "trials": TRIAL_COLUMNS,
    "curves": CURVE_COLUMNS,
    "layers": LAYER_COLUMNS,
    "histograms": HISTOGRAM_COLUMNS,
    "packs": PACK_COLUMNS,
}


@given(total=st.integers(1, 10**6))
def test_kept_steps_are_the_first_ten_then_ten_per_cent_apart_and_the_last(total: int) -> None:
    kept = kept_steps(total)
    assert kept[: min(total, 10)] == list(range(1, min(total, 10) + 1))
    assert kept[-1] == total
    assert kept == sorted(set(kept))
    for step, following in itertools.pairwise(kept[9:-1]):
        assert 11 * step <= 10 * following <= 11 * step + 10


@given(total=st.integers(10, 10**6))
def test_kept_steps_grow_with_the_logarithm(total: int) -> None:
    assert len(kept_steps(total)) <= 11 + math.log(total / 10, 1.1)


def test_a_longer_budget_keeps_the_same_early_steps() -> None:
    assert set(kept_steps(240)[:-1]) < set(kept_steps(480))


@given(value=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_numbers_keep_seven_digits(value: float) -> None:
    assert float(number(value)) == pytest.approx(value, rel=5.01e-7, abs=0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_written_as_infinite(value: float) -> None:
    assert number(value) == "inf"


def test_what_was_not_measured_is_an_empty_cell() -> None:
    assert number(None) == ""


@pytest.mark.parametrize("columns", [*TABLES.values(), *ANALYSIS_TABLES.values()], ids=[*TABLES, *ANALYSIS_TABLES])
def test_every_column_has_one_name_and_a_meaning(columns: tuple[Column, ...]) -> None:
    assert len(set(names(columns))) == len(columns)
    assert all(column.meaning for column in columns)
