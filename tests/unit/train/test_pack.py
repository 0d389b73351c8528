"""A pack's tables hold every trial once, whatever happened to it, and the same numbers every time."""

import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from trainatlas.analysis.tables import read_table
from trainatlas.catalogue import structure
from trainatlas.costs import structure_key
from trainatlas.study.errors import UserError
from trainatlas.study.planning import Pack, form_stacks, plan_round
from trainatlas.study.progress import Watched
from trainatlas.study.trial import Trial
from trainatlas.train import pack as module
from trainatlas.train.pack import train_pack
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    STACK_COLUMNS,
    TRIAL_COLUMNS,
)
from trainatlas.train.stacked import TrialResult, train_stack

CPU = torch.device("cpu")
TABLES = {
    "trials": TRIAL_COLUMNS,
    "curves": CURVE_COLUMNS,
    "layers": LAYER_COLUMNS,
    "histograms": HISTOGRAM_COLUMNS,
    "stacks": STACK_COLUMNS,
    "pack": PACK_COLUMNS,
}

TRIAL = Trial("digits", "mlp(depth=2, width=8)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 64, 2, 0)
TRIALS = (
    TRIAL,
    TRIAL._replace(seed=1),
    TRIAL._replace(optimizer="adam", learning_rate=0.01),
    TRIAL._replace(optimizer="rmsprop", learning_rate=0.01, preprocessing="pca(components=5)"),
    TRIAL._replace(activation="tanh", normalisation="batch"),
    TRIAL._replace(learning_rate=1e30),
)
DIVERGES = TRIALS[-1]


def train(trials: Sequence[Trial], out: Path, said: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """Train a pack, read its tables the way later stages do, and return them."""
    say = (lambda line: None) if said is None else said.append
    train_pack(Pack("0123456789ab", "full", tuple(trials)), out, CPU, 0.0, say)
    return {name: read_table(out / f"{name}.csv", columns, "") for name, columns in TABLES.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pd.DataFrame]]:
    out = tmp_path_factory.mktemp("raw")
    return out, train(TRIALS, out)


def test_trials_out_are_trials_in(trained: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    table = trained[1]["trials"].set_index("trial_id")
    assert sorted(table.index) == sorted(trial.trial_id for trial in TRIALS)
    for trial in TRIALS:
        row = table.loc[trial.trial_id]
        for name, value in trial.as_dict().items():
            assert row[name] == value
        assert row["status"] == ("diverged" if trial is DIVERGES else "ok")
        assert row["error"] in ("", None) or pd.isna(row["error"])


def test_every_trial_has_its_curve_and_its_layers(trained: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    ids = {trial.trial_id for trial in TRIALS}
    curves, layers = trained[1]["curves"], trained[1]["layers"]
    histograms = trained[1]["histograms"]
    assert set(curves["trial_id"]) == set(layers["trial_id"]) == set(histograms["trial_id"]) == ids
    assert not curves.duplicated(["trial_id", "step", "split"]).any()
    assert not layers.duplicated(["trial_id", "step", "layer"]).any()
    place = ["trial_id", "step", "layer", "quantity"]
    assert not histograms.duplicated([*place, "low"]).any()
    assert histograms.groupby(place)["share"].sum().to_numpy() == pytest.approx(1.0, abs=1e-6)
    assert (histograms["low"] <= histograms["high"]).all()
    measured = layers.dropna(subset="backward_std")
    assert set(map(tuple, histograms[place[:3]].to_numpy())) == set(map(tuple, measured[place[:3]].to_numpy()))
    assert (curves["epoch"] - curves["step"] / 16).abs().max() < 1e-5
    rates = curves.groupby("trial_id")["learning_rate"].unique()
    for trial in TRIALS:
        assert rates[trial.trial_id].tolist() == [trial.learning_rate]


def test_the_tables_agree_with_each_other(trained: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    tables = trained[1]
    curves = tables["curves"].set_index(["trial_id", "split", "step"]).sort_index()
    for row in tables["trials"].itertuples():
        assert curves.loc[(row.trial_id, "test", row.steps_run), "accuracy"] == row.test_accuracy
        if row.status == "ok":
            last = {split: curves.loc[(row.trial_id, split)].iloc[-1]["loss"] for split in ("train", "validation")}
            assert last["validation"] == pytest.approx(row.final_validation_loss, rel=1e-5)
            assert last["train"] == pytest.approx(row.final_train_loss, rel=0.1)  # of the probe set, of all examples
            assert curves.loc[(row.trial_id, "train_batch", 1), "loss"] == row.first_train_loss
    (pack,) = tables["pack"].itertuples()
    assert (pack.trials, pack.trial_steps) == (len(TRIALS), tables["trials"]["steps_run"].sum())


def test_training_again_yields_the_same_bytes_times_apart(
    trained: tuple[Path, dict[str, pd.DataFrame]], tmp_path: Path
) -> None:
    train(TRIALS[::-1], tmp_path)
    for name in ("trials", "curves", "layers", "histograms"):
        assert (tmp_path / f"{name}.csv").read_bytes() == (trained[0] / f"{name}.csv").read_bytes()


def test_the_pack_a_stack_is_dealt_to_changes_no_byte(tmp_path: Path) -> None:
    """Stacks that re-forming would join and cut elsewhere: seven trials of one structure, three at most in a stack."""
    trials = [TRIAL._replace(seed=seed, learning_rate=0.01 * (1 + seed)) for seed in range(7)]
    stacks = form_stacks([*trials, *TRIALS[3:5]], structure, 3)
    assert len(stacks) == 5
    dealings = []
    for packs in (1, 2, 5):
        lines: dict[str, list[str]] = {"trials": [], "curves": [], "layers": []}
        for number in range(packs):
            out = tmp_path / f"{number}-of-{packs}"
            own = tuple(map(tuple, stacks[number::packs]))
            pack = Pack("0123456789ab", "standard", tuple(trial for stack in own for trial in stack)[::-1], Path(), own)
            train_pack(pack, out, CPU, 0.0, lambda line: None)
            assert read_table(out / "stacks.csv", STACK_COLUMNS, "")["trials"].tolist() == [len(stack) for stack in own]
            for name in lines:
                lines[name] += (out / f"{name}.csv").read_text(encoding="utf-8").splitlines()[1:]
        dealings.append({name: sorted(rows) for name, rows in lines.items()})
    assert len(dealings[0]["trials"]) == len(trials) + 2
    assert all(dealing == dealings[0] for dealing in dealings)


def test_stacks_are_timed_beside_their_estimate(trained: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    stacks, trials = trained[1]["stacks"], trained[1]["trials"]
    assert stacks["trials"].sum() == len(TRIALS)
    assert stacks["trial_steps"].sum() == trials["steps_run"].sum()
    assert stacks["planned_trial_steps"].sum() == len(TRIALS) * 2 * 16
    assert (stacks["seconds"] > 0).all() and (stacks["estimated_seconds"] > 0).all()
    assert stacks["seconds"].sum() <= trained[1]["pack"]["seconds"].sum() + 0.01 * len(stacks)
    assert set(stacks["structure"]) == {structure_key(trial) for trial in TRIALS}


def test_progress_sees_every_trial_to_its_end(tmp_path: Path) -> None:
    seen: list[dict[str, tuple[str, int]]] = []

    def watch(results: Sequence[Watched]) -> None:
        seen.append({each.trial.trial_id: (each.status, each.steps_run) for each in results})

    train_pack(Pack("0123456789ab", "standard", TRIALS), tmp_path, CPU, 0.0, lambda line: None, progress=watch)
    table = read_table(tmp_path / "trials.csv", TRIAL_COLUMNS, "").set_index("trial_id")
    last: dict[str, tuple[str, int]] = {}
    for told in seen:
        for trial_id, (status, steps) in told.items():
            assert steps >= last.get(trial_id, ("", 0))[1]
            last[trial_id] = (status, steps)
    assert last == {row.Index: (row.status, row.steps_run) for row in table.itertuples()}
    assert len(seen) > 2 * len(form_stacks(TRIALS, structure)) - 1  # every epoch


def failing_for(bad: Trial, error: BaseException) -> Callable[..., list[TrialResult]]:
    """Training that works, but for one trial and every stack that holds it."""

    def train_or_raise(trials: Sequence[Trial], *rest: Any) -> list[TrialResult]:
        if bad in trials:
            raise error
        return train_stack(trials, *rest)

    return train_or_raise


@pytest.mark.parametrize("bad", TRIALS[:5], ids=lambda trial: trial.trial_id)
def test_a_trial_that_fails_fails_alone(
    bad: Trial, trained: tuple[Path, dict[str, pd.DataFrame]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError('of "no" use,\nover two lines')
    monkeypatch.setattr(module, "train_stack", failing_for(bad, error))
    said: list[str] = []
    table = train(TRIALS, tmp_path, said)["trials"].set_index("trial_id")
    expected = trained[1]["trials"].set_index("trial_id")
    assert list(table.index) == list(expected.index)
    failed = table.loc[bad.trial_id]
    assert (failed["status"], failed["error"]) == ("failed", 'RuntimeError: of "no" use, over two lines')
    assert failed["steps_run"] == 0
    assert pd.isna(failed["test_accuracy"])
    assert any(bad.trial_id in line and "Traceback" in line for line in said), "the log tells where it failed"
    others = table.drop(bad.trial_id)
    assert others["status"].equals(expected.drop(bad.trial_id)["status"])
    for column in ("final_train_loss", "test_loss"):
        assert others[column].tolist() == pytest.approx(expected.drop(bad.trial_id)[column].tolist(), rel=1e-4)


def test_a_stack_too_large_for_memory_is_trained_in_parts(
    trained: tuple[Path, dict[str, pd.DataFrame]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def small_memory(trials: Sequence[Trial], *rest: Any) -> list[TrialResult]:
        if len(trials) > 1:
            raise torch.OutOfMemoryError("of this kind of memory there is none left")
        sizes.append(len(trials))
        return train_stack(trials, *rest)

    monkeypatch.setattr(module, "train_stack", small_memory)
    table = train(TRIALS, tmp_path)["trials"]
    assert sizes == [1] * len(TRIALS)
    assert table["status"].equals(trained[1]["trials"]["status"])


def test_every_trial_may_fail_and_still_has_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[TrialResult]:
        raise ValueError("always")

    monkeypatch.setattr(module, "train_stack", broken)
    tables = train(TRIALS, tmp_path)
    assert tables["trials"]["status"].tolist() == ["failed"] * len(TRIALS)
    assert {len(tables[name]) for name in ("curves", "layers", "histograms")} == {0}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("the user's mistake")])
def test_an_end_that_is_meant_ends_the_job_and_leaves_no_table(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train_stack", failing_for(TRIAL, error))
    with pytest.raises(type(error)):
        train(TRIALS, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_said_stack_by_stack(tmp_path: Path) -> None:
    said: list[str] = []
    train(TRIALS, tmp_path, said)
    stacks = form_stacks(TRIALS, structure)
    assert len(said) == len(stacks) > 1
    assert f"{len(TRIALS)} of {len(TRIALS)} trials" in said[-1]


# The command, as the pipeline runs it.


@pytest.fixture
def pack_file(tiny: dict[str, Any], study_of: Callable[..., Any], tmp_path: Path) -> Path:
    summary = plan_round(study_of(tiny), tmp_path, 1, structure)
    return tmp_path / "packs" / f"{summary['packs'][0]}.json"


def limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_job_that_cannot_write_its_whole_tables_leaves_none(
    pack_file: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    """No file may grow past 4 kB: the folder's disk is as good as full."""
    out = tmp_path / "raw"
    done = command("train", pack_file, "--out", out, preexec_fn=limit_files(4096))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(".csv: cannot be written: File too large")
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


def test_a_job_on_a_full_disk_leaves_no_half_table(
    pack_file: Path, tiny_disk: Path, command: Callable[..., Any]
) -> None:
    (tiny_disk / "filler").write_bytes(b"\0" * 58_000)
    done = command("train", pack_file, "--out", tiny_disk / "raw")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(".csv: cannot be written: No space left on device")
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tiny_disk / "raw").iterdir()] == []


def test_a_job_whose_folder_cannot_be_made_says_so(
    pack_file: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = command("train", pack_file, "--out", tmp_path / "file" / "raw")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_altered_pack_is_not_trained(pack_file: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    pack_file.write_text(pack_file.read_text(encoding="utf-8").replace('"seed":0', '"seed":5'), encoding="utf-8")
    done = command("train", pack_file, "--out", tmp_path / "raw")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"trainatlas: {pack_file}: its trials were altered; delete it and run `trainatlas plan`\n"
    assert not (tmp_path / "raw").exists()


def test_preparing_a_process_leaves_it_one_thread() -> None:
    try:
        assert module.prepare_process().type in ("cpu", "cuda")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_flush_denormal(False)  # the other tests compare with torch as it is by itself
