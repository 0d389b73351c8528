"""Time to a target as a survival analysis: which share of runs has not got there yet, and how levels compare.

A run is at risk until it reaches the target. One that ended ok without reaching it is censored at the end of its budget:
it might have got there later. One that was lost (diverged, failed, or stopped by a rule of its own) never gets there,
however long one waits; it stays at risk until the study's budget ends, as in a cumulative incidence, where those who can
no longer have the event stay in the denominator (Fine and Gray 1999). To censor it when it ended would be to say
that it would have done as well as the runs that went on.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.duration.survfunc import survdiff

from trainatlas.analysis.curve_columns import MEDIAN_RATIO_COLUMNS, SURVIVAL_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE, Interval, over_seeds
from trainatlas.analysis.training import lower_quantiles
from trainatlas.study.config import Target
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

MAXIMUM_STEPS = 60
"""Steps at which a level's curve is told, at most."""


def times_to(final: pd.DataFrame, target: str, budget: int) -> pd.DataFrame:
    """Return how long each run was at risk of reaching a target, and whether it did.

    Parameters
    ----------
    final
        Runs: `status`, `steps_run` and the target's column, the steps needed, infinite for never; a run for which that is
        missing was not watched and is left out.
    target
        The target's column.
    budget
        Steps of the study's budget: where runs that were lost leave.

    Returns
    -------
    pandas.DataFrame
        Index that of `final`: `step` (at which it reached the target or left) and `reached`.
    """
    watched = final[final[target].notna()]
    steps, reached = watched[target], np.isfinite(watched[target])
    end = watched["steps_run"].where(watched["status"] == "ok", budget)
    return pd.DataFrame({"step": steps.where(reached, end).astype("int64"), "reached": reached})


def kaplan_meier(steps: np.ndarray, reached: np.ndarray) -> pd.DataFrame:
    """Estimate the share of runs that have not reached a target yet (Kaplan and Meier 1958).

    Parameters
    ----------
    steps
        Steps at which each run reached the target or left, shape (runs,), whole, >= 0, at least one run.
    reached
        Whether it reached it, shape (runs,). A run that leaves at a step is still at risk there.

    Returns
    -------
    pandas.DataFrame
        A row for each step at which a run reached the target, before them step 0 and after them the last step of all:
        `step`, `at_risk` just before, `reached` since the row before, `survival` just after, and the ends `low` and
        `high` of the pointwise 95 % interval on the scale log(-log survival), with Greenwood's variance (Kalbfleisch and
        Prentice 2002, section 1.4), missing where survival is 0 or 1. Runs count as independent.
    """
    shown = np.unique(np.concatenate([[0], steps[reached], [steps.max()]]))
    ordered, events = np.sort(steps), np.sort(steps[reached])
    until = np.searchsorted(events, shown, side="right")
    curve = stats.ecdf(stats.CensoredData(uncensored=steps[reached], right=steps[~reached])).sf
    with warnings.catch_warnings():  # of survival 0 and 1, where the interval is not defined
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(CONFIDENCE, method="log-log")
    survival = curve.evaluate(shown)
    inside = (survival > 0) & (survival < 1)
    return pd.DataFrame(
        {
            "step": shown,
            "at_risk": len(steps) - np.searchsorted(ordered, shown, side="left"),
            "reached": np.diff(until, prepend=0),
            "survival": survival,
            "low": np.where(inside, band.low.evaluate(shown), np.nan),
            "high": np.where(inside, band.high.evaluate(shown), np.nan),
        }
    )


def thinned(curve: pd.DataFrame, most: int = MAXIMUM_STEPS) -> pd.DataFrame:
    """Keep at most `most` rows of `kaplan_meier`, the first and last among them and evenly spaced between."""
    if len(curve) <= most:
        return curve
    kept = np.linspace(0, len(curve) - 1, most).round().astype(int)
    since = np.diff(curve["reached"].cumsum().to_numpy()[kept], prepend=0)
    return curve.iloc[kept].assign(reached=since)


def survival(
    final: pd.DataFrame, targets: Sequence[Target], levels: Mapping[str, tuple[str, ...]], budget: int
) -> pd.DataFrame:
    """Estimate for each level and target the share of final runs that have not reached it yet, step by step.

    Intervals take a level's runs as independent draws; to compare levels, which share seeds and cells, see
    `median_ratios`.

    Parameters
    ----------
    final
        Final runs: the columns of FACTORS and those that `times_to` reads.
    levels
        The study's levels by factor.
    budget
        As for `times_to`.

    Returns
    -------
    pandas.DataFrame
        SURVIVAL_COLUMNS, at most MAXIMUM_STEPS rows a level and target.
    """
    tables = []
    for target in targets:
        times = times_to(final, target.column, budget)
        for factor, texts in levels.items():
            level = final.loc[times.index, factor]
            for text in texts:
                own = times[(level == text).to_numpy()]
                if len(own):
                    curve = thinned(kaplan_meier(own["step"].to_numpy(), own["reached"].to_numpy()))
                    tables.append(curve.assign(factor=factor, level=text, target=target.column))
    columns = list(names(SURVIVAL_COLUMNS))
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def median_ratios(
    final: pd.DataFrame, targets: Sequence[Target], levels: Mapping[str, tuple[str, ...]], budget: int
) -> pd.DataFrame:
    """Compare each level's median steps to a target with those of its factor's first level, everything else equal.

    Only pairs count: final runs of one seed that agree in every other factor. A seed's estimate is the ratio of the two
    medians over its pairs; the ratio is their geometric mean, and its interval is Student's t over the logarithms. A
    bootstrap over so few seeds would be too narrow: with four it draws from 35 samples, and a percentile interval covers
    far less than 95 %. A run that took no step at all counts as one step.

    A median is infinite where half of a seed's runs never got there. With an infinite median of the level in some seed the
    ratio is infinite and its interval open (`high` infinite, `low` missing); of the reference, 0 (`low` 0, `high`
    missing). Seeds in which both are infinite say nothing and are left out; where nothing is left, or seeds contradict
    each other, all three are missing.

    Seconds are each run's steps times what a step of its kind takes, and are compared in the same way, censored where steps
    are; what a step takes counts as known. Where one of the paired runs was not timed, their ratio is missing.

    The log-rank test (Mantel 1966) compares the whole curves, seed by seed (strata). It takes runs within a seed as
    independent and has not been corrected for the number of levels.

    Parameters
    ----------
    final, targets, levels, budget
        As for `survival`, with `step_seconds`, missing where steps were not timed; the first level of a factor is the
        reference.

    Returns
    -------
    pandas.DataFrame
        MEDIAN_RATIO_COLUMNS.
    """
    rows = []
    for target in targets:
        times = times_to(final, target.column, budget)
        runs = final.loc[times.index, [*FACTORS, "seed", "step_seconds"]].join(times)
        runs["steps_needed"] = final[target.column].clip(lower=1.0)
        runs["seconds_needed"] = runs["steps_needed"] * runs["step_seconds"]
        for factor, (reference, *others) in levels.items():
            problem = runs.groupby([name for name in FACTORS if name != factor] + ["seed"], observed=True).ngroup()
            placed = runs.assign(problem=problem)
            first = placed[placed[factor] == reference]
            for text in others:
                own = placed[placed[factor] == text]
                own, beside = own[own["problem"].isin(first["problem"])], first[first["problem"].isin(own["problem"])]
                if own.empty:
                    continue
                ratio, seeds = _median_ratio(own, beside, "steps_needed")
                in_seconds, _ = _median_ratio(own, beside, "seconds_needed")
                shares = (float(own["reached"].mean()), float(beside["reached"].mean()))
                place, counts = (factor, text, reference, target.column), (seeds, len(own))
                rows.append((*place, *ratio, *shares, log_rank(own, beside), *counts, *in_seconds))
    return pd.DataFrame(rows, columns=list(names(MEDIAN_RATIO_COLUMNS)))


def _median_ratio(own: pd.DataFrame, beside: pd.DataFrame, column: str) -> tuple[Interval, int]:
    """Return the ratio of the medians of a column, > 0, and the seeds behind it; it is missing where a value is."""
    if own[column].isna().any() or beside[column].isna().any():
        return Interval(np.nan, np.nan, np.nan), 0
    medians = [_median_by_seed(part, column) for part in (own, beside)]
    told = np.isfinite(medians[0]) | np.isfinite(medians[1])
    return _ratio(medians[0][told].to_numpy(), medians[1][told].to_numpy()), int(told.sum())


def _median_by_seed(runs: pd.DataFrame, column: str) -> pd.Series:
    medians = {seed: lower_quantiles(own[column].to_numpy(), [0.5])[0] for seed, own in runs.groupby("seed")}
    return pd.Series(medians, dtype="float64")


def _ratio(own: np.ndarray, reference: np.ndarray) -> Interval:
    """Return the geometric mean of per-seed ratios with its interval; in no seed are both medians infinite."""
    never, reference_never = np.isinf(own).any(), np.isinf(reference).any()
    if not len(own) or (never and reference_never):
        return Interval(np.nan, np.nan, np.nan)
    if never:
        return Interval(np.inf, np.nan, np.inf)
    if reference_never:
        return Interval(0.0, 0.0, np.nan)
    return Interval(*np.exp(over_seeds(np.log(own / reference))).tolist())


def log_rank(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Return the p-value of the log-rank test, stratified by seed.

    It is missing where nothing can be told: nobody reached the target, or all runs of every seed at one step.

    Parameters
    ----------
    first, second
        Runs of either group: `step`, `reached` and `seed`.
    """
    runs = pd.concat([first.assign(group=0), second.assign(group=1)])
    if not runs["reached"].any():
        return float("nan")
    columns = [runs[name].to_numpy() for name in ("step", "reached", "group", "seed")]
    try:
        statistic, _ = survdiff(columns[0], columns[1].astype(int), columns[2], strata=columns[3])
    except np.linalg.LinAlgError:  # no variance: in every seed all runs got there at one step
        return float("nan")
    return float(stats.chi2.sf(statistic, 1))
