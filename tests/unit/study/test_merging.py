"""Trained packs of other folders are taken over whole, after everything was checked, or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainatlas.catalogue import structure
from trainatlas.study.checksums import CHECKSUMS, write_checksums
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.growth import growth
from trainatlas.study.merging import Merged, merge, renamed_from
from trainatlas.study.planning import existing_homes, pack_path, plan_round, read_pack, summary_path, write_plan
from trainatlas.study.sampling import Planned
from trainatlas.study.trial import Trial
from trainatlas.train.pack import RAW_TABLES, train_pack

TRIAL = Trial("digits", "mlp(depth=1, width=4)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 64, 1, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, list[int]], Path]:
    """Return a function that plans trials of some seeds into a folder, a pack each, and trains them, each pack once."""
    kept = tmp_path_factory.mktemp("packs")

    def plan_and_train(results: Path, seeds: list[int]) -> Path:
        study = Study.model_construct(name="tiny", probes="light", pack_trials=1)
        for seed in seeds:
            planned = [Planned(TRIAL._replace(seed=seed), "grid", "final")]
            for pack in write_plan(study, results, 1, planned, structure)["packs"]:
                if not (kept / pack).exists():
                    train_pack(
                        read_pack(pack_path(results, pack)), kept / pack, torch.device("cpu"), 0.0, lambda line: None
                    )
                shutil.copytree(kept / pack, results / "raw" / pack, dirs_exist_ok=True)
        return results

    return plan_and_train


Trained = Callable[[Path, list[int]], Path]


def content(results: Path) -> dict[str, bytes]:
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.rglob("*")) if path.is_file()}


def test_packs_of_several_folders_are_taken_over_byte_for_byte(trained: Trained, tmp_path: Path) -> None:
    sources = [trained(tmp_path / "a", [1, 2]), trained(tmp_path / "b", [2, 3])]
    target = trained(tmp_path / "here", [0])
    assert summary_path(target, 1).exists()
    assert merge(sources, target) == Merged(packs=3, trials=3, known=1, untrained=0)
    merged = content(target)
    for source in sources:
        of_packs = {name: text for name, text in content(source).items() if name.startswith(("raw", "packs"))}
        assert of_packs.items() <= merged.items()
    assert set(existing_homes(target)) == {TRIAL._replace(seed=seed).trial_id for seed in range(4)}
    assert not summary_path(target, 1).exists(), "the study is planned anew"
    assert merge(sources, target).packs == 0


def test_a_folder_that_does_not_exist_yet_is_made(trained: Trained, tmp_path: Path) -> None:
    source = trained(tmp_path / "a", [1])
    assert merge([source], tmp_path / "new").packs == 1


def test_a_trial_that_waits_here_is_at_home_where_it_was_trained(trained: Trained, tmp_path: Path) -> None:
    for other in range(2, 6):  # whichever way the names of the packs sort
        target, source = tmp_path / f"here{other}", trained(tmp_path / f"a{other}", [1])
        study = Study.model_construct(name="tiny", probes="light", pack_trials=9)
        both = [Planned(TRIAL._replace(seed=seed), "grid", "final") for seed in (1, other)]
        write_plan(study, target, 1, both, structure)
        merge([source], target)
        (pack,) = (path.stem for path in (source / "packs").iterdir())
        assert existing_homes(target)[TRIAL._replace(seed=1).trial_id] == pack


def test_packs_without_tables_are_left_out_and_counted(trained: Trained, tmp_path: Path) -> None:
    source = trained(tmp_path / "a", [1, 2])
    next((source / "raw").glob(f"*/{CHECKSUMS}")).unlink()
    assert merge([source], tmp_path / "here") == Merged(packs=1, trials=1, known=0, untrained=1)


def test_what_an_unfinished_training_left_here_makes_room(trained: Trained, tmp_path: Path) -> None:
    source = trained(tmp_path / "a", [1])
    (pack,) = (path.stem for path in (source / "packs").iterdir())
    leftover = tmp_path / "here" / "raw" / pack / "curves.csv"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half", encoding="utf-8")
    merge([source], tmp_path / "here")
    assert leftover.read_bytes() == (source / "raw" / pack / "curves.csv").read_bytes()


def damage_table(source: Path, folder: Path) -> None:
    (folder / "curves.csv").write_bytes((folder / "curves.csv").read_bytes()[:-5])


def alter_pack(source: Path, folder: Path) -> None:
    path = pack_path(source, folder.name)
    text = path.read_text(encoding="utf-8")
    assert '"seed":2' in text
    path.write_text(text.replace('"seed":2', '"seed":7'), encoding="utf-8")


def other_version(source: Path, folder: Path) -> None:
    path = pack_path(source, folder.name)
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"training_version": 1}), encoding="utf-8"
    )


def other_torch(source: Path, folder: Path) -> None:
    table = folder / "pack.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(torch.__version__, "1.2.3+cpu"), encoding="utf-8")
    write_checksums(folder, [f"{name}.csv" for name in RAW_TABLES])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage_table, "curves.csv: has "),
        (alter_pack, "its trials were altered"),
        (other_version, "training_version is 1; allowed: "),
        (other_torch, "pack.csv: torch_version is "),
    ],
)
def test_what_does_not_match_is_refused_and_nothing_is_copied(
    spoil: Callable[[Path, Path], None], words: str, trained: Trained, tmp_path: Path
) -> None:
    source, target = trained(tmp_path / "a", [1, 2]), trained(tmp_path / "here", [0])
    of_seed_2 = existing_homes(source)[TRIAL._replace(seed=2).trial_id]
    spoil(source, source / "raw" / of_seed_2)
    before = content(target)
    with pytest.raises(UserError) as caught:
        merge([source], target)
    assert words in str(caught.value) and str(source) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert content(target) == before


def test_builds_of_one_torch_for_other_devices_go_together(trained: Trained, tmp_path: Path) -> None:
    source, target = trained(tmp_path / "a", [1]), trained(tmp_path / "here", [0])
    (folder,) = (source / "raw").iterdir()
    table, version = folder / "pack.csv", torch.__version__
    table.write_text(
        table.read_text(encoding="utf-8").replace(version, f"{version.split('+')[0]}+cu128"), encoding="utf-8"
    )
    write_checksums(folder, [f"{name}.csv" for name in RAW_TABLES])
    assert merge([source], target).packs == 1


def test_a_folder_that_is_none_and_the_target_itself_are_refused(trained: Trained, tmp_path: Path) -> None:
    target = trained(tmp_path / "here", [0])
    with pytest.raises(UserError, match=r"nowhere: holds no packs; allowed: a study's results folder"):
        merge([tmp_path / "nowhere"], target)
    with pytest.raises(UserError, match="is the folder to merge into"):
        merge([tmp_path / "a" / ".." / "here"], target)


def test_a_full_disk_leaves_no_half_pack(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = trained(tmp_path / "a", [1])

    def full(*names: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "curves.csv")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(UserError, match="No space left on device"):
        merge([source], tmp_path / "here")
    assert content(tmp_path / "here") == {}
    assert list((tmp_path / "here" / "raw").iterdir()) == []


def test_a_study_under_another_name_finds_its_results(
    tiny: dict[str, Any], study_of: Callable[..., Study], run_study: Callable[..., Any], tmp_path: Path
) -> None:
    tiny["samples"] = tiny["samples"][1:]
    results = tmp_path / "results"
    run_study(study_of(tiny), results / "tiny")
    other = study_of(tiny, "other")
    assert renamed_from(other, results / "other") == results / "tiny"
    assert renamed_from(study_of(tiny | {"epochs": 3}, "longer"), results / "longer") is None, "another study"
    assert merge([results / "tiny"], results / "other").trials == 6
    assert renamed_from(other, results / "other") is None, "it has results of its own now"
    plan_round(other, results / "other", 1, structure)
    again = growth(other, results / "other", structure, lambda stack, probes: 60.0)
    assert (again.kept, again.new, again.waiting) == (6, 0, 0)
