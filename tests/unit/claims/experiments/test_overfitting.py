"""A tiny sample: two of each class, fitted wholly by a sound set-up, and not within one step."""

from collections.abc import Callable

import pytest
import torch

from trainatlas.claims.experiments import runs
from trainatlas.claims.experiments.overfitting import EXAMPLES, tiny_overfit, tiny_trial
from trainatlas.claims.experiments.runs import examples
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference


def test_the_sample_has_two_of_each_class_and_is_a_batch() -> None:
    trial = tiny_trial(5)
    assert examples(trial).y["train"].bincount().tolist() == [2] * 10
    assert trial.batch_size == EXAMPLES
    assert len(train_reference(trial, ExampleStore(torch.device("cpu"))).losses) == 5


def test_sound_structures_reach_every_example_and_one_step_does_not(well_formed: Callable[..., None]) -> None:
    structures = [f"{a}, {n}, {o}" for a in ("relu", "tanh") for n in ("none", "batch") for o in ("momentum", "adam")]
    table = tiny_overfit([1, 2], ("relu", "tanh"), steps=60)
    well_formed(table, [1, 2], structures)
    assert (table["effect"] == 1).all()
    assert (tiny_overfit([1], ("sigmoid",), steps=1)["effect"] == 0).all()


def test_rates_that_move_nothing_reach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runs.RATES, "adam", (1e-9,))
    monkeypatch.setitem(runs.RATES, "momentum", (1e-9,))
    assert (tiny_overfit([1], ("relu",), steps=12)["effect"] == 0).all()
