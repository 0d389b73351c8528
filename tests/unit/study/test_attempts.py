"""Every attempt at a pack leaves a note that says which job it was and how it ended, if it could."""

import json
from pathlib import Path

import pytest

from trainatlas.study import attempts
from trainatlas.study.attempts import DONE, FAILED, GIVEN_UP, STOPPED, Noting, attempts_at, given_up, job_of
from trainatlas.study.errors import UserError


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("", "")),
        ({"SLURM_JOB_ID": "17"}, ("slurm", "17")),
        ({"LSB_JOBID": "3"}, ("lsf", "3")),
        ({"JOB_ID": "5"}, ("grid engine", "5")),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "pod-x"}, ("kubernetes", "pod-x")),
    ],
)
def test_a_job_is_known_by_what_its_scheduler_calls_it(environment: dict[str, str], expected: tuple[str, str]) -> None:
    assert job_of(environment) == expected


def test_attempts_are_told_in_the_order_in_which_they_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    for number, end in enumerate([STOPPED, "", DONE]):
        monkeypatch.setenv("SLURM_JOB_ID", str(number))
        monkeypatch.setattr(attempts, "_now", lambda number=number: f"2026-01-0{number + 1}T00:00:00.000Z")
        noting = Noting(tmp_path, "abc", log)
        if end:
            noting.end(end, "what it\nsaid")
    found = attempts_at(tmp_path, "abc")
    assert [(each.job, each.end) for each in found] == [("0", STOPPED), ("1", ""), ("2", DONE)]
    assert found[0].last_line == "what it said" and found[0].log == str(log)
    assert "job 1 on " in found[1].ending() and "killed or lost" in found[1].ending()
    assert found[0].ending().endswith("stopped: what it said")


def test_what_ends_an_attempt_badly_is_noted_and_goes_on(tmp_path: Path) -> None:
    for error, said in ((UserError("a line"), "a line"), (ValueError("no"), "ValueError: no")):
        noting = Noting(tmp_path, type(error).__name__, tmp_path / "log")
        with pytest.raises(type(error)), noting.failures():
            raise error
        (attempt,) = attempts_at(tmp_path, type(error).__name__)
        assert (attempt.end, attempt.last_line) == (FAILED, said)


def test_packs_are_given_up_until_a_later_attempt_ends_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given_up(tmp_path) == []
    Noting(tmp_path, "a", tmp_path / "log").end(GIVEN_UP, "why")
    Noting(tmp_path, "b", tmp_path / "log").end(DONE)
    assert given_up(tmp_path) == ["a"]
    monkeypatch.setattr(attempts, "_now", lambda: "2999-01-01T00:00:00.000Z")
    Noting(tmp_path, "a", tmp_path / "log").end(DONE)
    assert given_up(tmp_path) == []


def test_a_broken_note_is_left_out_and_one_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "attempts" / "a").mkdir(parents=True)
    (tmp_path / "attempts" / "a" / "x.json").write_text("{", encoding="utf-8")
    (tmp_path / "attempts" / "a" / "y.json").write_text(json.dumps({"pack": "a"}), encoding="utf-8")
    assert attempts_at(tmp_path, "a") == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    Noting(tmp_path / "file", "a", tmp_path / "log").end(DONE)
