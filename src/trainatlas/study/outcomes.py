"""What trained trials came to, as far as searches need to know."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from trainatlas.study.errors import UserError
from trainatlas.study.samples import Metric


class Outcome(NamedTuple):
    """How a trial ended, and its validation accuracy at the end, its best one, and its validation loss (nats) at the end."""

    status: str
    accuracy: float
    best_accuracy: float
    loss: float

    @property
    def sound(self) -> bool:
        """Whether training neither diverged nor failed."""
        return self.status not in ("diverged", "failed")

    def merit(self, metric: Metric) -> tuple[float, float]:
        """Return what ranks the trial by a metric, larger is better: ties by loss, or accuracy; unsound trials come last."""
        if not self.sound:
            return -math.inf, -math.inf
        if metric == "validation_loss":
            return -self.loss, self.accuracy
        return self.accuracy if metric == "validation_accuracy" else self.best_accuracy, -self.loss


Outcomes = Mapping[str, Outcome]
"""By trial id."""

_COLUMNS = ("final_validation_accuracy", "best_validation_accuracy", "final_validation_loss")


def read_outcomes(results: Path, packs: Iterable[str]) -> dict[str, Outcome]:
    """Read what the trials of trained packs came to; raises UserError naming a table that cannot be read."""
    found: dict[str, Outcome] = {}
    for pack in packs:
        path = results / "raw" / pack / "trials.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    accuracy, best, loss = (float(row[column] or "nan") for column in _COLUMNS)
                    known = not math.isnan(loss)
                    found[row["trial_id"]] = Outcome(row["status"], accuracy, best, loss if known else math.inf)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a table ({error}); delete it and run Snakemake") from None
    return found
