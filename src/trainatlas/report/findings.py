"""The answer, in a few sentences made from the numbers.

A sentence states a number only with its interval or its count.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from trainatlas.report.depth import depth_finding
from trainatlas.report.language import tr
from trainatlas.report.wording import (
    duration,
    factor_name,
    level_name,
    percent,
    percent_interval,
    points,
    points_interval,
    steps,
    target_name,
    term_name,
    word,
)
from trainatlas.study.config import Study


def counts(trials: pd.DataFrame, provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was run, as names and numbers: trials by stage, those that diverged or failed, training time."""
    status = trials["status"].value_counts()
    stages = trials["stage"].value_counts()
    training = provenance["training"]
    return [
        (tr("trials"), f"{len(trials):,}"),
        *((_of_stage(str(stage)), f"{n:,}") for stage, n in sorted(stages.items())),
        (tr("diverged"), f"{status.get('diverged', 0):,}"),
        (tr("failed"), f"{status.get('failed', 0):,}"),
        (tr("training time"), tr("{time} of one core", time=duration(training["core_seconds"]))),
    ]


def _of_stage(stage: str) -> str:
    return tr("random draws") if stage == "random" else tr("{stage} runs", stage=word(stage))


def findings(study: Study, final: pd.DataFrame, draws: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return three to five sentences, each with its effect and interval or its count."""
    found: list[str] = []
    effects, differences, cells = tables["effects"], tables["differences"], tables["cells"]
    if len(tables["layer_gains"]):
        found.append(depth_finding(study, tables["layer_gains"]))
    if len(effects):
        alone, pairs = (effects[effects["order"] == order] for order in (1, 2))
        top = alone.iloc[0]
        text = tr(
            "Of single choices, {term} matters most: {share} of the variance of test accuracy over the grid (95% interval "
            "{interval}).",
            term=term_name(top["term"]),
            share=percent(top["share"]),
            interval=percent_interval(top["low"], top["high"]),
        )
        found.append(f"{text} {_strongest_pair(alone, pairs)}" if len(pairs) else text)
    sure = differences[(differences["low"] > 0) | (differences["high"] < 0)]
    if len(sure):
        order = sure["difference"].abs().sort_values(ascending=False).index
        parts = [
            tr(
                "{level} against {reference} {difference} points ({interval})",
                level=level_name(row["level"]),
                reference=level_name(row["reference"]),
                difference=points(row["difference"]),
                interval=points_interval(row["low"], row["high"]),
            )
            for _, row in sure.loc[order].head(4).iterrows()
        ]
        found.append(tr("The largest sure differences in test accuracy: {list}.", list="; ".join(parts)))
    unsure = differences[(differences["low"] <= 0) & (differences["high"] >= 0)]
    if len(unsure):
        parts = [
            tr(
                "{level} and {reference} ({interval})",
                level=level_name(row["level"]),
                reference=level_name(row["reference"]),
                interval=points_interval(row["low"], row["high"]),
            )
            for _, row in unsure.iterrows()
        ]
        found.append(tr("Not told apart by these runs, on average over the grid: {list}.", list="; ".join(parts[:4])))
    if len(cells):
        found.append(_best_arm(study, cells))
    if study.targets and len(final):
        target = study.targets[0]
        by = "normalisation" if len(study.factors["normalisation"]) > 1 else "optimizer"
        table = tables["convergence"]
        rows = table[(table["factor"] == by) & (table["target"] == target.column)]
        parts = [
            tr(
                "{level} in a median of {steps} steps ({share} of the runs get there)",
                level=level_name(row["level"]),
                steps=steps(row["median"]),
                share=percent(row["reached_fraction"]),
            )
            for _, row in rows.iterrows()
        ]
        if parts:
            found.append(
                tr(
                    "To {target}, by {factor}: {list}.",
                    target=target_name(target),
                    factor=factor_name(by),
                    list="; ".join(parts),
                )
            )
    if not found and len(draws):
        found.append(
            tr(
                "The best of {draws:,} random draws has {best} test accuracy, the median {median}.",
                draws=len(draws),
                best=percent(draws["test_accuracy"].max()),
                median=percent(draws["test_accuracy"].median()),
            )
        )
    return found[:5]


def _strongest_pair(alone: pd.DataFrame, pairs: pd.DataFrame) -> str:
    pair = pairs.iloc[0]
    numbers = {
        "pair": term_name(pair["term"]),
        "share": percent(pair["share"]),
        "interval": percent_interval(pair["low"], pair["high"]),
        "alone": percent(alone["share"].sum()),
        "together": percent(pairs["share"].sum()),
    }
    if pair["share"] > alone.iloc[0]["share"]:
        return tr(
            "The strongest pair, {pair}, carries {share} ({interval}), more than any choice by itself: single factors explain "
            "{alone}, pairs {together} together.",
            **numbers,
        )
    return tr(
        "The strongest pair, {pair}, carries {share} ({interval}), less than any choice by itself: single factors explain "
        "{alone}, pairs {together} together.",
        **numbers,
    )


def _best_arm(study: Study, cells: pd.DataFrame) -> str:
    """Say how good the best arm is, how many come near it, and which levels none of these has."""
    best = cells.iloc[0]
    near = cells[cells["test_accuracy"] >= best["test_accuracy"] - 0.01]
    absent = [
        level_name(level)
        for factor in study.varied
        for level in study.factors[factor]
        if level not in set(near[factor])
    ]
    text = tr(
        "The arm with the best validation accuracy ({arm}, rate {rate:.3g}) has {accuracy} test accuracy ({interval}).",
        arm=arm_name(study, best),
        rate=best["learning_rate"],
        accuracy=percent(best["test_accuracy"]),
        interval=percent_interval(best["low"], best["high"]),
    )
    if absent:
        others = tr(
            "{near:,} of {cells:,} arms come within one point of it, with every level of every factor among them but {absent}.",
            near=len(near),
            cells=len(cells),
            absent=", ".join(absent),
        )
    else:
        others = tr(
            "{near:,} of {cells:,} arms come within one point of it, with every level of every factor among them.",
            near=len(near),
            cells=len(cells),
        )
    return f"{text} {others}"


def arm_name(study: Study, row: pd.Series) -> str:
    """Return the level of every factor in words."""
    return ", ".join(level_name(row[factor]) for factor in study.varied)
