"""A user's own activation is checked before anything is trained, travels with the packs and counts in identities."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trainatlas.catalogue import TABLES, check_user_levels, structure
from trainatlas.model.activations import ACTIVATIONS, gain, maximum_slope
from trainatlas.study import user_code
from trainatlas.study.config import Study, load_study
from trainatlas.study.errors import UserError
from trainatlas.study.planning import pack_path, plan_round, read_pack
from trainatlas.study.rounds import plan_of_round
from trainatlas.study.trial import Trial

Content = dict[str, Any]

SQUAREPLUS = """
import torch

def squareplus(x, b=4.0):
    return (x + torch.sqrt(x * x + b)) / 2

class Scaled(torch.nn.Module):
    def __init__(self, start=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(start))

    def forward(self, x):
        return self.scale * torch.relu(x)
"""


@pytest.fixture
def load(tiny: Content, tmp_path: Path) -> Callable[..., Study]:
    """Return a function that writes `mine.py` beside a study that names these activations, and loads the study."""

    def function(*levels: str, source: str = SQUAREPLUS) -> Study:
        tiny["factors"]["activation"] = ["relu", *levels]
        (tmp_path / "mine.py").write_text(source, encoding="utf-8")
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
        return load_study(path, TABLES)

    return function


def test_a_users_level_keeps_the_options_given_in_the_functions_order(load: Callable[..., Study]) -> None:
    study = load("mine.py:squareplus(b=1)", "mine.py:squareplus", "mine.py:Scaled(start=2.0)")
    assert study.factors["activation"] == (
        "relu",
        "mine.py:squareplus(b=1)",
        "mine.py:squareplus",
        "mine.py:Scaled(start=2.0)",
    )
    check_user_levels(study)


def test_it_is_built_with_its_options(load: Callable[..., Study]) -> None:
    load("mine.py:squareplus")
    x = torch.linspace(-3, 3, 13)
    for text, b in (("mine.py:squareplus", 4.0), ("mine.py:squareplus(b=1)", 1.0)):
        torch.testing.assert_close(ACTIVATIONS.build(text)(x), (x + (x * x + b).sqrt()) / 2)
    assert [p.item() for p in ACTIVATIONS.build("mine.py:Scaled(start=2.0)").parameters()] == [2.0]


def test_its_largest_slope_and_gain_are_measured(load: Callable[..., Study]) -> None:
    load("mine.py:squareplus")
    assert maximum_slope("mine.py:squareplus(b=0.01)") == pytest.approx(1, rel=1e-4)
    assert maximum_slope("mine.py:Scaled(start=3.0)") == pytest.approx(3)
    assert gain("mine.py:Scaled(start=1.0)") == pytest.approx(gain("relu"), rel=1e-5)


def first_trials(study: Study, activation: str) -> list[Trial]:
    return [item.trial for item in plan_of_round(study, 1).planned if item.trial.activation == activation]


def test_an_edited_file_makes_other_trials_and_leaves_those_without_it_alone(load: Callable[..., Study]) -> None:
    level = "mine.py:squareplus"
    before = load(level)
    mine, relu = first_trials(before, level)[0].trial_id, first_trials(before, "relu")[0].trial_id
    after = load(level, source=SQUAREPLUS + "\n# edited\n")
    assert first_trials(after, level)[0].trial_id != mine
    assert first_trials(after, "relu")[0].trial_id == relu
    assert first_trials(after, "relu")[0].user_code == ""


def test_packs_hold_the_file_as_it_was_planned(load: Callable[..., Study], tmp_path: Path) -> None:
    study = load("mine.py:squareplus")
    summary = plan_round(study, tmp_path / "results", 1, structure)
    (tmp_path / "mine.py").write_text("raise SystemExit\n", encoding="utf-8")
    user_code.register({"mine.py": "def squareplus(x): return x * 0"})
    packs = [read_pack(pack_path(tmp_path / "results", pack)) for pack in summary["packs"]]
    assert any(trial.activation == "mine.py:squareplus" for pack in packs for trial in pack.trials)
    assert ACTIVATIONS.build("mine.py:squareplus")(torch.zeros(1)).item() == 1.0


def test_a_pack_whose_file_was_altered_is_refused(load: Callable[..., Study], tmp_path: Path) -> None:
    summary = plan_round(load("mine.py:squareplus"), tmp_path / "results", 1, structure)
    for pack in summary["packs"]:
        path = pack_path(tmp_path / "results", pack)
        content = json.loads(path.read_text(encoding="utf-8"))
        if "mine.py" in content["user_code"]:
            content["user_code"]["mine.py"] += "\n"
            path.write_text(json.dumps(content), encoding="utf-8")
            with pytest.raises(UserError, match="altered"):
                read_pack(path)
            break
    else:
        pytest.fail("no pack holds the file")


def test_it_is_trained_beside_the_catalogues_own(
    load: Callable[..., Study], tmp_path: Path, run_study: Callable[[Study, Path], dict[str, Any]]
) -> None:
    tables = run_study(load("mine.py:squareplus", "mine.py:Scaled"), tmp_path / "results")
    levels = tables["levels"]
    accuracy = levels[levels["factor"] == "activation"].set_index("level")["best_cell"]
    assert set(accuracy.index) == {"relu", "mine.py:squareplus", "mine.py:Scaled"}
    assert (accuracy > 0.2).all(), "each learns more than chance knows"


MISSPELT = {
    "no file": ("other.py:squareplus", SQUAREPLUS, ["other.py", "no such file", "beside the study"]),
    "no function": ("mine.py:squareplis", SQUAREPLUS, ["mine.py", "no function 'squareplis'", "squareplus, Scaled"]),
    "unknown option": ("mine.py:squareplus(c=1)", SQUAREPLUS, ["mine.py", "no option 'c'", "allowed: b"]),
    "an option that is no number": ("mine.py:squareplus(b=[1])", SQUAREPLUS, ["'b'", "[1]", "a number"]),
    "no Python": ("mine.py:f", "def f(x:\n", ["mine.py", "no Python", "line 1"]),
    "no level": ("mine.py:f(", "def f(x): return x", ["mine.py:f(", "no level", "name(option=value"]),
}


@pytest.mark.parametrize("mistake", MISSPELT)
def test_a_misspelt_level_is_refused_in_one_line_without_running_the_file(
    mistake: str, load: Callable[..., Study]
) -> None:
    level, source, words = MISSPELT[mistake]
    with pytest.raises(UserError) as caught:
        load(level, source=source)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
    assert "tiny.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_other_factors_take_no_files(tiny: Content, study_of: Callable[[Content], Study]) -> None:
    tiny["factors"]["optimizer"] = ["mine.py:mine"]
    with pytest.raises(UserError, match=r"unknown level 'mine\.py:mine'; allowed: sgd"):
        study_of(tiny)


UNFIT = {
    "wrong shape": ("def f(x): return x.sum()", ["returns shape ()", "(5, 6)"]),
    "raises": ("def f(x): return x.no_such_method()", ["AttributeError", "no_such_method"]),
    "not finite": ("def f(x): return x / 0", ["not finite"]),
    "mixes examples": ("def f(x): return x - x.mean(0, keepdim=True)", ["mixes examples"]),
    "fails when it is run": ("1 / 0\ndef f(x): return x", ["cannot be run", "ZeroDivisionError"]),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_what_cannot_be_trained_is_refused_in_one_line_before_anything_is(
    fault: str, load: Callable[..., Study], tmp_path: Path, command: Callable[..., Any]
) -> None:
    source, words = UNFIT[fault]
    load("mine.py:f", source=source)
    done = command("plan", tmp_path / "tiny.yaml", "--results", tmp_path / "results")
    assert done.returncode == 1
    assert done.stderr.startswith("trainatlas: mine.py:f: ") or fault.startswith("fails")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert not (tmp_path / "results").exists()
