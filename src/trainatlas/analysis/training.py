"""What happened during training: loss curves, steps to targets, dead and saturated units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import CONVERGENCE_COLUMNS, CURVE_SUMMARY_COLUMNS, UNIT_COLUMNS
from trainatlas.analysis.order import TrialOrder, with_runs
from trainatlas.study.config import Target


def lower_quantiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the smallest values that at least each of `shares` of `values` do not exceed; infinities allowed.

    Interpolating would make nonsense of "never": half-way between 100 steps and infinity is no number.

    Parameters
    ----------
    values
        Shape (runs, ...), at least one run.

    Returns
    -------
    numpy.ndarray
        Shape (shares, ...).
    """
    ranks = [max(int(np.ceil(share * len(values))) - 1, 0) for share in shares]
    result: np.ndarray = np.partition(values, sorted(set(ranks)), axis=0)[ranks]
    return result


def curve_summaries(
    final: pd.DataFrame,
    curves: pd.DataFrame,
    best: dict[tuple[str, str], set[str]],
    levels: dict[str, tuple[str, ...]],
) -> pd.DataFrame:
    """Summarise loss against step: the median and the middle 80 % of the runs.

    Parameters
    ----------
    best
        For each (factor, level) the trial ids of its best cell's seeds.
    """
    rows = []
    order = TrialOrder(final["trial_id"])
    places = order.positions(final["trial_id"])
    tables = {split: _losses(curves[curves["split"] == split], order) for split in ("train_batch", "validation")}
    for factor, texts in levels.items():
        for text in texts:
            everyone = places[(final[factor] == text).to_numpy()]
            chosen = order.positions(pd.Series(sorted(best.get((factor, text), set())), dtype="str"))
            for scope, members in (("level", everyone), ("best", chosen)):
                for split, (steps, losses) in tables.items():
                    if not len(members) or not len(steps):
                        continue
                    quantiles = lower_quantiles(losses[members], (0.1, 0.5, 0.9)).T.tolist()
                    rows += [
                        (scope, factor, text, split, step, *row, len(members))
                        for step, row in zip(steps.tolist(), quantiles, strict=True)
                    ]
    return pd.DataFrame(rows, columns=[column.name for column in CURVE_SUMMARY_COLUMNS])


def _losses(curves: pd.DataFrame, order: TrialOrder) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and the losses at them, shape (trials, steps), infinite where there is none.

    The steps are those at which some loss is finite: where a run diverged, it alone was looked at.
    """
    positions = order.positions(curves["trial_id"])
    known = (positions >= 0) & np.isfinite(curves["loss"].to_numpy())
    steps, columns = np.unique(curves["step"].to_numpy()[known], return_inverse=True)
    losses = np.full((len(order), len(steps)), np.inf)
    losses[positions[known], columns] = curves["loss"].to_numpy()[known]
    return steps, losses


def convergence(
    final: pd.DataFrame, targets: Sequence[Target], levels: dict[str, tuple[str, ...]], examples: int
) -> pd.DataFrame:
    """Summarise what final runs needed to each target; a run that never got there needs infinitely much.

    Steps, and medians of epochs and of examples too, which compare runs of unlike batch sizes, and of seconds: each run's steps
    times what a step of its kind takes. Where one of a level's runs was not timed, its median is missing.

    Parameters
    ----------
    final
        Final runs: the factors, `batch_size`, the targets' columns and `step_seconds`, missing where steps were not timed.
    examples
        Examples of the training part, from which the steps of an epoch follow (see `steps_of_budget`).

    Returns
    -------
    pandas.DataFrame
        Columns as in CONVERGENCE_COLUMNS.
    """
    rows = []
    for factor, texts in levels.items():
        for text in texts:
            own = final[final[factor] == text]
            for target in targets:
                steps = own[target.column].dropna()
                if steps.empty:
                    continue
                batch, seconds = own.loc[steps.index, "batch_size"], steps * own.loc[steps.index, "step_seconds"]
                quartiles = lower_quantiles(steps.to_numpy(), (0.25, 0.5, 0.75)).tolist()
                units = [_median(steps / (examples // batch)), _median(steps * batch), _median(seconds)]
                reached = float(np.isfinite(steps).mean())
                rows.append((factor, text, target.column, reached, *quartiles, len(steps), *units))
    return pd.DataFrame(rows, columns=[column.name for column in CONVERGENCE_COLUMNS])


def _median(values: pd.Series) -> float:
    """Return the lower median; missing where a value is."""
    return float("nan") if values.isna().any() else float(lower_quantiles(values.to_numpy(), (0.5,))[0])


def steps_of_budget(trials: pd.DataFrame, examples: int) -> pd.Series:
    """Return the optimizer steps of each trial's whole budget: `epochs` full passes in batches of `batch_size`.

    Parameters
    ----------
    examples
        Examples of the training part; what is left over of an epoch sits it out.
    """
    steps: pd.Series = trials["epochs"] * (examples // trials["batch_size"])
    return steps


def unit_summaries(final: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Summarise hidden layers over training, by activation and init and by activation and normalisation."""
    hidden = with_runs(layers[layers["dead_fraction"].notna()], final, ["activation", "init", "normalisation"])
    tables = []
    for by in ("init", "normalisation"):
        groups = hidden.groupby(["activation", by, "layer", "depth", "step"], observed=True, sort=True)
        table = groups.agg(
            dead_fraction=("dead_fraction", "mean"),
            saturated_fraction=("saturated_fraction", "mean"),
            activation_std=("activation_std", "median"),
            gradient_norm=("gradient_norm", "median"),
            trials=("trial_id", "size"),
        )
        table["dead_decile_9"] = groups["dead_fraction"].quantile(0.9)
        tables.append(table.reset_index().rename(columns={by: "level"}).assign(by=by))
    return pd.concat(tables, ignore_index=True)[[column.name for column in UNIT_COLUMNS]]
