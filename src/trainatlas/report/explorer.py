"""What the page's trial explorer is given: every trial's row, curves and layers, packed small.

Pure functions from the gathered tables to bytes; `templates/explorer.js` reads them in the browser.

The bytes are zlib's, and hold: the length of the head (4 bytes, little-endian), the head (JSON in UTF-8), and arrays of 16-bit
numbers without sign. An array is stored as the differences of neighbours modulo 65536, first the low bytes of all, then the high
ones, which zlib packs best.

Rows of trials.csv are exact. Curves and layers are rounded:

- losses, norms and ratios to steps of 0.4 % (`log_codes`): off by 0.2 % at most;
- accuracies and shares to 0.01 points (`share_codes`): off by 0.005 points at most;
- of a curve `CURVE_POINTS` points are kept, the first and the last among them, and epochs to five decimals.
"""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainatlas.analysis.order import TrialOrder
from trainatlas.analysis.tables import PLACE_COLUMNS, parameter_columns, trial_columns
from trainatlas.report.language import mark, tr
from trainatlas.report.wording import factor_name, from_here, level_name, target_mark, word
from trainatlas.study.config import Study
from trainatlas.study.parameters import BATCH_SIZE
from trainatlas.study.planning import MEASURED_STAGES
from trainatlas.study.trial import FACTORS, FIELD_TYPES
from trainatlas.train.records import STATUSES, Column

CURVE_POINTS = 50
"""Points that are kept of a curve, at most."""
MOST_TRIALS = 20_000
"""Trials that the page holds, at most: more than that, and it opens slowly."""

LOG_STEP = 0.004
"""Difference of natural logarithms between two codes."""
LOG_ZERO = -104.0
"""Logarithm just below that of the smallest number in single precision."""
SHARES = 10_000
"""Codes of shares from 0 to 1."""
NOT_FINITE, MISSING = 65_534, 65_535
"""Codes of their own; a code of 0 is zero, in either scale."""

Codes = np.ndarray[Any, np.dtype[np.uint16]]
Packed = dict[str, Codes]

_STAGES = ("tuning", "coarse", "fine", "rung", "batch", "final", "winner", "random")
_SPECIAL = {"stage": _STAGES, "status": STATUSES}
_CURVES: dict[str, tuple[str, str]] = {"loss": ("train_batch", "loss"), "accuracy": ("validation", "accuracy")}
_LAYERS = ("dead_fraction", "saturated_fraction", "gradient_norm", "update_to_weight_ratio")
_SHARE_ENDINGS = ("accuracy", "fraction", "share", "retained_variance")
_TITLES = {
    "trial_id": mark("trial"),
    "data": mark("data"),
    "network": mark("network"),
    "learning_rate": mark("learning rate"),
    "batch_size": mark("batch size"),
    "epochs": mark("epochs"),
    "seed": mark("seed"),
    "validation_share": mark("validation share"),
    "test_share": mark("test share"),
    "user_code": mark("user code"),
    "data_digest": mark("data digest"),
    "stop_epoch": mark("ends after epoch"),
    "status": mark("status"),
    "error": mark("error"),
    "steps_run": mark("steps"),
    "epochs_run": mark("epochs begun"),
    "first_train_loss": mark("first train loss"),
    "first_penalty": mark("first penalty"),
    "final_train_loss": mark("training loss"),
    "best_validation_loss": mark("best validation loss"),
    "final_validation_loss": mark("validation loss"),
    "final_train_accuracy": mark("training accuracy"),
    "best_validation_accuracy": mark("best validation accuracy"),
    "final_validation_accuracy": mark("validation accuracy"),
    "test_accuracy": mark("test accuracy"),
    "test_loss": mark("test loss"),
    "initial_dead_fraction": mark("dead units at the start"),
    "final_dead_fraction": mark("dead units"),
    "parameters": mark("parameters"),
    "retained_variance": mark("retained variance"),
    "device": mark("device"),
    "dtype": mark("dtype"),
    "training_version": mark("training version"),
    "sample": mark("sample"),
    "stage": mark("stage"),
    "round": mark("round"),
}
"""Of the columns that every study has, but for its factors."""
_AXES = 9  # of parallel coordinates, at most
_PLACE = "TRIAL"


def log_codes(values: np.ndarray) -> Codes:
    """Return the codes of numbers from zero, of any shape: the logarithm in steps of `LOG_STEP`.

    Zero is 0, what is not finite `NOT_FINITE`, and nan `MISSING`. Decoded, exp(`LOG_ZERO` + code * `LOG_STEP`), a number is
    off by 0.2 % of itself at most.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.round((np.log(values) - LOG_ZERO) / LOG_STEP)
    codes = np.clip(np.nan_to_num(steps), 1, NOT_FINITE - 1)
    codes = np.where(values == 0, 0, codes)
    codes = np.where(np.isinf(values), NOT_FINITE, codes)
    return np.where(np.isnan(values), MISSING, codes).astype(np.uint16)


def share_codes(values: np.ndarray) -> Codes:
    """Return the codes of shares from 0 to 1, of any shape, off by 0.00005 at most; nan is `MISSING`."""
    codes = np.round(np.clip(np.nan_to_num(values), 0, 1) * SHARES)
    return np.where(np.isnan(values), MISSING, codes).astype(np.uint16)


def held_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that the page holds, by id: all of them, or `MOST_TRIALS`.

    Runs that are told of come before those that only chose; of the kind that does not fit, evenly spaced ones are held.
    """
    ordered = trials.sort_values("trial_id", ignore_index=True)
    if len(ordered) <= MOST_TRIALS:
        return ordered
    measured = ordered["stage"].isin(MEASURED_STAGES)
    kept = _spaced(ordered[measured], MOST_TRIALS)
    rest = _spaced(ordered[~measured], MOST_TRIALS - len(kept))
    return pd.concat([kept, rest]).sort_values("trial_id", ignore_index=True)


def _spaced(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    if len(rows) <= most:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def explorer_data(
    study: Study,
    trials: pd.DataFrame,
    curves: Iterable[pd.DataFrame],
    layers: Iterable[pd.DataFrame],
    results: Path,
) -> bytes:
    """Return the explorer's data, the same bytes for the same tables.

    Parameters
    ----------
    trials
        The gathered trials.csv.
    curves, layers
        The gathered curves.csv and layers.csv, part by part, rows of a trial in order of steps.
    results
        The study's results folder, for the command that trains a trial again.
    """
    held = held_trials(trials)
    order = TrialOrder(held["trial_id"])
    arrays: Packed = {}
    head = {
        "study": study.name,
        "trials": len(held),
        "of": len(trials),
        "codes": {
            "step": LOG_STEP,
            "zero": LOG_ZERO,
            "shares": SHARES,
            "not_finite": NOT_FINITE,
            "missing": MISSING,
        },
        "columns": [_column(study, column, held[column.name], arrays) for column in trial_columns(study)],
        "filters": [*study.varied, "stage", "status"],
        "first_stages": [stage for stage in MEASURED_STAGES if (held["stage"] == stage).any()],
        "shown": _shown(study, held),
        "axes": _axes(study, held),
        "curves": _curves(order, curves, arrays),
        "layers": _layers(order, layers, arrays),
        "rerun": rerun_words(study, results).split(_PLACE),
    }
    return _packed(head, arrays)


def embedded(data: bytes) -> str:
    """Return data as text that stands in a page."""
    return base64.b64encode(data).decode()


def rerun_words(study: Study, results: Path) -> str:
    """Return the command that trains a trial again, TRIAL in the place of its id."""
    path, profile = study.named
    words = ["trainatlas", "rerun", from_here(path), _PLACE]
    if profile:
        words += ["--profile", profile]
    folder = from_here(results.parent)
    if folder != "results":
        words += ["--results", folder]
    return shlex.join(words)


def _packed(head: dict[str, Any], arrays: Packed) -> bytes:
    places, parts, offset = {}, [], 0
    for name, codes in arrays.items():
        places[name] = [offset, len(codes)]
        changes = np.diff(codes, prepend=np.uint16(0)).astype("<u2")
        parts.append(changes.view(np.uint8).reshape(-1, 2).T.tobytes())
        offset += 2 * len(codes)
    text = json.dumps({**head, "arrays": places}, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return zlib.compress(len(text).to_bytes(4, "little") + text + b"".join(parts), 9)


# The table.


def _column(study: Study, column: Column, cells: pd.Series, arrays: Packed) -> dict[str, Any]:
    """Return a column of trials.csv: `values` and a place in them for each trial where they repeat, else all `cells`."""
    name = column.name
    told: dict[str, Any] = {
        "name": name,
        "title": _title(study, name),
        "kind": column.kind,
        "style": "share" if name.endswith(_SHARE_ENDINGS) else column.kind,
        "configures": name in _CONFIGURATION or name in study.parameters,
    }
    codes, distinct = pd.factorize(cells, use_na_sentinel=False)
    if len(distinct) > max(64, len(cells) // 4):
        return told | {"cells": [_token(value) for value in cells]}
    values = [_token(value) for value in distinct]
    wanted = _ordered(study, name, values)
    if wanted is not None:
        values, codes = wanted, np.array([wanted.index(value) for value in values], dtype=np.int64)[codes]
        told["names"] = [level_name(value) if name in FACTORS else word(value) for value in values]
    arrays[f"column/{name}"] = codes.astype(np.uint16)
    return told | {"values": values}


_CONFIGURATION = (*FIELD_TYPES, *(column.name for column in PLACE_COLUMNS))


def _ordered(study: Study, name: str, values: Sequence[Any]) -> list[str] | None:
    """Return texts that have an order of their own in it; None for columns without."""
    if name in FACTORS:
        known: Sequence[str] = study.factors[name]
    elif name in _SPECIAL:
        known = _SPECIAL[name]
    else:
        return None
    present = set(values)
    return [value for value in known if value in present] + sorted(present - set(known))


def _token(value: Any) -> Any:
    """Return a cell as JSON has it: None where it is empty, "inf" where it is not finite."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    return "inf" if np.isinf(value) else float(value)


def _title(study: Study, name: str) -> str:
    if name in FACTORS:
        return factor_name(name)
    for target in study.targets:
        if target.column == name:
            return tr("steps to {target}", target=target_mark(target))
    return tr(_TITLES[name]) if name in _TITLES else name.replace("_", " ")


def _shown(study: Study, held: pd.DataFrame) -> list[str]:
    """Return the columns of the table of trials."""
    return [
        "trial_id",
        "stage",
        "final_validation_accuracy",
        "test_accuracy",
        *study.varied,
        *_numeric(study, held),
        "learning_rate",
        "seed",
        "status",
        "final_train_loss",
        "final_dead_fraction",
        "steps_run",
    ]


def _numeric(study: Study, held: pd.DataFrame) -> list[str]:
    """Return the study's own parameters that are numbers and of which trials have several values."""
    names = [column.name for column in parameter_columns(study) if column.kind == "number"]
    names += [BATCH_SIZE] if BATCH_SIZE in study.parameters else []
    return [name for name in names if held[name].nunique() > 1]


def _axes(study: Study, held: pd.DataFrame) -> list[dict[str, str]]:
    """Return the axes of parallel coordinates: a column each, and its scale: levels, log, linear or share."""
    numbers = [*_numeric(study, held)[: max(_AXES - 2 - len(study.varied), 0)], "learning_rate"]
    return [
        *({"column": factor, "scale": "levels"} for factor in study.varied),
        *({"column": name, "scale": _scale(held[name])} for name in numbers),
        {"column": "test_accuracy", "scale": "share"},
    ]


def _scale(values: pd.Series) -> str:
    """Return "log" for numbers that span more than an order of magnitude, else "linear"."""
    low, high = values.min(), values.max()
    return "log" if 0 < 10 * low < high else "linear"


# Curves and layers.


def _curves(order: TrialOrder, parts: Iterable[pd.DataFrame], arrays: Packed) -> dict[str, Any]:
    """Pack the curves of every trial; return of each quantity the epochs that curves have, and those to compare trials at.

    A trial's curve is as many codes of `<quantity>/codes` as its epochs count: the list that `<quantity>/epochs` points to.
    """
    kept: dict[str, list[tuple[np.ndarray, np.ndarray, Codes]]] = {name: [] for name in _CURVES}
    encode: dict[str, Callable[[np.ndarray], Codes]] = {"loss": log_codes, "accuracy": share_codes}
    for part in parts:
        positions = order.positions(part["trial_id"])
        for name, (split, column) in _CURVES.items():
            own = (positions >= 0) & (part["split"] == split).to_numpy()
            rows = part[own]
            kept[name].append(
                (
                    positions[own].astype(np.int32),
                    rows["epoch"].to_numpy(dtype=np.float64).round(5),
                    encode[name](rows[column].to_numpy(dtype=np.float64)),
                )
            )
    told: dict[str, Any] = {}
    for name, pieces in kept.items():
        columns = list(zip(*pieces, strict=True)) or [(np.empty(0, dtype=np.int32),), (np.empty(0),), (np.empty(0),)]
        positions, epochs, codes = (np.concatenate(column) for column in columns)
        sequence = np.argsort(positions, kind="stable")
        sequence = sequence[_spread(positions[sequence], len(order))]
        grids, places = _distinct(positions[sequence], epochs[sequence], len(order))
        arrays[f"{name}/epochs"] = places
        arrays[f"{name}/codes"] = codes[sequence].astype(np.uint16)
        common = Counter(places.tolist())
        told[name] = {
            "epochs": grids,
            "common": max(common, key=lambda place: (grids[place][-1:], common[place], -place), default=0),
        }
    return told


def _spread(positions: np.ndarray, trials: int) -> np.ndarray:
    """Return which rows of each trial are kept: `CURVE_POINTS` at most, evenly spaced, the first and the last among them.

    Parameters
    ----------
    positions
        Of each row's trial, in order.
    """
    counts = np.bincount(positions, minlength=trials)
    rank = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
    last = np.maximum(counts - 1, 1)[positions]
    mark = rank * (CURVE_POINTS - 1) // last
    before = (rank - 1) * (CURVE_POINTS - 1) // last
    return np.flatnonzero(mark > before)


def _distinct(positions: np.ndarray, values: np.ndarray, trials: int) -> tuple[list[list[Any]], Codes]:
    """Return the different lists that trials' values make, in order of appearance, and which of them each trial has."""
    ends = np.searchsorted(positions, np.arange(trials), side="right")
    found: dict[tuple[Any, ...], int] = {}
    places = np.zeros(trials, dtype=np.uint16)
    start = 0
    for trial, end in enumerate(ends.tolist()):
        own = tuple(values[start:end].tolist())
        places[trial] = found.setdefault(own, len(found))
        start = end
    return [list(own) for own in found], places


def _layers(order: TrialOrder, parts: Iterable[pd.DataFrame], arrays: Packed) -> dict[str, Any]:
    """Pack the last look at every trial's layers; return the lists of layers, and the steps at which the looks were.

    A trial's values are as many codes of `layers/<column>` as it has layers: the list that `layers/names` points to.
    """
    latest = np.full(len(order), -1, dtype=np.int64)
    kept: list[pd.DataFrame] = []
    for part in parts:
        positions = order.positions(part["trial_id"])
        rows = part.loc[positions >= 0, ["step", "layer", *_LAYERS]].assign(position=positions[positions >= 0])
        np.maximum.at(latest, rows["position"].to_numpy(), rows["step"].to_numpy())
        kept.append(rows[rows["step"].to_numpy() == latest[rows["position"].to_numpy()]])
    empty = pd.DataFrame({name: [] for name in ("step", "layer", *_LAYERS, "position")}).astype({"position": "int64"})
    rows = pd.concat(kept, ignore_index=True) if kept else empty
    rows = rows[rows["step"].to_numpy() == latest[rows["position"].to_numpy()]]
    rows = rows.sort_values("position", kind="stable")
    lists, arrays["layers/names"] = _distinct(
        rows["position"].to_numpy(), rows["layer"].to_numpy(dtype=object), len(order)
    )
    steps, places = np.unique(latest, return_inverse=True)
    arrays["layers/step"] = places.astype(np.uint16)
    for name in _LAYERS:
        values = rows[name].to_numpy(dtype=np.float64)
        arrays[f"layers/{name}"] = share_codes(values) if name.endswith("fraction") else log_codes(values)
    return {"names": lists, "steps": steps.tolist()}
