"""What each level of the catalogue costs on this machine, as a ratio to the plainest network in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from trainatlas.catalogue import TABLES, impossible
from trainatlas.study.trial import FACTORS, Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.stack import Stack
from trainatlas.train.work import settle

LEVEL_STACK = 64
"""Trials side by side when levels are timed."""


@dataclass(frozen=True)
class LevelCost:
    """What a level costs.

    Attributes
    ----------
    ratio
        Time of a training step, stacked, over that of the same network with the plainest levels.
    """

    network: str
    factor: str
    level: str
    ratio: float


def measure_levels(device: torch.device, repeats: int) -> Iterator[LevelCost]:
    """Time a training step of every level, as a ratio to the plainest network timed just before it.

    Fully connected for all factors, and convolutional for those whose levels treat images otherwise.
    """
    plainest = Trial(
        data="digits",
        network="mlp(depth=2, width=32)",
        activation="relu",
        init="kaiming_normal",
        normalisation="none",
        optimizer="sgd",
        preprocessing="standardize",
        learning_rate=0.001,
        batch_size=64,
        epochs=2,
        seed=0,
    )
    store = ExampleStore(device)
    for base in (plainest, plainest._replace(network="cnn(depth=2, width=8)", epochs=1)):
        for factor in FACTORS if base is plainest else ("activation", "normalisation"):
            for level in TABLES[factor]:
                trial = base._replace(**{factor: level})  # type: ignore[arg-type]
                if impossible(trial):
                    continue
                own, others = _seeds(trial), _seeds(base)
                _bare(own, store, device)  # warm-up
                ratios = [_bare(others, store, device) / _bare(own, store, device) for _ in range(repeats)]
                yield LevelCost(base.network, factor, level, statistics.median(ratios))


def _seeds(trial: Trial) -> list[Trial]:
    """Return a stack of copies of `trial`, with a few seeds as studies have them."""
    return [trial._replace(seed=position % 4) for position in range(LEVEL_STACK)]


def _bare(trials: Sequence[Trial], store: ExampleStore, device: torch.device) -> float:
    stack = Stack(trials, store, device)
    settle(device)
    begun = time.perf_counter()
    for epoch in range(1, trials[0].epochs + 1):
        stack.train_epoch(epoch)
    settle(device)
    return len(trials) * trials[0].epochs * stack.steps_per_epoch / (time.perf_counter() - begun)
