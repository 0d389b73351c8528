"""Measure how well the diagnosis of loss curves recognises runs whose fault is known, because they were given it.

Every case is a training recipe with one fault, or none, on digits; it is trained with several seeds by the project's own
trainer, and the label that `trainatlas.analysis.diagnosis` gives is compared with the one the case was made for.

    python scripts/label_curves.py                      the seeds that docs/diagnosis.md tells of
    python scripts/label_curves.py --out tests/data     the same, and keep the runs for tests/unit/analysis/test_diagnosis.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from trainatlas.analysis.diagnosis import LABELS, diagnoses
from trainatlas.analysis.intervals import wilson
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.pack import prepare_process
from trainatlas.train.stacked import train_stack

SOUND = Trial(
    data="digits",
    network="mlp(depth=2, width=64)",
    activation="relu",
    init="kaiming_normal",
    normalisation="none",
    optimizer="sgd",
    preprocessing="standardize",
    learning_rate=0.1,
    batch_size=64,
    epochs=20,
    seed=0,
)
"""A recipe without a fault; every case changes some of it."""

_FEW: dict[str, Any] = {
    "validation_share": 0.45,
    "test_share": 0.5,
    "batch_size": 16,
    "network": "mlp(depth=2, width=256)",
}
"""A twentieth of the examples to train on, and a wide network."""
_SMALL, _ADAM = "normal(std=0.001)", "adam"

CASES: dict[str, tuple[str, Trial]] = {
    "rate 1e-6": ("too_slow", SOUND._replace(learning_rate=1e-6)),
    "rate 1e-6, adam": ("too_slow", SOUND._replace(optimizer=_ADAM, learning_rate=1e-6, epochs=12)),
    "rate 10": ("exploding", SOUND._replace(learning_rate=10.0)),
    "rate 0.3, adam": ("exploding", SOUND._replace(optimizer=_ADAM, learning_rate=0.3)),
    "std 0.001, momentum": (
        "plateau_then_drop",
        SOUND._replace(init=_SMALL, optimizer="momentum", learning_rate=0.1, epochs=40),
    ),
    "std 0.001, one layer": (
        "plateau_then_drop",
        SOUND._replace(init=_SMALL, network="mlp(depth=1, width=64)", learning_rate=0.05, epochs=40),
    ),
    "rate 0.2, momentum": ("too_fast", SOUND._replace(optimizer="momentum", learning_rate=0.2)),
    "rate 0.1, adam": ("too_fast", SOUND._replace(optimizer=_ADAM, learning_rate=0.1)),
    "few examples, adam": ("overfitting", SOUND._replace(**_FEW, optimizer=_ADAM, learning_rate=0.01, epochs=60)),
    "few examples, std 0.2": (
        "overfitting",
        SOUND._replace(**_FEW, init="normal(std=0.2)", optimizer="momentum", learning_rate=0.03, epochs=60),
    ),
    "width 2": ("underfitting", SOUND._replace(network="mlp(depth=2, width=2)", activation="tanh", epochs=60)),
    "l2 0.2": ("underfitting", SOUND._replace(regularisation="l2(strength=0.2)")),
    "3 epochs": ("still_improving", SOUND._replace(learning_rate=0.03, epochs=3)),
    "5 epochs, adam": ("still_improving", SOUND._replace(optimizer=_ADAM, learning_rate=0.0003, epochs=5)),
    "sound": ("healthy", SOUND),
    "sound, adam": ("healthy", SOUND._replace(optimizer=_ADAM, learning_rate=0.001, epochs=40)),
    "sound, batch norm": ("healthy", SOUND._replace(normalisation="batch")),
}
"""By name: the label it should get, and the recipe."""

RUN_COLUMNS = ("trial_id", "case", "label", "status", "final_train_accuracy", "final_validation_accuracy")
"""Columns of labelled-runs.csv: the run, its case, the label it should get, and what the diagnosis reads of trials.csv."""
LOSS_COLUMNS = ("trial_id", "step", "split", "loss")
"""Columns of labelled-curves.csv: what it reads of curves.csv."""


def labelled(seeds: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train every case with each seed, and return RUN_COLUMNS of every run and LOSS_COLUMNS of its curves."""
    device = prepare_process()
    store = ExampleStore(device)
    runs: list[tuple[object, ...]] = []
    losses: list[tuple[object, ...]] = []
    for place, (case, (label, recipe)) in enumerate(CASES.items()):
        for result in train_stack([replace(recipe, seed=seed) for seed in seeds], store, device):
            trial_id = f"{place}-{result.trial.seed}"
            accuracies = (_rounded(result.metrics.get(name)) for name in RUN_COLUMNS[4:])
            runs.append((trial_id, case, label, result.status, *accuracies))
            rows = ((step, split, _rounded(loss)) for step, split, loss, _, _ in result.curve)
            losses += [(trial_id, *row) for row in rows if row[1] in ("train_batch", "validation")]
    return pd.DataFrame(runs, columns=list(RUN_COLUMNS)), pd.DataFrame(losses, columns=list(LOSS_COLUMNS))


def _rounded(value: float | None) -> float:
    return math.nan if value is None else float(f"{value:.4g}")


def report(runs: pd.DataFrame, found: pd.Series) -> str:
    """Return the confusion table by case, and precision and recall by label, in words."""
    table = pd.crosstab([runs["label"], runs["case"]], found.rename("diagnosis"))
    table = table.reindex(columns=[label for label in LABELS if label in table])
    labels = [label for label in LABELS if (runs["label"] == label).any()]
    truth, own = runs["label"].to_numpy(), found.to_numpy()
    rows = []
    for label in labels:
        right = int(((truth == label) & (own == label)).sum())
        both = [wilson(right, int((which == label).sum())) for which in (own, truth)]
        rows.append((label, *(f"{share.mean:.2f} ({share.low:.2f}-{share.high:.2f})" for share in both)))
    shares = pd.DataFrame(rows, columns=["label", "precision (95 %)", "recall (95 %)"])
    return f"{table.to_string()}\n\n{shares.to_string(index=False)}"


def main() -> None:
    """Train every case, print how the diagnosis does, and keep the runs where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, nargs=2, default=(10, 20), metavar=("FIRST", "END"), help="seeds, END left out"
    )
    parser.add_argument("--out", type=Path, help="folder for labelled-runs.csv and labelled-curves.csv")
    given = parser.parse_args()
    runs, curves = labelled(range(*given.seeds))
    print(report(runs, diagnoses(runs, curves)["diagnosis"]))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        runs.to_csv(given.out / "labelled-runs.csv", index=False, lineterminator="\n")
        curves.to_csv(given.out / "labelled-curves.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
