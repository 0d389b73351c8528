"""A trial trained again, alone, comes to what it came to in its pack, and one line says so."""

import pandas as pd
import pytest
import torch

from trainatlas.study.errors import UserError
from trainatlas.study.planning import find_trial, pack_path
from trainatlas.train.records import TRIAL_COLUMNS, names
from trainatlas.train.rerun import agreement, rerun

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trials(built_report):
    return pd.read_csv(built_report.results / "trials.csv", dtype={"trial_id": str}, keep_default_na=False)


def again(built_report, trial_id, out):
    return rerun(*find_trial(built_report.results, trial_id), built_report.results, out, CPU, 0.0, lambda line: None)


@pytest.mark.parametrize("ending", [("tuning", "ok"), ("tuning", "diverged"), ("final", "ok"), ("random", "ok")])
def test_a_trial_of_each_stage_comes_to_the_same(ending, built_report, trials, tmp_path):
    stage, status = ending
    own = trials[(trials["stage"] == stage) & (trials["status"] == status)].iloc[0]
    before = {path: path.stat().st_mtime_ns for path in built_report.results.rglob("*") if path.is_file()}
    assert again(built_report, own["trial_id"], tmp_path / "out").startswith("agrees ")
    assert {path: path.stat().st_mtime_ns for path in built_report.results.rglob("*") if path.is_file()} == before
    made = pd.read_csv(tmp_path / "out" / "trials.csv", dtype={"trial_id": str})
    assert made["trial_id"].tolist() == [own["trial_id"]]
    assert made["status"].tolist() == [status]
    curves = pd.read_csv(tmp_path / "out" / "curves.csv", dtype={"trial_id": str})
    assert set(curves["trial_id"]) == {own["trial_id"]}
    assert (tmp_path / "out" / "layers.csv").exists()


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(built_report, trials):
    trial_id = trials["trial_id"].iloc[0]
    found = find_trial(built_report.results, trial_id[:12])
    assert found[0].trial_id == trial_id
    assert found[0] in found[1].trials
    with pytest.raises(UserError, match=r"planned trials of .* begin so; allowed: more digits, such as "):
        find_trial(built_report.results, "")


def test_an_unknown_trial_a_study_without_plan_and_a_folder_of_packs_are_told(built_report, trials, tmp_path):
    with pytest.raises(UserError, match=r"xyz: no planned trial of .* begins so"):
        find_trial(built_report.results, "xyz")
    with pytest.raises(UserError, match=r"plan-1\.csv: no such file; `trainatlas plan` makes it"):
        find_trial(tmp_path, "xyz")
    found = find_trial(built_report.results, trials["trial_id"].iloc[0])
    for out in (built_report.results / "raw", built_report.results / "raw" / "mine"):
        with pytest.raises(UserError, match=r"--out .*raw.*: lies within"):
            rerun(*found, built_report.results, out, CPU, 0.0, lambda line: None)
    assert not (built_report.results / "raw" / "mine").exists()


def test_without_tables_of_its_pack_there_is_nothing_to_compare(built_report, trials, tmp_path):
    trial, pack = find_trial(built_report.results, trials["trial_id"].iloc[0])
    told = rerun(trial, pack, tmp_path / "elsewhere", tmp_path / "out", CPU, 0.0, lambda line: None)
    assert told == f"has nothing to be compared with: its pack {pack.pack_id} is not trained"
    assert pack_path(built_report.results, pack.pack_id).exists()


def row(**changed):
    cells = dict.fromkeys(names(TRIAL_COLUMNS), "1") | {
        "status": "ok",
        "error": "",
        "device": "cpu",
        "test_loss": "0.5",
    }
    return cells | changed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "agrees to the last digit"),
        ({"device": "cuda", "error": "x"}, "agrees to the last digit"),
        ({"test_loss": "0.5000001"}, "agrees with what its pack came to within"),
        ({"test_loss": "0.519"}, "agrees with"),
        (
            {"test_loss": "0.521"},
            "does not agree with what its pack came to (allowed: 2% of a loss, 1 point of a share)",
        ),
        ({"test_loss": "inf"}, "does not agree"),
        ({"test_loss": ""}, "does not agree"),
        ({"test_accuracy": "0.991"}, "agrees with"),
        ({"test_accuracy": "0.989"}, "does not agree"),
        ({"status": "diverged"}, "does not agree"),
        ({"steps_run": "2"}, "does not agree"),
    ],
)
def test_what_counts_as_the_same(changed, words):
    told = agreement(row(), row(**changed))
    assert told.startswith(words)
    if "not" in words:
        name, value = next(iter(changed.items()))
        assert f"{name} {row()[name]} there, {value or 'none'} here" in told


def test_the_command_writes_beside_the_packs_and_says_one_line(built_report, trials, command, tmp_path):
    trial_id = trials["trial_id"].iloc[0]
    out = tmp_path / "out"
    study = built_report.results.parent / "tiny.yaml"
    # The fixture's folder is called results, not tiny: the command looks for results/tiny.
    linked = tmp_path / "results"
    linked.mkdir()
    (linked / "tiny").symlink_to(built_report.results)
    done = command("rerun", study, trial_id, "--results", linked, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"tiny: trial {trial_id} is in {out}; it agrees ")
    assert len(done.stdout.splitlines()) == 1
    assert (out / "checksums.json").exists()
    wrong = command("rerun", study, "xyz", "--results", linked)
    assert wrong.returncode == 1
    assert (
        wrong.stderr
        == f"trainatlas: xyz: no planned trial of {linked}/tiny begins so; {linked}/tiny/plan*.csv lists them\n"
    )
