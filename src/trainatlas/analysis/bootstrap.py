"""Bias-corrected and accelerated bootstrap intervals (BCa) of means over strata.

SciPy's `bootstrap` computes the same for one comparison at a time. A factor of twenty levels has 190 comparisons
over the same runs: here one set of resamples serves them all, by a matrix product.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from trainatlas.analysis.intervals import CONFIDENCE
from trainatlas.analysis.pairing import DECIMALS

RESAMPLES = 2000
"""Enough for the ends of a 95 % interval (DiCiccio and Efron 1996, section 2)."""
_BLOCK = 2**22
"""Draws held in memory at once."""


def stratified_bca(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return 95 % BCa intervals (Efron 1987) of the mean over strata of each stratum's mean over its units.

    Units are drawn anew within each stratum. The acceleration is that of several samples
    (Efron and Tibshirani 1993, equation 15.36), as in `scipy.stats.bootstrap`.

    Parameters
    ----------
    values
        Shape (comparisons, strata, units); nan where a comparison has no such unit. Every comparison has at least one unit.
    resamples
        Bootstrap samples, >= 1.
    seed
        Of the random draws: the same values yield the same intervals.

    Returns
    -------
    numpy.ndarray
        Lower and upper ends, shape (comparisons, 2); nan where all resamples come to the same, as they do where no stratum
        has two units.
    """
    estimates, acceleration = _estimates(values)
    drawn = _resampled(values, resamples, np.random.default_rng(seed))
    return np.stack([bca_ends(*each) for each in zip(estimates, drawn, acceleration, strict=True)])


def bca_ends(estimate: float, drawn: np.ndarray, acceleration: float) -> np.ndarray:
    """Return both ends of the BCa interval (Efron 1987) of `estimate`, shape (2,).

    Parameters
    ----------
    drawn
        The estimate on each bootstrap sample, shape (resamples,).
    acceleration
        Rate at which the standard error changes with the true value; 0 for a bias-corrected interval alone.
    """
    if drawn.min() == drawn.max():
        return np.full(2, np.nan)
    bias = special.ndtri(((drawn < estimate).mean() + (drawn <= estimate).mean()) / 2)
    ends = bias + special.ndtri([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    shares = special.ndtr(bias + ends / (1 - acceleration * ends))
    result: np.ndarray = np.quantile(drawn, shares) if np.isfinite(shares).all() else np.full(2, np.nan)
    return result


def _estimates(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each comparison's estimate and acceleration, shape (comparisons,) each."""
    known = ~np.isnan(values)
    counts = known.sum(axis=2)
    filled = np.where(known, values, 0.0)
    means = filled.sum(axis=2) / np.maximum(counts, 1)
    strata = (counts > 0).sum(axis=1)
    estimates = np.round((means * (counts > 0)).sum(axis=1) / strata, DECIMALS)
    # What a unit adds to the estimate, from the jackknife: its distance from its stratum's mean, over stratum's size and strata.
    influence = np.where(known, filled - means[:, :, None], 0.0) / np.maximum(counts, 1)[:, :, None]
    squares, cubes = (influence**2).sum(axis=(1, 2)), (influence**3).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return estimates, np.where(squares > 0, cubes / squares**1.5 / 6, 0.0)


def _resampled(values: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Return the estimates on bootstrap samples, shape (comparisons, resamples)."""
    strata = (~np.isnan(values).all(axis=2)).sum(axis=1)
    sums = np.zeros((len(values), resamples))
    for stratum in np.moveaxis(values, 1, 0):
        patterns, which = np.unique(~np.isnan(stratum), axis=0, return_inverse=True)
        for pattern, units in enumerate(patterns):
            if units.any():
                alike = np.flatnonzero(which == pattern)
                sums[alike] += _means_of_resamples(stratum[np.ix_(alike, np.flatnonzero(units))], resamples, generator)
    means: np.ndarray = np.round(sums / strata[:, None], DECIMALS)
    return means


def _means_of_resamples(values: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Return means of units drawn with replacement, the same ones for each row of `values`, shape (rows, resamples)."""
    units = values.shape[1]
    block = max(_BLOCK // units, 1)
    parts = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(units, size=(rows, units)) + np.arange(rows)[:, None] * units
        times = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        parts.append(values @ times.T.astype(float) / units)
    return np.concatenate(parts, axis=1)
