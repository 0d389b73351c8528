"""Searches under Snakemake: one command runs all rounds, and one that was killed ends with the tables of one left alone."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from places import Place
from trainatlas.catalogue import TABLES
from trainatlas.study.config import load_study

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

SAMPLES = [
    {"name": "c2f", "strategy": "coarse_to_fine", "draws": 10, "coarse_epochs": 1, "seeds": [0], "final_seeds": [1]},
    {"name": "halving", "strategy": "successive_halving", "draws": 4, "first_epochs": 1, "reduction": 2, "seeds": [0]},
]


def test_a_killed_search_goes_on_to_the_tables_of_one_left_alone(
    tmp_path: Path, tiny: dict[str, Any], run_study: Callable[..., Any]
) -> None:
    tiny |= {"samples": SAMPLES, "learning_rate": {"default": {"low": 0.001, "high": 0.1}}}
    tiny["factors"] |= {"optimizer": ["sgd"], "preprocessing": ["raw"], "init": ["kaiming_normal"]}
    place = Place(tmp_path)
    place.write(tiny)
    second = place.results / "plan-2.json"
    place.disturb(signal.SIGKILL, second.exists, place.gathered)
    assert second.exists() and not (place.results / "trials.csv").exists()
    before = place.trained()
    place.finish(place.gathered)
    assert {pack: time for pack, time in place.trained().items() if pack in before} == before, (
        "nothing is trained twice"
    )

    stages = pd.read_csv(place.results / "trials.csv").groupby(["sample", "round"])["stage"].agg(set).to_dict()
    assert stages == {
        ("c2f", 1): {"coarse"}, ("c2f", 2): {"fine"}, ("c2f", 3): {"winner"},
        ("halving", 1): {"rung"}, ("halving", 2): {"rung"},
    }  # fmt: skip
    assert [json.loads((place.results / f"plan-{n}.json").read_text())["last"] for n in (1, 2, 3)] == [
        False,
        False,
        True,
    ]
    assert any("goes on from the weights" in path.read_text() for path in place.results.glob("logs/train/*.log"))

    alone = tmp_path / "alone" / "tiny.yaml"
    alone.parent.mkdir()
    alone.write_text(yaml.safe_dump(tiny, sort_keys=False), encoding="utf-8")
    run_study(load_study(alone, TABLES), tmp_path / "alone" / "results")
    for name in ("trials.csv", "curves.csv", "selected.csv"):
        found, expected = (pd.read_csv(folder / name) for folder in (place.results, tmp_path / "alone" / "results"))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
