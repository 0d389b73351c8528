"""What a study's results hold for claims: its gathered tables, each read when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, reduce
from pathlib import Path

import pandas as pd

from trainatlas.analysis.order import TrialOrder
from trainatlas.analysis.tables import (
    CURVE_COLUMNS,
    LAYER_COLUMNS,
    read_table,
    scan_table,
    trial_columns,
)
from trainatlas.catalogue import TABLES
from trainatlas.study.config import Study
from trainatlas.study.levels import full_text
from trainatlas.study.texts import worded
from trainatlas.study.trial import FACTORS

MADE_BY = "trainatlas aggregate"

STAGES = (worded("tuning"), worded("final"), worded("random"), worded("coarse"), worded("fine"))
"""The stages that claims ask for."""


class MissingEvidenceError(Exception):
    """Why a part of a claim gets no verdict from a study, in words."""


class Feed:
    """A study's gathered tables; reading raises UserError naming file and column.

    Parameters
    ----------
    study
        The study.
    results
        Its results.
    """

    def __init__(self, study: Study, results: Path) -> None:
        self.study, self.results = study, results

    @property
    def case(self) -> str:
        """Data set and architecture."""
        return f"{self.study.data}, {full_text(self.study.network, TABLES['network'])}"

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        return 1 / self.study.facts.classes

    @cached_property
    def trials(self) -> pd.DataFrame:
        """All trials; accuracies that a failed trial lacks are 0."""
        trials = read_table(self.results / "trials.csv", trial_columns(self.study), MADE_BY)
        accuracies = [name for name in trials if str(name).endswith("accuracy")]
        return trials.assign(**trials[accuracies].fillna(0.0))

    def stage(self, *stages: str) -> pd.DataFrame:
        """Return the trials of these stages; raises MissingEvidenceError where there are none."""
        found = self.trials[self.trials["stage"].isin(stages)]
        if found.empty:
            wanted = reduce(lambda first, other: worded("{first} or {other}", first=first, other=other), stages)
            raise MissingEvidenceError(worded("{study} has no {stages} runs", study=self.study.name, stages=wanted))
        return found

    @cached_property
    def ends(self) -> pd.DataFrame:
        """Layers before training and after each trial's last step: columns of layers.csv, and `end`, "start" or "end"."""
        parts = []
        for part in scan_table(self.results / "layers.csv", LAYER_COLUMNS, MADE_BY):
            last = part.groupby("trial_id")["step"].transform("max")
            parts.append(part[(part["step"] == 0) | (part["step"] == last)])
        rows = pd.concat(parts, ignore_index=True)
        rows = rows[(rows["step"] == 0) | (rows["step"] == rows.groupby("trial_id")["step"].transform("max"))]
        return rows.assign(end=rows["step"].eq(0).map({True: "start", False: "end"}))

    def curves(
        self, ids: Iterable[str], split: str, columns: Sequence[str] = ("step", "epoch", "loss")
    ) -> pd.DataFrame:
        """Return `trial_id` and `columns` of the rows of curves.csv that belong to these trials and this split."""
        order = TrialOrder(ids)
        parts = []
        for part in scan_table(self.results / "curves.csv", CURVE_COLUMNS, MADE_BY):
            wanted = (part["split"] == split) & (order.positions(part["trial_id"]) >= 0)
            parts.append(part.loc[wanted, ["trial_id", *columns]])
        return pd.concat(parts, ignore_index=True)

    def others(self, *factors: str) -> list[str]:
        """Return the factors that the study varies, but for these."""
        return [factor for factor in FACTORS if len(self.study.factors[factor]) > 1 and factor not in factors]


def where(trials: pd.DataFrame, levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Return the trials at these levels; raises MissingEvidenceError where a level, or a combination of them, has none."""
    for factor, allowed in levels.items():
        absent = [level for level in allowed if not (trials[factor] == level).any()]
        if absent:
            raise MissingEvidenceError(worded("no run at {factor} {levels}", factor=factor, levels=", ".join(absent)))
        trials = trials[trials[factor].isin(allowed)]
    return trials
