"""Performance profiles of time to target: on which share of problems a level is nearly the fastest, or gets there at all.

A problem is a seed with a level of every other factor, so that the levels of one factor are compared with all else equal.
A profile needs no mean of unlike times, and a run that never gets there counts as it should: its ratio is infinite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from trainatlas.analysis.curve_columns import PROFILE_COLUMNS
from trainatlas.study.config import Target
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

LARGEST_TAU = 4.0
"""The largest ratio that profiles are told for and scores count, as in AlgoPerf (Dahl et al. 2023)."""
TAUS = np.linspace(1.0, LARGEST_TAU, 61)


def performance_ratios(times: np.ndarray) -> np.ndarray:
    """Return each solver's time on each problem over the best one's (Dolan and Moré 2002, section 2).

    Parameters
    ----------
    times
        Shape (problems, solvers), > 0, infinite where a solver fails.

    Returns
    -------
    numpy.ndarray
        The same shape, >= 1, infinite where a solver fails, on problems that all fail at too.
    """
    best = times.min(axis=1, keepdims=True)
    result: np.ndarray = times / np.where(np.isfinite(best), best, 1.0)
    return result


def profile(ratios: np.ndarray, taus: np.ndarray) -> np.ndarray:
    """Return the share of problems on which each solver's ratio is at most each tau (Dolan and Moré 2002, equation 2.1).

    Parameters
    ----------
    ratios
        See `performance_ratios`, at least one problem.
    taus
        Shape (taus,), >= 1.

    Returns
    -------
    numpy.ndarray
        Shape (taus, solvers), 0 to 1.
    """
    ordered = np.sort(ratios, axis=0)
    within = taus * (1 + 1e-12)  # a ratio of 1.05 is within tau 1.05, however either is rounded
    counts = [np.searchsorted(column, within, side="right") for column in ordered.T]
    return np.stack(counts, axis=1) / len(ratios)


def scores(ratios: np.ndarray, largest: float = LARGEST_TAU) -> np.ndarray:
    """Return the area under each solver's profile from tau 1 to `largest`, over the width (Dahl et al. 2023, section 4).

    1 for a solver that is the best on every problem, 0 for one that is never within `largest`. Exact: a ratio r adds the
    part of the range above it.

    Returns
    -------
    numpy.ndarray
        Shape (solvers,).
    """
    return np.asarray(np.clip((largest - ratios) / (largest - 1), 0, None).mean(axis=0))


def profiles(final: pd.DataFrame, targets: Sequence[Target], levels: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Compare the levels of each factor by their performance profiles of steps to each target.

    Only problems on which all levels of the factor were run count, those that no level solves among them. Levels without
    a run are left out. A run that took no step at all counts as one step.

    A profile says how a level stands among those compared: with other levels beside it, it is another
    (Gould and Scott 2016).

    Parameters
    ----------
    final
        Final runs: the columns of FACTORS, `seed` and the targets' columns, infinite for never; runs for which that is missing
        were not watched and are left out.
    levels
        The study's levels by factor.

    Returns
    -------
    pandas.DataFrame
        PROFILE_COLUMNS: of each level the steps of its profile on a grid of TAUS at which it rises, the first and the last.
    """
    tables = []
    for target in targets:
        runs = final[final[target.column].notna()]
        for factor, texts in levels.items():
            rest = [name for name in FACTORS if name != factor]
            steps = runs.groupby(["seed", *rest, factor], observed=True)[target.column].mean().unstack(factor)
            own = [text for text in texts if text in steps]
            times = steps[own].dropna().clip(lower=1.0).to_numpy()
            if not len(times) or len(own) < 2:
                continue
            ratios = performance_ratios(times)
            shares, areas = profile(ratios, TAUS), scores(ratios)
            for place, text in enumerate(own):
                share = shares[:, place]
                shown = np.diff(share, prepend=-1) > 0
                shown[-1] = True
                curve = pd.DataFrame({"tau": TAUS[shown].round(9), "share": share[shown]})
                about = {"factor": factor, "level": text, "target": target.column}
                tables.append(curve.assign(**about, score=areas[place], problems=len(times)))
    columns = list(names(PROFILE_COLUMNS))
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
