"""A split is drawn once; what is read from a file is what would be drawn, or it is drawn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainatlas.data import kept_splits
from trainatlas.data.arrays import write_arrays
from trainatlas.data.kept_splits import KeptSplits
from trainatlas.data.splits import Split, stratified_split
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore

Y = np.arange(200) % 5
SHARES = (0.2, 0.25)
TRIAL = Trial("digits", "mlp", "relu", "kaiming_normal", "none", "sgd", "standardize", 0.1, 64, 1, 3)


def split_of(folder: Path | None, seed: int = 0, y: Any = Y, part: Any = None, shares: Any = SHARES) -> Split:
    return KeptSplits(folder).get("digits", "", y, part, seed, shares)


def same(one: Split, other: Split) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("train", "validation", "test"))


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function from whose call on no split can be drawn."""

    def draw(*arguments: object) -> Split:
        raise AssertionError("was drawn")

    return lambda: monkeypatch.setattr(kept_splits, "stratified_split", draw)


@pytest.mark.parametrize("part", [None, (np.arange(200) < 40).astype(np.int8) * 2])
def test_what_is_read_is_what_was_drawn(part: Any, tmp_path: Path, never: Callable[[], None]) -> None:
    drawn = split_of(tmp_path, part=part)
    assert same(drawn, stratified_split(Y, 0, *SHARES, part)) and same(drawn, split_of(None, part=part))
    never()
    assert same(split_of(tmp_path, part=part), drawn)


def test_each_seed_and_share_has_its_own(tmp_path: Path) -> None:
    splits = [split_of(tmp_path), split_of(tmp_path, seed=1), split_of(tmp_path, shares=(0.2, 0.2))]
    assert len(list(tmp_path.iterdir())) == 3
    assert not any(same(one, other) for one, other in ((splits[0], splits[1]), (splits[0], splits[2])))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found | {"train": found["train"][:-1]},
        lambda found: found | {"train": found["train"][::-1]},
        lambda found: found | {"train": found["train"].astype(np.int32)},
        lambda found: found | {"test": found["train"]},
        lambda found: {name: rows for name, rows in found.items() if name != "test"},
    ],
    ids=["an example is missing", "not ascending", "other numbers", "examples twice", "a part is missing"],
)
def test_a_file_that_is_no_split_of_these_examples_is_made_anew(change: Callable[[Any], Any], tmp_path: Path) -> None:
    drawn = split_of(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    write_arrays(path, change({"train": drawn.train, "validation": drawn.validation, "test": drawn.test}))
    assert same(split_of(tmp_path), drawn) and path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    assert same(split_of(tmp_path), drawn) and path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert same(split_of(tmp_path / "file"), split_of(None))


JOB = """
import json, sys, torch
from pathlib import Path
from trainatlas.study.trial import Trial
import trainatlas.train.pack
from trainatlas.train.examples import ExampleStore
store = ExampleStore(torch.device("cpu"), fitted=Path(sys.argv[2]))
total = float(store.variant(Trial(**json.loads(sys.argv[1]))).x["train"].double().sum())
print(json.dumps([total, sorted({"sklearn", "pandas", "scipy.stats", "matplotlib"} & set(sys.modules))]))
"""


def test_a_job_loads_no_library_for_what_others_have_drawn_and_fitted(
    tmp_path: Path, python: Callable[..., Any]
) -> None:
    here = ExampleStore(torch.device("cpu"), fitted=tmp_path).variant(TRIAL)
    done = python(JOB, json.dumps(TRIAL.as_dict()), tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [float(here.x["train"].double().sum()), []]
