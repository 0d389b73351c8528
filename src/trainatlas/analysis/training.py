"""What happened during training: loss curves, steps to targets, dead and saturated units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import CONVERGENCE_COLUMNS, CURVE_SUMMARY_COLUMNS, UNIT_COLUMNS
from trainatlas.study.config import Target
from trainatlas.study.trial import FACTORS


def lower_quantile(values: np.ndarray, share: float) -> float:
    """Return the smallest value that at least `share` of `values` do not exceed; infinities allowed.

    Interpolating would make nonsense of "never": half-way between 100 steps and infinity is no number.
    """
    ordered = np.sort(values)
    return float(ordered[max(int(np.ceil(share * len(ordered))) - 1, 0)])


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
    wanted = curves[curves["split"].isin(["train_batch", "validation"])]
    wide = {
        split: rows.pivot(index="trial_id", columns="step", values="loss").reindex(final["trial_id"]).fillna(np.inf)
        for split, rows in wanted.groupby("split")
    }
    rows = []
    for factor, texts in levels.items():
        for text in texts:
            everyone = set(final.loc[final[factor] == text, "trial_id"])
            for scope, members in (("level", everyone), ("best", best.get((factor, text), set()))):
                for split, table in wide.items():
                    losses = np.sort(table.loc[table.index.isin(members)].to_numpy(), axis=0)
                    if not len(losses):
                        continue
                    for column, step in enumerate(table.columns):
                        quantiles = [lower_quantile(losses[:, column], share) for share in (0.1, 0.5, 0.9)]
                        rows.append((scope, factor, text, split, int(step), *quantiles, len(losses)))
    return pd.DataFrame(rows, columns=[column.name for column in CURVE_SUMMARY_COLUMNS])


def convergence(final: pd.DataFrame, targets: Sequence[Target], levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Summarise the steps that final runs needed to each target; a run that never got there needs infinitely many."""
    rows = []
    for factor, texts in levels.items():
        for text in texts:
            runs = final[final[factor] == text]
            for target in targets:
                steps = runs[target.column].dropna().to_numpy()
                if len(steps):
                    quartiles = [lower_quantile(steps, share) for share in (0.25, 0.5, 0.75)]
                    rows.append(
                        (
                            factor,
                            text,
                            target.column,
                            float(np.isfinite(steps).mean()),
                            *quartiles,
                            len(steps),
                        )
                    )
    return pd.DataFrame(rows, columns=[column.name for column in CONVERGENCE_COLUMNS])


def unit_summaries(final: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Summarise hidden layers over training, by activation and init and by activation and normalisation."""
    hidden = layers.dropna(subset="dead_fraction").merge(final[["trial_id", *FACTORS]], on="trial_id")
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
