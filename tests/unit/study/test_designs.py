"""Fractions of a grid are orthogonal arrays, by their definition, and as small as known ones."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainatlas.study.designs import fraction


def is_orthogonal(runs: list[tuple[int, ...]], sizes: tuple[int, ...], strength: int) -> bool:
    """Whether any `strength` columns show every combination of levels equally often (Rao 1947)."""
    for columns in itertools.combinations(range(len(sizes)), min(strength, len(sizes))):
        counts = Counter(tuple(run[i] for i in columns) for run in runs)
        if len(counts) != math.prod(sizes[i] for i in columns) or len(set(counts.values())) > 1:
            return False
    return True


@settings(max_examples=60)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 2, 2, 3, 3, 4, 5, 6]), min_size=1, max_size=6).filter(
        lambda sizes: math.prod(sizes) <= 1500
    ),
    resolution=st.sampled_from([3, 4, 5]),
)
def test_any_few_factors_show_every_combination_equally_often(sizes: list[int], resolution: int) -> None:
    runs = fraction(tuple(sizes), resolution)
    assert len(set(runs)) == len(runs)
    assert is_orthogonal(runs, tuple(sizes), resolution - 1)


# Box, Hunter and Hunter 2005, table 6.22, for two levels; Wu and Hamada 2009, appendix 7A, for three; the others by their
# orthogonal arrays L16(4^5) and L64(4^6).
@pytest.mark.parametrize(
    ("sizes", "resolution", "runs"),
    [
        ((2,) * 3, 3, 4),
        ((2,) * 7, 3, 8),
        ((2,) * 4, 4, 8),
        ((2,) * 8, 4, 16),
        ((2,) * 5, 5, 16),
        ((2,) * 8, 5, 64),
        ((3,) * 4, 3, 9),
        ((3,) * 4, 4, 27),
        ((4,) * 5, 3, 16),
        ((4,) * 6, 4, 64),
        ((6, 6, 6), 3, 36),
        ((2, 3), 3, 6),
    ],
)
def test_fractions_are_as_small_as_published_ones(sizes: tuple[int, ...], resolution: int, runs: int) -> None:
    assert len(fraction(sizes, resolution)) == runs


def test_two_factors_with_nothing_in_common_are_crossed_in_full() -> None:
    assert fraction((4, 3, 1), 3) == [(a, b, 0) for a in range(4) for b in range(3)]
