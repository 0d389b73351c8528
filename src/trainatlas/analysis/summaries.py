"""What was run and how it ended: by level, by cell, by learning rate, by stage."""

from __future__ import annotations

import pandas as pd

from trainatlas.analysis.columns import CELL_COLUMNS, COVERAGE_COLUMNS, LEVEL_COLUMNS, RATE_COLUMNS
from trainatlas.analysis.intervals import over_seeds
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import STATUSES


def coverage(trials: pd.DataFrame, levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Count trials by stage, by level and by how they ended."""
    rows = []
    for stage, staged in trials.groupby("stage", sort=True):
        rows.append((stage, "", "", *_endings(staged)))
        for factor, texts in levels.items():
            rows += [(stage, factor, text, *_endings(staged[staged[factor] == text])) for text in texts]
    return pd.DataFrame(rows, columns=[column.name for column in COVERAGE_COLUMNS])


def _endings(trials: pd.DataFrame) -> tuple[int, ...]:
    counts = trials["status"].value_counts()
    return (len(trials), *(int(counts.get(status, 0)) for status in STATUSES))


def level_summaries(final: pd.DataFrame, cells: pd.DataFrame, levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Summarise the final runs of each level."""
    rows = []
    for factor, texts in levels.items():
        for text in texts:
            runs = final[final[factor] == text]
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
    rows = []
    edges = selected.drop_duplicates(list(FACTORS)).set_index(list(FACTORS))["at_edge"]
    for cell, runs in final.groupby(list(FACTORS), sort=True, observed=True):
        interval = over_seeds(runs["test_accuracy"].to_numpy())
        rows.append(
            (
                *cell,
                runs["learning_rate"].iloc[0],
                int(edges.get(cell, 0)),
                runs["final_validation_accuracy"].mean(),
                *interval,
                runs["final_dead_fraction"].mean(),
                int((runs["status"] != "ok").sum()),
                len(runs),
            )
        )
    table = pd.DataFrame(rows, columns=[column.name for column in CELL_COLUMNS])
    order = ["validation_accuracy", *FACTORS]
    return table.sort_values(order, ascending=[False] + [True] * len(FACTORS), ignore_index=True)


def rate_sensitivity(tuning: pd.DataFrame, selected: pd.DataFrame) -> pd.DataFrame:
    """Summarise the tuning runs by optimizer, normalisation and learning rate."""
    keys = ["optimizer", "normalisation", "learning_rate"]
    chosen = selected.groupby(keys, observed=True).size()
    rows = []
    for key, runs in tuning.groupby(keys, sort=True, observed=True):
        quantiles = runs["final_validation_accuracy"].quantile([0.1, 0.5, 0.9]).tolist()
        diverged = float((runs["status"] == "diverged").mean())
        rows.append((*key, *quantiles, diverged, int(chosen.get(key, 0)), len(runs)))
    return pd.DataFrame(rows, columns=[column.name for column in RATE_COLUMNS])
