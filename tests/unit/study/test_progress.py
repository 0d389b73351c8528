"""A progress file says how far a pack is, is written seldom, and betrays a process that is gone."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from trainatlas.study.progress import EVERY, PackProgress, Reporter, read_progress
from trainatlas.study.trial import Trial

TRIAL = Trial("digits", "mlp", "relu", "normal", "none", "sgd", "raw", 0.1, 64, 4, 0)
TRIALS = [TRIAL._replace(seed=seed) for seed in range(4)]
STEPS = dict.fromkeys(TRIALS, 40)


@dataclass
class Result:
    trial: Trial
    status: str = "ok"
    steps_run: int = 0
    epochs_run: int = 0
    step_seconds: float = 0.0


class Clock:
    """Stands still until told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def reporter(folder: Path, clock: Clock) -> tuple[Reporter, Path]:
    path = folder / "progress" / "0123456789ab.json"
    return Reporter(path, "0123456789ab", STEPS, clock), path


def told(folder: Path) -> PackProgress:
    (progress,) = read_progress(folder)
    return progress


def test_a_job_tells_of_itself_before_its_first_epoch(tmp_path: Path) -> None:
    reporter(tmp_path, Clock())
    progress = told(tmp_path)
    assert (progress.pack, progress.process, progress.trials, progress.done) == ("0123456789ab", os.getpid(), 4, 0)
    assert (progress.trial_steps, progress.planned_trial_steps, progress.steps_per_second) == (0, 160, 0.0)
    assert progress.alive()


def test_the_file_says_how_trials_stand(tmp_path: Path) -> None:
    clock = Clock()
    report, _ = reporter(tmp_path, clock)
    first = [Result(TRIALS[0], steps_run=10, epochs_run=1), Result(TRIALS[1], "diverged", 7, 1)]
    clock.now += 4
    report(first)
    progress = told(tmp_path)
    assert (progress.done, progress.diverged, progress.epochs) == (1, 1, 2)
    assert (progress.trial_steps, progress.planned_trial_steps) == (17, 40 + 7 + 40 + 40)
    assert progress.steps_per_second == pytest.approx(17 / 4, abs=0.1)
    first[0].steps_run, first[0].epochs_run = 40, 4
    clock.now += 4
    report([Result(TRIALS[2], "stopped_early", 20, 2), Result(TRIALS[3], "failed")])
    progress = told(tmp_path)
    assert (progress.done, progress.diverged, progress.stopped_early, progress.failed) == (4, 1, 1, 1)
    assert (progress.trial_steps, progress.planned_trial_steps) == (67, 67)


def test_a_half_that_is_trained_again_counts_once(tmp_path: Path) -> None:
    clock = Clock()
    report, _ = reporter(tmp_path, clock)
    report([Result(trial, steps_run=30, epochs_run=3) for trial in TRIALS])
    clock.now += 4
    report([Result(trial, steps_run=10, epochs_run=1) for trial in TRIALS[:2]])
    assert told(tmp_path).trial_steps == 80


def test_steps_of_an_earlier_job_are_no_speed_of_this_one(tmp_path: Path) -> None:
    clock = Clock()
    report, _ = reporter(tmp_path, clock)
    report([Result(TRIALS[0], steps_run=40, epochs_run=4)])
    clock.now += 4
    report([Result(TRIALS[1], steps_run=30, epochs_run=3)])
    progress = told(tmp_path)
    assert progress.trial_steps == 70
    assert progress.steps_per_second == pytest.approx(20 / 4, abs=0.1)  # an epoch of each


def test_the_share_of_the_limit_is_least_time_over_time_taken(tmp_path: Path) -> None:
    clock = Clock()
    report, _ = reporter(tmp_path, clock)
    first = Result(TRIALS[0], steps_run=30, epochs_run=3, step_seconds=0.1)  # an earlier job's but for the last epoch
    report([first])
    clock.now += 4
    report([first, Result(TRIALS[1], steps_run=10, epochs_run=1, step_seconds=0.05)])
    assert told(tmp_path).share_of_limit == pytest.approx((10 * 0.1 + 10 * 0.05) / 4, abs=1e-4)


def test_where_no_limit_is_known_no_share_is_told(tmp_path: Path) -> None:
    clock = Clock()
    report, _ = reporter(tmp_path, clock)
    clock.now += 4
    report([Result(TRIALS[1], steps_run=10, epochs_run=1)])
    assert told(tmp_path).share_of_limit is None


def test_it_is_written_no_more_often_than_it_says(tmp_path: Path) -> None:
    clock = Clock()
    report, path = reporter(tmp_path, clock)
    written = set()
    for epoch in range(1, 101):
        clock.now += EVERY / 10
        report([Result(TRIALS[0], steps_run=epoch, epochs_run=1)])
        written.add(path.stat().st_mtime_ns)
    assert 9 <= len(written) <= 11


def test_it_goes_when_the_pack_is_done_and_none_is_left_half_written(tmp_path: Path) -> None:
    report, path = reporter(tmp_path, Clock())
    report.finish()
    assert list(path.parent.iterdir()) == []
    report.finish()


def test_training_goes_on_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "progress").write_text("in the way", encoding="utf-8")
    clock = Clock()
    report, _ = reporter(tmp_path, clock)
    clock.now += 10
    report([Result(TRIALS[0])])
    report.finish()
    assert list(read_progress(tmp_path)) == []


def test_a_process_that_is_gone_is_known_to_be(tmp_path: Path) -> None:
    reporter(tmp_path, Clock())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    progress = told(tmp_path)
    assert not replace(progress, process=ended.pid).alive()
    assert replace(progress, process=ended.pid, host="elsewhere").alive(), "what other hosts run is not known here"
    assert replace(progress, process=1).alive()


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", '{"pack": "a"}', "\0", "{"])
def test_a_broken_file_is_left_out(content: str, tmp_path: Path) -> None:
    _, path = reporter(tmp_path, Clock())
    path.with_name("broken.json").write_text(content, encoding="utf-8")
    assert told(tmp_path).pack == "0123456789ab"


def test_what_a_later_version_adds_is_passed_over_and_the_share_of_the_limit_kept(tmp_path: Path) -> None:
    _, path = reporter(tmp_path, Clock())
    content = json.loads(path.read_text(encoding="utf-8")) | {"colour": "red", "share_of_limit": 0.4}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert told(tmp_path).share_of_limit == 0.4


def test_a_job_of_slurm_is_alive_as_long_as_slurm_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    reporter(tmp_path, Clock())
    progress = told(tmp_path)
    assert (progress.scheduler, progress.job) == ("slurm", "17")
    elsewhere = replace(progress, host="elsewhere")
    assert [elsewhere.alive(jobs) for jobs in (None, {"17"}, set())] == [True, True, False]
