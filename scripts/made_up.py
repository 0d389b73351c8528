"""Made-up results: tables of packs drawn instead of trained, in the formats of `trainatlas.train.records`.

A trial has as many rows as one of the default study, and an accuracy that follows from effects of its levels, of a
pair of them, of its rate and its seed, and from chance; some percent diverge.

    echo '["PACK", ...]' | python scripts/made_up.py results/STUDY
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.csv as arrow_csv

from trainatlas.study.checksums import write_checksums
from trainatlas.study.planning import pack_path
from trainatlas.study.storage import read_json
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import TRAINING_VERSION, Trial
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    SPLITS,
    TRIAL_COLUMNS,
    Column,
    kept_steps,
    names,
)

STEPS_PER_EPOCH = 16
VALIDATION_EXAMPLES = 359
EFFECTS = {"activation": 0.5, "init": 0.8, "normalisation": 0.3, "optimizer": 0.3, "preprocessing": 0.5}
"""Standard deviation of each factor's effects, in log-odds."""


@dataclass(frozen=True)
class Runs:
    """How the trials of a pack go.

    Attributes
    ----------
    trials
        Their fields, and `trial_id`, by which they are sorted.
    final, speed
        Accuracy at the end of the budget; steps after which most of it is learned.
    diverged, steps_run
        Whether a run diverges, and the step it ends at.
    watched
        Steps at which layers and the training part are looked at.
    """

    trials: pd.DataFrame
    final: np.ndarray
    speed: np.ndarray
    diverged: np.ndarray
    steps_run: np.ndarray
    watched: np.ndarray
    ends: np.ndarray
    generator: np.random.Generator


def make_up(folder: Path, packs: Sequence[str]) -> tuple[int, int]:
    """Write the tables of those `packs` of a study's results `folder` that have none; return rows of curves and layers."""
    rows = [_make_up_pack(folder, pack) for pack in packs if not (folder / "raw" / pack / "trials.csv").exists()]
    return sum(curves for curves, _ in rows), sum(layers for _, layers in rows)


def _make_up_pack(folder: Path, pack: str) -> tuple[int, int]:
    content = read_json(pack_path(folder, pack), "trainatlas plan")
    whole = {trial_id: Trial(**fields).as_dict() for trial_id, fields in content["trials"].items()}
    trials = pd.DataFrame.from_dict(whole, orient="index").rename_axis("trial_id").sort_index()
    runs = _runs(trials.reset_index(), content["probes"], np.random.default_rng(stream_key(0, pack)))
    curves, ends = _curves(runs)
    layers, dead = _layers(runs)
    steps = int(runs.steps_run.sum())
    times = (
        pack,
        len(trials),
        steps,
        30.0,
        3.0,
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:30Z",
        800.0,
        "cpu",
        "2.13.0",
    )
    out = folder / "raw" / pack
    _write(curves, CURVE_COLUMNS, out / "curves.csv")
    _write(layers, LAYER_COLUMNS, out / "layers.csv")
    _write(_outcomes(runs, ends, dead), TRIAL_COLUMNS, out / "trials.csv")
    _write(pd.DataFrame([times], columns=list(names(PACK_COLUMNS))), PACK_COLUMNS, out / "pack.csv")
    _write(pd.DataFrame(), HISTOGRAM_COLUMNS, out / "histograms.csv")
    write_checksums(out, sorted(path.name for path in out.glob("*.csv")))
    return len(curves), len(layers)


def _effects(texts: pd.Series, name: str) -> np.ndarray:
    """Return a standard normal draw for each text, always the same for one text."""
    each = {text: np.random.default_rng(stream_key(0, f"{name}/{text}")).normal() for text in texts.unique()}
    return texts.map(each).to_numpy(dtype=float)


def _runs(trials: pd.DataFrame, probes: str, generator: np.random.Generator) -> Runs:
    count, total = len(trials), int(trials["epochs"].iloc[0]) * STEPS_PER_EPOCH
    score = 2 + 0.5 * _effects(trials["activation"] + trials["init"], "pair")
    score += 0.1 * _effects(trials["seed"].astype(str), "seed") + generator.normal(scale=0.2, size=count)
    for factor, size in EFFECTS.items():
        score += size * _effects(trials[factor], factor)
    distance = np.log10(trials["learning_rate"].to_numpy()) + 1.5 - 0.5 * _effects(trials["optimizer"], "rate")
    diverged = distance + generator.normal(scale=0.3, size=count) > 1.4
    ends = np.arange(0, total + 1, STEPS_PER_EPOCH)
    return Runs(
        trials,
        final=0.1 + 0.89 / (1 + np.exp(distance**2 - score)),
        speed=total / generator.uniform(4, 14, size=count),
        diverged=diverged,
        steps_run=np.where(diverged, generator.integers(1, total + 1, size=count), total),
        watched=ends[[0, -1]] if probes == "light" else ends,
        ends=ends,
        generator=generator,
    )


def _curves(runs: Runs) -> tuple[pd.DataFrame, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return curves.csv, and for each split the accuracies and losses, (trials, steps), that trials.csv tells of."""
    run = runs.steps_run[:, None]
    readings, parts = {}, []
    for split, steps in {
        "train_batch": np.array(kept_steps(int(runs.ends[-1]))),
        "train": runs.watched,
        "validation": runs.ends,
        "test": runs.ends[-1:],
    }.items():
        learned = (runs.final[:, None] - 0.1) * (1 - np.exp(-np.minimum(steps, run) / runs.speed[:, None]))
        noise = runs.generator.normal(scale=0.005, size=learned.shape)
        accuracies = np.clip(0.1 + 0.01 * split.startswith("train") + learned + noise, 0, 1)
        accuracies = np.round(accuracies * VALIDATION_EXAMPLES) / VALIDATION_EXAMPLES
        ended = steps >= run
        losses = 0.001 - 1.2 * np.log(np.clip(accuracies, 1e-3, 0.9995))
        losses = np.where(ended & runs.diverged[:, None], np.inf, losses)
        readings[split] = accuracies, losses
        # A run that diverges is looked at once more, where it then stands.
        row, column = np.nonzero(steps <= run if split == "train_batch" else ended.cumsum(axis=1) <= 1)
        cells = {
            "row": row,
            "step": np.minimum(steps[column], runs.steps_run[row]),
            "split": split,
            "order": SPLITS.index(split),
            "loss": losses[row, column],
            "accuracy": np.nan if split == "train_batch" else accuracies[row, column],
        }
        parts.append(pd.DataFrame(cells))
    table = pd.concat(parts, ignore_index=True).sort_values(["row", "step", "order"])
    own = runs.trials[["trial_id", "learning_rate"]].iloc[table["row"]]
    return table.assign(epoch=table["step"] / STEPS_PER_EPOCH, **{name: own[name].array for name in own}), readings


def _layers(runs: Runs) -> tuple[pd.DataFrame, np.ndarray]:
    """Return layers.csv, and each trial's dead share at the end, shape (trials,)."""
    row, column = np.nonzero((runs.watched >= runs.steps_run[:, None]).cumsum(axis=1) <= 1)
    row, column = np.repeat(row, 3), np.repeat(column, 3)
    size, depth = len(row), np.tile([1, 2, 3], len(row) // 3)
    draw = runs.generator
    dead = np.clip(0.02 * (_effects(runs.trials["init"], "dead")[row] + draw.normal(size=size)), 0, 1)
    saturated = 0.4 + 0.2 * _effects(runs.trials["activation"], "saturated")[row] + draw.normal(scale=0.1, size=size)
    cells = {
        "trial_id": runs.trials["trial_id"].array[row],
        "step": np.minimum(runs.watched[column], runs.steps_run[row]),
        "layer": np.array(["hidden.0", "hidden.1", "output"], dtype=object)[depth - 1],
        "depth": depth,
        "dead_fraction": np.where(depth < 3, dead, np.nan),
        "saturated_fraction": np.where(depth < 3, np.clip(saturated, 0, 1), np.nan),
        "activation_mean": draw.normal(size=size),
        "activation_std": draw.gamma(2, size=size),
        "gradient_norm": draw.gamma(2, scale=0.2, size=size),
        "update_to_weight_ratio": draw.gamma(2, scale=0.01, size=size),
    }
    last = np.flatnonzero(np.append(np.diff(row) > 0, True))
    return pd.DataFrame(cells), (dead[last - 1] + dead[last - 2]) / 2


def _outcomes(runs: Runs, readings: dict[str, tuple[np.ndarray, np.ndarray]], dead: np.ndarray) -> pd.DataFrame:
    """Return trials.csv."""
    (train, train_losses), (validation, validation_losses) = readings["train"], readings["validation"]
    return runs.trials.assign(
        status=np.where(runs.diverged, "diverged", "ok"),
        error=None,
        steps_run=runs.steps_run,
        epochs_run=-(-runs.steps_run // STEPS_PER_EPOCH),
        first_train_loss=readings["train_batch"][1][:, 0],
        first_penalty=0.0,
        final_train_loss=train_losses[:, -1],
        best_validation_loss=validation_losses.min(axis=1),
        final_validation_loss=validation_losses[:, -1],
        final_train_accuracy=train[:, -1],
        best_validation_accuracy=validation.max(axis=1),
        final_validation_accuracy=validation[:, -1],
        test_accuracy=readings["test"][0][:, 0],
        test_loss=readings["test"][1][:, 0],
        initial_dead_fraction=0.0,
        final_dead_fraction=dead,
        parameters=3466,
        retained_variance=1.0,
        device="cpu",
        dtype="float32",
        training_version=TRAINING_VERSION,
    )


def _write(frame: pd.DataFrame, columns: Sequence[Column], path: Path) -> None:
    frame = frame.reindex(columns=names(columns))  # what only full probes measure stays empty
    # About seven significant digits, as training writes them.
    rounded: dict[str, Any] = {
        name: frame[name].astype("float32") for name in frame.select_dtypes("floating") if name != "learning_rate"
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.Table.from_pandas(frame.assign(**rounded), preserve_index=False)
    arrow_csv.write_csv(table, path, arrow_csv.WriteOptions(quoting_style="needed", quoting_header="none"))


if __name__ == "__main__":
    print(json.dumps(make_up(Path(sys.argv[1]), json.load(sys.stdin))))
