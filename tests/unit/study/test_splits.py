"""Sizes of the parts."""

from hypothesis import given
from hypothesis import strategies as st

from trainatlas.study.splits import part_sizes


@given(
    examples=st.integers(1, 10**7),
    validation=st.floats(0.01, 0.45),
    test=st.floats(0.01, 0.45),
)
def test_parts_add_up_and_are_the_shares_to_the_nearest_example(examples: int, validation: float, test: float) -> None:
    sizes = part_sizes(examples, validation, test)
    assert sum(sizes) == examples
    assert abs(sizes.validation - examples * validation) <= 0.5
    assert abs(sizes.test - examples * test) <= 0.5


def test_parts_that_the_data_bring_are_as_large_as_they_are() -> None:
    assert part_sizes(70_000, 0.1, 0.5, (0, 10_000)) == (54_000, 6_000, 10_000)
    assert part_sizes(100, 0.1, 0.2, (30, 0)) == (50, 30, 20)
    assert part_sizes(100, 0.1, 0.2, (30, 25)) == (45, 30, 25)
    assert part_sizes(100, 0.1, 0.2, (0, 0)) == part_sizes(100, 0.1, 0.2) == (70, 10, 20)
