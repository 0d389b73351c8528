"""Trials of one seed see the same examples in the same order, and preprocessing knows the training part alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainatlas.data.datasets import load
from trainatlas.data.preprocessing import PREPROCESSINGS
from trainatlas.data.splits import stratified_split
from trainatlas.study.trial import Trial
from trainatlas.train import examples as module
from trainatlas.train.examples import PARTS, ExampleStore, StackedExamples, epoch_order, steps_of_epoch

CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp(width=8)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 64, 2, 0)
LEVELS = [*PREPROCESSINGS, "pca(components=10)"]


@pytest.fixture(scope="module")
def store() -> ExampleStore:
    return ExampleStore(CPU, torch.float64)


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(1, 1000), examples=st.integers(1, 500))
def test_an_epoch_visits_every_example_once(seed: int, epoch: int, examples: int) -> None:
    assert sorted(epoch_order(seed, epoch, examples).tolist()) == list(range(examples))


def test_orders_differ_from_epoch_to_epoch_and_seed_to_seed_but_not_from_call_to_call() -> None:
    orders = {(seed, epoch): tuple(epoch_order(seed, epoch, 100).tolist()) for seed in (0, 1) for epoch in (1, 2, 3)}
    assert len(set(orders.values())) == 6
    for (seed, epoch), order in orders.items():
        assert tuple(epoch_order(seed, epoch, 100).tolist()) == order


@given(examples=st.integers(1, 1000), batch_size=st.integers(1, 1000))
def test_all_batches_are_full_and_none_that_would_be_full_is_left_out(examples: int, batch_size: int) -> None:
    slices = steps_of_epoch(examples, batch_size)
    taken = [i for piece in slices for i in range(examples)[piece]]
    assert taken == list(range(len(taken)))
    assert {len(range(examples)[piece]) for piece in slices} <= {batch_size}
    assert examples - len(taken) < batch_size


@pytest.mark.parametrize("level", LEVELS)
def test_parts_are_the_split_under_a_preprocessing_fitted_on_training_examples(level: str, store: ExampleStore) -> None:
    data = load("digits", Path())
    variant = store.variant(TRIAL._replace(preprocessing=level, seed=3))
    split = stratified_split(data.y, 3, 0.2, 0.2)
    fitted = PREPROCESSINGS.build(level).fit(data.x[split.train].astype(np.float64))
    for part in PARTS:
        rows = getattr(split, part)
        expected = fitted.transform(data.x[rows].astype(np.float64))
        np.testing.assert_allclose(variant.x[part].numpy(), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(variant.y[part].numpy(), data.y[rows])
    assert variant.retained_variance == fitted.retained_variance


@pytest.mark.parametrize("level", LEVELS)
def test_other_test_and_validation_examples_change_no_training_example(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = TRIAL._replace(preprocessing=level)
    before = ExampleStore(CPU, torch.float64).variant(trial)
    data = load("digits", Path())
    split = stratified_split(data.y, trial.seed, 0.2, 0.2)
    shifted: NDArray[np.float32] = data.x.copy()
    shifted[split.test] = shifted[split.test] * 50 + 3
    shifted[split.validation] -= 7
    monkeypatch.setattr(module, "load", lambda text, folder: replace(data, x=shifted))
    after = ExampleStore(CPU, torch.float64).variant(trial)
    assert torch.equal(after.x["train"], before.x["train"])
    assert not torch.equal(after.x["test"], before.x["test"])


def test_a_variant_is_made_once(store: ExampleStore) -> None:
    assert store.variant(TRIAL) is store.variant(TRIAL._replace(learning_rate=0.5, optimizer="adam", init="normal"))
    assert store.variant(TRIAL) is not store.variant(TRIAL._replace(seed=9))


def test_a_store_holds_examples_in_its_precision() -> None:
    assert ExampleStore(CPU).variant(TRIAL).x["train"].dtype == torch.float32
    assert ExampleStore(CPU, torch.float64).variant(TRIAL).x["train"].dtype == torch.float64


TRIALS = [
    TRIAL._replace(seed=seed, preprocessing=preprocessing, init=init)
    for seed, preprocessing, init in [(5, "raw", "normal"), (2, "standardize", "normal"), (5, "standardize", "normal"),
                                      (5, "raw", "kaiming_normal"), (2, "raw", "normal")]
]  # fmt: skip


def test_each_trial_of_a_stack_gets_its_own_examples_in_its_own_order(store: ExampleStore) -> None:
    stacked = StackedExamples(TRIALS, store)
    for epoch in (1, 2):
        batches = list(stacked.batches(epoch, 64))
        assert len(batches) == stacked.size("train") // 64
        for i, trial in enumerate(TRIALS):
            variant = store.variant(trial)
            order = epoch_order(trial.seed, epoch, stacked.size("train"))
            for step, (x, y, other, share) in enumerate(batches):
                rows = order[64 * step : 64 * (step + 1)]
                assert torch.equal(x[i], variant.x["train"][rows])
                assert torch.equal(y[i], variant.y["train"][rows])
                assert other is None and share is None


@pytest.mark.parametrize("positions", [None, [0], [3, 1]])
@pytest.mark.parametrize("part", PARTS)
def test_pieces_of_a_part_put_together_are_the_part(
    part: str, positions: list[int] | None, store: ExampleStore
) -> None:
    stacked = StackedExamples(TRIALS, store)
    pieces = list(stacked.chunks(part, 100, positions))
    assert all(x.shape[1] <= 100 for x, _ in pieces)
    x, y = torch.cat([x for x, _ in pieces], 1), torch.cat([y for _, y in pieces], 1)
    for row, i in enumerate(positions if positions is not None else range(len(TRIALS))):
        variant = store.variant(TRIALS[i])
        assert torch.equal(x[row], variant.x[part])
        assert torch.equal(y[row], variant.y[part])


def test_trials_that_stay_keep_their_examples(store: ExampleStore) -> None:
    stacked = StackedExamples(TRIALS, store)
    kept = [4, 0]
    expected = [(batch.x[kept], batch.y[kept]) for batch in stacked.batches(2, 64)]
    stacked.keep(kept)
    for batch, (x, y) in zip(stacked.batches(2, 64), expected, strict=True):
        assert torch.equal(batch.x, x) and torch.equal(batch.y, y)
