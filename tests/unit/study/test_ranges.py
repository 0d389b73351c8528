"""Ranges: values lie inside, whole numbers are whole, and where a value lies can be told again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainatlas.study.parameters import Parameter
from trainatlas.study.ranges import Range, RateRange

numbers = st.floats(1e-6, 1e6).map(lambda x: float(f"{x:.4g}"))
shares = st.floats(0, 1, exclude_max=True)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low, high = sorted((draw(numbers), draw(numbers)))
    return Range(low=low, high=high, scale=draw(st.sampled_from(["log", "linear"])))


@given(range_=ranges(), share=shares)
def test_values_lie_in_the_range_and_their_place_is_found_again(range_: Range, share: float) -> None:
    value = range_.at(share)
    assert range_.low * (1 - 1e-5) <= value <= range_.high * (1 + 1e-5)
    wide = range_.high - range_.low > 1e-2 * range_.high  # six digits tell no places apart in a narrower one
    if wide:
        assert range_.share(value) == pytest.approx(share, abs=1e-3)


@given(low=st.integers(1, 100), width=st.integers(0, 100), share=shares, scale=st.sampled_from(["log", "linear"]))
def test_whole_numbers_are_whole_and_lie_in_the_range(low: int, width: int, share: float, scale: str) -> None:
    law = Parameter(low=low, high=low + width, scale=scale, whole=True)
    value = law.at(share)
    assert isinstance(value, int) and low <= value <= low + width
    grid = law.grid(5)
    assert grid[0] == low and grid[-1] == (low + width if len(grid) > 1 else low)
    assert len(set(grid)) == len(grid) and all(isinstance(each, int) for each in grid)


def test_each_whole_number_is_as_likely_as_the_others() -> None:
    law = Parameter(low=3, high=7, whole=True)
    assert [law.at(i / 100) for i in range(100)] == [3 + i // 20 for i in range(100)]


def test_choices_are_equally_likely() -> None:
    law = Parameter(choices=(16, 32, 64, 128))
    assert [law.at(i / 8) for i in range(8)] == [16, 16, 32, 32, 64, 64, 128, 128]
    assert law.grid(2) == (16, 32, 64, 128)


def test_grids_are_evenly_spaced_on_their_scale() -> None:
    assert RateRange(low=1e-3, high=1e-1).grid(3) == (0.001, 0.01, 0.1)
    assert Range(low=0, high=1).grid(5) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert RateRange(low=1e-3, high=1e-1).grid(1) == (0.01,)


@pytest.mark.parametrize(
    ("scale", "shares", "expected"),
    [("log", (-0.5, 1.0), (0.001, 1.0)), ("log", (0.0, 0.5), (0.01, 0.1)), ("linear", (0.0, 1.5), (0.01, 1.495))],
)
def test_a_part_of_a_range_may_reach_beyond_it(
    scale: str, shares: tuple[float, float], expected: tuple[float, float]
) -> None:
    part = Range(low=0.01, high=1.0, scale=scale).between(*shares)
    assert (part.low, part.high) == pytest.approx(expected)
    assert part.scale == scale


def test_a_range_of_one_value_has_one_place() -> None:
    one = RateRange(low=0.1, high=0.1)
    assert one.share(0.1) == 0.0
    assert one.at(0.7) == 0.1
    assert math.isclose(one.grid(3)[1], 0.1)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"low": 2, "high": 1}, "low 2 is above high 1; allowed: low <= high"),
        ({"low": 0, "high": 1, "scale": "log"}, "low is 0; allowed: above 0, where a log scale begins"),
        ({"low": -1, "high": 1, "scale": "log"}, "low is -1; allowed: above 0"),
    ],
)
def test_ranges_that_are_none_are_refused(given_: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Range(**given_)
    with pytest.raises(ValidationError, match=said):
        Parameter(**given_)
