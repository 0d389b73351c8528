"""What a study keeps, trains anew and retires when it, its data or the training code change."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainatlas.catalogue import structure
from trainatlas.study import growth as growth_module
from trainatlas.study import planning, trial
from trainatlas.study.checksums import CHECKSUMS
from trainatlas.study.config import Probes, Study
from trainatlas.study.errors import UserError
from trainatlas.study.growth import Growth, growth
from trainatlas.study.planning import pack_path, plan_path, plan_round
from trainatlas.study.rounds import plan_of_round
from trainatlas.study.sampling import Setting
from trainatlas.study.trial import Trial

Content = dict[str, Any]
StudyOf = Callable[..., Study]


def minute_each(stack: Sequence[Trial], probes: Probes) -> float:
    return 60.0 * len(stack)


def compare(study: Study, results: Path) -> Growth:
    return growth(study, results, structure, minute_each)


def train(results: Path, packs: list[str]) -> None:
    """What is looked at of a pack that is trained: its seal."""
    for pack in packs:
        (results / "raw" / pack).mkdir(parents=True, exist_ok=True)
        (results / "raw" / pack / CHECKSUMS).write_text("{}", encoding="utf-8")


def finish(study: Study, results: Path) -> None:
    """Plan and 'train' a study, the lowest rate chosen everywhere."""
    train(results, plan_round(study, results, 1, structure)["packs"])
    chosen = [Setting(cell, {"learning_rate": study.rate_range(cell["optimizer"]).low}) for cell in study.cells()]
    train(results, plan_round(study, results, 2, structure, chosen=chosen)["packs"])


@pytest.fixture
def finished(tiny: Content, study_of: StudyOf, tmp_path: Path) -> Path:
    results = tmp_path / "results"
    finish(study_of(tiny), results)
    return results


def test_a_study_never_planned_is_all_new(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    found = compare(study_of(tiny), tmp_path / "nothing")
    assert (found.kept, found.waiting, found.new, found.retired, found.unsettled) == (0, 0, 32 + 6, 0, 32)
    assert found.seconds == 60.0 * 38


def test_a_finished_study_keeps_all(tiny: Content, study_of: StudyOf, finished: Path) -> None:
    assert compare(study_of(tiny), finished) == Growth(70, 0, 0, growth_module.Counter(), 0, 0, 0.0)


@pytest.mark.parametrize(
    "change", [{"title": "Another"}, {"targets": []}, {"pack_trials": 7}, {"profiles": {"quick": {"epochs": 1}}}]
)
def test_what_training_does_not_depend_on_trains_nothing(
    change: Content, tiny: Content, study_of: StudyOf, finished: Path
) -> None:
    found = compare(study_of(tiny | change), finished)
    assert (found.kept, found.new, found.retired) == (70, 0, 0)


def test_a_new_seed_asks_for_its_final_runs_alone(tiny: Content, study_of: StudyOf, finished: Path) -> None:
    tiny["samples"][0]["seeds"] = [1, 2, 9]
    found = compare(study_of(tiny), finished)
    assert (found.kept, found.new, found.retired, found.unsettled) == (70, 16, 0, 0)
    assert found.seconds == 60.0 * 16


def test_a_new_level_asks_for_its_tuning_and_then_its_final_runs(
    tiny: Content, study_of: StudyOf, finished: Path
) -> None:
    tiny["factors"]["activation"] = ["relu", "tanh", "gelu"]
    tiny["samples"] = tiny["samples"][:1]
    found = compare(study_of(tiny), finished)
    assert (found.kept, found.new, found.retired, found.unsettled) == (64, 16, 6, 16)


def test_other_rates_keep_those_they_share_and_leave_final_runs_open(
    tiny: Content, study_of: StudyOf, finished: Path
) -> None:
    tiny["samples"][0]["tune"]["learning_rate"] = 3  # the two ends of the range, and its middle
    tiny["samples"] = tiny["samples"][:1]
    found = compare(study_of(tiny), finished)
    assert (found.kept, found.new, found.retired, found.unsettled) == (32, 16, 6, 32)


def test_a_level_taken_away_retires_its_runs(tiny: Content, study_of: StudyOf, finished: Path) -> None:
    tiny["factors"]["activation"] = ["relu"]
    tiny["samples"] = tiny["samples"][:1]
    found = compare(study_of(tiny), finished)
    assert (found.kept, found.new, found.retired) == (32, 0, 38)


def test_a_level_that_comes_back_finds_its_runs_again(tiny: Content, study_of: StudyOf, finished: Path) -> None:
    less = json.loads(json.dumps(tiny))
    less["factors"]["activation"] = ["relu"]
    finish(study_of(less), finished)
    assert compare(study_of(tiny), finished).new == 0


def test_a_pack_that_is_not_trained_waits(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    study = study_of(tiny)
    packs = plan_round(study, tmp_path, 1, structure)["packs"]
    train(tmp_path, packs[:1])
    trained = len(planning.read_pack(pack_path(tmp_path, packs[0])).trials)
    found = compare(study, tmp_path)
    assert (found.kept, found.waiting) == (trained, 32 - trained)


def test_another_training_version_trains_all_again_and_says_so(
    tiny: Content, study_of: StudyOf, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trial.TRAINING_VERSION
    for module in (trial, planning, growth_module):
        monkeypatch.setattr(module, "TRAINING_VERSION", before + 1)
    found = compare(study_of(tiny), finished)
    assert (found.kept, found.new) == (0, 38)
    assert found.again == {f"training_version is {before + 1}, not {before}": 38}
    assert any(line.startswith("trained again: 38, since training_version") for line in found.lines)


@pytest.mark.parametrize("what", ["data", "code"])
def test_changed_files_of_the_users_own_train_again_and_say_so(
    what: str, tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    x = np.random.default_rng(0).integers(0, 255, (300, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "mine.npz", x=x, y=np.arange(300) % 3)
    (folder / "mine.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    tiny |= {"data": "mine.npz", "batch_size": 16}
    tiny["factors"]["activation"] = ["relu", "mine.py:double"]
    results = tmp_path / "results"
    finish(study_of(tiny), results)
    if what == "data":
        np.savez(folder / "mine.npz", x=255 - x, y=np.arange(300) % 3)
    else:
        (folder / "mine.py").write_text("def double(x):\n    return x + x\n", encoding="utf-8")
    found = compare(study_of(tiny), results)
    again = {"data": {"the data have changed": 38}, "code": {"code of your own has changed": found.new}}
    assert found.again == again[what]
    assert found.new == (38 if what == "data" else 16 + sum("mine" in level for level in drawn(study_of(tiny))))


def drawn(study: Study) -> list[str]:
    return [item.trial.activation for item in plan_of_round(study, 2).planned]


def test_a_broken_plan_of_the_final_runs_is_named(tiny: Content, study_of: StudyOf, finished: Path) -> None:
    plan_path(finished, 2).write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"plan-2\.csv: columns are \['a', 'b'\]; allowed: trial_id, "):
        compare(study_of(tiny), finished)


def test_a_file_that_is_no_pack_is_named(tiny: Content, study_of: StudyOf, finished: Path) -> None:
    (finished / "packs" / "0123456789ab.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"0123456789ab\.json: is no pack file"):
        compare(study_of(tiny), finished)


def test_a_search_keeps_what_it_has_run_and_asks_for_what_follows(
    tiny: Content, study_of: StudyOf, run_study: Callable[..., Any], tmp_path: Path
) -> None:
    search = {"name": "halving", "strategy": "successive_halving", "draws": 4, "first_epochs": 1, "reduction": 2}
    tiny["samples"] = [search | {"seeds": [0], "final_seeds": [1, 2]}]
    before = compare(study_of(tiny), tmp_path / "nothing")
    assert (before.kept, before.new, before.unsettled) == (0, 4, 2 + 2), "the later rungs' settings are not known yet"
    results = tmp_path / "results"
    run_study(study_of(tiny), results)
    finished = compare(study_of(tiny), results)
    assert (finished.kept, finished.new, finished.retired, finished.unsettled) == (4 + 2 + 2, 0, 0, 0)
    tiny["samples"][0]["final_seeds"] = [1, 2, 3]
    assert (found := compare(study_of(tiny), results)).kept == 8 and found.new == 1
    tiny["samples"][0]["draws"] = 6
    grown = compare(study_of(tiny), results)
    assert (grown.kept, grown.new, grown.unsettled) == (4, 2, 3 + 3)
