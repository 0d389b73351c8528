"""The status of a study counts every trial once, tells what died and what it said, and reads well in a log."""

import io
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from trainatlas.catalogue import structure
from trainatlas.study.attempts import FAILED, GIVEN_UP, Noting
from trainatlas.study.config import Study
from trainatlas.study.dealing import Labour
from trainatlas.study.errors import UserError
from trainatlas.study.planning import pack_path, plan_round, read_pack, read_plan, trial_epochs
from trainatlas.study.status import StatusReader
from trainatlas.study.storage import write_json
from trainatlas.train.pack import train_pack
from trainatlas.watching import Teller, duration, show, show_jobs, status_line, watch

NOTHING: dict[str, Any] = {
    "trials_by_stage": {},
    "packs": [],
    "pack_seconds": {},
    "last": True,
    "later_trials": 0,
    "later_seconds": 0.0,
}
"""What the summary of a last round without trials says, as far as a status needs it."""


@pytest.fixture
def study(tiny: dict[str, Any], study_of: Callable[..., Study]) -> Study:
    tiny["pack_trials"] = 8
    return study_of(tiny)


@pytest.fixture
def packs(study: Study, tmp_path: Path) -> list[str]:
    """The packs of a study that is planned and no more: 32 tuning runs in four packs."""
    return list(plan_round(study, tmp_path, 1, structure, price=trial_epochs, labour=Labour(4))["packs"])


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def tell(results: Path, pack: str, **more: Any) -> None:
    content = {
        "pack": pack,
        "process": os.getpid(),
        "host": platform.node(),
        "started": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:10Z",
        "trials": 8,
        "done": 3,
        "diverged": 1,
        "failed": 1,
        "trial_steps": 100,
        "planned_trial_steps": 300,
        "steps_per_second": 20.0,
    }
    write_json(results / "progress" / f"{pack}.json", content | more)


def train(results: Path, pack: str) -> None:
    out = results / "raw" / pack
    train_pack(read_pack(pack_path(results, pack)), out, torch.device("cpu"), 0.0, lambda line: None)


def log(results: Path, pack: str, text: str) -> None:
    path = results / "logs" / "train" / f"{pack}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_study_that_is_planned_waits(packs: list[str], tmp_path: Path) -> None:
    status = StatusReader(tmp_path).read()
    assert [(each.stages, each.planned, each.done) for each in status.rounds] == [(("tuning",), 32, 0), ((), 38, 0)]
    assert status.packs == {"waiting": 4}
    assert (status.seconds_left, status.steps_per_second) == (None, 0.0)
    assert "left" not in status_line(status)


def test_every_state_is_told_from_the_others(packs: list[str], tmp_path: Path) -> None:
    train(tmp_path, packs[0])
    tell(tmp_path, packs[1])
    tell(tmp_path, packs[2], process=ended_process())
    log(tmp_path, packs[1], "pack: stack 1 of 2\n")
    log(tmp_path, packs[2], "something\ntrainatlas: data.npz: no such file\n\n")
    status = StatusReader(tmp_path).read()
    assert status.packs == {"done": 1, "running": 1, "stopped": 1, "waiting": 1}
    first = status.rounds[0]
    assert (first.planned, first.done, first.running) == (32, 8 + 3, 5)
    assert first.ends == {"ok": 8 + 1, "diverged": 1, "failed": 1}
    (stopped,) = status.stopped
    assert (stopped.pack, stopped.last_line) == (packs[2], "trainatlas: data.npz: no such file")
    assert stopped.log == tmp_path / "logs" / "train" / f"{packs[2]}.log"
    assert status.steps_per_second == 20.0


def test_a_pack_that_failed_is_told_by_its_log_alone(packs: list[str], tmp_path: Path) -> None:
    log(tmp_path, packs[0], "trainatlas: it went wrong\n")
    log(tmp_path, packs[1], "")
    status = StatusReader(tmp_path).read()
    assert status.packs == {"stopped": 1, "waiting": 3}


def test_the_time_left_follows_the_prediction_and_what_was_measured(packs: list[str], tmp_path: Path) -> None:
    def change(name: str, change: Callable[[dict[str, Any]], object]) -> None:
        path = tmp_path / name
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    change("plan-1.json", lambda plan: plan.update(pack_seconds=dict.fromkeys(packs, 60.0), later_seconds=100.0))
    tell(tmp_path, packs[0])  # 200 steps at 20 a second: 10 s
    assert StatusReader(tmp_path).read().seconds_left == pytest.approx(10 + 3 * 60 + 100)
    tell(tmp_path, packs[1], steps_per_second=0.0, trial_steps=0)  # as predicted: 60 s
    assert StatusReader(tmp_path).read().seconds_left == pytest.approx((10 + 60 + 2 * 60 + 100) / 2)
    train(tmp_path, packs[2])
    pack_csv = tmp_path / "raw" / packs[2] / "pack.csv"
    header, row = pack_csv.read_text(encoding="utf-8").splitlines()
    cells = row.split(",")
    cells[header.split(",").index("seconds")] = "120"  # twice what was predicted
    pack_csv.write_text(f"{header}\n{','.join(cells)}\n", encoding="utf-8")
    assert StatusReader(tmp_path).read().seconds_left == pytest.approx((10 + 120 + 120 + 200) / 2)
    final = NOTHING | {"packs": ["f" * 12, "e" * 12], "pack_seconds": {"f" * 12: 30.0, "e" * 12: 40.0}}
    write_json(tmp_path / "plan-2.json", final)  # planned when the first round was measured: not corrected again
    rows = "".join(f"{pack},grid,final,{pack}\n" for pack in final["packs"])
    (tmp_path / "plan-2.csv").write_text(f"trial_id,sample,stage,pack\n{rows}", encoding="utf-8")
    assert StatusReader(tmp_path).read().seconds_left == pytest.approx((10 + 120 + 120 + 30 + 40) / 2)


def test_a_finished_round_is_read_once(packs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pack in packs:
        train(tmp_path, pack)
    reader = StatusReader(tmp_path)
    before = reader.read()
    opened: list[Path] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *rest, **named: opened.append(path) or real(path, *rest, **named))
    assert reader.read() == before
    assert not [path for path in opened if path.name == "trials.csv"]
    assert before.rounds[0].done == 32


def plain() -> Console:
    return Console(file=io.StringIO(), width=300, force_terminal=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_page_holds_rounds_jobs_and_errors(packs: list[str], tmp_path: Path) -> None:
    tell(tmp_path, packs[0], share_of_limit=0.37)
    tell(tmp_path, packs[1], process=ended_process())
    log(tmp_path, packs[1], "trainatlas: data.npz: no such file\n")
    console = plain()
    show("tiny", tmp_path, console)
    text = printed(console)
    for words in ("tuning", "not planned yet", packs[0], str(os.getpid()), "37%", "no such file"):
        assert words in text
    assert str(tmp_path / "logs" / "train" / f"{packs[1]}.log") in text


def test_no_share_of_the_limit_is_made_up(packs: list[str], tmp_path: Path) -> None:
    tell(tmp_path, packs[0])
    console = plain()
    show("tiny", tmp_path, console)
    assert "limit" not in printed(console)


def finish(results: Path, packs: list[str]) -> None:
    """Let the study be all trained: nothing planned for the second round."""
    for pack in packs:
        train(results, pack)
    write_json(results / "plan-2.json", NOTHING)
    (results / "plan-2.csv").write_text("trial_id,sample,stage,pack\n", encoding="utf-8")


def test_watching_without_a_terminal_is_one_line_a_time_until_all_is_done(packs: list[str], tmp_path: Path) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            finish(tmp_path, packs)

    console = plain()
    watch("tiny", tmp_path, console, 5.0, wait)
    assert waited == [5.0, 5.0]
    lines = printed(console).splitlines()
    assert [line.split(";")[0] for line in lines] == ["tiny: 0 of 70 trials done"] * 2 + ["tiny: 32 of 32 trials done"]
    assert "\x1b" not in printed(console)


def test_watching_in_a_terminal_keeps_a_page_up_to_date(packs: list[str], tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    watch("tiny", tmp_path, console, 5.0, lambda seconds: finish(tmp_path, packs))
    assert "0 of 70 trials done" in printed(console) and "32 of 32 trials done" in printed(console)


def test_the_teller_speaks_when_there_is_news_and_last_when_stopped(packs: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    spoken = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        spoken.set()

    teller = Teller("tiny", tmp_path, 0.001, say)
    teller.start()
    assert spoken.wait(60)
    tell(tmp_path, packs[0])
    while len(said) < 2:
        spoken.clear()
        assert spoken.wait(60)
    train(tmp_path, packs[0])
    teller.stop()
    assert said[0].startswith("tiny: 0 of 70 trials done") and said[-1].startswith("tiny: 8 of 70 trials done")
    assert len(set(said)) == len(said)


def test_the_teller_is_silent_before_the_plan_and_when_told_to_be(tmp_path: Path) -> None:
    said: list[str] = []
    for every in (0.001, 0.0):
        teller = Teller("tiny", tmp_path, every, said.append)
        teller.start()
        teller.stop()
        teller.stop()
    assert said == []


def test_times_are_told_to_two_units() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.4, 61, 3725, 90_000)] == [
        "0 s", "59 s", "1 min 1 s", "1 h 2 min", "25 h 0 min",
    ]  # fmt: skip


def test_a_table_without_statuses_is_named(packs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "raw" / packs[0] / "trials.csv"
    path.parent.mkdir(parents=True)
    path.write_text("a\n1\n", encoding="utf-8")
    path.with_name("checksums.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"trials\.csv: cannot be read as a table"):
        StatusReader(tmp_path).read()


def test_a_trial_leads_to_its_pack_that_packs_jobs_and_its_log(
    packs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    path = tmp_path / "logs" / "train" / f"{packs[0]}.log"
    Noting(tmp_path, packs[0], path).end(FAILED, "no room")
    row = next(row for row in read_plan(tmp_path, 1) if row["pack"] == packs[0])
    console = plain()
    show_jobs(tmp_path, console, row["trial_id"][:10])
    said = printed(console)
    assert packs[0] in said and "slurm 17" in said and "failed" in said
    assert f"pack {packs[0]}: no room ({path})" in said
    assert not any(pack in said for pack in packs[1:])
    with pytest.raises(UserError, match="--trial xyz: no planned trial"):
        show_jobs(tmp_path, console, "xyz")


def test_all_jobs_are_listed_those_that_left_no_word_too(packs: list[str], tmp_path: Path) -> None:
    Noting(tmp_path, packs[0], tmp_path / "log")
    train(tmp_path, packs[1])
    Noting(tmp_path, packs[1], tmp_path / "log").end(GIVEN_UP, "why")
    console = plain()
    show_jobs(tmp_path, console)
    lines = {line.split()[0]: line for line in printed(console).splitlines() if line.strip()}
    assert set(packs) <= set(lines)
    assert "killed or lost" in lines[packs[0]] and f"process {os.getpid()}" in lines[packs[0]]
    assert "given up" in lines[packs[1]] and "waiting" in lines[packs[2]]


def test_a_pack_whose_log_was_wiped_is_told_by_its_last_attempt(packs: list[str], tmp_path: Path) -> None:
    tell(tmp_path, packs[0], process=ended_process())
    Noting(tmp_path, packs[0], tmp_path / "log").end(FAILED, "no room")
    (stopped,) = StatusReader(tmp_path).read().stopped
    assert stopped.last_line.endswith("failed: no room")
