"""What depth does to signals: the spread of outputs and gradients from layer to layer, and histograms of a few runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import HISTOGRAM_CHOICE_COLUMNS, LAYER_GAIN_COLUMNS, LAYER_SUMMARY_COLUMNS
from trainatlas.analysis.intervals import over_seeds
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import names

ARM = ["activation", "init", "normalisation"]
"""The factors that say what depth does to signals; tables are by these and average over all others."""


def layer_summaries(final: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Summarise the spread of outputs and gradients of every layer, by activation, init, normalisation and step.

    Returns
    -------
    pandas.DataFrame
        LAYER_SUMMARY_COLUMNS. An estimate is the geometric mean over seeds, its interval that of the logarithms.
    """
    runs = layers.merge(final[["trial_id", "seed", *ARM]], on="trial_id")
    keys = [*ARM, "layer", "depth", "step"]
    columns = ["activation_std", "backward_std"]
    by_seed = runs.groupby([*keys, "seed"], observed=True)[columns].median()
    rows = []
    for key, group in by_seed.groupby(level=keys, observed=True, sort=True):
        estimates = [value for column in columns for value in _geometric(group[column].dropna().to_numpy())]
        rows.append((*key, *estimates, len(group)))
    return pd.DataFrame(rows, columns=list(names(LAYER_SUMMARY_COLUMNS)))


def layer_gains(final: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Return by what one more hidden layer multiplies the spread of outputs, and of gradients on their way back.

    Returns
    -------
    pandas.DataFrame
        LAYER_GAIN_COLUMNS: for each run, before training, the ratio between the first and the last hidden layer, its
        root by the layers between; then as in `layer_summaries`. Empty where gradients were not measured or
        networks have one hidden layer.
    """
    start = layers[(layers["step"] == 0) & layers["dead_fraction"].notna() & layers["backward_std"].notna()]
    by_trial = start.sort_values("depth").groupby("trial_id")
    first, last = by_trial.nth(0).set_index("trial_id"), by_trial.nth(-1).set_index("trial_id")
    between = by_trial.size() - 1
    between = between[between > 0]
    first, last = first.loc[between.index], last.loc[between.index]
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = pd.DataFrame(
            {
                "forward": (last["activation_std"] / first["activation_std"]) ** (1 / between),
                "backward": (first["backward_std"] / last["backward_std"]) ** (1 / between),
            }
        ).dropna()
    runs = gains.reset_index().merge(final[["trial_id", "seed", *ARM]], on="trial_id")
    by_seed = runs.groupby([*ARM, "seed"], observed=True)[["forward", "backward"]].median()
    rows = []
    for key, group in by_seed.groupby(level=ARM, observed=True, sort=True):
        rows.append(
            (*key, *_geometric(group["forward"].to_numpy()), *_geometric(group["backward"].to_numpy()), len(group))
        )
    return pd.DataFrame(rows, columns=list(names(LAYER_GAIN_COLUMNS)))


def _geometric(values: np.ndarray) -> tuple[float, float, float]:
    """Return the geometric mean of per-seed values with its 95 % interval; without one where a value is 0 or infinite."""
    if not len(values):
        return (float("nan"),) * 3
    with np.errstate(divide="ignore", invalid="ignore"):
        interval = over_seeds(np.log(values))
        mean, low, high = (float(np.exp(end)) for end in interval)
    return mean, low, high


def histogram_choice(
    final: pd.DataFrame, histograms: pd.DataFrame, factors: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Choose the histograms that the report shows: before training, one run of every initialisation.

    Of an initialisation's runs it is that with the earliest level of every factor, in the order of `factors`, and
    the smallest seed; where a study has one initialisation, activations take the place of initialisations.
    """
    by = "init" if len(factors["init"]) > 1 else "activation"
    places = {factor: {level: place for place, level in enumerate(factors[factor])} for factor in FACTORS}
    measured = histograms[histograms["step"] == 0]
    runs = final[final["trial_id"].isin(measured["trial_id"])]
    order = pd.DataFrame({factor: runs[factor].map(places[factor]) for factor in FACTORS} | {"seed": runs["seed"]})
    chosen = runs.loc[order.sort_values([*FACTORS, "seed"]).index].drop_duplicates(by)
    table = chosen[["trial_id", *ARM]].merge(measured, on="trial_id")
    return table[list(names(HISTOGRAM_CHOICE_COLUMNS))]
