"""What stages took is noted by name, and the last time counts."""

from pathlib import Path

import pytest

from trainatlas.study.errors import UserError
from trainatlas.study.stage_times import note_stage, stage_times


def test_stages_come_in_the_order_in_which_they_ended_and_the_last_time_counts(tmp_path: Path) -> None:
    for stage, seconds in (("prepare", 1.25), ("plan-1", 0.5), ("prepare", 3.0)):
        note_stage(tmp_path, stage, seconds)
    found = stage_times(tmp_path)
    assert [(each.stage, each.seconds) for each in found] == [("plan-1", 0.5), ("prepare", 3.0)]
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert all(0.3 * peak < each.peak_mib < 3 * peak for each in found), "in MiB"


def test_without_notes_there_are_none(tmp_path: Path) -> None:
    assert stage_times(tmp_path) == []


def test_a_broken_note_is_named(tmp_path: Path) -> None:
    note_stage(tmp_path, "analyse", 1.0)
    (tmp_path / "stages" / "analyse.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"stages/analyse\.json: cannot be read as JSON"):
        stage_times(tmp_path)
