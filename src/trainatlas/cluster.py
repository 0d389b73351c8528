"""What jobs ask of a scheduler - time, memory, tries - and what a study will cost there.

Snakemake and its executors submit, watch and retry jobs; here stands what only this project knows: what a pack is predicted to
take. Requests are for twice that and grow with every attempt, since an attempt that ran out of time goes on from its checkpoint
in the next, and one that ran out of memory needs more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainatlas.workflow import pack_seconds

TIME_MARGIN = 2.0
"""A job asks for so many times the seconds that its pack is predicted to take."""

START_MINUTES = 5
"""Minutes on top of that: two Snakemakes, libraries from a slow file system, data."""

SNAKEMAKE_MIB = 500
"""MiB that the two Snakemakes of a job take beside training."""

FEWEST_TRIES = 3
"""Of so many tries or more the last one trains nothing: it gives the pack up, so that the study can end without it."""


@dataclass(frozen=True)
class Requests:
    """What the jobs that train packs ask for.

    Attributes
    ----------
    results
        The study's folder, with the plans that predict.
    memory
        MiB that training keeps to.
    tries
        Returns how many attempts a job has; 0 where no scheduler is at work.
    """

    results: Path
    memory: int
    tries: Callable[[], int]

    def minutes(self, pack: str, attempt: int) -> int:
        """Return the whole minutes that an attempt at training a pack asks for; 0, no limit, where no scheduler is at work."""
        if not self.tries():
            return 0
        return attempt * minutes_asked(pack_seconds(self.results, pack))

    def mebibytes(self, attempt: int) -> int:
        """Return the MiB that an attempt asks for: more each time, whereas what training keeps to stays as it is.

        Stacks cut for another memory would be rounded otherwise, and the tables differ in their last digits.
        """
        return (self.memory + SNAKEMAKE_MIB) * attempt if self.tries() else self.memory

    def tries_left(self, attempt: int) -> int:
        """Return how often training may be tried, this attempt included; 0 where the pack is to be given up."""
        if self.tries() < FEWEST_TRIES:
            return 1
        return max(self.tries() - attempt, 0)


def minutes_asked(seconds: float) -> int:
    """Return the whole minutes that a first attempt at so many predicted seconds asks for."""
    return math.ceil(TIME_MARGIN * seconds / 60) + START_MINUTES
