"""What activations and normalisations cost in time (A4, B9), measured in turn, on one thread.

What is timed in a turn is run several times, of which the fastest counts: other work on the machine only adds to it. A ratio is
the median over turns.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import torch

from trainatlas.claims.experiments.runs import DIGITS, Row, case_of, observations, store
from trainatlas.model.activations import ACTIVATIONS
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial
from trainatlas.train.clock import step_seconds, turns
from trainatlas.train.work import settle

EXPONENTIAL = ("sigmoid", "tanh", "elu")
"""The activations that compute exponentials."""

_CNN = "cnn(depth=2, width=8)"


NUMBERS = {"cpu": 2**22, "cuda": 2**26}
"""Numbers in the tensor that activations are timed on, by device: more than caches hold, and than a launch takes time for."""


def activation_cost(seeds: Sequence[int], repeats: int = 7) -> pd.DataFrame:
    """Return how much longer sigmoid, tanh and ELU take than ReLU for a number, forward and backward (A4).

    Logarithms of the ratios of nanoseconds over standard normal numbers, float32, on this machine's CPU and, where torch finds
    one, its GPU.

    Parameters
    ----------
    repeats
        Turns that count, after one that does not.
    """
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    rows: list[Row] = []
    with one_thread():
        for device in devices:
            numbers = NUMBERS[device.type]
            if device.type == "cpu":
                case = worded("{numbers} numbers on the CPU", numbers=f"{numbers:,}")
            else:
                case = worded("{numbers} numbers on the GPU", numbers=f"{numbers:,}")
            for seed in seeds:
                x = torch.randn(numbers, generator=torch.Generator().manual_seed(seed)).to(device).requires_grad_()
                ratios = log_ratios({name: _passes(name, x) for name in ("relu", *EXPONENTIAL)}, "relu", repeats)
                rows += [(case, seed, name, ratio) for name, ratio in ratios.items()]
    return observations(rows)


_PASSES = 5
"""Passes of an activation in each turn."""


def _passes(name: str, x: torch.Tensor) -> Callable[[], float]:
    """Return what runs an activation forward and backward over `x` and yields the seconds of its fastest pass."""
    module, ones = ACTIVATIONS.build(name).to(x.device), torch.ones_like(x)

    def once() -> float:
        settle(x.device)
        begun = time.perf_counter()
        torch.autograd.grad(module(x), x, ones)
        settle(x.device)
        return time.perf_counter() - begun

    return lambda: min(once() for _ in range(_PASSES))


def activation_share(seeds: Sequence[int], base: Trial = DIGITS, repeats: int = 7) -> pd.DataFrame:
    """Return how much longer a whole training step takes with sigmoid, tanh and ELU than with ReLU (A4).

    Logarithms of the ratios of step times, two layers of 64 units, batches of 64.
    """
    return observations(_step_ratios(seeds, [base], _activated, EXPONENTIAL, "relu", repeats))


def weight_norm_cost(seeds: Sequence[int], base: Trial = DIGITS, repeats: int = 7) -> pd.DataFrame:
    """Return how much longer a step takes with weight than with batch normalisation, as a logarithm of the ratio (B9).

    For the MLP and for a CNN of two blocks.
    """
    bases = [base, base._replace(network=_CNN)]
    return observations(_step_ratios(seeds, bases, _normalised, ("weight",), "batch", repeats))


def layer_norm_cost(seeds: Sequence[int], base: Trial = DIGITS, repeats: int = 7) -> pd.DataFrame:
    """Return the same for layer against batch normalisation (B9)."""
    bases = [base, base._replace(network=_CNN)]
    return observations(_step_ratios(seeds, bases, _normalised, ("layer",), "batch", repeats))


_STEPS = 32
"""Steps of each run that is timed."""

Vary = Callable[[Trial, str], Trial]
"""(trial, level) -> the trial with that level."""


def _activated(trial: Trial, level: str) -> Trial:
    return trial._replace(activation=level)


def _normalised(trial: Trial, level: str) -> Trial:
    return trial._replace(normalisation=level)


def _step_ratios(
    seeds: Sequence[int], bases: Sequence[Trial], vary: Vary, levels: Sequence[str], reference: str, repeats: int
) -> Iterator[Row]:
    with one_thread():
        for base in bases:
            for seed in seeds:
                trials = {level: vary(base._replace(seed=seed), level) for level in (reference, *levels)}
                ratios = log_ratios({level: _steps(trial) for level, trial in trials.items()}, reference, repeats)
                for level, ratio in ratios.items():
                    yield case_of(base), seed, level, ratio


def _steps(trial: Trial) -> Callable[[], float]:
    return lambda: min(step_seconds(trial, store(), runs=_STEPS - 1))


def log_ratios(timed: dict[str, Callable[[], float]], reference: str, repeats: int) -> dict[str, float]:
    """Return the logarithm of the ratio of what each yields to what the reference does, by name.

    All are run in turn, once without counting and then so often; a ratio is the median over the turns of those within a turn,
    as a machine's pace changes from one to the next.
    """
    found = [dict(zip(timed, turn, strict=True)) for turn in itertools.islice(turns(list(timed.values())), repeats)]
    return {
        name: statistics.median(math.log(turn[name] / turn[reference]) for turn in found)
        for name in timed
        if name != reference
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
