"""How fast stacked training is on this machine, as a ratio to the plain loop in the same run.

Machines are noisy, so both are timed in turn, several times, and medians are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from trainatlas.catalogue import TABLES, impossible
from trainatlas.study.config import Probes, Study
from trainatlas.study.sampling import first_stage
from trainatlas.study.trial import FACTORS, Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference
from trainatlas.train.stack import Stack
from trainatlas.train.stacked import train_stack

STACK_SIZES = (1, 8, 32, 128)


@dataclass(frozen=True)
class Timing:
    """One row of the table.

    Attributes
    ----------
    stacked, reference
        Trial-steps per second, medians over the repeats.
    """

    what: str
    trials: int
    stacked: float
    reference: float

    @property
    def ratio(self) -> float:
        """Stacked throughput over the plain loop's."""
        return self.stacked / self.reference


def measure(study: Study, device: torch.device, repeats: int, epochs: int = 3) -> Iterator[Timing]:
    """Time a study's structures: with and without batch normalisation, bare and with every probe.

    Parameters
    ----------
    repeats
        How often each is timed; the reference loop is timed anew beside each.
    epochs
        Length of a timed run.
    """
    store = ExampleStore(device)
    for normalisation in study.factors["normalisation"]:
        pool = _pool(study, normalisation, epochs)
        for size in STACK_SIZES:
            yield _compare(f"{normalisation}, training alone", _bare, pool, size, store, device, repeats)
        for probes in ("light", "standard"):
            run = _recorded(probes)
            yield _compare(f"{normalisation}, {probes} probes", run, pool, STACK_SIZES[-1], store, device, repeats)


def _pool(study: Study, normalisation: str, epochs: int) -> list[Trial]:
    """Return as many trials of one structure as the largest stack takes, the optimizers side by side."""
    activation = study.factors["activation"][0]
    members = [
        replace(item.trial, epochs=epochs)
        for item in first_stage(study)
        if item.trial.activation == activation
        and item.trial.normalisation == normalisation
        and "components" not in item.trial.preprocessing
    ]
    step = max(len(members) // STACK_SIZES[-1], 1)
    return sorted(members[::step][: STACK_SIZES[-1]], key=lambda trial: trial.optimizer)


def _bare(trials: Sequence[Trial], store: ExampleStore, device: torch.device) -> float:
    stack = Stack(trials, store, device)
    _settle(device)
    begun = time.perf_counter()
    for epoch in range(1, trials[0].epochs + 1):
        stack.train_epoch(epoch)
    _settle(device)
    return len(trials) * trials[0].epochs * stack.steps_per_epoch / (time.perf_counter() - begun)


def _recorded(probes: Probes) -> Callable[[Sequence[Trial], ExampleStore, torch.device], float]:
    def run(trials: Sequence[Trial], store: ExampleStore, device: torch.device) -> float:
        begun = time.perf_counter()
        results = train_stack(trials, store, device, probes)
        return sum(result.steps_run for result in results) / (time.perf_counter() - begun)

    return run


def _compare(
    what: str,
    run: Callable[[Sequence[Trial], ExampleStore, torch.device], float],
    pool: Sequence[Trial],
    size: int,
    store: ExampleStore,
    device: torch.device,
    repeats: int,
) -> Timing:
    trials = pool[:: max(len(pool) // size, 1)][:size]
    run(trials, store, device)  # warm-up
    stacked, reference = [], []
    for _ in range(repeats):
        stacked.append(run(trials, store, device))
        begun = time.perf_counter()
        steps = len(train_reference(trials[0], store).losses)
        _settle(device)
        reference.append(steps / (time.perf_counter() - begun))
    return Timing(what, len(trials), statistics.median(stacked), statistics.median(reference))


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
    for base in (plainest, replace(plainest, network="cnn(depth=2, width=8)", epochs=1)):
        for factor in FACTORS if base is plainest else ("activation", "normalisation"):
            for level in TABLES[factor]:
                trial = replace(base, **{factor: level})  # type: ignore[arg-type]
                if impossible(trial):
                    continue
                own, others = _seeds(trial), _seeds(base)
                _bare(own, store, device)  # warm-up
                ratios = [_bare(others, store, device) / _bare(own, store, device) for _ in range(repeats)]
                yield LevelCost(base.network, factor, level, statistics.median(ratios))


def _seeds(trial: Trial) -> list[Trial]:
    """Return a stack of copies of `trial`, with a few seeds as studies have them."""
    return [replace(trial, seed=position % 4) for position in range(LEVEL_STACK)]


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
