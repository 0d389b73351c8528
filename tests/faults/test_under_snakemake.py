"""Interruption and damage under a real Snakemake, in one study that has to bear all of it."""

import copy
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from places import GATHERED, Place, made_once
from trainatlas.catalogue import TABLES
from trainatlas.study.config import load_study

AT_EVERY_EPOCH = {"TRAINATLAS_CHECKPOINT_SECONDS": "0"}

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: dict[str, Any]) -> Place:
    """A study of one pack a round, interrupted in its midst, then killed in its midst, and brought to its end."""
    content = copy.deepcopy(tiny_content_of_session)
    content["factors"] |= {"activation": ["relu"], "init": ["kaiming_normal"], "preprocessing": ["raw"]}
    content |= {"samples": content["samples"][:1], "epochs": 60, "pack_trials": 4}

    def make(folder: Path) -> None:
        place = Place(folder, "small")
        place.write(content)
        disturb(place)

    return Place(made_once(tmp_path_factory, "disturbed", make), "small")


def disturb(place: Place) -> None:
    place.disturb(signal.SIGINT, lambda: bool(place.checkpoints()), place.gathered, **AT_EVERY_EPOCH)
    waiting = place.checkpoints()
    assert waiting, "it was interrupted in the midst of a pack"
    for pack in waiting:
        assert f"pack {pack}: stopped at epoch " in place.log(pack)

    def going_on() -> bool:
        logs = [place.log(pack) for pack in waiting if (place.results / "logs" / "train" / f"{pack}.log").exists()]
        return any("continues at epoch" in log for log in logs)

    place.disturb(signal.SIGKILL, going_on, place.gathered, **AT_EVERY_EPOCH)
    waiting = place.checkpoints()
    place.finish(place.gathered)
    for pack in waiting:
        assert f"pack {pack}: continues at epoch " in place.log(pack)


def test_interrupted_and_killed_it_goes_on_to_the_tables_of_a_study_left_alone(
    disturbed: Place, run_study: Callable[..., Any], tmp_path: Path
) -> None:
    run_study(load_study(disturbed.study, TABLES), tmp_path)
    alone = {name: (tmp_path / name).read_bytes() for name in GATHERED}
    assert disturbed.tables() == alone
    assert disturbed.checkpoints() == set()


@pytest.fixture
def copied(disturbed: Place, tmp_path: Path) -> Place:
    """The finished study, to be harmed."""
    return disturbed.copy(tmp_path / "copy")


def test_a_damaged_pack_alone_is_trained_again(copied: Place) -> None:
    before, tables = copied.trained(), copied.tables()
    harmed = copied.results / "raw" / min(before) / "curves.csv"
    harmed.write_bytes(harmed.read_bytes()[:-30])
    said = copied.finish(copied.gathered)
    (line,) = [line for line in said.splitlines() if line.startswith("trainatlas:")]
    assert line.startswith(f"trainatlas: {harmed}: has ") and line.endswith("will be trained again")
    after = copied.trained()
    assert {pack for pack in before if after[pack] != before[pack]} == {harmed.parent.name}
    assert copied.tables() == tables


def test_files_from_the_future_train_nothing_and_change_no_table(copied: Place) -> None:
    """As after a clock that was ahead: every file of the results is stamped a day from now, in one order or another."""
    tables = copied.tables()
    tomorrow = time.time_ns() + 86_400 * 10**9
    files = sorted(path for path in copied.results.rglob("*") if path.is_file())
    for place, path in enumerate(files):
        os.utime(path, ns=(tomorrow, tomorrow - place * 10**6))
    content = {path: path.read_bytes() for path in files if path.parent.parent.name == "raw"}
    copied.finish(copied.gathered)
    assert {path: path.read_bytes() for path in content} == content
    assert copied.tables() == tables
