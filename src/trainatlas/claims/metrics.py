"""What is measured of one trial: columns of trials.csv, and what follows from them and from its layers.

A metric takes a study's tables and some of its trials, and returns a number for each, aligned with them; missing where a trial
has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from trainatlas.analysis.curve_signs import plateau_signs
from trainatlas.analysis.diagnosis import rule
from trainatlas.analysis.tables import TRIAL_COLUMNS
from trainatlas.claims.feed import Feed, MissingEvidenceError
from trainatlas.study.texts import worded

BATCH_LOSS = "steps_to_batch_loss_"
"""What the name of a metric begins with that counts the steps to a loss of minibatches, such as steps_to_batch_loss_0.8."""

STEPS = "steps_to_"
"""What the names of those begin with that count the steps to a target of the study."""

_TARGET = re.compile(r"(^|_)[0-9.]+$")

Metric = Callable[[Feed, pd.DataFrame], pd.Series]


def metric(feed: Feed, trials: pd.DataFrame, name: str) -> pd.Series:
    """Return a metric of trials by its name: an entry of METRICS, one of BATCH_LOSS or a column of numbers in trials.csv.

    Steps to a target that was never reached count as the whole budget, so that ratios of steps are understated. Raises
    MissingEvidenceError where the study has no such column.
    """
    if name.startswith(BATCH_LOSS):
        return _steps_to_batch_loss(feed, trials, float(name.removeprefix(BATCH_LOSS)))
    if name in METRICS:
        return METRICS[name](feed, trials)
    if name not in trials or not is_numeric_dtype(trials[name]):
        raise MissingEvidenceError(worded("{study} has no metric '{metric}'", study=feed.study.name, metric=name))
    values = trials[name].astype("float64")
    if name.startswith(STEPS):
        values = values.fillna(np.inf).clip(upper=_budget(feed, trials)).clip(lower=1)
    return values


def named(name: str) -> str:
    """Return what is allowed in place of a metric's name; empty where it is the name of one.

    Whether a study has the target that steps are counted to is for `metric` to say.
    """
    columns = [column.name for column in TRIAL_COLUMNS if column.kind != "text"]
    if name.startswith(STEPS):
        target = name.removeprefix(BATCH_LOSS if name.startswith(BATCH_LOSS) else STEPS)
        return "" if _TARGET.search(target) else f"a number at the end, as in {BATCH_LOSS}0.8"
    return "" if name in METRICS or name in columns else ", ".join([*METRICS, f"{STEPS}...", *columns])


def _gap(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Training accuracy minus test accuracy."""
    gap: pd.Series = trials["final_train_accuracy"] - trials["test_accuracy"]
    return gap


def _error(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Test error, at least half a test example."""
    error: pd.Series = 1 - trials["test_accuracy"]
    return error.clip(lower=0.5 / feed.study.parts.test)


def _lost(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """1 for a trial that diverged or failed, else 0."""
    lost: pd.Series = trials["status"].map({"diverged": 1.0, "failed": 1.0})
    return lost.fillna(0.0)


def _trained(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """1 for a trial whose test accuracy is nearer to that of the study's best tenth than to chance, else 0."""
    bar = (feed.trials["test_accuracy"].quantile(0.9) + feed.chance) / 2
    accuracy: pd.Series = trials["test_accuracy"]
    return accuracy.gt(bar).astype("float64")


def _first_loss(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Loss of the first minibatch over ln(classes)."""
    ratio: pd.Series = trials["first_train_loss"] / np.log(feed.study.facts.classes)
    return ratio


def _first_loss_with_penalty(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Loss of the first minibatch with what penalties add, over ln(classes)."""
    penalty: pd.Series = trials["first_penalty"].fillna(0.0) / np.log(feed.study.facts.classes)
    return _first_loss(feed, trials) + penalty


def _accuracy_above_chance(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Test accuracy minus that of a guess."""
    return trials["test_accuracy"] - feed.chance


def _loss_kept(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Training loss at the end over the loss of the first minibatch; infinite where it is not finite."""
    return (trials["final_train_loss"] / trials["first_train_loss"]).fillna(np.inf)


def _validation_gain(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Return validation accuracy minus that of a guess."""
    return trials["final_validation_accuracy"] - feed.chance


def _died(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """Dead share of hidden units at the end minus that before training."""
    return trials["final_dead_fraction"] - trials["initial_dead_fraction"]


def _after_first_epoch(column: str) -> Metric:
    """Return a metric of the validation part after the first epoch; of a run that did not survive it what it ended with."""

    def values(feed: Feed, trials: pd.DataFrame) -> pd.Series:
        rows = feed.curves(trials["trial_id"], "validation", ("epoch", column))
        first = rows[rows["epoch"] == 1].drop_duplicates("trial_id").set_index("trial_id")[column]
        ended = trials[f"final_validation_{column}"].fillna(np.inf).where(_lost(feed, trials) == 1)
        return trials["trial_id"].map(first).astype("float64").fillna(ended)

    return values


SMOOTHED = 3
"""Minibatches whose median loss stands for the loss at the last of them."""


def _steps_to_batch_loss(feed: Feed, trials: pd.DataFrame, loss: float) -> pd.Series:
    """Count the steps until the median loss of SMOOTHED minibatches in a row is at most `loss`.

    A run that never gets there counts with its whole budget. The minibatches are those that curves.csv keeps, which lie at
    most a tenth of the steps apart.
    """
    rows = feed.curves(trials["trial_id"], "train_batch", ("step", "loss")).sort_values(["trial_id", "step"])
    smooth = rows.groupby("trial_id")["loss"].rolling(SMOOTHED).median().reset_index(level=0, drop=True)
    reached = rows[smooth.reindex(rows.index) <= loss].groupby("trial_id")["step"].min()
    return trials["trial_id"].map(reached).astype("float64").fillna(_budget(feed, trials))


def _budget(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    steps: pd.Series = trials["epochs"] * (feed.study.parts.train // trials["batch_size"])
    return steps.astype("float64")


def _plateau(feed: Feed, trials: pd.DataFrame) -> pd.Series:
    """1 for a run whose loss is flat at first and falls suddenly later, else 0."""
    signs = plateau_signs(feed.curves(trials["trial_id"], "train_batch", ("step", "loss")))
    found = rule("plateau_then_drop").holds(signs)
    return trials["trial_id"].map(found.astype("float64")).astype("float64")


def _layers(end: str, of: Callable[[pd.DataFrame], pd.Series]) -> Metric:
    """Return a metric of the layers before training ("start") or after the last step ("end").

    Parameters
    ----------
    of
        Takes rows of layers.csv by trial and depth; returns a number for each trial.
    """

    def values(feed: Feed, trials: pd.DataFrame) -> pd.Series:
        rows = feed.ends
        rows = rows[(rows["end"] == end) & rows["trial_id"].isin(trials["trial_id"])].sort_values(["trial_id", "depth"])
        return trials["trial_id"].map(of(rows)).astype("float64")

    return values


def _hidden(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["saturated_fraction"].notna()]


def _first_to_last_gradient(rows: pd.DataFrame) -> pd.Series:
    norms = rows.groupby("trial_id")["gradient_norm"]
    return norms.first() / norms.last().clip(lower=1e-30)


def _gradient_spread(rows: pd.DataFrame) -> pd.Series:
    norms = rows.assign(norm=rows["gradient_norm"].clip(lower=1e-30)).groupby("trial_id")["norm"]
    return norms.max() / norms.min()


def _last_to_first_std(rows: pd.DataFrame) -> pd.Series:
    deviations = _hidden(rows).groupby("trial_id")["activation_std"]
    return deviations.last() / deviations.first().clip(lower=1e-30)


def _gain(rows: pd.DataFrame) -> pd.Series:
    """Second moment of a hidden layer's outputs over that of the layer before, geometric mean over layers."""
    hidden = _hidden(rows)
    moments = hidden.assign(moment=(hidden["activation_std"] ** 2 + hidden["activation_mean"] ** 2).clip(lower=1e-30))
    groups = moments.groupby("trial_id")["moment"]
    steps = groups.size() - 1
    return ((groups.last() / groups.first()) ** (1 / steps.clip(lower=1))).where(steps > 0)


def _mean_of(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: _hidden(rows).groupby("trial_id")[column].mean()


def _last_of(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: _hidden(rows).groupby("trial_id")[column].last()


def _offset(rows: pd.DataFrame) -> pd.Series:
    """Absolute mean of a layer's outputs over their standard deviation, mean over the layers after the first."""
    hidden = _hidden(rows)
    deeper = hidden[hidden["depth"] > 1]
    ratio = deeper["activation_mean"].abs() / deeper["activation_std"].clip(lower=1e-30)
    return ratio.groupby(deeper["trial_id"]).mean()


METRICS: dict[str, Metric] = {
    "generalisation_gap": _gap,
    "test_error": _error,
    "lost": _lost,
    "trained": _trained,
    "first_loss": _first_loss,
    "first_loss_with_penalty": _first_loss_with_penalty,
    "accuracy_above_chance": _accuracy_above_chance,
    "loss_kept": _loss_kept,
    "validation_gain": _validation_gain,
    "died": _died,
    "loss_after_first_epoch": _after_first_epoch("loss"),
    "accuracy_after_first_epoch": _after_first_epoch("accuracy"),
    "plateau": _plateau,
    "gradient_first_to_last_at_start": _layers("start", _first_to_last_gradient),
    "gradient_first_to_last_at_end": _layers("end", _first_to_last_gradient),
    "gradient_spread_at_start": _layers("start", _gradient_spread),
    "gradient_spread_at_end": _layers("end", _gradient_spread),
    "activation_std_last_to_first": _layers("start", _last_to_first_std),
    "moment_gain_per_layer": _layers("start", _gain),
    "saturated_at_start": _layers("start", _mean_of("saturated_fraction")),
    "saturated_at_end": _layers("end", _mean_of("saturated_fraction")),
    "last_layer_std_at_start": _layers("start", _last_of("activation_std")),
    "offset_of_deeper_layers_at_end": _layers("end", _offset),
    "offset_of_deeper_layers_at_start": _layers("start", _offset),
}
"""Metrics by name. Those of layers: the norm of the first layer's gradient over the last layer's; the largest norm over the
smallest; standard deviation of the last hidden layer's outputs over the first's; second moment of outputs over that of the
layer before; share of (unit, example) pairs with a slope below 1 % of the largest; absolute mean over standard deviation."""
