"""How things are timed: step by step of the plain loop, and in turn with whatever they are compared with.

Machines are noisy and their pace changes within seconds. What is compared is therefore run in turn, and of several runs within a
turn the fastest counts: other work on the machine only adds to it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from torch import nn

from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import watch_reference
from trainatlas.train.work import settle


def step_seconds(trial: Trial, store: ExampleStore, steps: int = 1, runs: int = 3) -> list[float]:
    """Return the mean seconds of a step of the plain loop in each of `runs` runs of `steps` steps, one after the other.

    A step lasts from the end of an update to the end of the next, so that the first one, and what comes before it, does not
    count. On a GPU the device is waited for at the ends of runs alone.

    Parameters
    ----------
    trial
        What is trained, for 1 + steps * runs steps; its epochs must have as many.
    """
    ends: list[float] = []
    updates = itertools.count()

    def note(parameters: list[nn.Parameter]) -> None:
        if next(updates) % steps == 0:
            settle(store.device)
            ends.append(time.perf_counter())

    watch_reference(trial, store, after=note, steps=1 + steps * runs)
    return [(later - earlier) / steps for earlier, later in itertools.pairwise(ends)]


def turns(timed: Sequence[Callable[[], float]]) -> Iterator[list[float]]:
    """Yield without end what each of `timed` returns, turn by turn, after a first turn that does not count."""
    for each in timed:
        each()
    while True:
        yield [each() for each in timed]
