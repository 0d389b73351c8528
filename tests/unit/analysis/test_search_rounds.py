"""What searches found, from tables whose every number is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainatlas.analysis.search_rounds import read_regions, search_rounds
from trainatlas.report.search import search_section
from trainatlas.study.config import Study
from trainatlas.study.trial import FACTORS

Content = dict[str, Any]
StudyOf = Callable[..., Study]
RunStudy = Callable[[Study, Path], dict[str, pd.DataFrame]]

SEARCHES = [
    {"name": "c2f", "strategy": "coarse_to_fine", "draws": 10, "coarse_epochs": 1, "extensions": 1},
    {"name": "halving", "strategy": "successive_halving", "draws": 9, "first_epochs": 1, "reduction": 3},
    {"name": "tpe", "strategy": "bayesian", "draws": 9, "batch": 4, "startup": 4},
]


@pytest.fixture
def searching(tiny: Content) -> Content:
    extra = {"seeds": [0], "final_seeds": [1, 2]}
    random = {"name": "random", "strategy": "random", "draws": 12, "seeds": [3]}
    rates = {"sgd": {"low": 0.001, "high": 1.0}, "adam": {"low": 0.0001, "high": 0.1}}
    parameters = {"optimizer.beta1": {"low": 0.5, "high": 0.95}, "batch_size": {"choices": [32, 64]}}
    samples = [random, *(search | extra for search in SEARCHES)]
    factors = tiny["factors"] | {"init": ["kaiming_normal"], "preprocessing": ["raw"]}
    return tiny | {
        "samples": samples,
        "learning_rate": rates,
        "factors": factors,
        "parameters": parameters,
        "epochs": 3,
    }


def run_of(study: Study, number: int, **known: Any) -> dict[str, Any]:
    levels = {factor: study.factors[factor][0] for factor in FACTORS}
    common = {
        "trial_id": f"{number:016x}",
        "learning_rate": 0.1,
        "seed": 0,
        "status": "ok",
        "epochs_run": 3,
        "batch_size": 32,
    }
    accuracy = known.pop("accuracy")
    return (
        levels
        | common
        | {
            "final_validation_accuracy": accuracy,
            "best_validation_accuracy": accuracy,
            "final_validation_loss": 1 - accuracy,
            "test_accuracy": accuracy - 0.01,
            "optimizer.beta1": np.nan,
        }
        | known
    )


def test_rounds_are_summarised_with_what_they_cost_and_found(searching: Content, study_of: StudyOf) -> None:
    study = study_of(searching)
    rungs = {"sample": "halving", "stage": "rung"}
    trials = pd.DataFrame(
        [run_of(study, i, **rungs, round=1, accuracy=0.1 * i, epochs_run=1) for i in range(9)]
        + [run_of(study, 20 + i, **rungs, round=2, accuracy=0.85 + 0.01 * i, epochs_run=3) for i in range(3)]
        + [
            run_of(study, 30 + i, sample="halving", stage="winner", round=3, accuracy=0.8 + 0.1 * i, seed=i)
            for i in (0, 1)
        ]
        + [
            run_of(study, 40 + i, sample="random", stage="random", round=2, accuracy=0.1 * i, seed=3)
            for i in range(1, 9)
        ]
    )
    first, second, winner = search_rounds(study, trials, 0.1).itertuples()
    assert (first.stage, first.trials, first.epochs, first.validation_accuracy) == ("rung", 9, 9, pytest.approx(0.8))
    assert (second.trials, second.epochs) == (3, 9 + 3 * 2), "continued from one epoch, two more each"
    assert second.validation_accuracy == pytest.approx(0.87) and second.test_accuracy == pytest.approx(0.86)
    assert (winner.epochs, winner.validation_accuracy) == (15 + 6, pytest.approx(0.85))
    assert (winner.test_accuracy, winner.test_low < 0.84 < winner.test_high) == (pytest.approx(0.84), True)
    assert np.isnan(second.test_low)
    # 9 epochs pay for 3 draws of 3 epochs: the best of 3 of 8 accuracies 0.1 to 0.8 is expected at 3 * 9 / 4 tenths.
    assert first.random_accuracy == pytest.approx(0.1 * 3 * 9 / 4)
    assert second.setting == "relu, sgd, rate 0.1, batch_size 32"


def test_a_diverged_trial_is_not_the_best_and_is_counted(searching: Content, study_of: StudyOf) -> None:
    study = study_of(searching)
    runs = [run_of(study, i, sample="tpe", stage="batch", round=1, accuracy=0.5 + 0.1 * i) for i in range(3)]
    runs[2]["status"] = "diverged"
    (row,) = search_rounds(study, pd.DataFrame(runs), 0.1).itertuples()
    assert (row.lost, row.trial_id, row.validation_accuracy) == (1, runs[1]["trial_id"], pytest.approx(0.6))


def test_a_study_of_every_search_runs_to_its_tables_and_its_section(
    searching: Content, study_of: StudyOf, run_study: RunStudy, tmp_path: Path
) -> None:
    study = study_of(searching)
    tables = run_study(study, tmp_path)
    rounds = tables["search_rounds"]
    assert set(rounds["sample"]) == {"c2f", "halving", "tpe"}
    stages = rounds.groupby("sample")["stage"].agg(list)
    assert stages["halving"] == ["rung", "rung", "winner"] and stages["tpe"] == ["batch", "batch", "batch", "winner"]
    assert stages["c2f"][0] == "coarse" and stages["c2f"][-2:] == ["fine", "winner"]
    assert rounds["validation_accuracy"].between(0, 1).all()
    regions = read_regions(tmp_path)
    pd.testing.assert_frame_equal(regions, tables["search_regions"])
    assert {"learning_rate.sgd", "learning_rate.adam", "optimizer.beta1"} == set(regions["name"])
    assert (regions["low"] <= regions["high"]).all()
    section = search_section(study, tables)
    text = " ".join(section.paragraphs)
    for name, strategy in (("c2f", "coarse to fine"), ("halving", "successive halving"), ("tpe", "bayesian")):
        assert f"Search {name} ({strategy})." in text
    assert "On fresh seeds the best reaches a test accuracy of" in text
    assert {block.data for block in section.blocks} >= {"search_rounds", "search_regions"}
