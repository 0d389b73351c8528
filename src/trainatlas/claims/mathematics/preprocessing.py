"""Statistics come from the training part only (P6): two data sets that differ outside it alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainatlas.claims.observations import Check
from trainatlas.data.preprocessing import PREPROCESSINGS
from trainatlas.data.splits import stratified_split
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore

_EXAMPLES, _CLASSES, _SEED, _SHIFT = 120, 3, 0, 5.0
_BASE = Trial("", "mlp(depth=1, width=4)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 16, 1, _SEED)


def training_statistics() -> list[Check]:
    """Check that a shift of validation and test examples changes nothing that any preprocessing does to the training part.

    Nothing at all, to the last bit, of the transformed training part, while the shifted parts themselves do come out
    differently; and what is centred has its mean at 0 over the training part (CS231n 2016, notes on data preprocessing).
    """
    checks = []
    with tempfile.TemporaryDirectory() as folder:
        plain, shifted = _write(Path(folder))
        store = ExampleStore(torch.device("cpu"), torch.float64, folder=Path(folder))
        for level in PREPROCESSINGS:
            before = store.variant(_BASE._replace(data=plain, preprocessing=level)).x
            after = store.variant(_BASE._replace(data=shifted, preprocessing=level)).x
            moved = (before["train"] - after["train"]).abs().max().item()
            what = worded("{level}: change of the training part with a shifted test part", level=level)
            checks.append(Check(what, 0.0, moved, 0.0))
            tested = float(not torch.allclose(before["test"], after["test"]))
            what = worded("{level}: whether the shifted test part differs (1: yes)", level=level)
            checks.append(Check(what, 1.0, tested, 0.0))
            if level in _CENTRED:
                mean = after["train"].mean(0).abs().max().item()
                what = worded("{level}: largest mean of a feature over the training part", level=level)
                checks.append(Check(what, 0.0, mean, 1e-10))
    return checks


_CENTRED = ("mean_image", "standardize", "pca", "pca_whitening", "zca_whitening")
"""Levels whose formula gives every feature of the training part a mean of 0."""


def _write(folder: Path) -> tuple[str, str]:
    """Write both data sets: 3 classes of 3 x 3 images, of features that differ in mean and spread; return their names."""
    draws = np.random.default_rng(0)
    x = draws.random((_EXAMPLES, 3, 3)) * np.arange(1, 10).reshape(3, 3) + draws.random((3, 3))
    y: NDArray[np.int64] = np.arange(_EXAMPLES, dtype=np.int64) % _CLASSES
    training = stratified_split(y, _SEED, _BASE.validation_share, _BASE.test_share).train
    outside = np.setdiff1d(np.arange(_EXAMPLES), training)
    moved = x.copy()
    moved[outside] = _SHIFT + moved[outside] * (1 + draws.random((3, 3)))
    names = ("plain.npz", "shifted.npz")
    for name, values in zip(names, (x, moved), strict=True):
        np.savez(folder / name, x=values.astype(np.float32), y=y)
    return names
