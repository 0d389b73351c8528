"""From observations to a verdict: an interval over seeds, held against what the claim expects.

The mean of a seed's observations is one value; the interval is Student's t over these (decision 1). A verdict on one row
asks two questions: could the effect lie where the claim does not expect it, and could it lie where it does? Each is a
one-sided test, two of them for an expectation with two ends (Schuirmann 1987). Whatever the effect is, only one of both
answers can be wrong, so the smaller p-value is corrected over all rows of a chapter (Holm 1979), not over twice as many.
A claim is supported where the interval lies wholly in what it expects, refuted where it lies wholly outside, provided that
the corrected p-value is below 5 % too; else nothing is said.

Where runs diverged, effects come in lumps, and a few seeds may all have the same number of lost runs by chance: their spread is
then far too small. There the pairs must bear the answer out too, by what they scatter from seed to seed (decision 24).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

from trainatlas.analysis.intervals import CONFIDENCE, Interval, over_seeds

Verdict = Literal["supported", "refuted", "inconclusive", "not run"]
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "inconclusive", "not run")
MIXED = "mixed"
"""Of a claim whose parts have different verdicts."""

LEVEL = 1 - CONFIDENCE
"""The largest corrected p-value of a verdict."""


@dataclass(frozen=True)
class Expectation:
    """Where a claim expects the effect: between two ends, of which one may be infinite, or, where not `inside`, beyond them."""

    low: float
    high: float
    inside: bool = True

    def holds(self, effect: float) -> bool:
        """Return whether an effect is as expected."""
        return (self.low < effect < self.high) == self.inside


@dataclass(frozen=True)
class Scatter:
    """How sure the mean is by the scatter of its pairs: standard error, in units of the effect, and degrees of freedom."""

    error: float
    freedom: int


@dataclass(frozen=True)
class Estimate:
    """An effect as measured.

    Attributes
    ----------
    interval
        Mean over seeds with its 95 % interval.
    p_within, p_beyond
        One-sided p-values: how likely means as far inside the expectation's ends would be, were the effect beyond them, and
        the other way round.
    stable
        Whether the mean stays on the same side of the expectation's ends whichever single seed is left out.
    """

    interval: Interval
    p_within: float
    p_beyond: float
    stable: bool

    @property
    def p(self) -> float:
        """The smaller of both: whatever the effect is, only one of the two answers can be wrong."""
        return min(self.p_within, self.p_beyond)

    def leaning(self, expected: Expectation) -> Verdict:
        """Return the verdict that the interval alone would give."""
        low, high = self.interval.low, self.interval.high
        within = expected.low < low and high < expected.high
        beyond = high <= expected.low or low >= expected.high
        if within or beyond:
            return "supported" if within == expected.inside else "refuted"
        return "inconclusive"


def estimate(by_seed: ArrayLike, expected: Expectation, scatter: Scatter | None = None) -> Estimate:
    """Hold the effects of single seeds against an expectation.

    Parameters
    ----------
    by_seed
        One effect a seed, finite, shape (seeds,), at least two seeds.
    scatter
        That of the pairs, where runs diverged; each p-value is then the larger of those that seeds and pairs yield.
    """
    values = np.asarray(by_seed, dtype=float)
    interval = over_seeds(values)
    above_low, below_low = _one_sided(values, expected.low, scatter)
    above_high, below_high = _one_sided(values, expected.high, scatter)
    one_ended = math.isinf(expected.low) or math.isinf(expected.high)
    beyond = min(below_low, above_high) if one_ended else min(1.0, 2 * min(below_low, above_high))
    left_out = (values.sum() - values) / (len(values) - 1)
    side = [expected.holds(value) for value in left_out]
    return Estimate(
        interval, max(above_low, below_high), beyond, all(each == expected.holds(interval.mean) for each in side)
    )


def _one_sided(values: np.ndarray, bound: float, scatter: Scatter | None) -> tuple[float, float]:
    """Return the p-values that speak for a mean above `bound`, and below it (Student 1908)."""
    if math.isinf(bound):
        return (0.0, 1.0) if bound < 0 else (1.0, 0.0)
    beyond, rounding = float(values.mean()) - bound, 1e-12 * max(1.0, float(np.abs(values).max()))
    if abs(beyond) <= rounding:
        beyond = 0.0
    tests = [Scatter(float(stats.sem(values)), len(values) - 1), *([scatter] if scatter else [])]
    both = [_tails(beyond, test if test.error > rounding else replace(test, error=0.0)) for test in tests]
    return max(above for above, _ in both), max(below for _, below in both)


def _tails(beyond: float, test: Scatter) -> tuple[float, float]:
    """Return how likely a mean as far above its bound would be by chance, and one as far below."""
    if test.error == 0.0:  # all agree
        return (1.0, 1.0) if beyond == 0.0 else (0.0, 1.0) if beyond > 0 else (1.0, 0.0)
    above = float(stats.t.sf(beyond / test.error, test.freedom))
    return above, 1 - above


def scatter_of(observations: pd.DataFrame) -> Scatter | None:
    """Return how sure the mean over seeds is by what single pairs scatter from seed to seed.

    Parameters
    ----------
    observations
        Columns seed, pair and effect, as `trainatlas.claims.evidence.Evidence` has them.

    Returns
    -------
    Scatter or None
        From the residuals about each pair's mean over seeds, as if seeds had nothing in common; None where no pair is seen
        at two seeds.
    """
    pairs = observations.groupby("pair")["effect"]
    freedom = len(observations) - pairs.ngroups
    if freedom == 0:
        return None
    variance = float(((observations["effect"] - pairs.transform("mean")) ** 2).sum()) / freedom
    counts = observations.groupby("seed").size()
    return Scatter(math.sqrt(variance * float((1 / counts).sum())) / len(counts), freedom)


def by_seed(observations: pd.DataFrame) -> pd.Series:
    """Return the mean effect of each seed."""
    return observations.groupby("seed")["effect"].mean()


def corrected(p_values: Sequence[float], chapters: Sequence[str]) -> np.ndarray:
    """Return p-values corrected over the rows of each chapter (Holm 1979); missing ones stay missing."""
    p, families = np.asarray(p_values, dtype=float), np.asarray(chapters)
    result = np.full(len(p), np.nan)
    for family in np.unique(families):
        rows = np.flatnonzero((families == family) & ~np.isnan(p))
        if len(rows):
            result[rows] = multipletests(p[rows], alpha=LEVEL, method="holm")[1]
    return result


def verdict(found: Estimate, expected: Expectation, p_corrected: float) -> Verdict:
    """Return the verdict: that of the interval, where the corrected p-value bears it out."""
    return found.leaning(expected) if p_corrected < LEVEL else "inconclusive"


def overall(verdicts: Sequence[Verdict]) -> str:
    """Return what a claim's rows say together, without pooling them: `mixed` where some support and others refute it."""
    decided = {each for each in verdicts if each in ("supported", "refuted")}
    if len(decided) == 2:
        return MIXED
    if decided:
        return decided.pop()
    return "inconclusive" if "inconclusive" in verdicts else "not run"
