"""Stacked training is plain torch training: every combination of the default study's levels, 50 steps.

What is compared is one implementation with the other, in float64, so the only differences are
rounding errors, near 1e-16 of each number, and what training makes of them. At a rate near the edge of
divergence training amplifies any difference, exponentially so, whichever code computes it, and the
comparison would then measure chaos: at the upper ends of the ranges differences grow a
millionfold within the 50 steps. Rates are therefore drawn from the lower half of each optimizer's range.
"""

import itertools
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainatlas.catalogue import TABLES, structure
from trainatlas.study.config import Study, load_study
from trainatlas.study.planning import form_stacks
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference
from trainatlas.train.stack import Stack

STUDY = load_study(Path(__file__).resolve().parents[2] / "benchmarks" / "digits.yaml", TABLES)
CPU = torch.device("cpu")
STEPS = 50
SEEDS = (11, 12, 13)

# Of a parameter, relative to the size of its tensor, and beside that a millionth of the learning rate, which is
# what one step of Adam moves a weight by.
RELATIVE = 1e-6


def trials_of(study: Study, activation: str, normalisation: str) -> list[Trial]:
    """Every cell of the study at these two levels, seeds and rates unlike from cell to cell."""
    cells = [
        cell for cell in study.all_cells() if (cell["activation"], cell["normalisation"]) == (activation, normalisation)
    ]
    return [
        Trial(
            data=study.data,
            network=study.network,
            learning_rate=study.rate_range(cell["optimizer"]).at(0.5 * (i % 7) / 6),
            batch_size=study.batch_size,
            epochs=4,
            seed=SEEDS[i % len(SEEDS)],
            **cell,
        )
        for i, cell in enumerate(cells)
    ]


def train_stacked(trials: list[Trial], store: ExampleStore) -> tuple[Stack, Tensor]:
    """Return the stack after STEPS steps and its losses, (steps, trials)."""
    stack = Stack(trials, store, CPU, torch.float64)
    steps = itertools.chain.from_iterable(stack.steps(epoch) for epoch in range(1, trials[0].epochs + 1))
    losses = [loss for loss, _ in itertools.islice(steps, STEPS)]
    return stack, torch.stack(losses)


def assert_close(stacked: Tensor, reference: Tensor, trial: Trial, what: str) -> None:
    difference = (stacked.double() - reference.double()).norm().item()
    allowed = RELATIVE * (reference.double().norm().item() + trial.learning_rate)
    assert difference <= allowed, f"{what} of {trial} differs by {difference:.3g}, allowed {allowed:.3g}"


@pytest.fixture(scope="module")
def store() -> ExampleStore:
    return ExampleStore(CPU, torch.float64)


def test_all_combinations_of_the_default_study_are_compared() -> None:
    compared = [
        trial.cell
        for activation in STUDY.factors["activation"]
        for normalisation in STUDY.factors["normalisation"]
        for trial in trials_of(STUDY, activation, normalisation)
    ]
    assert len(compared) == len(set(compared))
    assert set(compared) == {tuple(cell.values()) for cell in STUDY.all_cells()}


@pytest.mark.slow
@pytest.mark.parametrize("activation", STUDY.factors["activation"])
@pytest.mark.parametrize("normalisation", STUDY.factors["normalisation"])
def test_every_cell_trains_alike_stacked_and_alone(activation: str, normalisation: str, store: ExampleStore) -> None:
    stacks = form_stacks(trials_of(STUDY, activation, normalisation), structure)
    mixed = defaultdict(set)
    for trials in stacks:
        stack, losses = train_stacked(trials, store)
        assert losses.shape == (STEPS, len(trials))
        assert losses.isfinite().all()
        for i, trial in enumerate(trials):
            reference = train_reference(trial, store, STEPS, torch.float64)
            assert losses[:, i].tolist() == pytest.approx(reference.losses, rel=RELATIVE, abs=0), str(trial)
            for name, value in reference.network.named_parameters():
                assert_close(stack.parameters[name][i], value.detach(), trial, name)
            buffers = dict(reference.network.named_buffers())
            assert set(buffers) == set(stack.buffers)
            for name, value in buffers.items():
                assert_close(stack.buffers[name][i], value, trial, name)
            for factor in ("optimizer", "seed", "learning_rate", "init", "preprocessing"):
                mixed[factor].add(getattr(trial, factor))
    assert all(len(values) > 1 for values in mixed.values()), "the stack was to mix what may differ in one"
