"""Tables gathered shelf by shelf are, byte for byte, those that gathering everything at once yields."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainatlas.analysis.aggregate import GATHERED, aggregate, steps_to_target
from trainatlas.analysis.order import TrialOrder
from trainatlas.analysis.tables import (
    PACK_COLUMNS,
    PLACE_COLUMNS,
    PLAN_TABLE,
    TRIAL_COLUMNS,
    read_table,
    trial_columns,
    write_table,
)
from trainatlas.catalogue import TABLES
from trainatlas.study.checksums import write_checksums
from trainatlas.study.config import Study, load_study
from trainatlas.study.errors import UserError
from trainatlas.train.records import QUANTITIES, SPLITS, STATUSES, Column, names

WORDS = ("relu", "", "a, b", 'says "no"', "활성")


@pytest.fixture(scope="module")
def study(tiny_content_of_session: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("shelves") / "tiny.yaml"
    path.write_text(json.dumps(tiny_content_of_session), encoding="utf-8")
    return load_study(path, TABLES)


def random_rows(columns: tuple[Column, ...], trial_ids: list[str], generator: np.random.Generator) -> pd.DataFrame:
    """Rows of valid cells for `trial_ids`, some of them empty where they may be."""
    cells: dict[str, Any] = {}
    for column in columns:
        size = len(trial_ids)
        if column.name == "trial_id":
            cells[column.name] = pd.Series(trial_ids, dtype="str")
        elif column.kind == "text":
            allowed = {"status": STATUSES, "split": SPLITS, "quantity": QUANTITIES}.get(column.name, WORDS)
            cells[column.name] = pd.Series(generator.choice(np.array(allowed, dtype=object), size), dtype="str")
        elif column.kind == "whole":
            cells[column.name] = generator.integers(0, 5, size)
        else:
            values = generator.random(size) * 10.0 ** (
                0 if column.name.endswith(("accuracy", "fraction")) else generator.integers(-9, 9)
            )
            cells[column.name] = np.where(generator.random(size) < 0.2, np.nan, values) if column.optional else values
    return pd.DataFrame(cells)


def made_up(results: Path, seed: int) -> None:
    """Write the plan and the packs of some trials; packs hold retired trials too, and rows in any order."""
    generator = np.random.default_rng(seed)
    ids = [f"{int(number):016x}" for number in generator.integers(0, 2**60, size=int(generator.integers(1, 60)))]
    packs = [f"{int(number):012x}" for number in generator.integers(0, 2**40, size=int(generator.integers(1, 5)))]
    homes = {trial_id: str(generator.choice(packs)) for trial_id in ids}
    for stem, part in (("plan-1", ids[::2]), ("plan-2", ids[1::2])):
        plan = pd.DataFrame([(i, "grid", "tuning", homes[i]) for i in sorted(part)], columns=list(names(PLAN_TABLE)))
        plan.to_csv(results / f"{stem}.csv", index=False)
    (results / "plan-1.json").write_text('{"excluded_cells": [], "cells": 1, "last": false}', encoding="utf-8")
    (results / "plan-2.json").write_text('{"last": true}', encoding="utf-8")
    for position, pack in enumerate(set(homes.values())):
        own = [i for i in ids if homes[i] == pack] + [f"retired{position}"]
        generator.shuffle(own)
        folder = results / "raw" / pack
        folder.mkdir(parents=True)
        random_rows(TRIAL_COLUMNS, own, generator).to_csv(folder / "trials.csv", index=False)
        for name, table in GATHERED.items():
            some = [str(i) for i in generator.choice(own, size=int(generator.integers(0, 6 * len(own))))]
            random_rows(table.columns, some, generator).to_csv(folder / f"{name}.csv", index=False)
        times = random_rows(PACK_COLUMNS, [""], generator)
        times = times.assign(pack=pack, started="2026-01-01T00:00:00Z", ended="2026-01-01T00:00:09Z")
        times.to_csv(folder / "pack.csv", index=False)
        seal(folder)


def seal(folder: Path) -> None:
    write_checksums(folder, [path.name for path in folder.glob("*.csv")])


def gathered_at_once(study: Study, results: Path, out: Path) -> None:
    """Write what `aggregate` shall, the plain way."""

    def read(name: str, columns: tuple[Column, ...]) -> pd.DataFrame:
        frames = [read_table(results / "raw" / pack / f"{name}.csv", columns, "") for pack in sorted(set(plan["pack"]))]
        return pd.concat(frames, ignore_index=True)

    plan = pd.concat([read_table(results / f"plan-{n}.csv", PLAN_TABLE, "").assign(round=n) for n in (1, 2)])
    trials = plan[["trial_id", *names(PLACE_COLUMNS)]].merge(read("trials", TRIAL_COLUMNS)).sort_values("trial_id")
    for name, table in GATHERED.items():
        rows = read(name, table.columns)
        rows = rows[rows["trial_id"].isin(set(plan["trial_id"]))]
        if name == "curves":
            rows = rows.assign(split=pd.Categorical(rows["split"], SPLITS))
        rows = rows.sort_values(["trial_id", *table.order], kind="stable")
        rows = rows.astype({"split": "str"}) if name == "curves" else rows
        write_table(rows, out / f"{name}.csv", table.columns)
        if name == "curves":
            for target in study.targets:
                trials[target.column] = steps_to_target(trials, rows, target)
    columns = trial_columns(study)
    write_table(trials[list(names(columns))], out / "trials.csv", columns)


@settings(max_examples=4)
@given(seed=st.integers(0, 2**31), shelf_trials=st.sampled_from([1, 7, 1000]))
def test_shelves_do_not_show_in_the_tables(
    seed: int, shelf_trials: int, study: Study, tmp_path_factory: pytest.TempPathFactory
) -> None:
    results = tmp_path_factory.mktemp("results")
    made_up(results, seed)
    gathered_at_once(study, results, results / "expected")
    aggregate(study, results, shelf_trials)
    for name in ("trials", *GATHERED):
        assert (results / f"{name}.csv").read_bytes() == (results / "expected" / f"{name}.csv").read_bytes(), name
    assert not (results / ".aggregate").exists()


@pytest.mark.parametrize("table", ["trials", *GATHERED, "pack"])
@pytest.mark.parametrize("fault", ["missing", "extra"])
def test_a_pack_with_other_columns_is_named_and_nothing_is_gathered(
    fault: str, table: str, study: Study, tmp_path: Path
) -> None:
    made_up(tmp_path, 1)
    path = sorted(tmp_path.glob(f"raw/*/{table}.csv"))[-1]
    broken = pd.read_csv(path, dtype=str, keep_default_na=False)
    column = broken.columns[-1] if fault == "missing" else "colour"
    broken = broken.drop(columns=column) if fault == "missing" else broken.assign(colour="red")
    broken.to_csv(path, index=False)
    seal(path.parent)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        aggregate(study, tmp_path, 1)
    message = str(caught.value)
    assert message.startswith(f"{path}: column '{column}' is ") and len(message.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("shelf_trials", [1, 1000])
def test_lost_trials_are_counted_over_all_shelves(shelf_trials: int, study: Study, tmp_path: Path) -> None:
    made_up(tmp_path, 2)
    paths = sorted(tmp_path.glob("raw/*/trials.csv"))
    lost = {line.split(",")[0] for path in paths for line in path.read_text(encoding="utf-8").splitlines()[1:3]}
    for path in paths:
        table = read_table(path, TRIAL_COLUMNS, "")
        write_table(table[~table["trial_id"].isin(lost)], path, TRIAL_COLUMNS)
        seal(path.parent)
    planned = {i for i in lost if not i.startswith("retired")}
    with pytest.raises(
        UserError, match=rf"{len(planned)} planned trials have no results, such as {min(planned)}; train"
    ):
        aggregate(study, tmp_path, shelf_trials)


def test_what_a_killed_process_left_on_the_shelves_is_cleared_away(study: Study, tmp_path: Path) -> None:
    made_up(tmp_path, 3)
    left = tmp_path / ".aggregate" / "curves" / "0.arrow"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a shel")
    gathered_at_once(study, tmp_path, tmp_path / "expected")
    aggregate(study, tmp_path, 1)
    assert (tmp_path / "curves.csv").read_bytes() == (tmp_path / "expected" / "curves.csv").read_bytes()
    assert not left.exists()


def test_a_full_disk_is_told_in_one_line(study: Study, tiny_disk: Path) -> None:
    made_up(tiny_disk.parent, 4)
    for path in (tiny_disk.parent).glob("*.csv"):
        (tiny_disk / path.name).write_bytes(path.read_bytes())
    (tiny_disk / "plan-1.json").write_bytes((tiny_disk.parent / "plan-1.json").read_bytes())
    (tiny_disk / "raw").symlink_to(tiny_disk.parent / "raw")
    with pytest.raises(UserError, match=r"^.*: cannot be written: No space left on device") as caught:
        aggregate(study, tiny_disk, 1)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tiny_disk / ".aggregate").exists()


@given(
    ids=st.lists(st.text("0123456789abcdefé", max_size=20), unique=True, max_size=30),
    others=st.lists(st.text("0123456789abcdefé", max_size=20), max_size=30),
)
def test_positions_are_those_in_sorted_order(ids: list[str], others: list[str]) -> None:
    order, expected = TrialOrder(ids), sorted(ids)
    asked = [*ids, *others]
    positions = order.positions(pd.Series(asked, dtype="str"))
    assert positions.tolist() == [expected.index(each) if each in expected else -1 for each in asked]
    assert order.ids().tolist() == expected
    assert order.ids(positions[: len(ids)]).tolist() == ids
