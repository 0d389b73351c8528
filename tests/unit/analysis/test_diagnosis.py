"""Labels of runs: on runs of known fault (scripts/label_curves.py trained them), on drawn curves, and on whole studies."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_score, recall_score

from trainatlas.analysis.diagnosis import LABELS, RULES, UNCLEAR, diagnoses, diagnosis_counts, rule

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data"
BATCH_STEPS, EPOCH_STEPS = range(1, 101, 5), range(0, 101, 10)


@pytest.fixture(scope="module")
def labelled() -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_csv(DATA / "labelled-runs.csv"), pd.read_csv(DATA / "labelled-curves.csv")


def losses(trial: str, batch: list[float], validation: list[float]) -> pd.DataFrame:
    """Return drawn curves: minibatch and validation losses between the points given, evenly spaced over 100 steps."""
    parts = [
        pd.DataFrame(
            {"step": steps, "loss": np.interp(steps, np.linspace(0, 100, len(points)), points), "split": split}
        )
        for split, steps, points in (("train_batch", BATCH_STEPS, batch), ("validation", EPOCH_STEPS, validation))
    ]
    return pd.concat(parts, ignore_index=True).assign(trial_id=trial)


def the_label(
    batch: list[float], validation: list[float], status: str = "ok", train: float = 0.95, held_out: float = 0.9
) -> str:
    """Return the label of one run beside ten whose training accuracy is 1."""
    runs = pd.DataFrame(
        {
            "trial_id": ["run", *(f"best{i}" for i in range(10))],
            "status": [status] + ["ok"] * 10,
            "final_train_accuracy": [train] + [1.0] * 10,
            "final_validation_accuracy": [held_out] + [0.95] * 10,
        }
    )
    return str(diagnoses(runs, losses("run", batch, validation))["diagnosis"].iloc[0])


def test_runs_of_known_fault_are_recognised(labelled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, curves = labelled
    found = diagnoses(runs, curves)["diagnosis"]
    labels = sorted(set(runs["label"]))
    assert set(labels) == set(LABELS) - {"failed", UNCLEAR}
    recall = dict(zip(labels, recall_score(runs["label"], found, labels=labels, average=None), strict=True))
    precision = dict(zip(labels, precision_score(runs["label"], found, labels=labels, average=None), strict=True))
    assert min(recall.values()) >= 0.8, recall
    assert min(precision.values()) >= 0.8, precision
    assert (found == runs["label"]).mean() >= 0.95


FALLS = [2.3, 0.8, 0.3, 0.1, 0.05]
CASES = {
    "healthy": (FALLS, [2.3, 0.9, 0.4, 0.3, 0.3], {}),
    "too_slow": ([2.3, 2.29], [2.3, 2.28], {"train": 0.1}),
    "plateau_then_drop": ([2.3, 2.3, 2.3, 0.5, 0.1], [2.3, 2.3, 2.3, 0.5, 0.3], {}),
    "too_fast": ([2.3, 0.5, 1.0, 1.6, 1.8], [2.3, 0.6, 1.1, 1.7, 1.9], {"train": 0.5}),
    "overfitting": (FALLS, [2.3, 0.8, 0.5, 0.6, 0.7], {}),
    "still_improving": ([2.3, 1.8, 1.4, 1.1, 0.8], [2.3, 1.8, 1.4, 1.1, 0.8], {"train": 0.6, "held_out": 0.6}),
    "underfitting": ([2.3, 1.5, 1.4, 1.4, 1.4], [2.3, 1.5, 1.4, 1.4, 1.4], {"train": 0.5, "held_out": 0.48}),
    "exploding": ([2.3, 9.0, 8.0, 7.5, 7.5], [2.3, 9.0, 8.0, 7.5, 7.5], {"train": 0.1, "held_out": 0.1}),
    "failed": (FALLS, FALLS, {"status": "failed"}),
    UNCLEAR: (FALLS, [2.3, 0.9, 0.5, 0.5, 0.5], {"train": 0.8, "held_out": 0.5}),
}


@pytest.mark.parametrize("label", LABELS)
def test_the_curve_that_textbooks_draw_gets_its_label(label: str) -> None:
    batch, validation, about = CASES[label]
    assert the_label(batch, validation, **about) == label


def test_a_loss_that_swings_is_too_fast_though_it_falls_on_the_whole() -> None:
    assert the_label(FALLS, [2.3, 0.9, 0.5, 1.2, 0.5, 1.2, 0.5]) == "too_fast"
    assert the_label(FALLS, [2.3, 0.9, 0.5, 0.52, 0.5, 0.52, 0.5]) == "healthy"


def test_a_run_that_recovers_has_not_exploded() -> None:
    rises = [2.3, 9.0, 0.5, 0.1, 0.05]
    assert the_label(rises, [2.3, 3.0, 0.6, 0.4, 0.4], train=0.99) == "healthy"
    assert the_label(rises, [2.3, 3.0, 0.6, 0.4, 0.4], train=0.4) == "exploding"


def test_a_diverged_run_has_exploded_whatever_its_curve() -> None:
    assert the_label(FALLS, FALLS, status="diverged") == "exploding"
    runs = pd.DataFrame(
        {
            "trial_id": ["at_once"],
            "status": ["diverged"],
            "final_train_accuracy": [np.nan],
            "final_validation_accuracy": [0.0],
        }
    )
    nothing = losses("other", FALLS, FALLS)
    assert diagnoses(runs, nothing)["diagnosis"].tolist() == ["exploding"]
    assert diagnoses(runs, nothing.iloc[:0])["diagnosis"].tolist() == ["exploding"]


def test_what_was_not_measured_holds_no_rule() -> None:
    for each in RULES:
        signs = pd.DataFrame({name: [np.nan] for name in SIGNS}).assign(status="ok")
        assert not each.holds(signs).any(), each.name


SIGNS = (
    *("rise", "early_lowest", "early_highest", "late_lowest", "lowest", "last", "validation_fall"),
    *("validation_rise", "late_fall", "late_gain", "swing", "train_change", "train_accuracy", "gap", "shortfall"),
)


def test_labels_are_unlike_and_every_rule_says_what_it_means_and_where_it_is_from() -> None:
    assert len(set(LABELS)) == len(LABELS)
    for each in RULES:
        assert each.meaning and each.source and rule(each.name) is each


def test_every_threshold_decides() -> None:
    """Just on either side of each threshold the rule holds for one run and not for the other."""
    base = {
        "exploding": {"rise": 4.0, "train_accuracy": 0.1, "shortfall": 0.9},
        "plateau_then_drop": {"early_lowest": 0.99, "early_highest": 1.01, "late_lowest": 0.1},
        "too_slow": {"validation_fall": 0.01, "lowest": 0.99},
        "too_fast": {"last": 0.9, "lowest": 0.1, "swing": 0.0},
        "overfitting": {"validation_rise": 2.0, "train_change": -0.1},
        "still_improving": {"late_fall": 0.2, "late_gain": 0.1},
        "underfitting": {"shortfall": 0.3, "gap": 0.0},
        "healthy": {"shortfall": 0.0},
    }
    moved = [
        ("exploding", "rise", 3.0, True),
        ("plateau_then_drop", "early_lowest", 0.95, True),
        ("plateau_then_drop", "early_highest", 1.05, False),
        ("plateau_then_drop", "late_lowest", 0.5, False),
        ("too_slow", "validation_fall", 0.05, False),
        ("too_slow", "lowest", 0.8, True),
        ("too_fast", "last", 0.2, True),
        ("overfitting", "validation_rise", 1.1, True),
        ("overfitting", "train_change", 0.0, False),
        ("still_improving", "late_fall", 0.05, True),
        ("still_improving", "late_gain", 0.01, True),
        ("underfitting", "shortfall", 0.1, True),
        ("healthy", "shortfall", 0.1, False),
    ]
    for name, sign, threshold, above in moved:
        for step in (-1e-6, 1e-6):
            signs = pd.DataFrame([{"status": "ok"} | base[name] | {sign: threshold + step}])
            assert rule(name).holds(signs).iloc[0] == (above == (step > 0)), (name, sign, step)


def test_labels_do_not_depend_on_the_order_of_rows_nor_on_other_runs_curves(
    labelled: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    runs, curves = labelled
    expected = diagnoses(runs, curves).set_index("trial_id")
    mixed = diagnoses(runs.sample(frac=1, random_state=1), curves.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(mixed.set_index("trial_id").loc[expected.index], expected)
    as_read = curves.astype({"trial_id": "category", "split": "category"})
    pd.testing.assert_frame_equal(diagnoses(runs, as_read).set_index("trial_id"), expected)


def test_signs_are_those_of_a_slow_reading_of_each_curve(labelled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, curves = labelled
    sound = runs[runs["status"] == "ok"].iloc[::7]
    table = diagnoses(runs, curves).set_index("trial_id")
    for run in sound.itertuples():
        own = curves[curves["trial_id"] == run.trial_id]
        batch = own[own["split"] == "train_batch"].sort_values("step")
        validation = own[own["split"] == "validation"].sort_values("step")
        b, v, steps = batch["loss"].tolist(), validation["loss"].tolist(), validation["step"].tolist()
        means = [sum(b[max(i - 2, 0) : i + 1]) / len(b[max(i - 2, 0) : i + 1]) for i in range(len(b))]
        at_least = steps[v.index(min(v))]
        then = [mean for step, mean in zip(batch["step"], means, strict=True) if step <= at_least]
        late = [loss for step, loss in zip(steps, v, strict=True) if step <= 0.8 * steps[-1] + 1e-9][-1]
        half = [loss for step, loss in zip(steps, v, strict=True) if step >= steps[-1] / 2]
        moves = [after - before for before, after in itertools.pairwise(half)]
        early = [loss for step, loss in zip(batch["step"], b, strict=True) if step <= 0.2 * batch["step"].max()]
        expected = {
            "rise": max(b) / b[0],
            "early_lowest": min(early) / b[0],
            "early_highest": max(early) / b[0],
            "late_lowest": min(b[len(early) :]) / b[0],
            "lowest": min(means) / v[0],
            "last": means[-1] / v[0],
            "validation_fall": 1 - min(v) / v[0],
            "validation_rise": v[-1] / min(v),
            "late_fall": 1 - v[-1] / late,
            "late_gain": (late - v[-1]) / v[0],
            "swing": (sum(map(abs, moves)) - abs(sum(moves))) / len(moves) / v[0],
            "gap": run.final_train_accuracy - run.final_validation_accuracy,
        }
        if then:
            expected["train_change"] = (means[-1] - then[-1]) / v[0]
        found = table.loc[run.trial_id, list(expected)].to_dict()
        assert found == pytest.approx(expected, abs=1e-9), run.trial_id


def test_counts_add_up_to_the_runs_of_each_level(labelled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, curves = labelled
    final = runs.assign(optimizer=np.where(runs["case"].str.contains("adam"), "adam", "other"), init="only")
    found = diagnoses(final, curves)
    levels = {"optimizer": ("adam", "other", "absent"), "init": ("only",)}
    table = diagnosis_counts(final, found.sample(frac=1, random_state=0), levels)
    assert set(table["level"]) == {"adam", "other", "only"}
    for (factor, level), own in table.groupby(["factor", "level"]):
        labels = found.loc[(final[factor] == level).to_numpy(), "diagnosis"]
        assert own.set_index("diagnosis")["runs"].to_dict() == {
            label: int((labels == label).sum()) for label in own["diagnosis"]
        }
        assert own["runs"].sum() == len(labels) == own["trials"].iloc[0]
        assert own["fraction"].sum() == pytest.approx(1.0)
        assert own["diagnosis"].tolist() == [label for label in LABELS if label in set(found["diagnosis"])]


def test_the_page_says_what_the_rules_are() -> None:
    page = " ".join((ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8").split())
    for each in RULES:
        assert f"| `{each.name}` | {each.meaning} | {each.source} |" in page
