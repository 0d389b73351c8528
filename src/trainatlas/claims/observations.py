"""What a verdict rests on: observations, for what can only be measured, and checks, for what can be proved.

An observation is one paired effect: what a choice did at one seed, everything else equal. A verdict takes the mean of a
seed's observations first, since seeds are what is independent (decision 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

OBSERVATION_COLUMNS = ("case", "seed", "pair", "effect")
"""Columns of a table of observations: data set and architecture in words; the seed; what else the pair shares, in words; the
effect in the unit of the claim's metric, for a ratio its natural logarithm."""


@dataclass(frozen=True)
class Check:
    """A number that theory fixes, and what the code yields for it in double precision.

    Attributes
    ----------
    what
        What is checked, in words.
    expected, found
        The number by theory, and by the code.
    tolerance
        The largest absolute difference that rounding explains, >= 0.
    """

    what: str
    expected: float
    found: float
    tolerance: float

    @property
    def deviation(self) -> float:
        """The absolute difference; infinite where the code yields no number."""
        difference = abs(self.found - self.expected)
        return difference if math.isfinite(difference) else math.inf

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.deviation <= self.tolerance
