"""What jobs would do many times over is done once: preprocessings are fitted, data described."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainatlas.data import fitted
from trainatlas.data.datasets import load
from trainatlas.data.prepare import describe, prepare, seeds_of
from trainatlas.study.config import Study
from trainatlas.study.rounds import plan_of_round
from trainatlas.study.storage import read_json
from trainatlas.train.examples import ExampleStore

Content = dict[str, Any]


def test_jobs_find_every_preprocessing_fitted(
    tiny: Content, study_of: Callable[[Content], Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["factors"]["preprocessing"] = ["raw", "standardize", "pca(components=8)", "zca_whitening"]
    study = study_of(tiny)
    prepare(study, tmp_path)
    assert read_json(tmp_path / "data.json", "prepare")["data"] == "digits"

    def forbidden(*_: object) -> None:
        raise AssertionError("fitted again")

    for kind in (fitted.PREPROCESSINGS[name].build(**{}).__class__ for name in ("standardize", "zca_whitening")
                 if not fitted.PREPROCESSINGS[name].options):  # fmt: skip
        monkeypatch.setattr(kind, "learn", forbidden)
    store = ExampleStore(torch.device("cpu"), fitted=tmp_path / "fitted")
    for item in plan_of_round(study, 1).planned:
        store.variant(item.trial)


def test_every_seed_of_the_study_is_prepared_for(tiny: Content, study_of: Callable[[Content], Study]) -> None:
    assert seeds_of(study_of(tiny)) == [0, 1, 2, 3, 4]


def test_the_description_is_what_numpy_says_of_all_examples(
    tiny: Content, study_of: Callable[[Content], Study]
) -> None:
    study = study_of(tiny)
    data = load("digits", Path())
    described = describe(study, data)
    assert described["channel_mean"] == pytest.approx([data.x.astype(np.float64).mean()], abs=1e-6)
    assert described["channel_std"] == pytest.approx([data.x.astype(np.float64).std()], abs=1e-6)
    assert described["class_counts"] == np.bincount(data.y).tolist()
    assert sum(described[f"{part}_examples"] for part in ("train", "validation", "test")) == 1797
    assert described["shape"] == [1, 8, 8]


def test_the_checksum_is_that_of_what_was_loaded(tiny: Content, study_of: Callable[[Content], Study]) -> None:
    data = load("digits", Path())
    text = b"".join(f"{array.dtype.str} {array.shape}\n".encode() + array.tobytes() for array in (data.x, data.y))
    assert describe(study_of(tiny), data)["sha256"] == hashlib.sha256(text).hexdigest()
    changed = replace(data, y=np.roll(data.y, 1))
    assert describe(study_of(tiny), changed)["sha256"] != hashlib.sha256(text).hexdigest()
