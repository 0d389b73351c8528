"""Normalisations are torch's, with the options the level names."""

import pytest
import torch
from torch import nn

from trainatlas.model.normalisation import NORMALISATIONS

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 2


@pytest.mark.parametrize("level", NORMALISATIONS)
def test_the_shape_is_kept(level: str) -> None:
    module: nn.Module = NORMALISATIONS.build(level, units=5).double()
    assert module(X).shape == X.shape


def test_none_changes_nothing() -> None:
    assert torch.equal(NORMALISATIONS.build("none", units=5)(X), X)


def test_batch_normalises_by_the_batch_while_training() -> None:
    module = NORMALISATIONS.build("batch", units=5).double().train()
    expected = (X - X.mean(0)) / (X.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(module(X), expected)


@pytest.mark.parametrize(("level", "momentum"), [("batch", 0.1), ("batch(momentum=0.5)", 0.5)])
def test_batch_keeps_running_statistics_for_evaluation(level: str, momentum: float) -> None:
    module = NORMALISATIONS.build(level, units=5).double().train()
    module(X)
    mean = momentum * X.mean(0)
    variance = (1 - momentum) + momentum * X.var(0)
    torch.testing.assert_close(module.eval()(X), (X - mean) / (variance + 1e-5).sqrt())
