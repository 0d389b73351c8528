"""The answer, in a few sentences made from the numbers.

A sentence states a number only with its interval or its count.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from trainatlas.report.depth import depth_finding
from trainatlas.report.wording import (
    duration,
    factor_name,
    level_name,
    percent,
    percent_interval,
    points,
    points_interval,
    steps,
    term_name,
)
from trainatlas.study.config import Study


def counts(trials: pd.DataFrame, provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was run, as names and numbers: trials by stage, those that diverged or failed, training time."""
    status = trials["status"].value_counts()
    stages = trials["stage"].value_counts()
    training = provenance["training"]
    return [
        ("trials", f"{len(trials):,}"),
        *((f"{stage} runs" if stage != "random" else "random draws", f"{n:,}") for stage, n in sorted(stages.items())),
        ("diverged", f"{status.get('diverged', 0):,}"),
        ("failed", f"{status.get('failed', 0):,}"),
        ("training time", duration(training["core_seconds"]) + " of one core"),
    ]


def findings(study: Study, final: pd.DataFrame, draws: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return three to five sentences, each with its effect and interval or its count."""
    found: list[str] = []
    effects, differences, cells = tables["effects"], tables["differences"], tables["cells"]
    if len(tables["layer_gains"]):
        found.append(depth_finding(study, tables["layer_gains"]))
    if len(effects):
        alone, pairs = (effects[effects["order"] == order] for order in (1, 2))
        top = alone.iloc[0]
        text = (
            f"Of single choices, {term_name(top['term'])} matters most: {percent(top['share'])} of the variance of test "
            f"accuracy over the grid (95% interval {percent_interval(top['low'], top['high'])})."
        )
        if len(pairs):
            pair = pairs.iloc[0]
            more = "more" if pair["share"] > top["share"] else "less"
            text += (
                f" The strongest pair, {term_name(pair['term'])}, carries {percent(pair['share'])} "
                f"({percent_interval(pair['low'], pair['high'])}), {more} than any choice by itself: single factors explain "
                f"{percent(alone['share'].sum())}, pairs {percent(pairs['share'].sum())} together."
            )
        found.append(text)
    sure = differences[(differences["low"] > 0) | (differences["high"] < 0)]
    if len(sure):
        order = sure["difference"].abs().sort_values(ascending=False).index
        parts = [
            f"{level_name(row['level'])} against {level_name(row['reference'])} {points(row['difference'])} points "
            f"({points_interval(row['low'], row['high'])})"
            for _, row in sure.loc[order].head(4).iterrows()
        ]
        found.append(f"The largest sure differences in test accuracy: {'; '.join(parts)}.")
    unsure = differences[(differences["low"] <= 0) & (differences["high"] >= 0)]
    if len(unsure):
        parts = [
            f"{level_name(row['level'])} and {level_name(row['reference'])} ({points_interval(row['low'], row['high'])})"
            for _, row in unsure.iterrows()
        ]
        found.append(f"Not told apart by these runs, on average over the grid: {'; '.join(parts[:4])}.")
    if len(cells):
        best = cells.iloc[0]
        near = cells[cells["test_accuracy"] >= best["test_accuracy"] - 0.01]
        absent = [
            level_name(level)
            for factor in study.varied
            for level in study.factors[factor]
            if level not in set(near[factor])
        ]
        found.append(
            f"The arm with the best validation accuracy ({arm_name(study, best)}, rate {best['learning_rate']:.3g}) has "
            f"{percent(best['test_accuracy'])} test accuracy ({percent_interval(best['low'], best['high'])}); {len(near):,} of "
            f"{len(cells):,} arms come within one point of it, with every level of every factor among them"
            + (f" but {', '.join(absent)}." if absent else ".")
        )
    if study.targets and len(final):
        target = study.targets[0]
        by = "normalisation" if len(study.factors["normalisation"]) > 1 else "optimizer"
        table = tables["convergence"]
        rows = table[(table["factor"] == by) & (table["target"] == target.column)]
        parts = [
            f"{level_name(row['level'])} in a median of {steps(row['median'])} steps "
            f"({percent(row['reached_fraction'])} of the runs get there)"
            for _, row in rows.iterrows()
        ]
        if parts:
            found.append(f"To {target.text}, by {factor_name(by)}: {'; '.join(parts)}.")
    if not found and len(draws):
        found.append(
            f"The best of {len(draws):,} random draws has {percent(draws['test_accuracy'].max())} test accuracy, the median "
            f"{percent(draws['test_accuracy'].median())}."
        )
    return found[:5]


def arm_name(study: Study, row: pd.Series) -> str:
    """Return the level of every factor in words."""
    return ", ".join(level_name(row[factor]) for factor in study.varied)
