"""Every trial has one pack, packs are even, and what was planned before is never planned again."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.catalogue import structure
from trainatlas.study import planning, trial
from trainatlas.study.config import Study
from trainatlas.study.dealing import Labour
from trainatlas.study.errors import UserError
from trainatlas.study.planning import (
    Price,
    existing_homes,
    form_stacks,
    pack_path,
    plan_round,
    read_pack,
    read_plan,
    summary_path,
    trial_epochs,
)
from trainatlas.study.rounds import plan_of_round
from trainatlas.study.sampling import Planned, Setting
from trainatlas.study.storage import read_json
from trainatlas.study.trial import TRAINING_VERSION, Trial

StudyOf = Callable[..., Study]
Content = dict[str, Any]
Python = Callable[..., Any]

TRIAL = Trial("digits", "mlp", "relu", "normal", "none", "sgd", "raw", 0.1, 64, 2, 0)

TRIALS = st.lists(
    st.fixed_dictionaries(
        {
            "data": st.just("digits"),
            "network": st.just("mlp"),
            "activation": st.sampled_from(["relu", "tanh", "elu"]),
            "init": st.sampled_from(["normal", "xavier_normal"]),
            "normalisation": st.sampled_from(["none", "batch"]),
            "optimizer": st.sampled_from(["sgd", "momentum", "momentum(momentum=0.5)", "adam"]),
            "preprocessing": st.sampled_from(["raw", "pca", "pca(components=8)"]),
            "learning_rate": st.sampled_from([0.01, 0.1, 1.0]),
            "batch_size": st.just(64),
            "epochs": st.sampled_from([2, 5]),
            "seed": st.integers(0, 20),
        }
    ).map(lambda fields: Trial(**fields)),
    max_size=150,
    unique=True,
)


def first_round(study: Study) -> list[Planned]:
    return plan_of_round(study, 1).planned


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.glob("*.json"))}


@given(trials=TRIALS, limit=st.integers(1, 40), order=st.randoms())
def test_a_stack_is_of_one_structure_and_no_larger_than_allowed(trials: list[Trial], limit: int, order: Any) -> None:
    stacks = form_stacks(trials, structure, limit)
    assert Counter(trial for stack in stacks for trial in stack) == Counter(trials)
    sizes = defaultdict(list)
    for stack in stacks:
        (kind,) = {structure(trial) for trial in stack}
        sizes[kind].append(len(stack))
        assert len(stack) <= limit
    for group in sizes.values():
        assert max(group) - min(group) <= 1
    order.shuffle(trials)
    assert form_stacks(trials, structure, limit) == stacks


@given(trials=TRIALS, limit=st.integers(1, 40))
def test_trials_of_one_optimizer_stand_together(trials: list[Trial], limit: int) -> None:
    for stack in form_stacks(trials, structure, limit):
        optimizers = [trial.optimizer for trial in stack]
        changes = sum(left != right for left, right in itertools.pairwise(optimizers))
        assert changes == len(set(optimizers)) - 1


def stacks_of(folder: Path) -> list[list[Trial]]:
    """Every stack of every pack that a plan wrote, in an order that does not depend on the packs."""
    packs = [read_pack(path) for path in (folder / "packs").glob("*.json")]
    return sorted((list(stack) for pack in packs for stack in pack.stacks), key=lambda stack: stack[0].trial_id)


def dearer_by_digest(stack: Sequence[Trial], probes: str) -> float:
    """Prices that have nothing to do with the work, as a clock on a busy machine might give."""
    return 1.0 + int(stack[0].trial_id[:4], 16)


@pytest.mark.parametrize(
    ("price", "labour"),
    [
        (dearer_by_digest, Labour()),
        (dearer_by_digest, Labour(3)),
        (trial_epochs, Labour(2)),
        (trial_epochs, Labour(7)),
        (dearer_by_digest, Labour(8, 1e9)),
    ],
)
def test_prices_and_workers_move_whole_stacks_and_change_none(
    price: Price, labour: Labour, tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    """What a trial's numbers may depend on, the company it is trained in, is the same whatever the clock said."""
    tiny["pack_trials"] = 5
    study = study_of(tiny)
    plan_round(study, tmp_path / "one", 1, structure)
    summary = plan_round(study, tmp_path / "other", 1, structure, price=price, labour=labour)
    expected = form_stacks([item.trial for item in first_round(study)], structure, 5)
    assert stacks_of(tmp_path / "one") == sorted(expected, key=lambda stack: stack[0].trial_id)
    assert stacks_of(tmp_path / "other") == stacks_of(tmp_path / "one")
    rows = read_plan(tmp_path / "other", 1)
    assert sorted(row["trial_id"] for row in rows) == sorted(item.trial.trial_id for item in first_round(study))
    assert len({row["trial_id"] for row in rows}) == len(rows)
    assert sum(summary["pack_seconds"].values()) == pytest.approx(
        sum(price(stack, "light") for stack in expected), abs=0.005
    )
    assert set(summary["pack_seconds"]) == set(summary["packs"])


def test_a_pack_of_the_format_before_is_refused(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    summary = plan_round(study_of(tiny), tmp_path, 1, structure)
    path = pack_path(tmp_path, summary["packs"][0])
    content = read_json(path, "") | {"format": 3}
    del content["parents"], content["keeps_weights"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        UserError, match=rf"{path.name}: is no pack file \('parents'\); delete it and run `trainatlas plan`"
    ):
        read_pack(path)


def test_the_summary_foresees_what_later_rounds_cost(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    def price(stack: Sequence[Trial], probes: str) -> float:
        return len(stack) * (2.0 if probes == "standard" else 1.0)

    summary = plan_round(study_of(tiny), tmp_path, 1, structure, price=price)
    assert (summary["later_trials"], summary["later_seconds"]) == (32 + 6, (32 + 6) * 2.0)


def test_the_plan_lists_every_trial_with_its_pack(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    study = study_of(tiny)
    summary = plan_round(study, tmp_path, 1, structure)
    rows = read_plan(tmp_path, 1)
    expected = {(item.trial.trial_id, item.sample, item.stage) for item in first_round(study)}
    assert {(row["trial_id"], row["sample"], row["stage"]) for row in rows} == expected
    assert len(rows) == len(expected) == summary["trials"]
    assert summary == read_json(summary_path(tmp_path, 1), "")
    assert summary["packs"] == sorted({row["pack"] for row in rows})
    assert summary["trials_by_stage"] == {"tuning": 32}
    assert (summary["cells"], summary["later_trials"], summary["last"]) == (16, 6 + 32, False)
    packs = {name: read_pack(pack_path(tmp_path, name)) for name in summary["packs"]}
    for row in rows:
        homes = [name for name, pack in packs.items() if row["trial_id"] in {t.trial_id for t in pack.trials}]
        assert homes == [row["pack"]]


def test_the_summary_counts_excluded_cells_by_reason(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    tiny["exclude"] = [
        {"when": {"activation": ["tanh"], "init": ["normal"]}, "reason": "too slow"},
        {"when": {"activation": ["tanh"], "optimizer": ["sgd"]}, "reason": "known"},
    ]
    summary = plan_round(study_of(tiny), tmp_path, 1, structure)
    counts = {entry["reason"]: entry["cells"] for entry in summary["excluded_cells"]}
    assert counts == {"too slow": 4, "known": 2}  # a cell that two rules exclude counts for the first
    assert summary["cells"] == 10


@pytest.mark.parametrize("probes", ["off", "light", "standard", "full"])
def test_tuning_runs_are_probed_lightly_if_at_all_and_the_others_as_the_study_says(
    probes: str, tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    study = study_of(tiny | {"probes": probes})
    summary = plan_round(study, tmp_path, 1, structure)
    stages = {row["trial_id"]: row["stage"] for row in read_plan(tmp_path, 1)}
    for name in summary["packs"]:
        pack = read_pack(pack_path(tmp_path, name))
        (stage,) = {stages[trial.trial_id] for trial in pack.trials}
        assert pack.probes == (probes if stage != "tuning" or probes == "off" else "light")


def test_planning_twice_writes_no_pack_anew(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    study = study_of(tiny)
    first = plan_round(study, tmp_path, 1, structure)
    before = files_of(tmp_path / "packs")
    assert plan_round(study, tmp_path, 1, structure) == first
    assert files_of(tmp_path / "packs") == before


@pytest.mark.parametrize(
    "grow",
    [
        lambda study: study["factors"]["activation"].append("sigmoid"),
        lambda study: study["factors"]["normalisation"].append("batch"),
        lambda study: study["factors"]["preprocessing"].insert(0, "pca(components=5)"),
        lambda study: study["samples"][0].update(tuning_seeds=[0, 5]),
        lambda study: study["samples"][0].update(tune={"learning_rate": 3}),
        lambda study: study["samples"][1].update(draws=40),
        lambda study: study.update(pack_trials=5),
        lambda study: study.update(epochs=3),
    ],
    ids=["activation", "normalisation", "preprocessing", "seed", "rates", "draws", "pack size", "epochs"],
)
def test_growing_a_study_never_forms_a_pack_anew(
    grow: Callable[[Content], None], tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    plan_round(study_of(tiny), tmp_path, 1, structure)
    before, homes = files_of(tmp_path / "packs"), existing_homes(tmp_path)
    grow(tiny)
    grown = study_of(tiny)
    plan_round(grown, tmp_path, 1, structure)
    after = files_of(tmp_path / "packs")
    assert {name: after[name] for name in before} == before
    new_packs = [read_pack(tmp_path / "packs" / name) for name in after if name not in before]
    in_new_packs = {trial.trial_id for pack in new_packs for trial in pack.trials}
    wanted = {item.trial.trial_id for item in first_round(grown)}
    assert in_new_packs == wanted - set(homes)
    assert {row["trial_id"] for row in read_plan(tmp_path, 1)} == wanted


def test_a_trial_that_returns_finds_its_pack_again(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    study = study_of(tiny)
    plan_round(study, tmp_path, 1, structure)
    rows, files = read_plan(tmp_path, 1), files_of(tmp_path / "packs")
    smaller = tiny | {"factors": tiny["factors"] | {"activation": ["relu"]}}
    plan_round(study_of(smaller), tmp_path, 1, structure)
    assert len(read_plan(tmp_path, 1)) < len(rows)
    plan_round(study_of(tiny), tmp_path, 1, structure)
    assert read_plan(tmp_path, 1) == rows
    assert files.items() <= files_of(tmp_path / "packs").items()


def test_final_runs_get_packs_of_their_own(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    study = study_of(tiny)
    first = plan_round(study, tmp_path, 1, structure)
    chosen = [Setting(cell, {"learning_rate": 0.1}) for cell in study.cells()]
    final = plan_round(study, tmp_path, 2, structure, chosen=chosen)
    assert final["trials_by_stage"] == {"final": 32, "random": 6}
    assert (final["last"], final["later_trials"], final["later_seconds"]) == (True, 0, 0)
    assert set(first["packs"]).isdisjoint(final["packs"])
    assert plan_round(study, tmp_path, 1, structure) == first


def test_raising_the_training_version_plans_all_packs_anew(
    tiny: Content, study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tiny)
    old = plan_round(study, tmp_path, 1, structure)
    monkeypatch.setattr(planning, "TRAINING_VERSION", TRAINING_VERSION + 1)
    monkeypatch.setattr(trial, "TRAINING_VERSION", TRAINING_VERSION + 1)
    new = plan_round(study, tmp_path, 1, structure)
    assert set(new["packs"]).isdisjoint(old["packs"])
    for name in old["packs"]:
        with pytest.raises(UserError, match=rf"{name}\.json: training_version is {TRAINING_VERSION}; allowed: "):
            read_pack(pack_path(tmp_path, name))


def alter(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed), encoding="utf-8")

    return edit


def first_trial(content: Any) -> Any:
    return next(iter(content["trials"].values()))


@pytest.mark.parametrize(
    "spoil",
    [
        alter(lambda content: first_trial(content).update(learning_rate=9.0)),
        alter(lambda content: first_trial(content).update(seed=99)),
        alter(lambda content: content["trials"].pop(next(iter(content["trials"])))),
        alter(lambda content: content["stacks"][0].pop()),
        alter(lambda content: content["stacks"].append(content["stacks"][0])),
        alter(lambda content: content.pop("stacks")),
        alter(lambda content: content.update(probes="standard")),
        alter(lambda content: content.update(training_version=TRAINING_VERSION - 1)),
        alter(lambda content: first_trial(content).update(colour="red")),
        alter(lambda content: first_trial(content).pop("seed")),
        alter(lambda content: content.pop("trials")),
        alter(lambda content: content.update(trials=["a"])),
        alter(lambda content: [content]),
        alter(lambda content: "pack"),
        lambda path: path.write_text("", encoding="utf-8"),
        lambda path: path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8"),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.unlink(),
    ],
    ids=["rate", "seed", "fewer", "fewer stacked", "stacked twice", "no stacks", "probes", "version", "more keys", "fewer keys",
         "no trials", "list of trials", "list",
         "text", "empty", "torn", "bytes", "missing"],
)  # fmt: skip
def test_an_altered_pack_is_refused_with_its_name(
    spoil: Callable[[Path], object], tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    summary = plan_round(study_of(tiny), tmp_path, 1, structure)
    stages = {row["pack"]: row["stage"] for row in read_plan(tmp_path, 1)}
    path = pack_path(tmp_path, next(name for name in summary["packs"] if stages[name] == "tuning"))
    read_pack(path)
    spoil(path)
    with pytest.raises(UserError) as caught:
        read_pack(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "trainatlas plan" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '"pack"', "3", "null"])
def test_a_broken_pack_file_stops_planning_with_its_name(
    content: str, tiny: Content, study_of: StudyOf, tmp_path: Path
) -> None:
    broken = tmp_path / "packs" / "0123456789ab.json"
    broken.parent.mkdir()
    broken.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"0123456789ab\.json: "):
        plan_round(study_of(tiny), tmp_path, 1, structure)


def test_a_plan_with_other_columns_is_refused(tiny: Content, study_of: StudyOf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan-1\.csv: no such file; `trainatlas plan` makes it"):
        read_plan(tmp_path, 1)
    (tmp_path / "plan-1.csv").write_text("trial_id,pack\na,b\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"plan-1\.csv: columns are .*; allowed: trial_id, sample, stage, pack"):
        read_plan(tmp_path, 1)


def test_trials_of_unlike_shapes_do_not_share_a_structure() -> None:
    assert structure(TRIAL) == structure(TRIAL._replace(preprocessing="pca", optimizer="adam", init="normal(std=1.0)"))
    for change in (
        {"preprocessing": "pca(components=8)"},
        {"network": "mlp(depth=3)"},
        {"activation": "tanh"},
        {"normalisation": "batch"},
        {"batch_size": 32},
        {"epochs": 3},
        {"test_share": 0.1},
    ):
        assert structure(TRIAL._replace(**change)) != structure(TRIAL)


def test_plans_do_not_depend_on_pythons_hash_seed(tiny: Content, tmp_path: Path, python: Python) -> None:
    study = tmp_path / "tiny.yaml"
    study.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    plan = "import sys; from trainatlas.cli import main; sys.argv[0] = 'trainatlas'; main()"
    for seed in ("0", "1"):
        done = python(plan, "plan", study, "--workers", 2, "--results", tmp_path / seed, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
    written = ([p for p in (tmp_path / seed).rglob("*.*") if p.parent.name != "stages"] for seed in ("0", "1"))
    first, second = ({path.name: path.read_bytes() for path in paths} for paths in written)
    assert len(first) > 3
    assert first == second


HEAVY = {"torch", "numpy", "pandas", "sklearn", "scipy", "pandera", "pyarrow", "statsmodels", "matplotlib"}


def test_planning_imports_nothing_heavy(tiny: Content, tmp_path: Path, python: Python) -> None:
    study = tmp_path / "tiny.yaml"
    study.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    lines = """
import sys
sys.argv[0] = "trainatlas"
from trainatlas.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(sorted(set(sys.argv[-1].split(",")) & set(sys.modules)))
"""
    lines = lines.replace("sys.argv[-1]", "heavy").replace("import sys\n", "import sys\nheavy = sys.argv.pop()\n", 1)
    done = python(lines, "plan", study, "--results", tmp_path, ",".join(HEAVY))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "tiny" / "plan-1.json").exists()


def test_the_snakefile_imports_nothing_heavy(python: Python) -> None:
    lines = """
import sys
import trainatlas.workflow
import trainatlas.analysis.columns
trainatlas.workflow.settle_config({}, on_error=sys.exit)
print(sorted(set(sys.argv[1].split(",")) & set(sys.modules)))
"""
    done = python(lines, ",".join(HEAVY))
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
