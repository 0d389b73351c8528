"""What was run and how it ended: by level, by cell, by learning rate, by stage."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trainatlas.analysis.columns import CELL_COLUMNS, COVERAGE_COLUMNS, LEVEL_COLUMNS, RATE_COLUMNS
from trainatlas.analysis.intervals import over_seeds, over_seeds_of_each
from trainatlas.analysis.pairing import DECIMALS
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import STATUSES


def coverage(trials: pd.DataFrame, levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Count trials by stage, by level and by how they ended."""
    rows = []
    for stage, staged in trials.groupby("stage", sort=True):
        rows.append((stage, "", "", *_endings(staged["status"])))
        for factor, texts in levels.items():
            rows += [(stage, factor, text, *_endings(staged.loc[staged[factor] == text, "status"])) for text in texts]
    return pd.DataFrame(rows, columns=[column.name for column in COVERAGE_COLUMNS])


def _endings(statuses: pd.Series) -> tuple[int, ...]:
    counts = statuses.value_counts()
    return (len(statuses), *(int(counts.get(status, 0)) for status in STATUSES))


def level_summaries(final: pd.DataFrame, cells: pd.DataFrame, levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Summarise the final runs of each level."""
    rows = []
    shown = final[["seed", "test_accuracy", "final_dead_fraction", "status"]]
    for factor, texts in levels.items():
        for text in texts:
            runs = shown[final[factor] == text]
            if runs.empty:
                continue
            accuracy = runs["test_accuracy"]
            interval = over_seeds(runs.groupby("seed")["test_accuracy"].mean().to_numpy())
            own = cells[cells[factor] == text]
            best = own["test_accuracy"].iloc[0]  # cells come best validation accuracy first
            quantiles = accuracy.quantile([0.1, 0.5, 0.9]).tolist()
            dead = runs["final_dead_fraction"].mean()
            diverged = int((runs["status"] == "diverged").sum())
            rows.append((factor, text, *interval, *quantiles, best, dead, diverged, len(runs)))
    return pd.DataFrame(rows, columns=[column.name for column in LEVEL_COLUMNS])


def cell_summaries(final: pd.DataFrame, selected: pd.DataFrame) -> pd.DataFrame:
    """Summarise each cell of the grid over its final seeds, best validation accuracy first."""
    factors = list(FACTORS)
    groups = final.assign(lost=final["status"] != "ok").groupby(factors, sort=True, observed=True)
    table = groups.agg(
        learning_rate=("learning_rate", "first"),
        validation_accuracy=("final_validation_accuracy", "mean"),
        dead_fraction=("final_dead_fraction", "mean"),
        diverged=("lost", "sum"),
        seeds=("lost", "size"),
    )
    table = table.join(over_seeds_of_each(groups["test_accuracy"]).rename(columns={"mean": "test_accuracy"}))
    table = table.reset_index().astype(dict.fromkeys(factors, "str"))
    edges = selected.drop_duplicates(factors)[[*factors, "at_edge"]].astype(dict.fromkeys(factors, "str"))
    table = table.merge(edges, on=factors, how="left").fillna({"at_edge": 0}).astype({"at_edge": "int64"})
    rank = table["validation_accuracy"].round(9)  # a mean's last digits break no tie
    table = table.assign(rank=rank).sort_values(["rank", *factors], ascending=[False] + [True] * len(factors))
    table = pd.concat([table.reset_index(drop=True), _behind(table[factors], final)], axis=1)
    return table[[column.name for column in CELL_COLUMNS]]


def _behind(cells: pd.DataFrame, final: pd.DataFrame) -> pd.DataFrame:
    """Return how far each cell is behind the first in test accuracy, over the seeds that both have, with intervals.

    The first is chosen by validation accuracy, so that test accuracy does not favour it.
    """
    if cells.empty:
        return pd.DataFrame(columns=["behind", "behind_low", "behind_high"], dtype=float)
    runs = final.astype(dict.fromkeys(FACTORS, "str")).pivot_table("test_accuracy", list(FACTORS), "seed")
    of_seeds = runs.reindex(pd.MultiIndex.from_frame(cells)).to_numpy()
    differences = pd.DataFrame(of_seeds[0] - of_seeds).stack().round(DECIMALS)
    found = over_seeds_of_each(differences.groupby(level=0)).reindex(range(len(cells)))
    found.columns = ["behind", "behind_low", "behind_high"]
    return found


def rate_sensitivity(tuning: pd.DataFrame, selected: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Summarise the tuning runs by optimizer and learning rate, for each level of each of the other factors."""
    rows = []
    for factor in factors:
        keys = ["optimizer", factor, "learning_rate"]
        chosen = selected.groupby(keys, observed=True).size()
        for key, runs in tuning.groupby(keys, sort=True, observed=True):
            optimizer, level, rate = key
            quantiles = runs["final_validation_accuracy"].quantile([0.1, 0.5, 0.9]).tolist()
            diverged = float((runs["status"] == "diverged").mean())
            rows.append((optimizer, factor, level, rate, *quantiles, diverged, int(chosen.get(key, 0)), len(runs)))
    return pd.DataFrame(rows, columns=[column.name for column in RATE_COLUMNS])
