"""A study file is understood whole, or refused in one line that names file, key, value and what is allowed."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.catalogue import TABLES
from trainatlas.study.config import Study, load_study
from trainatlas.study.errors import UserError
from trainatlas.study.ranges import RateRange
from trainatlas.study.samples import GridSample, RandomSample
from trainatlas.study.trial import FACTORS

StudyOf = Callable[..., Study]
Content = dict[str, Any]


def put(*path: str | int, value: Any) -> Callable[[Content], None]:
    """Return an edit that sets the key at `path`."""

    def edit(content: Content) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return edit


def drop(*path: str | int) -> Callable[[Content], None]:
    """Return an edit that removes the key at `path`."""

    def edit(content: Content) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return edit


def rename(*path: str | int, to: str) -> Callable[[Content], None]:
    """Return an edit that misspells the key at `path`."""

    def edit(content: Content) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[to] = place.pop(path[-1])

    return edit


EXCLUSION = {"when": {"activation": ["relu"]}, "reason": "for the test"}

# what is wrong: (an edit of the tiny study, words the message must hold)
BAD = {
    "unknown level": (put("factors", "activation", value=["rleu"]), ["activation", "'rleu'", "relu, ", "did you mean"]),
    "unknown level option": (put("factors", "activation", value=["relu(slope=1)"]), ["'slope'", "'relu'", "none"]),
    "level option out of range": (
        put("factors", "init", value=["normal(std=-1)"]),
        ["init", "'std'", "-1", "(0, 100]"],
    ),
    "level twice": (put("factors", "activation", value=["relu", "relu"]), ["activation", "'relu'", "once"]),
    "level twice in other words": (
        put("factors", "init", value=["normal", "normal(std=0.01)"]),
        ["init", "'normal'", "once"],
    ),
    "number for a level": (put("factors", "activation", value=[1]), ["activation", "1", "relu"]),
    "YAML's off for a level": (put("factors", "normalisation", value=[False]), ["normalisation", "False", "none"]),
    "empty grid": (put("factors", "activation", value=[]), ["activation", "[]", "at least one"]),
    "one level, no list": (put("factors", "activation", value="relu"), ["activation", "'relu'", "list"]),
    "factors as a list": (put("factors", value=["relu"]), ["factors", "mapping"]),
    "unknown factor": (rename("factors", "init", to="intit"), ["'intit'", "did you mean 'init'", *FACTORS]),
    "missing factor": (drop("factors", "init"), ["'init'", "missing"]),
    "misspelt key": (rename("pack_trials", to="pack_trails"), ["'pack_trails'", "did you mean 'pack_trials'"]),
    "misspelt required key": (rename("batch_size", to="batch_sise"), ["'batch_sise'", "did you mean 'batch_size'"]),
    "misspelt key of a sample": (rename("samples", 0, "tune", to="tunes"), ["'samples.0.tunes'", "'tune'"]),
    "misspelt key of a random sample": (rename("samples", 1, "draws", to="draw"), ["'samples.1.draw'", "'draws'"]),
    "misspelt key of a rate": (rename("learning_rate", "sgd", "low", to="lwo"), ["'learning_rate.sgd.lwo'", "'low'"]),
    "misspelt key of a target": (rename("targets", 0, "metric", to="metrik"), ["'targets.0.metrik'", "'metric'"]),
    "misspelt key of an exclusion": (
        put("exclude", value=[{"whenn": {}, "reason": "x"}]),
        ["'exclude.0.whenn'", "'when'"],
    ),
    "name in the file": (put("name", value="mine"), ["'name'", "'tiny'"]),
    "missing key": (drop("epochs"), ["'epochs'", "missing"]),
    "missing strategy": (
        drop("samples", 0, "strategy"),
        ["samples.0.strategy", "grid, random, coarse_to_fine, successive_halving, bayesian"],
    ),
    "unknown strategy": (
        put("samples", 0, "strategy", value="sobol"),
        ["samples.0.strategy", "'sobol'", "grid, random, coarse_to_fine, successive_halving, bayesian"],
    ),
    "no samples": (put("samples", value=[]), ["samples", "[]", "at least one"]),
    "samples of one name": (put("samples", 1, "name", value="grid"), ["samples", "'grid'"]),
    "sample without a name": (put("samples", 1, "name", value=""), ["samples.1.name", "at least one"]),
    "negative rate": (put("learning_rate", "sgd", "low", value=-0.1), ["learning_rate.sgd.low", "-0.1", "greater"]),
    "zero rate": (put("learning_rate", "sgd", "low", value=0), ["learning_rate.sgd.low", "0", "greater than 0"]),
    "rate is no number": (put("learning_rate", "sgd", "low", value="fast"), ["learning_rate.sgd.low", '"fast"']),
    "rate is not a number": (put("learning_rate", "sgd", "low", value=math.nan), ["learning_rate.sgd.low", "NaN"]),
    "infinite rate": (put("learning_rate", "sgd", "high", value=math.inf), ["learning_rate.sgd.high", "Infinity"]),
    "reversed range": (put("learning_rate", "sgd", "low", value=30), ["learning_rate.sgd", "low 30", "low <= high"]),
    "range for no optimizer": (
        put("learning_rate", "sdg", value={"low": 0.1, "high": 1}),
        ["learning_rate", "'sdg'", "sgd, ", "did you mean 'sgd'"],
    ),
    "range for no text": (put("learning_rate", "s g d", value={"low": 0.1, "high": 1}), ["learning_rate", "'s g d'"]),
    "range for an optimizer that has no such option": (
        put("learning_rate", "sgd(speed=1)", value={"low": 0.1, "high": 1}),
        ["learning_rate", "'speed'"],
    ),
    "two ranges for one optimizer": (
        put("learning_rate", "sgd()", value={"low": 0.1, "high": 1}),
        ["learning_rate", "'sgd'", "once"],
    ),
    "no range for an optimizer": (drop("learning_rate", "adam"), ["learning_rate", "'adam'", "'default'"]),
    "ranges as a list": (put("learning_rate", value=[0.1]), ["learning_rate", "mapping"]),
    "zero seeds": (put("samples", 0, "seeds", value=[]), ["samples.0.seeds", "[]", "at least one"]),
    "a number of seeds": (put("samples", 0, "seeds", value=3), ["samples.0.seeds", "3", "list"]),
    "zero tuning seeds": (put("samples", 0, "tuning_seeds", value=[]), ["samples.0.tuning_seeds", "at least one"]),
    "negative seed": (put("samples", 0, "seeds", value=[-1]), ["samples.0.seeds", "-1"]),
    "seed that is no number": (put("samples", 0, "seeds", value=[True]), ["samples.0.seeds", "true", "integer"]),
    "seed twice": (put("samples", 0, "seeds", value=[1, 1]), ["samples.0.seeds", "seed 1", "once"]),
    "tuning and final seed": (put("samples", 0, "seeds", value=[0, 1]), ["samples.0", "[0]", "tuning_seeds"]),
    "no draws": (put("samples", 1, "draws", value=0), ["samples.1.draws", "0", "greater than or equal to 1"]),
    "no rates": (
        put("samples", 0, "tune", "learning_rate", value=0),
        ["samples.0.tune.learning_rate", "0", "greater than or equal to 1"],
    ),
    "no epochs": (put("epochs", value=0), ["epochs", "0", "greater than or equal to 1"]),
    "half an epoch": (put("epochs", value=0.5), ["epochs", "0.5", "integer"]),
    "YAML's yes for epochs": (put("epochs", value=True), ["epochs", "true", "integer"]),
    "epochs are null": (put("epochs", value=None), ["epochs", "null", "integer"]),
    "batch size zero": (put("batch_size", value=0), ["batch_size", "0", "greater than or equal to 1"]),
    "batch size above the data": (put("batch_size", value=5000), ["batch_size", "5000", "1 to 1079"]),
    "share of nothing": (put("test_share", value=0), ["test_share", "0", "greater than 0"]),
    "share of all": (put("test_share", value=1.0), ["test_share", "1.0", "less than 1"]),
    "share is not a number": (put("test_share", value=math.nan), ["test_share", "NaN"]),
    "shares above all": (put("validation_share", value=0.9), ["validation_share 0.9", "test_share 0.2"]),
    "share of fewer examples than classes": (put("test_share", value=0.003), ["test_share 0.003", "at least 10"]),
    "unknown data": (put("data", value="mnits"), ["data", "'mnits'", "did you mean 'mnist'", "digits"]),
    "data is a number": (put("data", value=3), ["data", "3", "string"]),
    "unknown network": (put("network", value="mpl"), ["network", "'mpl'", "did you mean 'mlp'"]),
    "unknown metric": (put("targets", 0, "metric", value="loss"), ["targets.0.metric", '"loss"', "train_error"]),
    "target in per cent": (put("targets", 0, "value", value=90), ["targets.0.value", "90", "less than 1"]),
    "target twice": (
        put("targets", value=[{"metric": "train_error", "value": 0.1}] * 2),
        ["targets", "train_error 0.1", "once"],
    ),
    "exclusion of an unknown factor": (
        put("exclude", value=[EXCLUSION | {"when": {"depth": ["2"]}}]),
        ["exclude", "'depth'", *FACTORS],
    ),
    "exclusion of an unknown level": (
        put("exclude", value=[EXCLUSION | {"when": {"activation": ["rleu"]}}]),
        ["exclude", "activation", "'rleu'", "relu"],
    ),
    "exclusion without a reason": (put("exclude", value=[EXCLUSION | {"reason": ""}]), ["exclude.0.reason"]),
    "everything excluded": (
        put("exclude", value=[EXCLUSION | {"when": {"activation": ["relu", "tanh"]}}]),
        ["exclude", "every cell"],
    ),
    "unknown probes": (put("probes", value="heavy"), ["probes", '"heavy"', "'off', 'light', 'standard' or 'full'"]),
    "empty packs": (put("pack_trials", value=0), ["pack_trials", "0", "greater than or equal to 1"]),
    "empty title": (put("title", value=""), ["title", "at least one"]),
    "level over two lines": (put("factors", "activation", value=["re\nlu"]), ["activation"]),
}

# what is wrong: (text of the file, words the message must hold)
BAD_TEXT = {
    "not YAML": ("title: [1,\nother: }", ["not YAML", "line 2"]),
    "tabs": ("a:\n\t- b", ["not YAML", "line 2"]),
    "control characters": ("a: \0", ["not YAML"]),
    "an empty file": ("", ["empty", "mapping", "title"]),
    "comments only": ("# nothing yet\n", ["empty", "mapping"]),
    "a list": ("- title\n- question\n", ["list", "mapping"]),
    "a text": ("hello", ["str", "mapping"]),
    "two documents": ("title: a\n---\ntitle: b\n", ["not YAML", "line 2"]),
    "a Python object": ("title: !!python/object/apply:os.system [ls]\n", ["not YAML", "line 1"]),
    "a key twice": ("title: a\nquestion: b\ntitle: c\n", ["line 3", "'title'", "once"]),
    "a nested key twice": ("learning_rate:\n  sgd:\n    low: 1\n    low: 2\n", ["line 4", "'low'", "once"]),
    "a number for a key": ("1: a\n", ["line 1", "1"]),
    "a list for a key": ("? [a, b]\n: c\n", ["line 1", "['a', 'b']"]),
    "a number for a factor": ("factors:\n  1: [relu]\n", ["line 2", "1"]),
    "a value that holds itself": ("title: &a [*a]\n", ["line 1"]),
}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_study(path, TABLES)
    return str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_refused_in_one_line(case: str, tiny: Content, tmp_path: Path) -> None:
    edit, words = BAD[case]
    edit(tiny)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    message = refusal(path)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("case", BAD_TEXT)
def test_a_bad_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, words = BAD_TEXT[case]
    path = tmp_path / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(path)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    assert [word for word in words if word not in message] == [], message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    assert refusal(path).startswith(f"{path}: no such study file; allowed: ")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: cannot be read")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(path).startswith(f"{path}: cannot be read as a text file")


@pytest.mark.parametrize("name", ["My Study.yaml", "Ünicode.yaml", "-dash.yaml", "a" * 65 + ".yaml", "a.b.yaml"])
def test_a_study_whose_name_makes_no_folder_is_refused(name: str, tiny: Content, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    message = refusal(path)
    assert "name" in message and "allowed: " in message


def test_bad_cases_are_bad_only_by_their_edit(tiny: Content, study_of: StudyOf) -> None:
    study_of(tiny)


def test_a_study_says_what_its_file_says(tiny: Content, study_of: StudyOf) -> None:
    study = study_of(tiny, "mine")
    assert study.name == "mine"
    assert (study.title, study.question, study.data) == (tiny["title"], tiny["question"], "digits")
    assert study.network == "mlp(width=8)"
    assert (study.epochs, study.batch_size, study.pack_trials) == (2, 64, 16)
    assert study.factors == {
        "activation": ("relu", "tanh"),
        "init": ("kaiming_normal", "normal"),
        "normalisation": ("none",),
        "optimizer": ("sgd", "adam"),
        "preprocessing": ("raw", "standardize"),
        "schedule": ("constant",),
        "regularisation": ("none",),
        "augmentation": ("none",),
    }
    assert study.varied == ("activation", "init", "optimizer", "preprocessing")
    assert study.stated == ("activation", "init", "normalisation", "optimizer", "preprocessing")
    assert study.learning_rate["sgd"] == RateRange(low=0.03, high=0.3)
    grid, random = study.samples
    assert isinstance(grid, GridSample) and isinstance(random, RandomSample)
    assert (grid.tune, grid.tuning_seeds, grid.seeds) == ({"learning_rate": 2}, (0,), (1, 2))
    assert (random.draws, random.seeds) == (6, (3, 4))
    assert [target.column for target in study.targets] == [
        "steps_to_validation_accuracy_0.2",
        "steps_to_train_error_0.001",
    ]


def test_yamls_off_is_the_level_off_of_probes(tiny: Content, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    for level in ("off", "light", "standard", "full"):
        path.write_text(f"{yaml.safe_dump(tiny)}probes: {level}\n", encoding="utf-8")
        assert load_study(path, TABLES).probes == level


def test_yamls_null_is_the_level_none(tiny: Content, study_of: StudyOf) -> None:
    tiny["factors"]["normalisation"] = [None, "batch"]
    assert study_of(tiny).factors["normalisation"] == ("none", "batch")


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4", "+1e-4"])
def test_numbers_are_read_as_people_write_them(text: str, tiny: Content, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny).replace("low: 0.001", f"low: {text}"), encoding="utf-8")
    assert load_study(path, TABLES).learning_rate["adam"].low == 1e-4


def test_the_order_of_keys_and_the_layout_do_not_matter(tiny: Content, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    studies = []
    for text in (
        yaml.safe_dump(tiny, sort_keys=True),
        "# a comment\n" + yaml.safe_dump(tiny, sort_keys=False, default_flow_style=True),
    ):
        path.write_text(text, encoding="utf-8")
        studies.append(load_study(path, TABLES))
    assert studies[0] == studies[1]
    assert studies[0].digest() == studies[1].digest()


def test_the_digest_changes_with_what_the_study_says(tiny: Content, study_of: StudyOf) -> None:
    before = study_of(tiny).digest()
    tiny["epochs"] = 3
    assert study_of(tiny).digest() != before


@given(low=st.floats(1e-6, 1.0), factor=st.floats(1.0, 1e5), points=st.integers(2, 30))
def test_a_grid_of_rates_is_even_on_a_log_scale_with_both_ends(low: float, factor: float, points: int) -> None:
    rates = RateRange(low=low, high=low * factor).grid(points)
    assert len(rates) == points
    expected = [low * factor ** (i / (points - 1)) for i in range(points)]
    assert rates == pytest.approx(expected, rel=1e-5)


@given(low=st.floats(1e-6, 1.0), factor=st.floats(1.0, 1e5))
def test_a_grid_of_one_rate_is_the_geometric_mean(low: float, factor: float) -> None:
    (rate,) = RateRange(low=low, high=low * factor).grid(1)
    assert rate == pytest.approx(low * math.sqrt(factor), rel=1e-5)


def test_a_rate_range_may_be_a_single_rate(tiny: Content, study_of: StudyOf) -> None:
    tiny["learning_rate"]["sgd"] = {"low": 0.1, "high": 0.1}
    assert study_of(tiny).rate_range("sgd").grid(3) == (0.1, 0.1, 0.1)


def test_the_most_special_range_holds(tiny: Content, study_of: StudyOf) -> None:
    tiny["factors"]["optimizer"] = ["momentum(momentum=0.5)", "momentum", "sgd"]
    tiny["learning_rate"] = {
        "momentum(momentum = 0.50)": {"low": 0.1, "high": 0.1},
        "momentum": {"low": 0.2, "high": 0.2},
        "default": {"low": 0.3, "high": 0.3},
    }
    study = study_of(tiny)
    assert [study.rate_range(level).low for level in study.factors["optimizer"]] == [0.1, 0.2, 0.3]


def test_cells_are_every_combination_once(tiny: Content, study_of: StudyOf) -> None:
    cells = list(study_of(tiny).cells())
    assert len(cells) == 2 * 2 * 1 * 2 * 2
    assert len({tuple(cell.items()) for cell in cells}) == len(cells)


def test_an_excluded_combination_is_left_out_with_its_reason(tiny: Content, study_of: StudyOf) -> None:
    tiny["exclude"] = [{"when": {"activation": ["tanh"], "init": ["normal(std=0.01)"]}, "reason": "too slow"}]
    study = study_of(tiny)
    left_out = [cell for cell in study.all_cells() if cell not in list(study.cells())]
    assert len(left_out) == 4
    for cell in left_out:
        assert (cell["activation"], cell["init"]) == ("tanh", "normal")
        assert study.exclusion(cell) == "too slow"


def test_a_profiles_keys_take_the_place_of_the_studys_own(tiny: Content, tmp_path: Path) -> None:
    tiny["profiles"] = {"quick": {"epochs": 1, "factors": tiny["factors"] | {"activation": ["relu"]}}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    whole, quick = load_study(path, TABLES), load_study(path, TABLES, "quick")
    assert (whole.name, quick.name) == ("tiny", "tiny-quick")
    assert (whole.epochs, quick.epochs) == (2, 1)
    assert quick.factors["activation"] == ("relu",)
    assert quick.factors["init"] == whole.factors["init"]
    without = load_study(path, TABLES)
    tiny["profiles"]["other"] = {"epochs": 7}
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    assert load_study(path, TABLES).digest() == without.digest(), "profiles change nothing of the study itself"


def test_an_unknown_profile_is_refused_with_those_at_hand(tiny: Content, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    for profiles, allowed in (({"quick": {}}, "quick, full"), (None, "full")):
        path.write_text(yaml.safe_dump(tiny | ({"profiles": profiles} if profiles else {})), encoding="utf-8")
        with pytest.raises(UserError, match=f"profiles: has no 'quik'; allowed: {allowed}"):
            load_study(path, TABLES, "quik")


def test_a_mistake_within_a_profile_is_told_like_any_other(tiny: Content, tmp_path: Path) -> None:
    tiny["profiles"] = {"quick": {"epochs": 0}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    load_study(path, TABLES)
    with pytest.raises(UserError, match="epochs is 0; allowed: greater than or equal to 1"):
        load_study(path, TABLES, "quick")


def test_a_study_cannot_be_changed(tiny: Content, study_of: StudyOf) -> None:
    study = study_of(copy.deepcopy(tiny))
    with pytest.raises(ValueError, match="frozen"):
        study.epochs = 3  # type: ignore[misc]
