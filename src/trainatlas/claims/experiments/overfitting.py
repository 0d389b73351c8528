"""Whether a sound set-up drives a tiny sample to perfect training accuracy (T2): every activation, by stacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from trainatlas.claims.experiments.runs import DIGITS, RATES, Row, case_of, observations
from trainatlas.data.datasets import facts
from trainatlas.model.activations import ACTIVATIONS
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.stack import Stack

EXAMPLES = 20
"""Training examples: two of each class of digits."""

LOOK_EVERY = 10
"""Steps from one look at the training accuracy to the next; training ends when there is nothing left to reach."""

NORMALISATIONS, OPTIMIZERS = ("none", "batch"), ("momentum", "adam")


def tiny_overfit(
    seeds: Sequence[int], activations: Sequence[str] = tuple(ACTIVATIONS), steps: int = 150
) -> pd.DataFrame:
    """Return for every structure and optimizer 1 where it reaches 100 % training accuracy on 20 examples, else 0 (T2).

    With one of three rates, within so many steps on all 20; every activation with the initialisation that keeps the size of
    what passes through it, without and with batch normalisation, by momentum and by Adam.
    """
    rows: list[Row] = []
    store = ExampleStore(torch.device("cpu"))
    case = worded("{examples} examples of {case}", examples=EXAMPLES, case=case_of(DIGITS))
    for activation in activations:
        for normalisation in NORMALISATIONS:
            base = tiny_trial(steps)._replace(activation=activation, normalisation=normalisation)
            for (optimizer, seed), whole in _reached(base, seeds, store).items():
                pair = f"{activation}, {normalisation}, {optimizer}"
                rows.append((case, seed, pair, float(whole)))
    return observations(rows)


def _reached(base: Trial, seeds: Sequence[int], store: ExampleStore) -> dict[tuple[str, int], bool]:
    """Return by optimizer and seed whether a trial fits all its examples at one of the looks, as the network would be used."""
    trials = [
        base._replace(seed=seed, optimizer=optimizer, learning_rate=rate)
        for optimizer in OPTIMIZERS
        for seed in seeds
        for rate in RATES[optimizer]
    ]
    stack = Stack(trials, store, store.device)
    reached = {(trial.optimizer, trial.seed): False for trial in trials}
    for epoch in range(1, base.epochs + 1):  # an epoch is one step
        stack.train_epoch(epoch)
        if epoch % LOOK_EVERY == 0 or epoch == base.epochs:
            for trial, accuracy in zip(trials, stack.evaluate("train").accuracy.tolist(), strict=True):
                reached[trial.optimizer, trial.seed] |= accuracy == 1.0
            if all(reached.values()):
                break
    return reached


def tiny_trial(steps: int) -> Trial:
    """Return a trial whose training part and batch are the few examples, and that takes so many steps on them.

    Half of the other examples are validation, half test examples.
    """
    examples = facts(DIGITS.data, Path()).examples
    test = (examples - EXAMPLES) // 2
    return DIGITS._replace(
        init="kaiming_normal(gain=activation)",
        batch_size=EXAMPLES,
        epochs=steps,
        test_share=test / examples,
        validation_share=(examples - EXAMPLES - test) / examples,
    )
