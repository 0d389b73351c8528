"""What the Snakefile asks of the package: settings checked before any job, one Snakemake to a folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import yaml

from trainatlas import workflow
from trainatlas.catalogue import structure
from trainatlas.study.planning import plan_round
from trainatlas.workflow import announce, announce_crew, hold_results, labour, pack_seconds, settle_config

Content = dict[str, Any]


class RefusedError(Exception):
    """Stands in for the end of Snakemake."""


def refuse(line: str) -> NoReturn:
    raise RefusedError(line)


@pytest.fixture
def study(tiny: Content, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    return path


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let go of the locks that a test takes."""
    held: list[Any] = []
    monkeypatch.setattr(workflow, "_held", held)
    yield
    for file in held:
        file.close()


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(RefusedError) as caught:
        settle_config(config, refuse)
    line = str(caught.value)
    assert line.startswith("trainatlas: ")
    assert len(line.splitlines()) == 1
    return line


def test_settings_are_what_config_says_and_defaults_otherwise(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settle_config({"study": str(study), "results": "there"}, refuse)
    assert (settings.study.name, settings.file("tiny")) == ("tiny", str(study))
    assert (settings.results, settings.reports) == ("there", "reports")
    assert list(tmp_path.iterdir()) == [study], "checking writes nothing"


@pytest.mark.parametrize(("given", "option"), [(None, ""), ("ko", "--language ko"), ("en", "--language en")])
def test_a_language_asked_for_is_told_to_what_writes_reports(given: str | None, option: str, study: Path) -> None:
    settings = settle_config({"study": str(study), "language": given}, refuse)  # Snakemake reads an empty value as None
    assert settings.language_option == option
    assert "language" not in settings.foundations("tiny") and settings.profile_option("tiny") == ""


def test_the_default_study_needs_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    assert settle_config({}, refuse).study.name == "digits"


def test_what_trials_rest_on_beside_the_study_is_the_version_and_the_users_own_data_and_code(
    tiny: Content, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rests_on() -> str:
        study.write_text(yaml.safe_dump(tiny), encoding="utf-8")
        return settle_config({"study": str(study)}, refuse).foundations("tiny")

    found = [rests_on()]
    assert found == [str(workflow.TRAINING_VERSION)]
    code, data = study.parent / "mine.py", study.parent / "mine.npz"
    tiny["factors"]["activation"] = ["relu", "mine.py:double"]
    tiny |= {"data": "mine.npz", "batch_size": 16}
    for factor in (2, 3):
        code.write_text(f"def double(x):\n    return {factor} * x\n", encoding="utf-8")
        np.savez(data, x=np.full((300, 8, 8), factor, dtype=np.uint8), y=np.arange(300) % 3)
        found.append(rests_on())
    code.write_text("def double(x):\n    return x + x\n", encoding="utf-8")
    found.append(rests_on())
    monkeypatch.setattr(workflow, "TRAINING_VERSION", 999)
    found.append(rests_on())
    assert len(set(found)) == 5
    assert rests_on() == found[-1]


def test_growth_is_told_of_a_study_that_was_planned_before(study: Path, tmp_path: Path) -> None:
    settings = settle_config({"study": str(study), "results": str(tmp_path / "results")}, refuse)
    assert settings.growth_lines("tiny") == []
    plan_round(settings.load("tiny"), tmp_path / "results" / "tiny", 1, structure)
    assert settings.growth_lines("tiny")[0] == "tiny: 0 trials kept, 6 new, 32 planned but not trained, 0 retired"
    (tmp_path / "results" / "tiny" / "plan-1.csv").write_text("a\n", encoding="utf-8")
    assert "plan-1.csv: columns are" in settings.growth_lines("tiny")[0]


def test_an_unknown_key_is_refused_with_the_allowed_ones(study: Path) -> None:
    line = refusal({"study": str(study), "result": "there"})
    assert "'result'" in line and ", ".join(workflow.DEFAULTS) in line


def test_a_bad_study_is_refused(study: Path, tiny: Content) -> None:
    study.write_text(yaml.safe_dump(tiny | {"epochs": 0}), encoding="utf-8")
    assert f"{study}: epochs is 0" in refusal({"study": str(study)})
    assert "no such study file" in refusal({"study": str(study.parent / "nowhere.yaml")})


@pytest.mark.parametrize("key", ["results", "reports"])
def test_a_folder_that_is_a_file_is_refused(key: str, study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        line = refusal({"study": str(study), key: str(folder)})
        assert key in line and str(folder) in line and "allowed: a folder" in line


@pytest.mark.parametrize("key", ["results", "reports"])
def test_a_folder_without_permission_is_refused(
    key: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and real(path, mode))
    line = refusal({"study": str(study), key: str(tmp_path / "a" / "b")})
    assert str(tmp_path) in line and "not writable" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("device", "gpu"),
        ("language", "kr"),
        ("progress", "often"),
        ("progress", "-1"),
        ("progress", "nan"),
        ("pack_minutes", "0"),
        ("pack_minutes", "long"),
    ],
)
def test_a_value_that_is_none_is_refused(key: str, value: str, study: Path) -> None:
    line = refusal({"study": str(study), key: value})
    assert f"--config {key}={value}; allowed: " in line


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((True, 2, None, None), (2, 0.0)),
        ((True, 16, None, 4), (4, 0.0)),
        ((True, 2, None, 4), (2, 0.0)),
        ((True, None, None, None), (1, 0.0)),
        ((False, None, 100, None), (100, 1500.0)),
        ((False, 2, 50, 4), (50, 1500.0)),
    ],
)
def test_packs_are_made_for_those_who_train_them(limits: tuple[Any, ...], expected: tuple[int, float]) -> None:
    crew = labour(*limits, pack_minutes=25.0)
    assert (crew.workers, crew.pack_seconds) == expected


NAMES = ("WORKERS", "PACK_MINUTES", "DEVICE", "SCRATCH", "TRIES", "LATENCY")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Nothing is told yet; returns a function that returns what is told."""
    for name in (*NAMES, "RELEASE"):
        monkeypatch.setenv(f"TRAINATLAS_{name}", "")  # so that it is as before when the test is over
        monkeypatch.delenv(f"TRAINATLAS_{name}")
    return lambda: [os.environ[f"TRAINATLAS_{name}"] for name in NAMES]


def test_commands_are_told_and_what_the_user_set_stays(
    study: Path, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINATLAS_WORKERS", "7")
    announce(settle_config({"study": str(study), "device": "cpu", "scratch": "$TMPDIR"}, refuse))
    assert told() == ["7", "", "cpu", "$TMPDIR", "", ""]
    announce_crew(labour(True, 2, None, None, 25.0), tries=0, latency=60)
    assert told() == ["7", "0.0", "cpu", "$TMPDIR", "0", "0"]


def test_jobs_of_a_scheduler_are_told_of_tries_and_latency(study: Path, told: Callable[[], list[str]]) -> None:
    announce(settle_config({"study": str(study)}, refuse))
    announce_crew(labour(False, None, 100, None, 25.0), tries=4, latency=60)
    assert told() == ["100", "25.0", "auto", "", "4", "60"]


def test_a_pack_comes_as_early_as_its_plan_says(tmp_path: Path) -> None:
    assert pack_seconds(tmp_path, "a") == 0.0
    (tmp_path / "plan-1.json").write_text('{"pack_seconds": {"a": 2.5}, "last": false}', encoding="utf-8")
    (tmp_path / "plan-2.json").write_text('{"pack_seconds": {"b": 7}}', encoding="utf-8")
    assert [pack_seconds(tmp_path, pack) for pack in "abc"] == [2.5, 7.0, 0.0]
    (tmp_path / "plan-2.json").write_text('{"pack_s', encoding="utf-8")
    assert [pack_seconds(tmp_path, pack) for pack in "abc"] == [2.5, 0.0, 0.0]


HOLD = """
import sys
from pathlib import Path
from trainatlas.workflow import hold_results
hold_results(Path(sys.argv[1]), on_error=sys.exit)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_held_by_one_process_until_it_ends(tmp_path: Path, unheld: None) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path / "results")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RefusedError) as caught:
            hold_results(tmp_path / "results", refuse)
        assert f"process {holder.pid}" in str(caught.value)
        assert str(tmp_path / "results") in str(caught.value)
        holder.kill()
    hold_results(tmp_path / "results", refuse)  # however it ended, nothing has to be cleaned away


def test_two_studies_may_be_run_at_once(tmp_path: Path, unheld: None) -> None:
    hold_results(tmp_path / "one", refuse)
    hold_results(tmp_path / "two", refuse)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


def test_a_process_that_is_refused_leaves_the_holders_name(
    tmp_path: Path, unheld: None, python: Callable[..., Any]
) -> None:
    hold_results(tmp_path, refuse)
    for _ in range(2):
        done = python(HOLD, tmp_path)
        assert done.returncode == 1
        assert f"process {os.getpid()}" in done.stderr


@pytest.fixture
def claims(study: Path) -> Path:
    """A claims file beside the tiny study, which feeds it twice, once in another edition; one more study feeds it too."""
    part = {"what": "accuracy", "studies": ["whole", "small", "other"], "metric": "test_accuracy"}
    content = {
        "title": "Claims",
        "profiles": ["quick"],
        "seeds": [1, 2, 3],
        "chapters": {"A": "Activations"},
        "studies": {
            "whole": {"file": "tiny.yaml"},
            "small": {"file": "tiny.yaml", "profiles": {"quick": "small"}},
            "other": {"file": "other.yaml"},
        },
        "claims": [
            {"id": "A1", "statement": "s", "source": "S0", "parts": [part | {"direction": "greater", "margin": 0.1}]}
        ],
    }
    path = study.parent / "claims.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_without_claims_there_is_the_study_alone(study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    settings = settle_config({"study": str(study)}, refuse)
    assert settings.claim_set is None and list(settings.files) == ["tiny"] and settings.feeding == []
    for targets in ([], ["all"], ["results/tiny/trials.csv"], ["claims"]):
        assert settings.wanted(targets) == ["tiny"]


def test_claims_bring_the_studies_that_feed_them(study: Path, claims: Path) -> None:
    settings = settle_config({"study": str(study), "claims": str(claims), "profile": None}, refuse)
    assert settings.claim_set is not None and settings.claim_set.name == "claims"
    assert settings.feeding == ["tiny", "other"], "two names of one study are one"
    assert set(settings.files) == {"tiny", "other"}
    assert settings.file("other") == str(claims.parent / "other.yaml")
    assert [settings.profile_option(name) for name in settings.files] == ["", ""]


def test_a_profile_of_the_claims_is_one_of_each_study(study: Path, claims: Path, tiny: Content) -> None:
    study.write_text(yaml.safe_dump(tiny | {"profiles": {"quick": {}, "small": {"epochs": 1}}}), encoding="utf-8")
    settings = settle_config({"study": str(study), "claims": str(claims), "profile": "quick"}, refuse)
    assert settings.claim_set is not None and settings.claim_set.name == "claims-quick"
    assert settings.feeding == ["tiny", "tiny-small", "other"]
    assert set(settings.files) == {"tiny", "tiny-small", "other", "tiny-quick"}, "the study that `all` reports on, too"
    assert settings.profile_option("tiny-small") == "--profile small" and settings.profile_option("tiny") == ""
    assert settings.load("tiny-small").epochs == 1


def test_a_run_works_on_the_studies_that_its_targets_need(study: Path, claims: Path) -> None:
    settings = settle_config({"study": str(study), "claims": str(claims)}, refuse)
    for targets, names in (
        ([], ["tiny"]),
        (["all"], ["tiny"]),
        (["claims"], ["tiny", "other"]),
        (["reports/claims/index.html"], ["tiny", "other"]),
        (["results/claims/verdicts.csv"], ["tiny", "other"]),
        (["results/other/trials.csv"], ["other"]),
        (["results/other/trials.csv", "reports/tiny/report.pdf"], ["other", "tiny"]),
        (["results/other/trials.csv", "claims"], ["other", "tiny"]),
    ):
        assert settings.wanted(targets) == names


def test_a_profile_that_the_claims_lack_is_refused_where_they_are_asked_for(
    study: Path, claims: Path, tiny: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write_text(yaml.safe_dump(tiny | {"profiles": {"slow": {"epochs": 3}}}), encoding="utf-8")
    line = refusal({"study": str(study), "claims": str(claims), "profile": "slow"})
    assert f"{claims}: profiles: has no 'slow'; allowed: quick, full" in line
    monkeypatch.chdir(study.parent)
    (study.parent / "benchmarks").mkdir()
    claims.rename(study.parent / "benchmarks" / "claims.yaml")
    settings = settle_config({"study": str(study), "profile": "slow"}, refuse)
    assert settings.claim_set is None, "nobody asked for them"


def test_a_bad_claims_file_is_refused(study: Path, claims: Path) -> None:
    assert "no such claims file" in refusal({"study": str(study), "claims": str(claims.parent / "nowhere.yaml")})
    claims.write_text(claims.read_text(encoding="utf-8").replace("title", "titel"), encoding="utf-8")
    assert f"{claims}: unknown key 'titel'" in refusal({"study": str(study), "claims": str(claims)})
