"""What depth does to signals: the spread of outputs and gradients from layer to layer, and histograms of a few runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from trainatlas.analysis.columns import HISTOGRAM_CHOICE_COLUMNS, LAYER_GAIN_COLUMNS, LAYER_SUMMARY_COLUMNS
from trainatlas.analysis.intervals import over_seeds_of_each
from trainatlas.analysis.order import with_runs
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
    keys = [*ARM, "layer", "depth", "step"]
    runs = with_runs(layers, final, [*ARM, "seed"])
    by_seed = runs.groupby([*keys, "seed"], observed=True)[["activation_std", "backward_std"]].median()
    spreads = {"activation_std": "activation", "backward_std": "backward"}
    return _over_seeds(by_seed, keys, spreads)[list(names(LAYER_SUMMARY_COLUMNS))]


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
    runs = with_runs(gains.reset_index(), final, [*ARM, "seed"])
    by_seed = runs.groupby([*ARM, "seed"], observed=True)[["forward", "backward"]].median()
    return _over_seeds(by_seed, ARM, {"forward": "forward", "backward": "backward"})[list(names(LAYER_GAIN_COLUMNS))]


def _over_seeds(by_seed: pd.DataFrame, keys: list[str], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the geometric mean of per-seed values with its 95 % interval; without one where a value is 0 or infinite.

    Parameters
    ----------
    by_seed
        One row a seed, indexed by `keys` and seed.
    columns
        The columns to average, and what the ends of their intervals are called before `_low` and `_high`.
    """
    table = by_seed.groupby(level=keys, observed=True, sort=True).size().rename("seeds").to_frame()
    with np.errstate(divide="ignore", invalid="ignore"):
        for column, stem in columns.items():
            logarithms = np.log(by_seed[column]).groupby(level=keys, observed=True, sort=True)
            ends = np.exp(over_seeds_of_each(logarithms))
            table[[column, f"{stem}_low", f"{stem}_high"]] = ends[["mean", "low", "high"]]
    return table.reset_index()


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
    order = pd.DataFrame(
        {factor: runs[factor].map(places[factor]).astype("int64") for factor in FACTORS} | {"seed": runs["seed"]}
    )
    chosen = runs.loc[order.sort_values([*FACTORS, "seed"]).index].drop_duplicates(by)
    shown = measured[measured["trial_id"].isin(chosen["trial_id"])].astype({"trial_id": "str"})
    table = chosen[["trial_id", *ARM]].merge(shown, on="trial_id")
    return table[list(names(HISTOGRAM_CHOICE_COLUMNS))]
