"""What figures of accuracy say of runs that were planted."""

import numpy as np
import pandas as pd
import pytest

from trainatlas.analysis.dead_units import dead_against_accuracy as correlations
from trainatlas.analysis.summaries import cell_summaries
from trainatlas.report import accuracy_figures
from trainatlas.report.accuracy_figures import dead_against_accuracy, distribution, forest, tied
from trainatlas.study.trial import FACTORS

SEEDS = 5


@pytest.fixture
def study(tiny, study_of):
    return study_of(tiny)


@pytest.fixture
def final(study):
    """Final runs of every cell: tanh is 20 points worse and wider spread, raw is no different from standardised."""
    rng = np.random.default_rng(7)
    rows = []
    for cell in study.cells():
        worse = 0.2 * (cell["activation"] == "tanh") + 0.01 * (cell["init"] != "kaiming_normal")
        for seed in range(SEEDS):
            noise = rng.normal(0, 0.05 if cell["activation"] == "tanh" else 0.002)
            rows.append(
                cell | {"seed": seed, "test_accuracy": 0.9 - worse + noise, "status": "ok", "learning_rate": 0.1}
            )
    table = pd.DataFrame(rows)
    dead = np.where(table["activation"] == "relu", (0.9 - table["test_accuracy"]).clip(lower=0), 0.0)
    return table.assign(final_validation_accuracy=table["test_accuracy"], final_dead_fraction=dead)


@pytest.fixture
def cells(final):
    return cell_summaries(final, final.drop_duplicates(list(FACTORS)).assign(at_edge=0))


def test_the_widest_and_the_narrowest_level_are_named_with_their_ends(final, study):
    final["test_accuracy"] += 0.2 * (final["activation"] == "tanh")  # no better, no worse: other levels mix both
    figure = distribution(final, study)
    ends = final[final["activation"] == "tanh"]["test_accuracy"].quantile([0.1, 0.9])
    low, high = (f"{end:.1%}" for end in ends)
    assert f"most with activation tanh, the middle 80% from {low} to {high}" in figure.caption
    assert "least with activation ReLU" in figure.caption
    assert "does not begin at zero" in figure.caption
    medians = final.groupby("activation")["test_accuracy"].median()
    assert f"activation tanh {medians['tanh']:.1%}" in figure.alt
    assert figure.data == "trials" and figure.svg.startswith("<?xml")


def test_a_forest_says_how_many_arms_are_not_told_apart_from_the_first(cells, study):
    figure = forest(cells, study, 3, 2)
    assert "The first 3 arms by validation accuracy and, on a scale of their own, the last 2." in figure.caption
    tied = ((cells["behind_low"] <= 0) & (cells["behind_high"] >= 0))[1:]
    assert 1 < tied.sum() < len(tied)
    assert f"{tied.sum()} of {len(tied)} others cannot be told apart" in figure.caption
    assert figure.alt.count("#") == 5 and "#16 tanh" in figure.alt
    assert f"({cells.loc[0, 'low']:.1%}".replace("%", " to") in figure.alt
    whole = forest(cells, study, 10, 6)
    assert "In order of validation accuracy." in whole.caption and whole.alt.count("#") == 16


def test_one_seed_has_no_intervals_and_nothing_is_told_apart(final, study):
    alone = final[final["seed"] == 0]
    cells = cell_summaries(alone, alone.assign(at_edge=0))
    figure = forest(cells, study, 16, 8)
    assert "(one seed: no interval)" in figure.caption and "Of one seed nothing can be told apart." in figure.caption
    assert not tied(cells).any(), "no interval holds zero where there is none"


def test_a_study_of_one_arm_is_compared_with_nothing(final, study):
    cell = final.iloc[0]
    arm = final[(final[list(FACTORS)] == cell[list(FACTORS)]).all(axis=1)]
    levels = {factor: (cell[factor],) for factor in FACTORS}
    alone = study.model_copy(update={"factors": levels})
    assert "most with" not in distribution(arm, alone).caption
    figure = forest(cell_summaries(arm, arm.assign(at_edge=0)), alone, 16, 8)
    assert "others" not in figure.caption and "nothing can be told apart" not in figure.caption


def test_dead_units_say_what_is_not_drawn(final, cells, study, monkeypatch):
    few = final.assign(final_dead_fraction=final["final_dead_fraction"].where(final["activation"] == "relu"))
    rng = np.random.default_rng(1)
    few.loc[(few["activation"] == "tanh") & (few["seed"] == 0), "final_dead_fraction"] = rng.random(8)
    monkeypatch.setattr(accuracy_figures, "SCATTERED", 4)
    figure = dead_against_accuracy(cells, correlations(few), study)
    assert "Not drawn, since not every seed tells: tanh." in figure.caption
    assert "Of many arms 4 of 8 are drawn." in figure.caption


def test_dead_units_are_drawn_where_there_are_any(final, cells, study):
    table = correlations(final)
    figure = dead_against_accuracy(cells, table, study)
    (row,) = table.to_dict("records")
    assert row["activation"] == "relu" and row["correlation"] < -0.9
    assert f"strongest for ReLU: {row['correlation']:+.2f}".replace("-", "−") in figure.caption
    assert "tanh" not in figure.alt and "ReLU −" in figure.alt
