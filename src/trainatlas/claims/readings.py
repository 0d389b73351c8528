"""Measurements that take more than a metric at two levels: each one short function of a study's tables.

A reading takes a part of a claim, the feeding study and all feeding studies by name, and returns evidence. Its options stand in
the claims file under `options`. Where levels are chosen by what they yield - the best of some, the order of all - they
are chosen on the other seeds, so that the seed at hand tells without favour how they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trainatlas.catalogue import TABLES
from trainatlas.claims.config import Part
from trainatlas.claims.evidence import SMALLEST, Evidence, checked, in_words, paired, scaled
from trainatlas.claims.feed import Feed, MissingEvidenceError, where
from trainatlas.claims.metrics import metric
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level
from trainatlas.study.parameters import BATCH_SIZE
from trainatlas.study.texts import worded

Reading = Callable[[Part, Feed, Mapping[str, Feed]], Evidence]

_METRIC = "test_accuracy"


class OptionError(UserError):
    """An option of a reading that is missing or has a value that is not allowed."""


def option(part: Part, name: str, default: Any = None) -> Any:
    """Return an option of a reading; raises OptionError where it is missing and has no default."""
    if name not in part.options and default is None:
        raise OptionError(f"{part.what}: options: '{name}' is missing")
    return part.options.get(name, default)


def _final(part: Part, feed: Feed) -> pd.DataFrame:
    """Return the final runs that count, with the reading's metric in `value`."""
    trials = where(feed.stage("final"), part.where)
    return trials.assign(value=scaled(metric(feed, trials, option(part, "metric", _METRIC)), part.scale))


def _contrasted(part: Part, rows: pd.DataFrame, others: Sequence[str], trials: pd.DataFrame) -> Evidence:
    """Return the paired differences in `value` that the part's contrast asks for; `value` itself where there is none."""
    ids = tuple(trials["trial_id"])
    if part.contrast is None:
        return checked(
            Evidence(rows.assign(pair=in_words(rows, others), effect=rows["value"])[["seed", "pair", "effect"]], ids)
        )
    rows = where(rows, {part.contrast.factor: (part.contrast.level, *part.contrast.against)})
    return checked(Evidence(paired(rows, part.contrast, others), ids))


def spread(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """How much a factor matters: the metric at its best level minus that at its worst, both chosen on the other seeds.

    Options: `over`, the factor; `metric`. With a contrast, the difference between the spreads at its levels.
    """
    over = option(part, "over")
    trials = _final(part, feed)
    kept = [factor for factor in feed.others() if factor != over]
    rows = []
    for key, own in trials.groupby(kept, observed=True) if kept else [((), trials)]:
        table = own.pivot_table(index="seed", columns=over, values="value", observed=True)
        if table.shape[1] < 2:
            raise MissingEvidenceError(
                worded("{study} has one level of {factor} where it is to be varied", study=feed.study.name, factor=over)
            )
        means = (table.sum() - table) / (len(table) - 1)
        best, worst = means.idxmax(axis=1), means.idxmin(axis=1)
        for seed in table.index:
            rows.append((*key, seed, table.loc[seed, best[seed]] - table.loc[seed, worst[seed]]))
    table = pd.DataFrame(rows, columns=[*kept, "seed", "value"])
    factor = part.contrast.factor if part.contrast else ""
    return _contrasted(part, table, [name for name in kept if name != factor], trials)


def interaction(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """How much larger the contrast's effect is at one level of another factor than at another.

    Options: `factor`, `level` and `against`, of the other factor; `metric`.
    """
    factor = option(part, "factor")
    one, other = (parse_level(option(part, key), TABLES[factor]) for key in ("level", "against"))
    if part.contrast is None:
        raise OptionError(f"{part.what}: contrast is missing; allowed: the one whose effect depends on {factor}")
    trials = _final(part, feed)
    others = [name for name in feed.others(part.contrast.factor) if name != factor]
    tables = []
    for level in (one, other):
        rows = where(trials, {factor: (level,), part.contrast.factor: (part.contrast.level, *part.contrast.against)})
        tables.append(paired(rows, part.contrast, others).set_index(["seed", "pair"])["effect"])
    effects = (tables[0] - tables[1]).reset_index()
    return checked(Evidence(effects, tuple(trials.loc[trials[factor].isin([one, other]), "trial_id"])))


def cells(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """One arm against another that differs from it in several factors.

    Options: `one` and `other`, levels by factor; `metric`. The pair shares the seed and all other factors.
    """
    trials = _final(part, feed)
    arms = []
    named = {factor for arm in ("one", "other") for factor in option(part, arm)}
    shared = [factor for factor in feed.others() if factor not in named]
    ids: list[str] = []
    for arm in ("one", "other"):
        levels: dict[str, tuple[str, ...]] = {
            factor: (parse_level(text, TABLES[factor]),) for factor, text in option(part, arm).items()
        }
        rows = where(trials, levels)
        ids += list(rows["trial_id"])
        arms.append(rows.groupby([*shared, "seed"], observed=True)["value"].mean())
    effects = (arms[0] - arms[1]).rename("effect").reset_index()
    effects["pair"] = in_words(effects, shared)
    return checked(Evidence(effects[["seed", "pair", "effect"]], tuple(ids)))


def _tuning(part: Part, feed: Feed) -> tuple[pd.DataFrame, list[str]]:
    """Return the tuning runs that count, and the columns that tell their cells apart."""
    return where(feed.stage("tuning"), part.where), feed.others()


def _best_rate(runs: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Return for each run the rate that is best in its cell, by the mean validation accuracy over seeds."""
    by = [*keys, "learning_rate"]
    means = runs.groupby(by, observed=True)["final_validation_accuracy"].mean().reset_index()
    best = means.sort_values(["final_validation_accuracy", "learning_rate"], ascending=[False, True])
    if not keys:
        return pd.Series(best["learning_rate"].iloc[0], index=runs.index)
    best = best.drop_duplicates(keys)[by].rename(columns={"learning_rate": "best_rate"})
    return runs[keys].merge(best, on=keys, how="left").set_axis(runs.index)["best_rate"]


def largest_stable_rate(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Return the largest learning rate at which a run of a seed ends ok and half as far above chance as its cell's best run."""
    runs, keys = _tuning(part, feed)
    gain = runs["final_validation_accuracy"] - feed.chance
    best = gain.groupby([runs[key] for key in [*keys, "seed"]], observed=True).transform("max")
    stable = runs[(runs["status"] == "ok") & (gain >= best / 2)]
    rows = stable.groupby([*keys, "seed"], observed=True)["learning_rate"].max().reset_index()
    rows = rows.assign(value=np.log(rows["learning_rate"]))
    factor = part.contrast.factor if part.contrast else ""
    return _contrasted(part, rows, [key for key in keys if key != factor], runs)


def at_rate(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Return a metric of the tuning runs at one learning rate.

    Options: `rate`, "smallest", "largest", or "surviving" for the largest with a run that ended ok; `metric`. `against`:
    another of these, or "best", whose value is taken off. "best" is the rate with the best mean validation accuracy.
    """
    runs, keys = _tuning(part, feed)
    values = scaled(metric(feed, runs, option(part, "metric")), part.scale)
    runs = runs.assign(value=values, best=_best_rate(runs, keys))
    first = _at(runs, keys, option(part, "rate"))
    second = part.options.get("against")
    effects = first if second is None else first - _at(runs, keys, second)
    rows = effects.rename("effect").reset_index()
    rows["pair"] = in_words(rows, keys)
    return checked(Evidence(rows[["seed", "pair", "effect"]], tuple(runs["trial_id"])))


def _at(runs: pd.DataFrame, keys: list[str], which: str) -> pd.Series:
    """Return the value of each cell and seed at the rate that `which` names."""
    index = [*keys, "seed"]
    if which == "best":
        chosen = runs[runs["learning_rate"] == runs["best"]]
    elif which in ("smallest", "largest", "surviving"):
        own = runs[runs["status"] == "ok"] if which == "surviving" else runs
        end = own.groupby(index, observed=True)["learning_rate"].transform("min" if which == "smallest" else "max")
        chosen = own[own["learning_rate"] == end]
    else:
        raise OptionError(f"options: rate is '{which}'; allowed: smallest, largest, surviving, best")
    return chosen.groupby(index, observed=True)["value"].mean()


def diverged_above_best(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Return the share of diverged tuning runs whose rate is above their cell's best; seeds without one are left out."""
    runs, keys = _tuning(part, feed)
    runs = runs.assign(best=_best_rate(runs, keys))
    lost = runs[runs["status"] == "diverged"]
    rows = lost.assign(effect=lost["learning_rate"].gt(lost["best"]).astype(float), pair="")
    return checked(Evidence(rows[["seed", "pair", "effect"]], tuple(lost["trial_id"])))


def best_ratio(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Return the update-to-weight ratio of the last step at each cell's best rate, geometric mean over layers."""
    runs, keys = _tuning(part, feed)
    best = runs[runs["learning_rate"] == _best_rate(runs, keys)]
    ends = feed.ends
    rows = ends[(ends["end"] == "end") & ends["trial_id"].isin(best["trial_id"])].dropna(
        subset="update_to_weight_ratio"
    )
    logs = np.log(rows["update_to_weight_ratio"].clip(lower=SMALLEST)).groupby(rows["trial_id"]).mean()
    effects = best.assign(effect=best["trial_id"].map(logs), pair=in_words(best, keys))
    return checked(Evidence(effects[["seed", "pair", "effect"]], tuple(best["trial_id"])))


def top_spread(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """How far the best level of a factor is ahead of the one at a given place, both as the other seeds order them.

    Options: `factor`; `place`, 5 for the fifth; `metric`.
    """
    factor, place = option(part, "factor"), option(part, "place")
    trials = _final(part, feed)
    table = trials.pivot_table(index="seed", columns=factor, values="value", observed=True)
    if table.shape[1] < place:
        raise MissingEvidenceError(
            worded(
                "{study} has {levels} levels of {factor}; {place} are needed",
                study=feed.study.name,
                levels=table.shape[1],
                factor=factor,
                place=place,
            )
        )
    others = (table.sum() - table) / (len(table) - 1)
    order = others.rank(axis=1, ascending=False, method="first")
    rows = [
        (seed, table.loc[seed, order.loc[seed].idxmin()] - table.loc[seed, order.loc[seed].eq(place).idxmax()])
        for seed in table.index
    ]
    effects = pd.DataFrame(rows, columns=["seed", "effect"]).assign(pair="")
    return checked(Evidence(effects, tuple(trials["trial_id"])))


def transfer(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Return what is lost by taking over the best level of a factor from another study, against this study's own best.

    Options: `factor`; `other`, the other study's name; `metric`. Own levels are chosen on the other seeds; levels that only one
    study has are left out.
    """
    factor, other = option(part, "factor"), option(part, "other")
    if other not in feeds:
        raise MissingEvidenceError(worded("study '{study}' has no results", study=other))
    here, there = _final(part, feed), _final(part, feeds[other])
    levels = sorted(set(here[factor]) & set(there[factor]))
    table = here.pivot_table(index="seed", columns=factor, values="value", observed=True)[levels]
    taken = there.groupby(factor, observed=True)["value"].mean()[levels].idxmax()
    own = ((table.sum() - table) / (len(table) - 1)).idxmax(axis=1)
    chosen = table.to_numpy()[np.arange(len(table)), table.columns.get_indexer(pd.Index(own))]
    rows = list(zip(table.index, chosen - table[taken].to_numpy(), strict=True))
    effects = pd.DataFrame(rows, columns=["seed", "effect"]).assign(pair=f"{taken} taken over")
    return checked(Evidence(effects, (*here["trial_id"], *there["trial_id"])))


def tuned_parameter(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Compare a value of a tuned parameter with others, each at its best learning rate.

    Rates are chosen by the mean validation accuracy over the tuning seeds; what is compared is the test accuracy of the
    same runs, which no choice has seen. Options: `parameter`, `value`, `against` (one value or several).
    """
    name, value, against = option(part, "parameter"), option(part, "value"), option(part, "against")
    runs, keys = _tuning(part, feed)
    column = BATCH_SIZE if name == "batch_size" else name
    for wanted in [value, *np.atleast_1d(against).tolist()]:
        if column not in runs or not (runs[column] == wanted).any():
            raise MissingEvidenceError(
                worded("{study} has no run at {parameter} {value}", study=feed.study.name, parameter=name, value=wanted)
            )
    best = runs[runs["learning_rate"] == _best_rate(runs, [*keys, column])]
    table = best.pivot_table(index=[*keys, "seed"], columns=column, values="test_accuracy", observed=True)
    rows = []
    for other in np.atleast_1d(against).tolist():
        effects = (table[value] - table[other]).rename("effect").reset_index()
        effects["pair"] = [f"{text} against {other}".strip() for text in in_words(effects, keys)]
        rows.append(effects[["seed", "pair", "effect"]])
    return checked(Evidence(pd.concat(rows, ignore_index=True), tuple(best["trial_id"])))


def spread_over_seeds(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """How far a seed's run lies from the median of the others, of its own arm.

    Option: `metric`. With a contrast, the difference between its levels, or the logarithm of their ratio.
    """
    trials = where(feed.stage("final"), part.where)
    trials = trials.assign(value=metric(feed, trials, option(part, "metric")))
    keys = feed.others()
    rows = []
    for key, own in trials.groupby(keys, observed=True) if keys else [((), trials)]:
        values = own.set_index("seed")["value"]
        for seed in values.index:
            rows.append((*key, seed, abs(values[seed] - values.drop(seed).median())))
    table = pd.DataFrame(rows, columns=[*keys, "seed", "value"])
    table["value"] = scaled(table["value"].clip(lower=1 / feed.study.parts.test), part.scale)
    factor = part.contrast.factor if part.contrast else ""
    return _contrasted(part, table, [name for name in keys if name != factor], trials)


def cost_of_dead_units(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Test accuracy of the half of a seed's runs with more dead units minus that of the other half."""
    trials = where(feed.stage("final"), part.where)
    trials = trials[trials["status"] == "ok"]
    rows = []
    for seed, own in trials.groupby("seed"):
        more = own["final_dead_fraction"] > own["final_dead_fraction"].median()
        if more.any() and not more.all():
            rows.append((seed, "", own.loc[more, "test_accuracy"].mean() - own.loc[~more, "test_accuracy"].mean()))
    return checked(Evidence(pd.DataFrame(rows, columns=["seed", "pair", "effect"]), tuple(trials["trial_id"])))


READINGS: dict[str, Reading] = {
    "spread": spread,
    "interaction": interaction,
    "cells": cells,
    "largest_stable_rate": largest_stable_rate,
    "at_rate": at_rate,
    "diverged_above_best": diverged_above_best,
    "best_ratio": best_ratio,
    "top_spread": top_spread,
    "transfer": transfer,
    "tuned_parameter": tuned_parameter,
    "spread_over_seeds": spread_over_seeds,
    "cost_of_dead_units": cost_of_dead_units,
}
"""Readings by name; those of searches stand in `trainatlas.claims.search_readings`."""
