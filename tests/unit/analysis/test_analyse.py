"""The analysis holds for every study that can be written, whatever became of its trials."""

import json
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.analyse import analyse, read_analysis, read_gathered, write_analysis
from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.analysis.intervals import over_seeds
from trainatlas.analysis.tables import CURVE_COLUMNS, LAYER_COLUMNS, read_table, trial_columns
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.trial import FACTORS, Trial
from trainatlas.train import pack
from trainatlas.train.records import names
from trainatlas.train.stacked import TrialResult, train_stack

Content = dict[str, Any]
StudyOf = Callable[..., Study]
Tables = dict[str, pd.DataFrame]
Run = Callable[[Study, Path], Tables]


def failing_where(bad: Callable[[Trial], bool]) -> Callable[..., list[TrialResult]]:
    """Training in which the trials that `bad` picks always raise."""

    def train(trials: Sequence[Trial], *rest: Any) -> list[TrialResult]:
        if any(map(bad, trials)):
            raise RuntimeError("on purpose")
        return train_stack(trials, *rest)

    return train


def written(tables: Tables, folder: Path) -> Tables:
    """Write the tables and read them back: both check them."""
    write_analysis(tables, folder)
    return read_analysis(folder)


def runs_of(final: pd.DataFrame, cell: pd.Series) -> pd.Series:
    """Return the test accuracies of a cell's final runs by seed."""
    own = final[(final[list(FACTORS)] == cell[list(FACTORS)]).all(axis=1)]
    return own.set_index("seed")["test_accuracy"].sort_index()


def test_an_ordinary_study_has_every_table(tiny: Content, study_of: StudyOf, run_study: Run, trained: Path) -> None:
    study = study_of(tiny)
    tables = written(run_study(study, trained), trained)
    for name, columns in ANALYSIS_TABLES.items():
        assert tuple(tables[name].columns) == names(columns)
    trials = read_gathered(study, trained).trials
    final = trials[trials["stage"] == "final"]

    cells = tables["cells"]
    assert len(cells) == 16 and cells["seeds"].eq(2).all()
    for row in cells.itertuples():
        own = final[(final[list(FACTORS)] == [getattr(row, factor) for factor in FACTORS]).all(axis=1)]
        assert (row.test_accuracy, row.low, row.high) == pytest.approx(tuple(over_seeds(own["test_accuracy"])))
        assert row.validation_accuracy == pytest.approx(own["final_validation_accuracy"].mean())
        assert set(own["learning_rate"]) == {row.learning_rate}
    assert cells["validation_accuracy"].is_monotonic_decreasing
    best = runs_of(final, cells.iloc[0])
    assert cells.loc[0, ["behind", "behind_low", "behind_high"]].eq(0).all()
    for _, row in cells.iloc[1:].iterrows():
        apart = stats.ttest_rel(best, runs_of(final, row))
        low, high = apart.confidence_interval(0.95)
        assert row["behind"] == pytest.approx((best - runs_of(final, row)).mean())
        assert [row["behind_low"], row["behind_high"]] == pytest.approx([low, high])

    for row in tables["levels"].itertuples():
        own = final[final[row.factor] == row.level]
        by_seed = own.groupby("seed")["test_accuracy"].mean()
        assert (row.mean, row.low, row.high) == pytest.approx(tuple(over_seeds(by_seed)))
        assert row.median == pytest.approx(own["test_accuracy"].median())
        best = cells[cells[row.factor] == row.level].iloc[0]
        assert row.best_cell == best["test_accuracy"]
        assert row.trials == len(own) == 32 / len(study.factors[row.factor])

    whole = tables["coverage"][tables["coverage"]["factor"] == ""].set_index("stage")
    assert whole["trials"].to_dict() == {"tuning": 32, "final": 32, "random": 6}
    assert whole["ok"].to_dict() == whole["trials"].to_dict()
    rates = tables["rates"]
    beside = [factor for factor in study.varied if factor != "optimizer"]
    assert list(rates["factor"].unique()) == beside and len(beside) == 3
    for _, of_factor in rates.groupby("factor"):
        assert of_factor["trials"].sum() == 32 and of_factor["chosen"].sum() == 16
    tuning = read_gathered(study, trained).trials.query("stage == 'tuning'")
    for row in rates.itertuples():
        own = tuning[(tuning[row.factor] == row.level) & (tuning["optimizer"] == row.optimizer)]
        own = own.loc[np.isclose(own["learning_rate"], row.learning_rate), "final_validation_accuracy"]
        assert (row.trials, row.median) == (len(own), pytest.approx(own.median()))


def test_targets_that_nobody_reached_are_shown_as_never(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    tiny["targets"] = [{"metric": "validation_accuracy", "value": 0.999}]
    table = written(run_study(study_of(tiny), trained), trained)["convergence"]
    assert table["reached_fraction"].eq(0).all()
    assert np.isinf(table[["quartile_1", "median", "quartile_3"]]).all(axis=None)


def test_a_level_whose_every_trial_fails_stays_in_the_tables_as_the_worst(
    tiny: Content, study_of: StudyOf, run_study: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "train_stack", failing_where(lambda trial: trial.activation == "tanh"))
    study = study_of(tiny)
    tables = written(run_study(study, tmp_path), tmp_path)
    levels = tables["levels"].set_index(["factor", "level"])
    assert levels.loc[("activation", "tanh"), "mean"] == 0.0
    assert levels.loc[("activation", "relu"), "mean"] > 0.0
    assert len(tables["cells"]) == 16
    coverage = tables["coverage"].set_index(["stage", "factor", "level"])
    assert coverage.loc[("final", "activation", "tanh"), ["trials", "failed"]].tolist() == [16, 16]
    assert coverage.loc[("final", "activation", "relu"), ["trials", "failed"]].tolist() == [16, 0]
    convergence = tables["convergence"].set_index(["factor", "level", "target"])
    assert convergence.loc[("activation", "tanh", study.targets[0].column), "reached_fraction"] == 0.0
    assert convergence.loc[("activation", "tanh", study.targets[0].column), "trials"] == 16
    differences = tables["differences"].set_index(["factor", "level"])
    assert differences.loc[("activation", "tanh"), "difference"] < 0
    assert differences.loc[("activation", "tanh"), "pairs"] == 16


def test_a_study_whose_every_trial_fails_still_has_its_tables(
    tiny: Content, study_of: StudyOf, run_study: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "train_stack", failing_where(lambda trial: True))
    tables = written(run_study(study_of(tiny), tmp_path), tmp_path)
    whole = tables["coverage"][tables["coverage"]["factor"] == ""]
    assert whole["failed"].equals(whole["trials"])
    assert tables["levels"]["mean"].eq(0.0).all()


def test_one_trial_that_fails_counts_as_wrong_and_moves_nobody_else(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tiny)
    run_study(study, trained)
    sound = read_gathered(study, trained).trials
    bad = sound.loc[sound["stage"] == "final", "trial_id"].iloc[0]
    monkeypatch.setattr(pack, "train_stack", failing_where(lambda trial: trial.trial_id == bad))
    tables = run_study(study, tmp_path / "hurt")
    hurt = read_gathered(study, tmp_path / "hurt").trials
    assert hurt["trial_id"].tolist() == sound["trial_id"].tolist()
    others = hurt["trial_id"] != bad
    assert hurt.loc[~others, "status"].tolist() == ["failed"]
    assert hurt.loc[others, "status"].equals(sound.loc[others, "status"])
    np.testing.assert_allclose(hurt.loc[others, "test_loss"], sound.loc[others, "test_loss"], rtol=1e-4)
    assert tables["cells"]["diverged"].sum() == 1


def test_diverged_trials_count_with_what_they_reached(
    tiny: Content, study_of: StudyOf, run_study: Run, tmp_path: Path
) -> None:
    tiny["learning_rate"]["sgd"] = {"low": 1e20, "high": 1e25}
    study = study_of(tiny)
    tables = written(run_study(study, tmp_path), tmp_path)
    trials = read_gathered(study, tmp_path).trials
    sgd = trials[trials["optimizer"] == "sgd"]
    assert "diverged" in set(sgd["status"])
    assert sgd["test_accuracy"].notna().all()
    assert np.isinf(sgd.loc[sgd["status"] == "diverged", study.targets[0].column]).all()
    coverage = tables["coverage"].set_index(["stage", "factor", "level"])
    diverged = ((trials["stage"] == "final") & (trials["status"] == "diverged")).sum()
    assert coverage.loc[("final", "optimizer", "sgd"), "diverged"] == diverged > 0
    assert coverage.loc[("final", "optimizer", "adam"), "diverged"] == 0
    curves = tables["curves"].query("scope == 'level' and level == 'sgd' and split == 'validation'")
    assert math.isinf(curves["decile_9"].iloc[-1])


CONTENTS: dict[str, Callable[[Content], object]] = {
    "a grid alone": lambda study: study["samples"].pop(1),
    "random draws alone": lambda study: study["samples"].pop(0),
    "one draw": lambda study: study.update(samples=[study["samples"][1] | {"draws": 1}]),
    "many draws at one rate": lambda study: (
        study["samples"][1].update(draws=120),
        study["learning_rate"].update(sgd={"low": 0.1, "high": 0.1}, adam={"low": 0.01, "high": 0.01}),
    ),
    "one seed": lambda study: study["samples"][0].update(seeds=[1]),
    "one rate": lambda study: study["samples"][0].update(tune={"learning_rate": 1}),
    "one epoch": lambda study: study.update(epochs=1),
    "one step an epoch": lambda study: study.update(batch_size=1079),
    "no targets": lambda study: study.update(targets=[]),
    "no probes": lambda study: study.update(probes="off"),
    "light probes": lambda study: study.update(probes="light"),
    "full probes": lambda study: study.update(probes="full"),
    "full probes, all trials failing to be finite": lambda study: (
        study.update(probes="full"),
        study["learning_rate"].update(sgd={"low": 1e30, "high": 1e30}, adam={"low": 1e30, "high": 1e30}),
    ),
    "one factor": lambda study: study["factors"].update(
        init=["normal"], optimizer=["sgd"], preprocessing=["raw"], activation=["relu", "tanh", "elu"]
    ),
    "two factors": lambda study: study["factors"].update(init=["normal"], optimizer=["sgd"]),
    "one cell": lambda study: study["factors"].update(
        init=["normal"], optimizer=["sgd"], preprocessing=["raw"], activation=["relu"]
    ),
    "an exclusion": lambda study: study.update(
        exclude=[{"when": {"activation": ["tanh"], "init": ["normal"]}, "reason": "for the test"}]
    ),
    "levels with options": lambda study: study["factors"].update(
        activation=["leaky_relu(slope=0.2)", "leaky_relu"],
        normalisation=["batch(momentum=0.5)", "none"],
        optimizer=["adam(beta1=0.5, beta2=0.9)", "sgd"],
        preprocessing=["pca(components=5)", "raw"],
    ),
    "activations without dead units": lambda study: study["factors"].update(activation=["identity"]),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_every_kind_of_study_can_be_analysed(
    case: str, tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    CONTENTS[case](tiny)
    study = study_of(tiny)
    tables = written(run_study(study, trained), trained)
    trials = read_gathered(study, trained).trials
    planned = [len(pd.read_csv(path)) for path in trained.glob("plan-*.csv")]
    assert len(trials) == sum(planned)
    whole = tables["coverage"][tables["coverage"]["factor"] == ""]
    assert whole["trials"].sum() == len(trials)
    assert tables["effects"]["share"].between(0, 1).all()


def test_gathered_tables_hold_the_planned_trials_sorted(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    study = study_of(tiny)
    run_study(study, trained)
    trials = read_table(trained / "trials.csv", trial_columns(study), "")
    curves = read_table(trained / "curves.csv", CURVE_COLUMNS, "")
    layers = read_table(trained / "layers.csv", LAYER_COLUMNS, "")
    assert trials["trial_id"].is_monotonic_increasing and trials["trial_id"].is_unique
    assert set(curves["trial_id"]) == set(layers["trial_id"]) == set(trials["trial_id"])
    assert curves.groupby("trial_id")["step"].is_monotonic_increasing.all()
    assert layers.groupby(["trial_id", "step"])["depth"].is_monotonic_increasing.all()


def test_the_analysis_reads_of_curves_and_layers_what_it_needs(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    study = study_of(tiny)
    run_study(study, trained)
    gathered = read_gathered(study, trained)
    final = set(gathered.trials.loc[gathered.trials["stage"] == "final", "trial_id"])
    curves = read_table(trained / "curves.csv", CURVE_COLUMNS, "")
    curves = curves[curves["trial_id"].isin(final) & curves["split"].isin(["train_batch", "validation"])]
    layers = read_table(trained / "layers.csv", LAYER_COLUMNS, "")
    layers = layers[layers["trial_id"].isin(final)]
    for found, expected in ((gathered.curves, curves), (gathered.layers, layers)):
        texts = {name: "str" for name in found if found[name].dtype == "category"}
        pd.testing.assert_frame_equal(found.astype(texts), expected[list(found)].reset_index(drop=True))


def test_the_analysis_does_not_depend_on_how_trials_were_packed(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    """Up to rounding in training itself: here the same packs are gathered in another order."""
    study = study_of(tiny)
    run_study(study, trained)
    gathered = read_gathered(study, trained)
    shuffled = type(gathered)(
        *(
            getattr(gathered, name).sample(frac=1, random_state=0)
            for name in ("trials", "curves", "layers", "histograms", "selected", "epochs", "rises", "regions", "timing")
        )
    )
    expected = analyse(study, gathered)
    for name, table in analyse(study, shuffled).items():
        pd.testing.assert_frame_equal(
            table.reset_index(drop=True), expected[name].reset_index(drop=True), rtol=1e-9, obj=name
        )


def test_provenance_says_where_results_come_from(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    study = study_of(tiny)
    run_study(study, trained)
    said = json.loads((trained / "provenance.json").read_text(encoding="utf-8"))
    assert said["study_digest"] == study.digest()
    assert said["study"] == json.loads(json.dumps(study.model_dump(mode="json")))
    assert said["seeds"] == {"grid": {"tuning": [0], "final": [1, 2]}, "random": {"final": [3, 4]}}
    assert said["packages"]["torch"] == version("torch")
    assert said["training"]["trial_steps"] == 70 * 2 * 16
    assert said["hardware"]["training_devices"]
    assert set(said["source"]) == {"commit", "dirty"}


def test_a_gathered_table_that_is_missing_is_named(
    tiny: Content, study_of: StudyOf, run_study: Run, trained: Path
) -> None:
    study = study_of(tiny)
    run_study(study, trained)
    for table in ("trials.csv", "curves.csv", "layers.csv", "histograms.csv", "selected.csv"):
        (trained / table).rename(trained / "aside")
        with pytest.raises(UserError, match=rf"{table}: no such file; `trainatlas aggregate` makes it"):
            read_gathered(study, trained)
        (trained / "aside").rename(trained / table)
