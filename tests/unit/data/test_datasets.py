"""A data set is what its entry promises before it is loaded."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainatlas.data.datasets import DATA_SETS, DataSet, data_set_level


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_has_the_size_shape_classes_and_range_of_its_entry(name: str) -> None:
    level, data = data_set_level(name), DATA_SETS.build(name)
    assert isinstance(data, DataSet)
    assert data.x.shape == (level.examples, *level.shape)
    assert data.y.shape == (level.examples,)
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int64)
    assert data.x.min() >= 0.0 and data.x.max() <= 1.0
    assert set(data.y.tolist()) == set(range(level.classes))


def test_digits_are_those_of_scikit_learn() -> None:
    data, bunch = DATA_SETS.build("digits"), load_digits()
    np.testing.assert_array_equal(data.x[:, 0] * 16, bunch.images)
    np.testing.assert_array_equal(data.y, bunch.target)
