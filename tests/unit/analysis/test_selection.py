"""Learning rates are chosen on validation data, by the stated rule, and on nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainatlas.analysis.selection import choose, chosen_settings, planned_trials, selected, with_places
from trainatlas.analysis.tables import SELECTED_COLUMNS, read_table, write_table
from trainatlas.catalogue import structure
from trainatlas.study.checksums import write_checksums
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.planning import pack_path, plan_round, read_pack
from trainatlas.study.trial import FACTORS
from trainatlas.train.pack import train_pack
from trainatlas.train.records import names

RUN = dict.fromkeys(FACTORS, "only") | {"sample": "grid", "seed": 0, "status": "ok"}
COLUMNS = ("learning_rate", "final_validation_accuracy", "final_validation_loss")


def tuning(*runs: tuple[float, float | None, float | None], **changes: Any) -> pd.DataFrame:
    """Tuning runs of one cell: (rate, validation accuracy, validation loss)."""
    table = pd.DataFrame([RUN | dict(zip(COLUMNS, run, strict=True)) | changes for run in runs])
    return table.assign(best_validation_accuracy=1.0)  # of the best epoch: plays no part unless it is the metric


def chosen(table: pd.DataFrame) -> float:
    (row,) = choose(table).itertuples()
    return float(row.learning_rate)


def test_the_best_validation_accuracy_wins() -> None:
    assert chosen(tuning((0.01, 0.7, 0.1), (0.1, 0.9, 0.5), (1.0, 0.8, 0.2))) == 0.1


def test_ties_go_to_the_smaller_loss_then_to_the_smaller_rate() -> None:
    assert chosen(tuning((0.01, 0.9, 0.5), (0.1, 0.9, 0.3), (1.0, 0.8, 0.1))) == 0.1
    assert chosen(tuning((1.0, 0.9, 0.3), (0.1, 0.9, 0.3), (0.01, 0.2, 0.1))) == 0.1


def test_rounding_in_a_mean_breaks_no_tie() -> None:
    thirds = [0.1 + 0.2, 0.3]  # 0.30000000000000004 and 0.3
    assert chosen(tuning((1.0, thirds[0], 0.5), (0.1, thirds[1], 0.4))) == 0.1


def test_accuracies_are_averaged_over_tuning_seeds() -> None:
    table = pd.concat([tuning((0.1, 0.9, 1.0), (1.0, 0.8, 1.0)), tuning((0.1, 0.5, 1.0), (1.0, 0.7, 1.0), seed=1)])
    (row,) = choose(table).itertuples()
    assert (row.learning_rate, row.validation_accuracy) == (1.0, pytest.approx(0.75))


def test_a_diverged_run_counts_with_the_accuracy_it_ended_at() -> None:
    table = pd.concat([tuning((0.1, 0.6, 1.0)), tuning((1.0, 0.95, np.inf), status="diverged")])
    (row,) = choose(table).itertuples()
    assert (row.learning_rate, row.diverged_rates) == (1.0, 1)


def test_a_failed_run_counts_as_wrong_throughout() -> None:
    table = pd.concat([tuning((0.1, 0.1, 9.0)), tuning((1.0, None, None), status="failed")])
    assert chosen(table) == 0.1
    only_failed = tuning((0.1, None, None), (1.0, None, None), status="failed")
    assert chosen(only_failed) == 0.1


@pytest.mark.parametrize(("best", "edge"), [(0.01, 1), (0.1, 0), (1.0, 1)])
def test_a_choice_at_the_end_of_the_range_is_flagged(best: float, edge: int) -> None:
    table = tuning(*((rate, 0.9 if rate == best else 0.5, 1.0) for rate in (0.01, 0.1, 1.0)))
    (row,) = choose(table).itertuples()
    assert (row.learning_rate, row.at_edge) == (best, edge)


def test_a_range_of_one_rate_has_no_edge() -> None:
    (row,) = choose(tuning((0.1, 0.5, 1.0))).itertuples()
    assert row.at_edge == 0


def many_cells(seed: int) -> pd.DataFrame:
    """Tuning runs of several cells with accuracies at random, ties among them, and test columns beside."""
    generator = np.random.default_rng(seed)
    cells = [
        tuning(*((rate, generator.integers(1, 5) / 5, generator.integers(1, 4) / 2) for rate in (0.01, 0.1, 1.0)),
               activation=activation, optimizer=optimizer, seed=tuning_seed)
        for activation in ("relu", "tanh") for optimizer in ("sgd", "adam") for tuning_seed in (0, 1)
    ]  # fmt: skip
    table = pd.concat(cells, ignore_index=True)
    return table.assign(
        test_accuracy=generator.uniform(size=len(table)),
        test_loss=generator.uniform(size=len(table)),
        final_train_accuracy=generator.uniform(size=len(table)),
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_test_data_play_no_part(seed: int) -> None:
    table = many_cells(seed)
    expected = choose(table)
    scrambled = table.assign(
        test_accuracy=table["test_accuracy"].sample(frac=1, random_state=seed).to_numpy(), test_loss=np.inf
    )
    pd.testing.assert_frame_equal(choose(scrambled), expected)
    without = table.drop(columns=["test_accuracy", "test_loss", "final_train_accuracy"])
    pd.testing.assert_frame_equal(choose(without), expected)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_choice_is_the_rule_said_slowly(seed: int) -> None:
    table = many_cells(seed)
    result = choose(table.sample(frac=1, random_state=seed)).set_index(["activation", "optimizer"])
    assert len(result) == 4
    for (activation, optimizer), row in result.iterrows():
        own = table[(table["activation"] == activation) & (table["optimizer"] == optimizer)]
        means = {
            rate: (runs["final_validation_accuracy"].mean(), runs["final_validation_loss"].mean())
            for rate, runs in own.groupby("learning_rate")
        }
        best = min(means, key=lambda rate: (-round(means[rate][0], 9), means[rate][1], rate))
        assert row["learning_rate"] == best
        assert row["validation_accuracy"] == pytest.approx(means[best][0])


def test_the_table_has_the_columns_of_its_dictionary() -> None:
    assert tuple(choose(many_cells(0)).columns) == names(SELECTED_COLUMNS)


# On disk.


def test_a_trial_without_a_row_stops_the_study(
    tiny: dict[str, Any], study_of: Callable[..., Study], tmp_path: Path
) -> None:
    study = study_of(tiny)
    for pack in plan_round(study, tmp_path, 1, structure)["packs"]:
        train_pack(read_pack(pack_path(tmp_path, pack)), tmp_path / "raw" / pack, torch.device("cpu"), 0.0, print)
    plan = planned_trials(tmp_path, [1])
    assert len(selected(study, tmp_path)) == len(chosen_settings(study, tmp_path)) == 16
    lost = plan.iloc[3]
    path = tmp_path / "raw" / lost["pack"] / "trials.csv"
    kept = [line for line in path.read_text(encoding="utf-8").splitlines(True) if lost["trial_id"] not in line]
    path.write_text("".join(kept), encoding="utf-8")
    write_checksums(path.parent, ["trials.csv"])
    with pytest.raises(UserError, match=f"1 planned trials have no results, such as {lost['trial_id']}"):
        chosen_settings(study, tmp_path)


def test_rows_of_trials_that_are_planned_no_more_are_left_out(
    tiny: dict[str, Any], study_of: Callable[..., Study], tmp_path: Path
) -> None:
    plan_round(study_of(tiny), tmp_path, 1, structure)
    plan = planned_trials(tmp_path, [1])
    table = pd.DataFrame({"trial_id": [*plan["trial_id"], "retired"], "status": "ok"})
    assert "retired" not in set(with_places(table, plan)["trial_id"])


def test_a_plan_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan-1\.csv: no such file; `trainatlas plan` makes it"):
        planned_trials(tmp_path, [1])
    (tmp_path / "plan-1.csv").write_text("trial_id,pack\na,b\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"plan-1\.csv: column 'sample' is missing; .*allowed: trial_id, sample, stage, pack"
    ):
        planned_trials(tmp_path, [1])


def test_a_study_without_a_grid_has_nothing_to_choose(
    tiny: dict[str, Any], study_of: Callable[..., Study], tmp_path: Path
) -> None:
    tiny["samples"] = tiny["samples"][1:]
    study = study_of(tiny)
    plan_round(study, tmp_path, 1, structure)
    assert chosen_settings(study, tmp_path) == []
    write_table(selected(study, tmp_path), tmp_path / "selected.csv", SELECTED_COLUMNS)
    assert len(read_table(tmp_path / "selected.csv", SELECTED_COLUMNS, "")) == 0
