"""What jobs would otherwise do many times over: data fetched and checked, splits drawn, preprocessings fitted, once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainatlas.data.datasets import DataSet, load
from trainatlas.data.fitted import FittedPreprocessings
from trainatlas.data.kept_splits import KeptSplits
from trainatlas.study.config import Study
from trainatlas.study.splits import part_sizes, split_key
from trainatlas.study.storage import write_json

DESCRIBED_AT_ONCE = 4096
"""Examples whose statistics are added up at once: double precision is not needed for all of them at a time."""


def prepare(study: Study, results: Path) -> dict[str, Any]:
    """Make the study's data ready in `results`: fitted preprocessings, and data.json, which says what the data are.

    Raises UserError where the data are not to be had, or are not what they should be.
    """
    data = load(study.data, study.folder)
    fitted, splits = FittedPreprocessings(results / "fitted"), KeptSplits(results / "fitted")
    shares = (study.validation_share, study.test_share)
    for seed in seeds_of(study):
        split = splits.get(study.data, study.facts.digest, data.y, data.part, seed, shares)
        key = split_key(study.data, study.facts.digest, seed, *shares)
        for level in study.factors["preprocessing"]:
            fitted.get(level, key, lambda rows=split.train: examples_of(data, rows))  # type: ignore[misc]
    described = describe(study, data)
    write_json(results / "data.json", described)
    return described


def seeds_of(study: Study) -> list[int]:
    """Return every seed that a trial of the study may have, each once, ascending."""
    return sorted({seed for sample in study.samples for seeds in sample.seeds_by_use.values() for seed in seeds})


def examples_of(data: DataSet, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the examples at these rows as numbers: bytes as shares of 255."""
    x = data.x[rows]
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x.astype(np.float32)


def describe(study: Study, data: DataSet) -> dict[str, Any]:
    """Return sizes, class counts, checksum, and mean and std of each channel over all but given test examples."""
    kept = np.arange(len(data.y)) if data.part is None else np.flatnonzero(data.part != 2)
    total, square, number = 0.0, 0.0, 0
    for start in range(0, len(kept), DESCRIBED_AT_ONCE):
        x = examples_of(data, kept[start : start + DESCRIBED_AT_ONCE]).astype(np.float64)
        total, square = total + x.sum((0, 2, 3)), square + np.square(x).sum((0, 2, 3))
        number += x[:, 0].size
    mean = total / number
    counts = np.bincount(data.y[kept], minlength=len(data.classes))
    sizes = part_sizes(len(data.y), study.validation_share, study.test_share, study.facts.given)
    return {
        "data": study.data,
        "digest": study.facts.digest,
        "sha256": _checksum(data),
        "shape": list(data.x.shape[1:]),
        "classes": list(data.classes),
        "class_counts": counts.tolist(),
        "train_examples": sizes.train,
        "validation_examples": sizes.validation,
        "test_examples": sizes.test,
        "channel_mean": np.round(mean, 6).tolist(),
        "channel_std": np.round(np.sqrt(np.maximum(square / number - mean**2, 0.0)), 6).tolist(),
    }


def _checksum(data: DataSet) -> str:
    """Return the SHA-256 of the examples and classes as loaded: their types, shapes and bytes."""
    total = hashlib.sha256()
    for array in (data.x, data.y):
        total.update(f"{array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
