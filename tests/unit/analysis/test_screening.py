"""What is told early agrees with SciPy, with brute force, and with runs whose fate is known."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.columns import ABORT_COLUMNS, SCREENING_COLUMNS
from trainatlas.analysis.screening import (
    NEAR,
    RISES,
    SEARCH_TRIALS,
    Progress,
    abort_rule,
    looked_at,
    screening,
    weighted_spearman,
)
from trainatlas.train.records import names

CHANCE = 0.1


def trials_of(final: Any, stage: str = "random", seed: int = 0, epochs: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_id": [f"{stage}{seed}-{number:04d}" for number in range(len(final))],
            "stage": stage, "seed": seed, "epochs": epochs, "status": "ok", "first_train_loss": 2.0, "regularisation": "none",
            "final_validation_accuracy": final,
        }
    )  # fmt: skip


def epochs_of(trials: pd.DataFrame, accuracies: Any) -> pd.DataFrame:
    """Accuracies, (trials, epochs), as `Progress.epochs` has them; nan where a run has ended."""
    table = pd.DataFrame(accuracies, index=trials["trial_id"], columns=range(1, np.shape(accuracies)[1] + 1))
    return table.stack().rename("accuracy").rename_axis(["trial_id", "epoch"]).reset_index().dropna()


def test_a_trial_that_counts_several_times_is_as_several_trials() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, size=(2, 30)) / 6.0
        times = rng.integers(0, 3, size=30)
        expected = stats.spearmanr(np.repeat(a, times), np.repeat(b, times)).statistic
        assert weighted_spearman(a, b, times.astype(float)) == pytest.approx(expected)
    assert np.isnan(weighted_spearman(np.ones(3), np.arange(3), np.ones(3)))


def test_rank_correlations_are_scipys_mean_over_seeds() -> None:
    rng = np.random.default_rng(0)
    parts, readings, expected = [], [], []
    for seed in (1, 2):
        early = rng.uniform(size=(40, 4))
        final = early.mean(axis=1) + rng.normal(scale=0.05, size=40)
        parts.append(trials_of(final, seed=seed))
        readings.append(epochs_of(parts[-1], early))
        expected.append(
            [(stats.spearmanr(e, final).statistic, stats.kendalltau(e, final).statistic) for e in early.T[:3]]
        )
    table = screening(pd.concat(parts), pd.concat(readings), CHANCE)
    assert tuple(table) == names(SCREENING_COLUMNS)
    assert table["epoch"].tolist() == [1, 2, 3]  # the last epoch is the end
    np.testing.assert_allclose(table[["spearman", "kendall"]], np.mean(expected, axis=0))
    for name in ("spearman", "kendall"):
        assert ((table[f"{name}_low"] < table[name]) & (table[name] < table[f"{name}_high"])).all()
    assert table["seeds"].eq(2).all() and table["trials"].eq(80).all() and table["searched"].eq(20).all()


def test_intervals_of_rank_correlation_hold_the_truth_about_as_often_as_they_say() -> None:
    """Two normal variables of correlation r: rho = 6 / pi asin(r / 2), tau = 2 / pi asin(r) (Kruskal 1958)."""
    rng, r, held = np.random.default_rng(1), 0.8, []
    rho, tau = 6 / np.pi * np.arcsin(r / 2), 2 / np.pi * np.arcsin(r)
    for _ in range(60):
        a, b = rng.normal(size=(2, 100))
        trials = trials_of(a, epochs=2)
        row = screening(trials, epochs_of(trials, (r * a + np.sqrt(1 - r**2) * b)[:, None]), CHANCE).iloc[0]
        held.append((row["spearman_low"] < rho < row["spearman_high"], row["kendall_low"] < tau < row["kendall_high"]))
    assert (np.mean(held, axis=0) > 0.85).all()


def test_screening_by_the_final_order_loses_nothing_and_by_the_reverse_all() -> None:
    final = np.linspace(0.2, 0.9, 64)
    trials = trials_of(final)
    table = screening(trials, epochs_of(trials, np.stack([final, -final, final], axis=1)), CHANCE)
    assert table["searched"].eq(SEARCH_TRIALS).all()
    regrets = table[[name for name in table if name.startswith("regret")]]
    assert regrets.iloc[0].eq(0).all() and regrets.iloc[2].eq(0).all()
    assert table["spearman"].tolist() == pytest.approx([1, -1, 1])
    # The best of 32 of 64 evenly spaced runs stands about half the range, 0.35, above the best of their worse half.
    assert regrets["regret_half"].iloc[1] == pytest.approx(0.35, abs=0.03)
    assert regrets["regret_third"].iloc[1] > regrets["regret_half"].iloc[1]


def test_the_mean_regret_is_that_of_all_searches() -> None:
    rng = np.random.default_rng(0)
    final, early = rng.uniform(size=(2, 12))
    trials = trials_of(final, epochs=2)
    row = screening(trials, epochs_of(trials, early[:, None]), CHANCE).iloc[0]
    lost = []
    for chosen in map(list, itertools.combinations(range(12), 6)):
        kept = sorted(chosen, key=lambda run: -early[run])[:3]
        lost.append(final[chosen].max() - final[kept].max())
    assert row["searched"] == 6
    assert row["regret_half"] == pytest.approx(np.mean(lost), abs=0.02)
    assert row["regret_half_worst"] == pytest.approx(np.quantile(lost, 0.95), abs=0.08)


def test_a_run_that_is_lost_ranks_as_chance_from_then_on_and_one_that_stops_keeps_its_last() -> None:
    trials = trials_of([0.9, 0.8, 0.7, 0.6, 0.95], epochs=3)
    trials["status"] = ["ok", "ok", "ok", "stopped_early", "diverged"]
    early = np.array([[0.5, 0.6], [0.4, 0.5], [0.3, 0.4], [0.2, np.nan], [0.9, np.nan]])
    table = screening(trials, epochs_of(trials, early), CHANCE)
    expected = [
        stats.spearmanr([0.5, 0.4, 0.3, 0.2, 0.9], [0.9, 0.8, 0.7, 0.6, 0.1]).statistic,
        stats.spearmanr([0.6, 0.5, 0.4, 0.2, 0.1], [0.9, 0.8, 0.7, 0.6, 0.1]).statistic,
    ]
    assert table["spearman"].tolist() == pytest.approx(expected)


def test_a_run_without_any_reading_is_counted() -> None:
    trials = trials_of([0.9, 0.8, 0.7, 0.6, 0.5, 0.0], epochs=2)
    trials.loc[5, "status"] = "diverged"
    epochs = epochs_of(trials, np.array([[0.5], [0.4], [0.3], [0.2], [0.15], [np.nan]]))
    table = screening(trials, epochs, CHANCE)
    assert table["trials"].tolist() == [6] and table["spearman"].tolist() == pytest.approx([1.0])


def test_epochs_looked_at_are_all_or_spread_on_a_log_scale() -> None:
    assert looked_at(5) == [1, 2, 3, 4, 5]
    many = looked_at(300)
    assert many[0] == 1 and many[-1] == 300 and len(many) <= 12
    assert looked_at(0) == []


def test_studies_of_one_epoch_or_few_trials_have_nothing_to_screen() -> None:
    trials = trials_of([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], epochs=1)
    assert screening(trials, epochs_of(trials, np.zeros((6, 1))), CHANCE).empty
    few = trials_of([0.5, 0.6], epochs=3)
    assert screening(few, epochs_of(few, np.zeros((2, 2))), CHANCE).empty
    assert screening(few.iloc[:0], epochs_of(few, np.zeros((2, 2))).iloc[:0], CHANCE).empty


def test_progress_is_noted_whatever_parts_curves_come_in() -> None:
    trials = pd.concat([trials_of([0.5, 0.6]), trials_of([0.7], stage="final")])
    trials["first_train_loss"] = [2.0, 2.0, 4.0]
    ids = trials["trial_id"].tolist()
    rows = [
        (ids[0], 0.0, "train_batch", 2.0, np.nan), (ids[0], 0.5, "train_batch", 7.0, np.nan),
        (ids[0], 0.0, "validation", 2.0, 0.1), (ids[0], 1.0, "validation", 1.0, 0.5), (ids[0], 1.25, "validation", 1.0, 0.7),
        (ids[1], 0.0, "train_batch", 2.0, np.nan), (ids[1], 0.5, "train_batch", 1.0, np.nan), (ids[1], 1.0, "train", 9.0, 0.2),
        (ids[2], 0.0, "train_batch", 4.0, np.nan), (ids[2], 1.0, "validation", 1.0, 0.9),
        ("unknown", 0.0, "train_batch", 99.0, np.nan),
    ]  # fmt: skip
    curves = pd.DataFrame(rows, columns=["trial_id", "epoch", "split", "loss", "accuracy"])
    for parts in ([curves], [curves.iloc[:0], *(curves.iloc[[i]] for i in range(len(curves)))]):
        progress = Progress(trials)
        passed = pd.concat(list(progress.passing(parts)))
        pd.testing.assert_frame_equal(passed, curves)
        assert progress.rises.set_index("trial_id")["rise"].to_dict() == {ids[0]: 3.5, ids[1]: 1.0, ids[2]: 1.0}
        assert progress.epochs.to_dict("records") == [{"trial_id": ids[0], "epoch": 1, "accuracy": 0.5}]


def test_the_rule_is_judged_by_how_runs_that_it_would_have_stopped_ended() -> None:
    #                    soars, well  soars, near    soars, lost  soars, chance  calm ...          calm, chance  error
    final = [0.80, 0.95, 0.0, 0.11, 0.96, 0.97, 0.98, 0.10, np.nan]
    trials = trials_of(final)
    trials["status"] = ["ok", "ok", "diverged", "ok", "ok", "stopped_early", "ok", "ok", "failed"]
    rises = trials[["trial_id"]].assign(rise=[4.0, 3.5, 1.0, 6.0, 1.0, 1.2, 2.9, 1.0, np.nan]).dropna()
    table = abort_rule(trials, rises, CHANCE, validation_examples=359)
    assert tuple(table) == names(ABORT_COLUMNS) and table["rise"].tolist() == list(RISES)
    row = table.set_index("rise").loc[3.0]
    assert row[["runs", "stopped", "seen", "bad", "recovered", "near"]].tolist() == [8, 4, 3, 3, 2, 1]
    assert row["precision"] == 0.5 and row["recall"] == pytest.approx(2 / 3)
    assert (row["recovered_share"], row["near_share"]) == (0.5, 0.25)
    ends = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert (row["recovered_low"], row["recovered_high"]) == pytest.approx((ends.low, ends.high))
    assert np.median([0.80, 0.95, 0.0, 0.11, 0.96, 0.97, 0.98, 0.10]) - NEAR > 0.80  # so that one of the two is near
    assert table.set_index("rise").loc[10.0, ["stopped", "seen"]].tolist() == [1, 0]  # a lost run exceeds every limit


def test_stages_are_told_apart_and_together() -> None:
    trials = pd.concat([trials_of([0.9, 0.9], "final"), trials_of([0.9, 0.05], "tuning")])
    rises = trials[["trial_id"]].assign(rise=[1.0, 1.0, 1.0, 4.0])
    table = abort_rule(trials, rises, CHANCE, 359).set_index(["stage", "rise"])
    assert table.loc[("all", 3.0), ["runs", "stopped"]].tolist() == [4, 1]
    assert table.loc[("final", 3.0), "stopped"] == 0 and np.isnan(table.loc[("final", 3.0), "precision"])
    assert abort_rule(trials.iloc[:0], rises.iloc[:0], CHANCE, 359).empty
