"""Readings about searching for settings: what a study's tuning runs, random draws and searches found, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from trainatlas.analysis.importance import importance, parameter_columns
from trainatlas.analysis.rates import range_edges, rate_laws
from trainatlas.analysis.screening import Progress, abort_rule, screening
from trainatlas.analysis.search import search_tables
from trainatlas.analysis.tables import CURVE_COLUMNS, scan_table
from trainatlas.claims.config import Part
from trainatlas.claims.evidence import Evidence, checked
from trainatlas.claims.feed import MADE_BY, Feed, MissingEvidenceError, where
from trainatlas.claims.readings import Reading, option
from trainatlas.study.texts import worded
from trainatlas.study.trial import FACTORS


def _by_seed(rows: list[tuple[int, str, float]], trials: pd.DataFrame) -> Evidence:
    return checked(Evidence(pd.DataFrame(rows, columns=["seed", "pair", "effect"]), tuple(trials["trial_id"])))


def _gains(seed: object, found: pd.DataFrame) -> list[tuple[int, str, float]]:
    pairs = zip(found["budget"], found["difference"], strict=True)
    return [(int(str(seed)), f"{budget} runs", float(gain)) for budget, gain in pairs]


def random_against_grid(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Take the validation accuracy of the best of k random draws minus that of a grid of k tuning runs, seed by seed.

    Option: `budgets`, the numbers of runs.
    """
    runs = feed.stage("tuning", "random")
    rows = []
    for seed, own in runs.groupby("seed"):
        table = search_tables(own, feed.chance)[1]
        found = table[(table["of"] == "random") & table["budget"].isin(option(part, "budgets"))]
        rows += _gains(seed, found)
    return _by_seed(rows, runs)


def log_against_linear(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Take the validation accuracy of the best of k draws with rates even on a log scale minus that on a linear one.

    Option: `budgets`, the numbers of draws.
    """
    draws = feed.stage("random")
    rows = []
    for seed, own in draws.groupby("seed"):
        table = rate_laws(own, feed.chance).dropna(subset="difference")
        found = table[table["budget"].isin(option(part, "budgets"))]
        rows += _gains(seed, found)
    return _by_seed(rows, draws)


def edges(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """How much likelier a rate beyond the range improves on it where the best lies at its edge than where it lies inside."""
    runs = feed.stage("tuning")
    rows = []
    for seed, own in runs.groupby("seed"):
        shares = range_edges(own, feed.chance).set_index("where")["share"]
        if {"edge", "inside"} <= set(shares.index):
            rows.append((int(str(seed)), "", shares["edge"] - shares["inside"]))
    return _by_seed(rows, runs)


def fine_against_coarse(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Test accuracy of the best setting of a coarse-to-fine search's fine stage minus that of its coarse stage's.

    Both are chosen on validation data; every such search of the study counts once, by its seed.
    """
    runs = feed.stage("coarse", "fine")
    rows = []
    for (sample, seed), own in runs.groupby(["sample", "seed"]):
        order = own.sort_values(["final_validation_accuracy", "trial_id"], ascending=[False, True])
        best = order.drop_duplicates("stage").set_index("stage")["test_accuracy"]
        if {"coarse", "fine"} <= set(best.index):
            rows.append((int(str(seed)), str(sample), best["fine"] - best["coarse"]))
    return _by_seed(rows, runs)


def agreement_on_importance(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Tell whether the parameter that matters most among the other seeds' draws does so among a seed's own.

    The effect is its share of the variance there minus the mean share of all others.
    """
    draws = feed.stage("random").sort_values("trial_id")
    rates = zip(draws["optimizer"], draws["learning_rate"], strict=True)
    places = [feed.study.rate_range(optimizer).share(rate) for optimizer, rate in rates]
    parameters = draws[[*FACTORS, *parameter_columns(draws)]].assign(learning_rate=places)
    accuracy = draws["final_validation_accuracy"].to_numpy(dtype=float)
    rows = []
    for seed in sorted(set(draws["seed"])):
        own = (draws["seed"] == seed).to_numpy()
        there, here = (importance(parameters[rows_], accuracy[rows_]) for rows_ in (~own, own))
        if here.empty or there.empty:
            raise MissingEvidenceError(
                worded("{study} has too few draws of a seed to tell what matters", study=feed.study.name)
            )
        top = there[there["order"] == 1].sort_values("share", ascending=False)["term"].iloc[0]
        shares = here[here["order"] == 1].set_index("term")["share"]
        rows.append((int(seed), f"{top} first", float(shares.get(top, 0.0) - shares.drop(top, errors="ignore").mean())))
    return _by_seed(rows, draws)


def _progress(feed: Feed, runs: pd.DataFrame) -> Progress:
    progress = Progress(runs)
    for _ in progress.passing(scan_table(feed.results / "curves.csv", CURVE_COLUMNS, MADE_BY)):
        pass
    return progress


def early_ranking(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Spearman's correlation between validation accuracy after a share of the epochs and at the end.

    Option: `share` of the epochs, rounded up to one that is looked at.
    """
    runs = where(feed.stage("tuning", "random"), part.where)
    epochs = _progress(feed, runs).epochs
    wanted = int(np.ceil(option(part, "share") * feed.study.epochs))
    rows = []
    for seed, own in runs.groupby("seed"):
        table = screening(own, epochs, feed.chance)
        later = table[table["epoch"] >= wanted]
        for stage, found in later.groupby("stage"):
            first = found.sort_values("epoch").iloc[0]
            rows.append((int(str(seed)), f"{stage} runs after epoch {first['epoch']}", float(first["spearman"])))
    return _by_seed(rows, runs)


def stopped_rightly(part: Part, feed: Feed, feeds: Mapping[str, Feed]) -> Evidence:
    """Return the share of runs that a rule "stop above r times the first loss" stops and that would have ended badly.

    Option: `rise`, r. Seeds of whose runs none is stopped are left out.
    """
    runs = where(feed.stage("tuning", "random", "final"), part.where)
    rises = _progress(feed, runs).rises
    rows = []
    for seed, own in runs.groupby("seed"):
        table = abort_rule(
            own, rises[rises["trial_id"].isin(own["trial_id"])], feed.chance, feed.study.parts.validation
        )
        found = table[(table["rise"] == option(part, "rise")) & (table["stopped"] > 0)]
        if len(found):
            last = found.iloc[-1]  # all stages together come last
            rows.append((int(str(seed)), f"{last['stopped']:.0f} runs stopped", float(last["precision"])))
    return _by_seed(rows, runs)


SEARCH_READINGS: dict[str, Reading] = {
    "random_against_grid": random_against_grid,
    "log_against_linear": log_against_linear,
    "edges": edges,
    "fine_against_coarse": fine_against_coarse,
    "agreement_on_importance": agreement_on_importance,
    "early_ranking": early_ranking,
    "stopped_rightly": stopped_rightly,
}
"""Readings by name."""
