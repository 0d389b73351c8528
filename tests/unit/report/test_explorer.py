"""What the explorer is given: rows exact, curves and layers within their stated bounds, the same bytes each time."""

import base64
import json
import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from trainatlas.analysis.tables import trial_columns
from trainatlas.report import explorer
from trainatlas.report.explorer import (
    CURVE_POINTS,
    MISSING,
    NOT_FINITE,
    embedded,
    explorer_data,
    held_trials,
    log_codes,
    rerun_words,
    share_codes,
)
from trainatlas.report.trials import trials_section
from trainatlas.train.records import CURVE_COLUMNS, LAYER_COLUMNS, kept_steps, names

STEPS = 16  # of an epoch
LAYERS = ("hidden.0", "hidden.1", "output")


def decoded(data):
    """Read packed data as the browser does, in plain Python."""
    content = zlib.decompress(data)
    begin = 4 + int.from_bytes(content[:4], "little")
    head = json.loads(content[4:begin])
    arrays = {}
    for name, (offset, length) in head["arrays"].items():
        low = content[begin + offset : begin + offset + length]
        high = content[begin + offset + length : begin + offset + 2 * length]
        last, codes = 0, []
        for a, b in zip(low, high, strict=True):
            last = (last + a + 256 * b) % 65536
            codes.append(last)
        arrays[name] = codes
    return head, arrays


def number(code):
    return (
        0.0
        if code == 0
        else np.inf
        if code == NOT_FINITE
        else np.nan
        if code == MISSING
        else np.exp(-104 + code * 0.004)
    )


def share(code):
    return np.nan if code == MISSING else code / 10_000


def curve(head, arrays, quantity, trial):
    """Return the epochs and codes of the trial in a place."""
    lists, places = head["curves"][quantity]["epochs"], arrays[f"{quantity}/epochs"]
    start = sum(len(lists[place]) for place in places[:trial])
    epochs = lists[places[trial]]
    return epochs, arrays[f"{quantity}/codes"][start : start + len(epochs)]


def rows_of(head, arrays):
    """Return trials.csv as the explorer has it."""
    table = {}
    for column in head["columns"]:
        cells = column.get("cells") or [column["values"][code] for code in arrays[f"column/{column['name']}"]]
        table[column["name"]] = [np.inf if cell == "inf" else cell for cell in cells]
    return pd.DataFrame(table)


def made_up(study, count, epochs=3, seed=0):
    """Make tables of `count` trials up: every fifth diverges, every seventh failed before its first step."""
    draw = np.random.default_rng(seed)
    ids = sorted(f"{each:016x}" for each in draw.integers(0, 2**60, count))
    place = np.arange(count)
    status = np.where(place % 5 == 3, "diverged", "ok")
    status[place % 7 == 4] = "failed"
    table = pd.DataFrame({"trial_id": ids})
    for column in trial_columns(study):
        if column.name in table:
            continue
        if column.kind == "text":
            table[column.name] = study.factors[column.name][0] if column.name in study.factors else "x"
        elif column.kind == "whole":
            table[column.name] = 1
        else:
            table[column.name] = draw.uniform(size=count).round(7)
    for factor in study.varied:
        table[factor] = draw.choice(study.factors[factor], count)
    table = table.assign(
        status=status,
        error=np.where(status == "failed", 'RuntimeError: "no" <memory>, none', None),
        stage=draw.choice(["tuning", "final", "random"], count),
        seed=draw.integers(0, 5, count),
        learning_rate=10 ** draw.uniform(-4, 0, count),
        **{study.targets[1].column: np.where(place % 2, np.inf, 7.0)},
    )
    table.loc[status == "failed", ["final_validation_accuracy", "test_accuracy", "final_train_loss"]] = np.nan
    curves, layers = [], []
    for trial_id, ended in zip(ids, status, strict=True):
        if ended == "failed":
            continue
        total = STEPS * epochs if ended == "ok" else int(draw.integers(1, STEPS * epochs))
        steps = [step for step in kept_steps(STEPS * epochs) if step <= total]
        losses = np.exp(np.cumsum(draw.normal(scale=0.2, size=len(steps))))
        if ended == "diverged":
            losses[-1] = np.inf
        looks = sorted({*range(0, total + 1, STEPS), total})
        curves += [
            pd.DataFrame(
                {"trial_id": trial_id, "step": steps, "split": "train_batch", "loss": losses, "accuracy": np.nan}
            ),
            pd.DataFrame(
                {
                    "trial_id": trial_id,
                    "step": looks,
                    "split": "validation",
                    "loss": 1.0,
                    "accuracy": draw.integers(0, 360, len(looks)) / 359,
                }
            ),
        ]
        layers += [
            pd.DataFrame({"trial_id": trial_id, "step": step, "layer": LAYERS, "depth": [1, 2, 3]})
            for step in (0, total)
        ]
    curve_table = pd.concat(curves, ignore_index=True)
    curve_table["epoch"], curve_table["learning_rate"] = curve_table["step"] / STEPS, 0.1
    layer_table = pd.concat(layers, ignore_index=True)
    for name in names(LAYER_COLUMNS)[4:]:
        layer_table[name] = draw.uniform(size=len(layer_table))
    layer_table.loc[layer_table["layer"] == "output", ["dead_fraction", "saturated_fraction"]] = np.nan
    return SimpleNamespace(
        trials=table, curves=curve_table[list(names(CURVE_COLUMNS))], layers=layer_table[list(names(LAYER_COLUMNS))]
    )


@pytest.fixture
def study(study_of, tiny):
    return study_of(tiny)


def packed(study, made, tmp_path):
    return explorer_data(study, made.trials, [made.curves], [made.layers], tmp_path / study.name)


@given(some.floats(min_value=1e-45, max_value=3e38))
def test_a_number_is_off_by_a_fifth_of_a_percent_at_most(value):
    code = int(log_codes(np.array([value]))[0])
    assert 0 < code < NOT_FINITE
    assert abs(number(code) - value) <= 0.0020021 * value


@given(some.floats(min_value=0, max_value=1))
def test_a_share_is_off_by_half_a_hundredth_of_a_point_at_most(value):
    assert abs(share(int(share_codes(np.array([value]))[0])) - value) <= 0.00005 + 1e-12


def test_zero_what_is_not_finite_and_what_is_missing_have_codes_of_their_own():
    assert log_codes(np.array([0.0, np.inf, np.nan])).tolist() == [0, NOT_FINITE, MISSING]
    assert share_codes(np.array([0.0, 1.0, np.nan])).tolist() == [0, 10_000, MISSING]


def test_every_row_of_trials_is_there_exactly(study, tmp_path):
    made = made_up(study, 90)
    head, arrays = decoded(packed(study, made, tmp_path))
    found = rows_of(head, arrays)
    wanted = made.trials.sort_values("trial_id", ignore_index=True)
    assert list(found) == list(wanted)
    for name in wanted:
        if wanted[name].dtype == "float64":
            assert found[name].astype("float64").equals(wanted[name]), name
        else:
            texts = wanted[name].astype("object").where(wanted[name].notna(), None)
            assert found[name].astype("object").where(found[name].notna(), None).tolist() == texts.tolist(), name


def test_levels_stand_in_the_order_of_the_study_under_the_names_of_the_report(study, tmp_path):
    head, _ = decoded(packed(study, made_up(study, 60), tmp_path))
    columns = {column["name"]: column for column in head["columns"]}
    assert columns["init"]["values"] == ["kaiming_normal", "normal"]
    assert columns["init"]["names"] == ["He normal", "normal 0.01"]
    assert columns["init"]["title"] == "initialisation"
    assert columns["stage"]["values"] == ["tuning", "final", "random"]
    assert head["filters"] == ["activation", "init", "optimizer", "preprocessing", "stage", "status"]
    assert head["first_stages"] == ["final", "random"]
    assert set(head["shown"]) <= set(columns)
    assert [axis["column"] for axis in head["axes"]][-2:] == ["learning_rate", "test_accuracy"]
    assert head["axes"][-2]["scale"] == "log"


def test_curves_come_back_within_their_bounds_and_with_both_ends(study, tmp_path):
    made = made_up(study, 40, epochs=60)
    head, arrays = decoded(packed(study, made, tmp_path))
    lengths = set()
    for place, trial_id in enumerate(sorted(made.trials["trial_id"])):
        for quantity, split, column in (("loss", "train_batch", "loss"), ("accuracy", "validation", "accuracy")):
            own = made.curves[(made.curves["trial_id"] == trial_id) & (made.curves["split"] == split)]
            known = dict(zip(own["epoch"].round(5), own[column], strict=True))
            epochs, codes = curve(head, arrays, quantity, place)
            lengths.add(len(epochs))
            assert len(epochs) == min(len(own), CURVE_POINTS)
            assert epochs == sorted(epochs)
            if len(own):
                assert (epochs[0], epochs[-1]) == (own["epoch"].iloc[0].round(5), own["epoch"].iloc[-1].round(5))
            for epoch, code in zip(epochs, codes, strict=True):
                if quantity == "accuracy":
                    assert abs(share(code) - known[epoch]) <= 0.00005 + 1e-12
                elif np.isinf(known[epoch]):
                    assert code == NOT_FINITE
                else:
                    assert abs(number(code) - known[epoch]) <= 0.0020021 * known[epoch]
    assert {0, CURVE_POINTS} <= lengths
    common = head["curves"]["loss"]["epochs"][head["curves"]["loss"]["common"]]
    assert common[-1] == 60


def test_of_layers_the_last_look_is_kept(study, tmp_path):
    made = made_up(study, 40)
    head, arrays = decoded(packed(study, made, tmp_path))
    start = 0
    for place, trial_id in enumerate(sorted(made.trials["trial_id"])):
        own = made.layers[made.layers["trial_id"] == trial_id]
        own = own[own["step"] == own["step"].max()]
        layers = head["layers"]["names"][arrays["layers/names"][place]]
        assert layers == own["layer"].tolist()
        if len(own):
            assert head["layers"]["steps"][arrays["layers/step"][place]] == own["step"].iloc[0]
        for name, read, bound in (("dead_fraction", share, 0.00005), ("gradient_norm", number, 0.0020021)):
            found = [read(code) for code in arrays[f"layers/{name}"][start : start + len(layers)]]
            assert np.allclose(
                found, own[name], rtol=0 if read is share else bound, atol=bound if read is share else 0, equal_nan=True
            )
        start += len(layers)
    assert start == len(arrays["layers/gradient_norm"])


def test_parts_and_the_order_of_trials_make_no_difference(study, tmp_path):
    made = made_up(study, 40)
    whole = packed(study, made, tmp_path)
    cut = [table.iloc[start : start + 7] for table in (made.curves,) for start in range(0, len(made.curves), 7)]
    layers = [made.layers.iloc[start : start + 5] for start in range(0, len(made.layers), 5)]
    shuffled = made.trials.sample(frac=1, random_state=1)
    assert explorer_data(study, shuffled, cut, layers, tmp_path / study.name) == whole


def test_a_study_without_probes_or_curves_has_an_explorer_all_the_same(study, tmp_path):
    made = made_up(study, 10)
    made.curves, made.layers = made.curves.iloc[:0], made.layers.iloc[:0]
    head, arrays = decoded(packed(study, made, tmp_path))
    assert head["trials"] == 10
    assert head["layers"]["names"] == [[]]
    assert head["curves"]["loss"]["epochs"] == [[]]
    assert arrays["loss/codes"] == [] and arrays["layers/dead_fraction"] == []


def test_ten_thousand_trials_take_few_megabytes(study, tmp_path):
    few = made_up(study, 500, epochs=12)
    small = embedded(packed(study, few, tmp_path))
    assert len(small) < 400_000
    copies = 20
    many = SimpleNamespace()
    for name in ("trials", "curves", "layers"):
        table = getattr(few, name)
        # The same runs under other ids, their losses shifted: as hard to pack as others.
        parts = [table.assign(trial_id=f"{copy:02x}" + table["trial_id"].str[2:]) for copy in range(copies)]
        if name == "curves":
            parts = [part.assign(loss=part["loss"] * (1 + 0.37 * copy)) for copy, part in enumerate(parts)]
        setattr(many, name, pd.concat(parts, ignore_index=True))
    assert many.trials["trial_id"].is_unique and len(many.trials) == 10_000
    assert len(embedded(packed(study, many, tmp_path))) < 6_000_000


def test_of_too_many_trials_those_that_are_told_of_are_kept_first(study, monkeypatch):
    trials = made_up(study, 60).trials
    measured = set(trials.loc[trials["stage"] != "tuning", "trial_id"])
    monkeypatch.setattr(explorer, "MOST_TRIALS", len(measured) + 5)
    kept = held_trials(trials)
    assert len(kept) == len(measured) + 5 and kept["trial_id"].is_monotonic_increasing
    assert measured < set(kept["trial_id"])
    monkeypatch.setattr(explorer, "MOST_TRIALS", 10)
    assert len(held_trials(trials)) == 10 and set(held_trials(trials)["trial_id"]) <= measured


def test_the_packed_text_has_nothing_that_ends_a_script(study, tmp_path):
    made = made_up(study, 30)
    made.trials["error"] = "</script><script>alert(1)</script>"
    text = embedded(packed(study, made, tmp_path))
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    head, _ = decoded(base64.b64decode(text))
    assert next(column for column in head["columns"] if column["name"] == "error")["values"] == [
        made.trials["error"][0]
    ]


def test_the_command_names_study_profile_and_results_as_they_were_named(study_of, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_of(tiny)
    assert rerun_words(study, tmp_path / "results" / "tiny") == "trainatlas rerun studies/tiny.yaml TRIAL"
    words = rerun_words(study, tmp_path / "my results" / "tiny")
    assert words == "trainatlas rerun studies/tiny.yaml TRIAL --results 'my results'"
    study._named = (study.named[0], "quick")
    assert (
        rerun_words(study, tmp_path / "results" / "tiny-quick")
        == "trainatlas rerun studies/tiny.yaml TRIAL --profile quick"
    )


def test_the_table_for_print_has_both_ends_and_counts_what_has_no_accuracy_as_worst(study):
    trials = made_up(study, 90).trials
    section = trials_section(study, trials)
    best, worst = section.blocks
    measured = trials[trials["stage"] != "tuning"]
    assert len(best.rows) == len(worst.rows) == 10
    assert best.rows[0][1] == measured.loc[measured["final_validation_accuracy"].idxmax(), "trial_id"]
    assert worst.rows[-1][0] == str(len(measured))
    assert worst.rows[-1][4] == "failed" and worst.rows[-1][-1] == "–"
    few = trials_section(study, trials[trials["stage"] == "tuning"].head(15))
    assert len(few.blocks) == 1 and len(few.blocks[0].rows) == 15
