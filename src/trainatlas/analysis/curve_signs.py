"""What is measured of a run's loss curves before rules tell how it went (see `trainatlas.analysis.diagnosis`).

Losses of single minibatches are noisy, the first one's not least. Only a plateau and a rise are told from them as they are, for
either is far larger than the noise; all else comes from means of three, relative to the validation loss before training,
or from the validation losses themselves.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from trainatlas.analysis.order import TrialOrder

FIFTH = 0.2
"""The first and the last part of a run that signs speak of, as a share of its steps."""
SMOOTHED = 3
"""Kept minibatches whose losses are averaged: two to three of them lie in the last fifth of a run."""


def plateau_signs(batches: pd.DataFrame) -> pd.DataFrame:
    """Return between what bounds the loss lies in the first fifth of each run, and how low later.

    Parameters
    ----------
    batches
        Losses of minibatches: `trial_id`, `step` and `loss`.

    Returns
    -------
    pandas.DataFrame
        Index trial_id, columns `early_lowest`, `early_highest` and `late_lowest`, all over the loss of the first minibatch
        kept; missing where a run has none there.
    """
    rows = batches.sort_values(["trial_id", "step"])
    groups = rows.groupby("trial_id", observed=True)
    early = rows["step"] <= FIFTH * groups["step"].transform("max")
    relative = rows["loss"] / groups["loss"].transform("first")
    before, after = (relative[part].groupby(rows.loc[part, "trial_id"], observed=True) for part in (early, ~early))
    return pd.DataFrame({"early_lowest": before.min(), "early_highest": before.max(), "late_lowest": after.min()})


def curve_signs(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return what rules need to know of each run.

    Parameters
    ----------
    runs
        Runs of one study: `trial_id`, `status`, `final_train_accuracy` and `final_validation_accuracy`.
    curves
        Their losses: `trial_id`, `step`, `split` ("train_batch", "validation") and `loss`.

    Returns
    -------
    pandas.DataFrame
        Index trial_id, in the order of `runs`, a missing value where a run has no such rows:

        status
            As in trials.csv.
        rise
            Largest loss of a minibatch over the first one's.
        early_lowest, early_highest, late_lowest
            See `plateau_signs`.
        lowest, last
            Smallest and last mean of three minibatch losses, over the validation loss before training.
        validation_fall
            Share of the validation loss before training that the smallest one took off.
        validation_rise
            Validation loss at the end over the smallest.
        late_fall, late_gain
            What the last fifth took off the validation loss, over that loss, and over the validation loss before training.
        swing
            Mean size of the change of validation loss from one epoch to the next over the second half of the run, less that
            of the mean change, over the validation loss before training: 0 for a loss that only falls or only rises.
        train_change
            Minibatch loss (mean of three) at the end minus that when the validation loss was smallest, as `last`.
        train_accuracy, gap
            Training accuracy at the end, and that minus validation accuracy.
        shortfall
            Training accuracy that a tenth of the runs reach or exceed, minus `train_accuracy`.
    """
    order = TrialOrder(runs["trial_id"])
    batches, validation = (_of(curves, split, order) for split in ("train_batch", "validation"))
    signs = pd.DataFrame(index=range(len(order)))
    started = validation[validation["step"] == 0].set_index("run")["loss"].reindex(signs.index)

    groups = batches.groupby("run")["loss"]
    together = pd.concat([groups.shift(back) for back in range(SMOOTHED)], axis=1)  # a run's first ones have fewer
    batches["smooth"] = together.mean(axis=1) / batches["run"].map(started)
    signs["rise"] = groups.max() / groups.first()
    smooth = batches.groupby("run")["smooth"]
    signs["lowest"], signs["last"] = smooth.min(), smooth.last()

    groups, end = validation.groupby("run")["loss"], validation.groupby("run")["step"].last()
    least, final = groups.min(), groups.last()
    signs["validation_fall"], signs["validation_rise"] = 1 - least / started, final / least
    late = _at(validation, ((1 - FIFTH) * end + 1e-9).astype("int64"))
    signs["late_fall"], signs["late_gain"] = 1 - final / late, (late - final) / started
    signs["swing"] = _swing(validation, end) / started
    where = validation.loc[groups.idxmin().dropna(), ["run", "step"]].set_index("run")["step"]
    signs["train_change"] = signs["last"] - _at(batches.assign(loss=batches["smooth"]), where)

    plateaus = plateau_signs(curves[curves["split"] == "train_batch"])
    signs = signs.set_index(pd.Index(order.ids(), name="trial_id")).join(
        plateaus.set_axis(plateaus.index.astype("str"))
    )
    known = runs.set_index(runs["trial_id"].astype("str"))
    accuracy = known["final_train_accuracy"]
    signs = signs.loc[known.index].assign(
        status=known["status"],
        train_accuracy=accuracy,
        gap=accuracy - known["final_validation_accuracy"],
        shortfall=float(accuracy.quantile(0.9)) - accuracy,
    )
    return signs


def _of(curves: pd.DataFrame, split: str, order: TrialOrder) -> pd.DataFrame:
    """Return the rows of a split with their run's place in `order`, by run and step."""
    rows = curves[curves["split"] == split]
    rows = pd.DataFrame({"run": order.positions(rows["trial_id"]), "step": rows["step"], "loss": rows["loss"]})
    return rows[rows["run"] >= 0].sort_values(["run", "step"], ignore_index=True)


def _at(rows: pd.DataFrame, steps: pd.Series) -> pd.Series:
    """Return each run's loss at the last of its rows that is no later than `steps`, by run."""
    width = int(max(rows["step"].max(), steps.max())) + 1 if len(rows) and len(steps) else 1
    keys = rows["run"].to_numpy() * width + rows["step"].to_numpy()
    found = np.searchsorted(keys, steps.index.to_numpy() * width + steps.to_numpy(), side="right") - 1
    own = rows["run"].to_numpy()[found] == steps.index.to_numpy() if len(rows) else np.zeros(len(steps), dtype=bool)
    return pd.Series(rows["loss"].to_numpy()[found[own]], index=steps.index[own], dtype="float64")


def _swing(validation: pd.DataFrame, end: pd.Series) -> pd.Series:
    later = validation[validation["step"] >= validation["run"].map(end) / 2]
    groups = later.groupby("run")["loss"]
    with np.errstate(invalid="ignore"):  # from one infinite loss to the next
        changes = groups.diff()
    moves = changes.groupby(later["run"])
    sizes: pd.Series = changes.abs().groupby(later["run"]).mean()
    trend: pd.Series = moves.mean()
    return sizes - trend.abs()
