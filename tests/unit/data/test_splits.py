"""A split uses every example once, keeps the classes' proportions and depends on the seed alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.data.datasets import DATA_SETS
from trainatlas.data.splits import stratified_split
from trainatlas.study.splits import part_sizes

Y = DATA_SETS.build("digits").y
PARTS = ("train", "validation", "test")


@given(seed=st.integers(0, 2**31 - 1), validation=st.floats(0.02, 0.45), test=st.floats(0.02, 0.45))
def test_parts_are_disjoint_complete_ascending_and_of_the_planned_size(
    seed: int, validation: float, test: float
) -> None:
    split = stratified_split(Y, seed, validation, test)
    parts = [getattr(split, part) for part in PARTS]
    assert tuple(map(len, parts)) == part_sizes(len(Y), validation, test)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(Y)))
    for rows in parts:
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("part", PARTS)
def test_every_part_holds_the_classes_in_their_proportions(seed: int, part: str) -> None:
    rows = getattr(stratified_split(Y, seed, 0.2, 0.2), part)
    counts, whole = Counter(Y[rows].tolist()), Counter(Y.tolist())
    for label, number in whole.items():
        assert abs(counts[label] - number * len(rows) / len(Y)) <= 1.5  # two roundings, one for each cut


def test_the_same_seed_splits_the_same_way_and_another_seed_otherwise() -> None:
    first, again, other = (stratified_split(Y, seed, 0.2, 0.2) for seed in (7, 7, 8))
    for part in PARTS:
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert not np.array_equal(getattr(first, part), getattr(other, part))


def test_parts_that_the_data_bring_are_kept_and_the_others_drawn_from_training() -> None:
    part = np.zeros(len(Y), np.int8)
    part[-300:] = 2
    for seed in (0, 1):
        split = stratified_split(Y, seed, 0.2, 0.5, part)
        np.testing.assert_array_equal(split.test, np.arange(len(Y) - 300, len(Y)))
        assert len(split.validation) == round((len(Y) - 300) * 0.2)
        assert not set(split.validation) & set(split.test)
    part[:100] = 1
    np.testing.assert_array_equal(stratified_split(Y, 0, 0.2, 0.5, part).validation, np.arange(100))


def test_the_test_part_does_not_depend_on_the_validation_share() -> None:
    np.testing.assert_array_equal(stratified_split(Y, 3, 0.1, 0.2).test, stratified_split(Y, 3, 0.3, 0.2).test)
