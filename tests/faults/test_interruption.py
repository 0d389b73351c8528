"""A job that is stopped, however, goes on where it stood and yields the same bytes."""

import errno
import itertools
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from trainatlas.catalogue import structure
from trainatlas.study.attempts import Noting, given_up
from trainatlas.study.errors import UserError
from trainatlas.study.planning import Pack, form_stacks, pack_path, plan_round
from trainatlas.train import checkpoints as module
from trainatlas.train import pack as pack_module
from trainatlas.train.checkpoints import Checkpoints, Keeping, StopRequest
from trainatlas.train.pack import give_up
from trainatlas.train.stacked import train_stack
from trainatlas.workflow import mend_results

Tables = dict[str, bytes]


def ask_at(number_of: str, job: Any, monkeypatch: pytest.MonkeyPatch, wanted: Callable[[int], bool]) -> None:
    """Ask the job to stop at those calls of a Checkpoints method, counted from 1 over all starts, that are wanted."""
    usual, calls = getattr(Checkpoints, number_of), 0

    def method(self: Checkpoints, *rest: Any) -> None:
        nonlocal calls
        calls += 1
        if wanted(calls) and job.stop.number is None:
            job.stop.ask(signal.SIGTERM)
        usual(self, *rest)

    monkeypatch.setattr(Checkpoints, number_of, method)


def test_stopped_at_every_epoch_it_yields_the_same_bytes(
    job: Any, undisturbed: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_at("end_epoch", job, monkeypatch, lambda call: True)
    stops = 0
    while not job.train():
        stops += 1
        assert job.said[-1].startswith("pack 0123456789ab: stopped at epoch ")
        assert job.said[-1].endswith("; start again to go on")
        assert not (job.folder / "raw").exists()
    assert stops == 6, "two stacks of four epochs, of which the last has nothing to keep"
    assert sum("continues at epoch" in line for line in job.said) == stops
    assert job.tables() == undisturbed
    assert not job.checkpoint.parent.exists()


@pytest.mark.parametrize("between", [0.0, 1000.0])
def test_stopped_within_an_epoch_it_goes_back_to_the_end_of_the_last(
    between: float, job: Any, undisturbed: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any grace; with checkpoints seldom, the end of the last epoch is still in memory."""
    job.grace, job.between = 0.0, between
    ask_at("after_step", job, monkeypatch, lambda call: call % 37 == 0)
    while not job.train():
        pass
    stopped = [line for line in job.said if "stopped at" in line]
    continued = [line for line in job.said if "continues at" in line]
    assert len(stopped) == len(continued) >= 3
    for before, after in zip(stopped, continued, strict=True):
        epoch, going_on = (int(line.split("at epoch ")[1].split()[0]) for line in (before, after))
        assert going_on == epoch + 1
    assert job.tables() == undisturbed


def test_an_epoch_that_ends_within_the_grace_is_ended(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    per_epoch = 16
    ask_at(
        "after_step", job, monkeypatch, lambda call: call == per_epoch + 3
    )  # the second epoch: the first told its time
    job.grace = 1000.0
    assert not job.train()
    assert "stopped at epoch 2 of 4" in job.said[-1]


@pytest.fixture
def stopped(job: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The job, stopped at the end of an epoch."""
    with monkeypatch.context() as patches:
        ask_at("end_epoch", job, patches, lambda call: call == 2)
        assert not job.train()
    job.said.clear()
    return job


@pytest.mark.parametrize("key", ["format", "pack", "probes", "training_version", "torch", "device"])
def test_a_checkpoint_of_something_else_is_not_used(key: str, stopped: Any) -> None:
    pack = Pack("0123456789ab", "standard", stopped.trials)
    course = Checkpoints(pack, "cpu", module.Keeping(stopped.checkpoint.parent), stopped.said.append)
    course._identity = course._identity | {key: "other"}
    whole = form_stacks(stopped.trials, structure)
    course.form(lambda: whole)
    assert course.waiting is whole and course.results == [] and course.begin() is None
    (line,) = stopped.said
    assert line.startswith(f"{stopped.checkpoint}: {key} is ")
    assert line.endswith(", not other; the pack is trained from the start")


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def altered(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def emptied(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("harm", [cut_short, altered, emptied])
def test_a_damaged_checkpoint_is_not_used(harm: Callable[[bytes], bytes], stopped: Any, undisturbed: Tables) -> None:
    stopped.checkpoint.write_bytes(harm(stopped.checkpoint.read_bytes()))
    assert stopped.train()
    assert stopped.said[0] == f"{stopped.checkpoint}: is damaged; the pack is trained from the start"
    assert not any("continues" in line for line in stopped.said)
    assert stopped.tables() == undisturbed


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_where_no_checkpoint_can_be_written_training_goes_on(
    fault: int, job: Any, undisturbed: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tempfile.mkstemp

    def mkstemp(dir: Path, **rest: Any) -> tuple[int, str]:
        if dir == job.checkpoint.parent:
            raise OSError(fault, os.strerror(fault))
        return usual(dir=dir, **rest)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    assert job.train()
    line = f"{job.checkpoint}: cannot be written: {os.strerror(fault)}; training goes on without this checkpoint"
    assert line in job.said
    assert job.tables() == undisturbed


def test_a_checkpoint_that_cannot_be_replaced_stays_good(
    job: Any, undisturbed: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_at("end_epoch", job, monkeypatch, lambda call: call in (2, 3))
    assert not job.train()
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        assert not job.train()
    assert [path.name for path in job.checkpoint.parent.iterdir()] == ["checkpoint.npz"]
    assert job.train()
    assert [line for line in job.said if "continues at epoch 3" in line] != []
    assert job.tables() == undisturbed


def test_tables_that_cannot_be_written_are_written_by_the_next_job(
    job: Any, undisturbed: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        usual = pack_module.write_csv

        def write_csv(path: Path, *rest: Any) -> None:
            if path.name == "trials.csv":
                raise UserError(f"{path}: cannot be written: No space left on device")
            usual(path, *rest)

        full.setattr(pack_module, "write_csv", write_csv)
        with pytest.raises(UserError, match="No space left"):
            job.train()
    assert not (job.folder / "raw" / "checksums.json").exists()
    assert job.train()
    assert any("continues at epoch" in line for line in job.said)
    assert job.tables() == undisturbed


# Time.


class Clock:
    """A monotonic clock that a test turns."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.01, 1.0, 10.0])
def test_checkpoints_take_at_most_a_twentieth_of_the_time_between_them(
    cost: float, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, epochs = Clock(), 10_000
    monkeypatch.setattr(module, "time", clock)
    written: list[float] = []

    def write_arrays(path: Path, arrays: Any) -> None:
        written.append(clock.now)
        clock.now += cost

    monkeypatch.setattr(module, "write_arrays", write_arrays)
    keeping = module.Keeping(job.folder, between=30.0)
    course = Checkpoints(Pack("0123456789ab", "standard", job.trials), "cpu", keeping, job.said.append)
    course.form(lambda: [list(job.trials)])
    course.begin()
    for _ in range(epochs):
        clock.now += 1.0
        course.end_epoch(lambda: module.Moment(1, [], [], {}))
    pauses = [later - earlier - cost for earlier, later in itertools.pairwise(written)]
    assert all(30.0 <= pause < 32.0 or pause >= 20 * cost for pause in pauses)
    assert max(pauses) <= max(30.0, 20 * cost) + 1.0, "and no more seldom than that"
    assert course.spent <= 0.05 * clock.now


def test_a_clock_that_jumps_changes_nothing(job: Any, undisturbed: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**9, 0, -(10**5)))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    ask_at("end_epoch", job, monkeypatch, lambda call: call == 3)
    assert not job.train()
    assert job.train()
    assert job.tables() == undisturbed


# Memory.


def test_a_job_that_halved_its_stacks_goes_on_with_the_halves(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    formed: list[list[str]] = []

    def small_memory(trials: Any, *rest: Any) -> Any:
        if len(trials) > 2:
            raise torch.OutOfMemoryError("there is none left")
        formed.append([trial.trial_id for trial in trials])
        return train_stack(trials, *rest)

    monkeypatch.setattr(pack_module, "train_stack", small_memory)
    assert job.train()
    whole, stacks = job.tables(), list(formed)
    assert max(map(len, stacks)) <= 2 and sorted(i for stack in stacks for i in stack) == sorted(
        trial.trial_id for trial in job.trials
    )
    formed.clear()
    ask_at("end_epoch", job, monkeypatch, lambda call: call % 5 == 0)
    with monkeypatch.context() as no_more_cuts:
        while not job.train():
            # What was cut stays cut: no stack is tried whole again.
            no_more_cuts.setattr(pack_module, "form_stacks", lambda *rest: pytest.fail("formed anew"))
    assert list(dict.fromkeys(map(tuple, formed))) == list(map(tuple, stacks))
    assert job.tables() == whole


SHORT_OF_MEMORY = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from trainatlas.study.planning import Pack
from trainatlas.study.trial import Trial
from trainatlas.train.pack import prepare_process, train_pack
device, out = prepare_process(), Path(sys.argv[1])
trial = Trial("digits", "mlp(depth=2, width=512)", "relu", "kaiming_normal", "none", "adam", "raw", 0.001, 64, 1, 0)
pack = Pack("0123456789ab", "light", tuple(trial._replace(seed=seed) for seed in range(16)))
train_pack(replace(pack, trials=(trial,)), out, device, 0.0, lambda line: None)  # all libraries are loaded after that
here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (here + 100 * 2**20,) * 2)
train_pack(pack, out, device, 0.0, print)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_short_of_memory_trains_smaller_stacks(tmp_path: Path, python: Callable[..., Any]) -> None:
    done = python(SHORT_OF_MEMORY, tmp_path / "raw")
    assert done.returncode == 0, done.stderr
    assert "a stack of 16 trials failed (" in done.stdout and "; training its halves" in done.stdout
    table = pd.read_csv(tmp_path / "raw" / "trials.csv")
    assert sorted(table["seed"]) == list(range(16))
    assert set(table["status"]) == {"ok"}, "what a stack that failed took is free for its halves"


# A process.


@pytest.mark.slow
def test_a_process_asked_to_stop_says_so_and_goes_on_when_started_again(
    tiny: dict[str, Any], study_of: Callable[..., Any], tmp_path: Path
) -> None:
    tiny["epochs"] = 30
    pack = plan_round(study_of(tiny), tmp_path, 1, structure)["packs"][0]
    words = [sys.executable, "-m", "trainatlas.cli", "train", str(pack_path(tmp_path, pack)), "--out"]
    environment = os.environ | {"TRAINATLAS_CHECKPOINT_SECONDS": "0"}
    checkpoint = tmp_path / "checkpoints" / pack / "checkpoint.npz"
    give_up = time.monotonic() + 200
    with subprocess.Popen(
        [*words, str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        while not checkpoint.exists() and time.monotonic() < give_up:
            time.sleep(0.01)  # waits for the moment; the outcome does not depend on how long it takes
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate()
    assert running.returncode == 128 + signal.SIGTERM
    (line,) = [line for line in said.splitlines() if "stopped" in line]
    assert line.startswith(f"pack {pack}: stopped at epoch ") and line.endswith("; start again to go on")
    assert "Traceback" not in said
    again = subprocess.run([*words, str(tmp_path / "out")], capture_output=True, text=True, env=environment, check=True)
    assert f"pack {pack}: continues at epoch " in again.stderr
    subprocess.run([*words, str(tmp_path / "whole"), "--checkpoint-seconds", "1000"], capture_output=True, check=True)
    for name in ("trials.csv", "curves.csv", "layers.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not checkpoint.parent.exists()


ASK_TWICE = """
import os, signal
from trainatlas.train.checkpoints import StopRequest
with StopRequest().listening() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.number, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
"""


def test_the_second_signal_ends_the_process_at_once(python: Callable[..., Any]) -> None:
    done = python(ASK_TWICE)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, f"{int(signal.SIGINT)}\n")


# A scheduler's time limit, and packs that are given up.


def test_near_its_time_limit_a_job_stops_by_itself_and_the_next_goes_on(job: Any, undisturbed: Tables) -> None:
    job.stop_at = 0.0  # a time limit that is over
    assert not job.train()
    assert job.said[-1].endswith(", near its time limit; start again to go on")
    assert job.checkpoint.exists()
    job.stop_at = math.inf
    assert job.train()
    assert job.tables() == undisturbed


def test_a_scheduler_may_repeat_its_signal() -> None:
    stop = StopRequest(patient=True)
    stop.ask(signal.SIGTERM)
    first = stop.at
    stop.ask(signal.SIGTERM)
    assert (stop.number, stop.at, stop.by_clock) == (signal.SIGTERM, first, False)


def test_a_signal_after_the_time_limit_does_not_prolong_the_grace() -> None:
    stop = StopRequest(deadline=time.monotonic() - 5)
    stop.ask(signal.SIGTERM)
    assert stop.number == signal.SIGTERM and stop.at < time.monotonic() - 4 and stop.by_clock


def test_a_pack_that_is_given_up_has_its_trials_and_goes_on_once_it_is_trained_again(
    tiny: dict[str, Any], study_of: Callable[..., Any], command: Callable[..., Any], tmp_path: Path
) -> None:
    (pack,) = plan_round(study_of(tiny), tmp_path, 1, structure)["packs"]
    words = ["train", pack_path(tmp_path, pack), "--out", tmp_path / "raw" / pack]
    Noting(tmp_path, pack, tmp_path / "log").end("failed", "no such GPU")
    done = command(*words, "--tries-left", "0")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "raw" / pack / "trials.csv")
    assert len(table) == 32 and set(table["status"]) == {"failed"}
    assert set(table["error"].str.contains("failed: no such GPU")) == {True}
    assert given_up(tmp_path) == [pack]
    said: list[str] = []
    mend_results(tmp_path, dry_run=False, say=said.append)
    assert said == [f"trainatlas: {tmp_path}: pack {pack} was given up; it will be trained again"]
    assert not (tmp_path / "raw" / pack).exists()
    assert command(*words, "--tries-left", "3").returncode == 0
    assert set(pd.read_csv(tmp_path / "raw" / pack / "trials.csv")["status"]) == {"ok"}
    assert given_up(tmp_path) == []
    mend_results(tmp_path, dry_run=False, say=said.append)
    assert len(said) == 1 and (tmp_path / "raw" / pack).exists()


def test_what_a_checkpoint_has_as_done_is_not_given_up(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_at("end_stack", job, monkeypatch, lambda calls: calls == 1)
    assert not job.train()
    pack = Pack("0123456789ab", "standard", tuple(job.trials))
    give_up(pack, job.folder / "raw", torch.device("cpu"), 0.0, job.said.append, Keeping(job.checkpoint.parent), "why")
    ends = pd.read_csv(job.folder / "raw" / "trials.csv").groupby("error", dropna=False)["trial_id"].count()
    assert 0 < ends["why"] < len(job.trials) == ends.sum()
    assert job.checkpoint.exists()
