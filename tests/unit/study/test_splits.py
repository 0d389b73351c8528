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
