"""Seconds of a step belong to its kind: what makes a kind, what is measured of many kinds, and what is composed of that."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from trainatlas.catalogue import structure
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.planning import measured_trials, plan_round
from trainatlas.study.trial import Trial
from trainatlas.train import timing
from trainatlas.train.records import TIMED_BY, TIMING_COLUMNS, names
from trainatlas.train.timing import alone, composed, measure, one_at_a_time, steps_of_study, stopwatch, time_steps

Content = dict[str, Any]
StudyOf = Callable[..., Study]
CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp(depth=2, width=8)", "relu", "lecun_normal", "none", "sgd", "raw", 0.5, 64, 3, 7)


def grid(**levels: list[Any]) -> list[Trial]:
    """Return the kinds of every combination of these levels."""
    fields = [dict(zip(levels, texts, strict=True)) for texts in itertools.product(*levels.values())]
    return sorted(alone(TRIAL._replace(**each), 0) for each in fields)


GRID = grid(
    activation=["relu", "tanh", "elu"], normalisation=["none", "batch"], optimizer=["sgd", "adam"], batch_size=[8, 64]
)


@pytest.mark.parametrize(
    "change",
    [
        {"init": "zeros"},
        {"learning_rate": 3.0},
        {"seed": 9},
        {"schedule": "cosine"},
        {"epochs": 4, "stop_epoch": 2},
        {"preprocessing": "zca_whitening"},
        {"regularisation": "early_stopping(patience=2)"},
        {"regularisation": "abort"},
    ],
    ids=str,
)
def test_what_a_step_does_not_depend_on_makes_no_kind(change: dict[str, Any]) -> None:
    assert alone(TRIAL._replace(**change), 0) == alone(TRIAL, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "tanh"},
        {"normalisation": "batch"},
        {"optimizer": "adam"},
        {"preprocessing": "pca(components=5)"},
        {"regularisation": "dropout + abort"},
        {"augmentation": "crop"},
        {"batch_size": 32},
    ],
    ids=str,
)
def test_what_it_depends_on_does(change: dict[str, Any]) -> None:
    assert alone(TRIAL._replace(**change), 0) != alone(TRIAL, 0)


def test_augmented_images_are_transformed_in_every_step() -> None:
    kinds = {alone(TRIAL._replace(augmentation="crop", preprocessing=level), 0) for level in ("raw", "zca_whitening")}
    assert len(kinds) == 2


def test_every_final_run_draw_and_winner_has_a_row_under_the_studys_own_levels(
    tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    tiny["factors"]["optimizer"] = ["momentum", "adam"]
    tiny["learning_rate"] = {"default": {"low": 0.01, "high": 0.1}}
    tiny["parameters"] = {"optimizer.momentum": {"low": 0.5, "high": 0.9}, "batch_size": {"choices": [16, 64]}}
    study = study_of(tiny | {"samples": tiny["samples"][1:]})
    plan_round(study, tmp_path, 1, structure)
    trials = measured_trials(tmp_path)
    assert len(trials) == 6
    rows = steps_of_study(study, trials)
    assert {key[2] for key in rows} <= {"momentum", "adam"}
    for trial in trials:
        levels, _ = study.space.parted(trial.levels(), trial.batch_size)
        kind = rows[*(levels[name] for name in TIMED_BY[:-1]), trial.batch_size]
        assert (kind.activation, kind.batch_size) == (trial.activation, trial.batch_size)
        assert kind.optimizer.split("(")[0] == levels["optimizer"]
    assert {kind.seed for kind in rows.values()} == {min(trial.seed for trial in trials)}


def test_runs_that_only_choose_are_not_timed_nor_is_a_study_before_its_last_plan(
    tiny: Content, study_of: StudyOf, run_study: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    study = study_of(tiny)
    plan_round(study, tmp_path / "first", 1, structure)
    with pytest.raises(UserError, match=r"plan-2.json: no such file; `trainatlas plan` makes it"):
        time_steps(study, tmp_path / "first", CPU)
    run_study(study, trained)
    trials = measured_trials(trained)
    assert len(trials) == 32 + 6 and {trial.seed for trial in trials} == {1, 2, 3, 4}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trial], float]:
    """Steps take what a function of their kind says instead of time; returns that function."""
    cost = {"relu": 1.0, "tanh": 1.3, "elu": 1.5, "none": 1.0, "batch": 1.7, "sgd": 1.0, "adam": 2.0}

    def seconds(kind: Trial) -> float:
        return (
            1e-3 * cost[kind.activation] * cost[kind.normalisation] * cost[kind.optimizer] * math.sqrt(kind.batch_size)
        )

    monkeypatch.setattr(timing, "step_seconds", lambda kind, store, steps, runs: [seconds(kind)] * runs)
    return seconds


def test_what_is_composed_is_the_product_of_measured_ratios(made_up: Callable[[Trial], float]) -> None:
    """Against the kinds themselves, whose made-up costs are products, and against the product taken by hand."""
    chosen = one_at_a_time(GRID, Path())
    assert len(chosen) == 1 + 2 + 1 + 1 + 1
    noise = dict(zip(chosen, np.random.default_rng(0).uniform(0.9, 1.1, len(chosen)), strict=True))
    for known in ({kind: made_up(kind) for kind in chosen}, {kind: made_up(kind) * noise[kind] for kind in chosen}):
        reference, *others = chosen
        found = composed(GRID, known)
        for kind in GRID:
            product = known[reference]
            for name in TIMED_BY:
                if getattr(kind, name) != getattr(reference, name):
                    (other,) = (each for each in others if getattr(each, name) == getattr(kind, name))
                    product *= known[other] / known[reference]
            assert found[kind] == pytest.approx(product)
    exact = composed(GRID, {kind: made_up(kind) for kind in chosen})
    assert exact == pytest.approx({kind: made_up(kind) for kind in GRID})


def test_a_level_that_cannot_stand_beside_the_commonest_ones_is_measured_where_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = grid(activation=["relu", "tanh", "elu"], normalisation=["none", "batch"])
    (alien,) = grid(activation=["gelu"], normalisation=["layer"], regularisation=["l1"])

    def impossible(kind: Trial, folder: Path) -> str | None:
        return "a rule" if kind.normalisation == "layer" and kind.activation != "gelu" else None

    monkeypatch.setattr(timing, "impossible", impossible)
    chosen = one_at_a_time([*kinds, alien], Path())
    assert alien in chosen
    assert all(impossible(kind, Path()) is None for kind in chosen)
    levels, measured = (
        {(name, getattr(kind, name)) for kind in some for name in TIMED_BY} for some in ([*kinds, alien], chosen)
    )
    assert levels == measured
    seconds = dict(zip(chosen, np.linspace(1.0, 2.0, len(chosen)), strict=True))
    assert composed([alien], seconds)[alien] == pytest.approx(seconds[alien])


def test_runs_are_as_long_and_as_many_as_asked_for_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def timed(kind: Trial, store: object, steps: int, runs: int) -> list[float]:
        asked.append((steps, runs))
        return [0.5, 0.0004, 0.3]

    monkeypatch.setattr(timing, "step_seconds", timed)
    look = stopwatch(GRID[0], None)  # type: ignore[arg-type]
    assert [look() for _ in range(3)] == [0.0004] * 3
    assert asked == [(1, 3), (13, 12), (13, 12)]
    monkeypatch.setattr(timing, "step_seconds", lambda kind, store, steps, runs: [float(steps), float(runs)])
    slow = stopwatch(GRID[0], None)  # type: ignore[arg-type]
    assert [slow(), slow()] == [1.0, 1.0], "a step and three runs at least"


def test_no_turn_begins_when_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=0.6 * timing.LONGEST)
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(clock))
    paces = itertools.count()
    assert measure([lambda: float(next(paces))], 5) == [(1.0, 2.0)]


def test_the_table_holds_medians_over_turns_and_says_how_they_were_found(
    tiny: Content, study_of: StudyOf, tmp_path: Path, made_up: Callable[[Trial], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["samples"] = [{"name": "random", "strategy": "random", "draws": 200, "seeds": [3]}]
    tiny["factors"] |= {"activation": ["relu", "tanh", "elu"], "normalisation": ["none", "batch"]}
    study = study_of(tiny)
    plan_round(study, tmp_path, 1, structure)
    whole = time_steps(study, tmp_path, CPU)
    assert (whole.kinds, whole.measured) == (12, 12)
    table = pd.read_csv(tmp_path / "timing.csv", keep_default_na=False, na_values=[""])
    assert tuple(table.columns) == names(TIMING_COLUMNS)
    assert len(table) == 24, "two preprocessings that a step's time does not depend on"
    assert (
        set(table["how"]) == {"measured"} and set(table["turns"]) == {timing.TURNS} and set(table["device"]) == {"cpu"}
    )
    for row in table.itertuples():
        cost = made_up(
            TRIAL._replace(activation=row.activation, normalisation=row.normalisation, optimizer=row.optimizer)
        )
        assert (row.step_seconds, row.fastest_turn, row.slowest_turn) == pytest.approx((cost, cost, cost))
    monkeypatch.setattr(timing, "MOST_KINDS", 11)
    part = time_steps(study, tmp_path, CPU)
    assert (part.kinds, part.measured) == (12, 1 + 2 + 1 + 1)
    again = pd.read_csv(tmp_path / "timing.csv", keep_default_na=False, na_values=[""])
    assert again["step_seconds"].to_numpy() == pytest.approx(table["step_seconds"].to_numpy())
    measured = again["how"] == "measured"
    assert set(again.loc[measured, "turns"]) == {timing.TURNS_TO_COMPOSE}
    assert measured.sum() == 2 * part.measured
    assert again.loc[~measured, ["fastest_turn", "slowest_turn"]].isna().all(axis=None)
    assert again.loc[~measured, "turns"].eq(0).all()


def test_a_hundred_times_the_work_takes_longer(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    """The only times in here: two batch sizes so far apart that no other work on the machine hides it."""
    tiny["samples"] = [{"name": "random", "strategy": "random", "draws": 8, "seeds": [3]}]
    tiny["factors"] |= {"activation": ["relu"], "optimizer": ["sgd"], "init": ["normal"], "preprocessing": ["raw"]}
    tiny |= {"network": "mlp(depth=3, width=256)", "parameters": {"batch_size": {"choices": [8, 1000]}}}
    study = study_of(tiny)
    plan_round(study, tmp_path, 1, structure)
    time_steps(study, tmp_path, CPU)
    seconds = pd.read_csv(tmp_path / "timing.csv").set_index("batch_size")["step_seconds"]
    assert 0 < seconds[8] < seconds[1000]
