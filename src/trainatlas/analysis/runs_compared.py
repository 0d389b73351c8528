"""Two runs of a study side by side: trials in pairs, differences with intervals, and whether the new run is worse.

The runs may be of two versions of the code, of two machines, or of a study that was edited in between. A pair is a trial
of each that agree in data, network, levels, seed and stage; a final run stands at its own tuned rate, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trainatlas.analysis.compared_columns import COMPARE_COLUMNS, PAIR_COLUMNS
from trainatlas.analysis.comparisons import holm, t_test
from trainatlas.analysis.intervals import CONFIDENCE, over_seeds
from trainatlas.analysis.pairing import DECIMALS
from trainatlas.analysis.runs import Run
from trainatlas.study.errors import UserError
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

STAGES = ("final", "random", "winner")
"""Stages whose trials are compared: those that look at test data."""

METRICS = ("test_accuracy", "final_validation_accuracy", "best_validation_accuracy", "final_train_accuracy")
"""What can be compared: shares, of which more is better."""

MARGIN = 0.01
"""By how much a run may be worse, where the user does not say: a point of accuracy."""

VERDICTS = ("worse", "better", "alike", "open", "no interval")

_KEY = ["stage", "data", "network", *FACTORS, "seed"]
_DRAWN = ["learning_rate", "batch_size"]
"""What a draw has, beside parameters of the study, that a final run has by tuning or by the study."""


@dataclass(frozen=True)
class Comparison:
    """What comes out of two runs.

    Attributes
    ----------
    pairs
        Every pair, columns as in PAIR_COLUMNS.
    rows
        Differences, columns as in COMPARE_COLUMNS, all pairs together first.
    only
        For each stage that either run has: how many pairs, trials of the old run alone, of the new run alone.
    """

    metric: str
    margin: float
    pairs: pd.DataFrame
    rows: pd.DataFrame
    only: dict[str, tuple[int, int, int]]

    @property
    def regressions(self) -> pd.DataFrame:
        """The rows that say that the new run is worse."""
        return self.rows[self.rows["verdict"] == "worse"]


def compare_runs(old: Run, new: Run, metric: str = METRICS[0], margin: float = MARGIN) -> Comparison:
    """Compare two runs of a study.

    Parameters
    ----------
    metric
        One of METRICS.
    margin
        By how much the new run may be worse, 0 to 1, in the metric's unit.

    Raises
    ------
    UserError
        Where metric or margin is not allowed, and where the runs have no trial in common.
    """
    if metric not in METRICS:
        raise UserError(f"--metric is '{metric}'; allowed: {', '.join(METRICS)}")
    if not 0 <= margin <= 1:
        raise UserError(f"--margin is {margin:g}; allowed: 0 to 1, a share: 0.01 is a point")
    parameters = sorted({*old.parameters, *new.parameters})
    pairs, only = paired_trials(old.trials, new.trials, metric, parameters)
    if pairs.empty:
        found = "; ".join(f"{run.folder}: {_stages(run.trials)}" for run in (old, new))
        raise UserError(
            f"{old.folder} and {new.folder}: no trial in common ({found}); allowed: two runs that share data, network, levels "
            f"and seeds of trials of the stages {', '.join(STAGES)}"
        )
    levels = {
        factor: list(dict.fromkeys([*old.study["factors"].get(factor, ()), *new.study["factors"].get(factor, ())]))
        for factor in FACTORS
    }
    return Comparison(metric, margin, pairs, compared(pairs, {"stage": STAGES, **levels}, margin), only)


def _stages(trials: pd.DataFrame) -> str:
    counts = trials["stage"].value_counts()
    return ", ".join(f"{counts[stage]:,} {stage}" for stage in STAGES if stage in counts) or "none of these stages"


def paired_trials(
    old: pd.DataFrame, new: pd.DataFrame, metric: str, parameters: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, tuple[int, int, int]]]:
    """Pair the trials of two runs that agree in stage, data, network, levels and seed.

    Draws and winners of searches agree in their rate and their values of parameters too; where the batch size is no
    parameter, it is the study's and may differ.

    Parameters
    ----------
    old, new
        Gathered trials; those of STAGES are taken. A missing value counts as 0: all wrong.
    parameters
        The studies' parameters.

    Returns
    -------
    tuple
        The pairs, columns as in PAIR_COLUMNS, sorted by what pairs agree in; and for each stage that there is how many
        pairs, trials of the old run alone and trials of the new run alone it has.
    """
    drawn = [name for name in _DRAWN if name != "batch_size" or name in parameters]
    more = [name for name in parameters if name not in _DRAWN]
    key = [*_KEY, *(f"set {name}" for name in (*drawn, *more))]
    sides = [_keyed(trials, metric, [*drawn, *more]) for trials in (old, new)]
    both = sides[0].merge(sides[1], on=key, how="outer", suffixes=("_old", "_new"), indicator="in", sort=True)
    only = {}
    for stage in STAGES:
        where = both.loc[both["stage"] == stage, "in"]
        if len(where):
            common, before, after = (int((where == side).sum()) for side in ("both", "left_only", "right_only"))
            only[stage] = (common, before, after)
    found = both[both["in"] == "both"]
    pairs = found[_KEY].assign(
        old_trial_id=found["trial_id_old"],
        new_trial_id=found["trial_id_new"],
        old_rate=found["rate_old"],
        new_rate=found["rate_new"],
        old_status=found["status_old"],
        new_status=found["status_new"],
        old=found["value_old"],
        new=found["value_new"],
        difference=found["value_new"] - found["value_old"],
    )
    return pairs.reset_index(drop=True)[list(names(PAIR_COLUMNS))], only


def _keyed(trials: pd.DataFrame, metric: str, settings: Sequence[str]) -> pd.DataFrame:
    """Return one row for each key: of trials that agree in it, of which a study has one, the mean."""
    runs = trials[trials["stage"].isin(STAGES)]
    tuned = runs["stage"] == "final"
    key = runs[_KEY].astype({name: "str" for name in _KEY if name != "seed"})
    for name in settings:
        values = runs[name] if name in runs else pd.Series("", index=runs.index)
        key[f"set {name}"] = values.astype("object").where(values.notna() & ~tuned, "").map(str)
    valued = key.assign(
        value=runs[metric].fillna(0.0), rate=runs["learning_rate"], status=runs["status"], trial_id=runs["trial_id"]
    )
    return valued.groupby(list(key.columns), as_index=False, sort=True).agg(
        value=("value", "mean"), rate=("rate", "mean"), status=("status", "first"), trial_id=("trial_id", "first")
    )


def compared(pairs: pd.DataFrame, levels: Mapping[str, Sequence[str]], margin: float) -> pd.DataFrame:
    """Return the differences of all pairs together and of each level, with intervals over seeds.

    A seed's estimate is the mean over its pairs (docs/decisions/0001). P-values of single levels are corrected for their
    number, of all factors together (Holm 1979).

    Parameters
    ----------
    pairs
        Columns as in PAIR_COLUMNS, at least one row.
    levels
        Levels by column of `pairs`. A column whose pairs are all of one level has no row.
    margin
        Largest difference that does not matter, >= 0.

    Returns
    -------
    pandas.DataFrame
        Columns as in COMPARE_COLUMNS.
    """
    rows = [_told("", "", pairs, margin)]
    for column, texts in levels.items():
        present = [text for text in texts if (pairs[column] == text).any()]
        if len(present) > 1:
            rows += [_told(column, text, pairs[pairs[column] == text], margin) for text in present]
    table = pd.DataFrame(rows)
    for name in ("p", "p_beyond"):
        table[f"{name}_holm"] = np.concatenate([table[name].to_numpy()[:1], holm(table[name].to_numpy()[1:])])
    table["verdict"] = [
        verdict(row["low"], row["high"], row["p_beyond_holm"], margin) for row in table.to_dict("records")
    ]
    return table[list(names(COMPARE_COLUMNS))]


def _told(factor: str, level: str, pairs: pd.DataFrame, margin: float) -> dict[str, Any]:
    of_seeds = pairs.groupby("seed")[["old", "new", "difference"]].mean()
    estimates = of_seeds["difference"].round(DECIMALS).to_numpy()
    interval = over_seeds(estimates)
    worse = interval.mean < 0
    return {
        "factor": factor,
        "level": level,
        "old": float(of_seeds["old"].mean()),
        "new": float(of_seeds["new"].mean()),
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": t_test(estimates),
        "p_beyond": t_test(estimates, -margin if worse else margin, "less" if worse else "greater"),
        "pairs": len(pairs),
        "seeds": len(of_seeds),
    }


def verdict(low: float, high: float, p_beyond: float, margin: float) -> str:
    """Return one of VERDICTS.

    Parameters
    ----------
    low, high
        Ends of the 95 % interval; nan where there is none.
    p_beyond
        One-sided p-value of a difference within the margin, corrected; to be at most half of 5 %, as for a single interval.
    """
    if math.isnan(low):
        return "no interval"
    if p_beyond <= (1 - CONFIDENCE) / 2 + 1e-12:
        if high < -margin:
            return "worse"
        if low > margin:
            return "better"
    return "alike" if -margin <= low and high <= margin else "open"
