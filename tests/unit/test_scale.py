"""Made-up results pass through every stage, so that large studies can be measured without training them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "scripts" / "scale.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_stage_is_measured_on_made_up_results(scale: ModuleType, tmp_path: Path) -> None:
    rows = pd.DataFrame(scale.measure(300, tmp_path), columns=scale.COLUMNS)
    assert rows["stage"].tolist() == ["plan", "plan 2", "aggregate", "time", "analyse", "report"]
    assert rows["trials"].iloc[-1] == 300
    assert rows[["wall_seconds", "cpu_seconds"]].gt(0).all(axis=None)
    assert rows["files"].tolist()[:-1] == [""] * 5
    page, document = (float(part.split()[1]) for part in rows["files"].iloc[-1].split(", "))
    assert page + document == pytest.approx(rows["output_mib"].iloc[-1], abs=0.1)
    assert rows["peak_mib"].between(10, 4000).all()
    trials = pd.read_csv(tmp_path / "results" / "scale-300" / "trials.csv")
    assert trials["stage"].value_counts().to_dict() == {"tuning": 160, "final": 128, "random": 12}
    assert 0 < (trials["status"] == "diverged").mean() < 0.2
    assert trials.groupby("activation")["test_accuracy"].mean().std() > 0.01
    for table, column in (("curves", "curve_rows"), ("layers", "layer_rows")):
        lines = (tmp_path / "results" / "scale-300" / f"{table}.csv").read_text(encoding="utf-8").count("\n")
        assert lines - 1 == rows[column].iloc[-1]


@pytest.mark.parametrize("size", [1000, 10_000, 100_000, 1_000_000])
def test_studies_are_of_the_size_asked_for(scale: ModuleType, size: int) -> None:
    content = scale.study_of(size)
    grid, random = content["samples"]
    cells = 1
    for levels in content["factors"].values():
        assert len(levels) == len(set(levels)) > 1
        cells *= len(levels)
    per_cell = grid["tune"]["learning_rate"] * len(grid["tuning_seeds"]) + len(grid["seeds"])
    assert cells * per_cell + random["draws"] == size
    assert random["draws"] < size / 3


def test_a_stage_that_fails_is_told_with_its_words(scale: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="ended with 3: so it goes"):
        scale.measured([sys.executable, "-c", "import sys; print('so it goes', file=sys.stderr); sys.exit(3)"])
