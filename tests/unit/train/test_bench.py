"""The bench times what it says, whatever the times are."""

import csv
from pathlib import Path

import pytest
import torch

from trainatlas.train import bench
from trainatlas.train.work import Ceilings

CPU = torch.device("cpu")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(bench, "PROCESS_STEPS", 3)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_every_row_holds_all_that_is_compared(tmp_path: Path) -> None:
    rows = list(bench.measure(CPU, Ceilings(1e11, 1e10), 4e9, 1, 0.01, ["digits 2x64"], [1, 8]))
    assert [(row.case, row.trials, row.stack) for row in rows] == [("digits 2x64", 1, 1), ("digits 2x64", 8, 8)]
    for row in rows:
        assert row.scikit_learn is not None
        assert min(row.stacked, row.loop, row.process, row.scikit_learn, row.limit) > 0
        assert row.ratio == row.stacked / row.loop
        assert row.share == row.stacked / row.limit
    bench.write_rows(rows, tmp_path / "bench.csv")
    with (tmp_path / "bench.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [float(row["stacked"]) for row in written] == [row.stacked for row in rows]
    assert [float(row["share"]) for row in written] == [row.share for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_stack_that_memory_does_not_hold_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_in_fresh_process", lambda trial: 1.0)
    limit = bench.predict(bench._company(bench.CASES["digits 2x64"], 8), bench.ExampleStore(CPU)).of(5) + 1
    (row,) = bench.measure(CPU, Ceilings(1e11, 1e10), limit, 1, 0.01, ["digits 2x64"], [8])
    assert (row.trials, row.stack) == (8, 5)


@pytest.mark.slow
def test_probes_are_timed_against_none() -> None:
    torch.set_num_threads(1)
    found = dict(bench.measure_probes(CPU, repeats=1, trials=2))
    assert list(found) == ["light", "standard", "full"]
    assert all(share > -1 for share in found.values())
