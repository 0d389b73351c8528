"""How many packs there are, and which stack goes into which: so that all workers end together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

START = 4.0
"""Seconds that a job takes to start, where none has been measured."""

STARTS = 15
"""A worker is given one pack rather than several that would take less than so many times their start."""

LONGEST = 1800.0
"""Predicted seconds of a pack at most, as far as whole stacks allow, so that little is lost with a job."""

PACKS_EACH = 4
"""Packs a worker is given at most, unless they would be longer than LONGEST or hold more than PACK_LIMIT trials."""

PACK_LIMIT = 4096
"""Trials in a pack at most: a job holds their results until it ends."""

MOST_JOBS = 300
"""Packs of one planning at most where a scheduler trains them, as far as PACK_LIMIT allows: its queue is shared with others."""


@dataclass(frozen=True)
class Labour:
    """Who trains the packs.

    Attributes
    ----------
    workers
        Jobs that run side by side: cores, GPUs, or jobs of a cluster.
    pack_seconds
        Predicted seconds of a pack where a scheduler trains them, however many at a time: long enough to be worth its way
        through the queue, short enough that little is lost with it. 0: this machine's workers do, and shall end together.
    start_seconds
        What a job takes to start.
    """

    workers: int = 1
    pack_seconds: float = 0.0
    start_seconds: float = START

    def packs(self, seconds: float, trials: int) -> int:
        """Return how many packs to make of so much work: for workers a multiple of them, so that all end together.

        For a scheduler packs of two thirds to one and a half of `pack_seconds` (one, where there is less work), but no more of
        them than MOST_JOBS.
        """
        if self.pack_seconds:
            return max(min(round(seconds / self.pack_seconds), MOST_JOBS), math.ceil(trials / PACK_LIMIT), 1)
        rounds = min(int(seconds / (self.workers * STARTS * self.start_seconds)), PACKS_EACH)
        needed = max(seconds / LONGEST, trials / PACK_LIMIT) / self.workers
        return self.workers * max(rounds, math.ceil(needed), 1)


def deal(prices: Sequence[float], packs: int) -> list[list[int]]:
    """Deal whole stacks to packs, the dearest first, each to the pack that has least so far (Graham 1969).

    Returns
    -------
    list[list[int]]
        The positions of each pack's stacks, ascending; empty packs are left out. The dearest pack is first.
    """
    dealt: list[list[int]] = [[] for _ in range(packs)]
    costs = [0.0] * packs
    for position in sorted(range(len(prices)), key=lambda position: -prices[position]):
        lightest = costs.index(min(costs))
        dealt[lightest].append(position)
        costs[lightest] += prices[position]
    order = sorted(range(packs), key=lambda pack: -costs[pack])
    return [sorted(dealt[pack]) for pack in order if dealt[pack]]
