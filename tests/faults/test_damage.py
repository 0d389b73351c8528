"""A pack whose tables were damaged is recognised, and it alone is trained again."""

import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from trainatlas.analysis.aggregate import aggregate
from trainatlas.study.checksums import CHECKSUMS, damaged_packs, refuse_damaged
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.workflow import mend_results

Harm = Callable[[Path], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "results"


@pytest.fixture
def results(
    finished: Path, tiny: dict[str, Any], study_of: Callable[..., Study], run_study: Any, tmp_path: Path
) -> Path:
    """A study of a few packs, run to the end; a copy of one's own, file times kept."""
    if not finished.exists():
        run_study(small(tiny, study_of), finished)
    shutil.copytree(finished, tmp_path / "results")
    return tmp_path / "results"


def small(tiny: dict[str, Any], study_of: Callable[..., Study]) -> Study:
    tiny["factors"] |= {"activation": ["relu"], "init": ["kaiming_normal"], "preprocessing": ["raw"]}
    return study_of(tiny | {"samples": tiny["samples"][:1], "pack_trials": 4, "epochs": 1})


def packs(results: Path) -> list[Path]:
    return sorted(path for path in (results / "raw").iterdir() if ".damaged-" not in path.name)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def alter_behind_its_back(path: Path) -> None:
    """As a failing disk does: the size and the time stay."""
    times = path.stat()
    alter(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def remove(path: Path) -> None:
    path.unlink()


HARMS = [
    *itertools.product([cut_short, alter, empty, remove], ["trials.csv", "curves.csv", "layers.csv", "pack.csv"]),
    *itertools.product([cut_short, alter, empty], [CHECKSUMS]),
]


@pytest.mark.parametrize(("harm", "name"), HARMS)
def test_before_jobs_are_planned_a_damaged_pack_is_put_aside(harm: Harm, name: str, results: Path) -> None:
    whole = packs(results)
    harm(whole[0] / name)
    said: list[str] = []
    mend_results(results, dry_run=True, say=said.append)
    assert packs(results) == whole
    mend_results(results, dry_run=False, say=said.append)
    assert packs(results) == whole[1:]
    assert (whole[0].with_name(f"{whole[0].name}.damaged-1")).is_dir()
    assert len(said) == 2
    for line in said:
        assert line.startswith(f"trainatlas: {whole[0]}/") and line.endswith("will be trained again")
    mend_results(results, dry_run=False, say=said.append)
    assert len(said) == 2, "what was put aside stays"


@pytest.mark.parametrize("name", ["trials.csv", "curves.csv", "layers.csv", "pack.csv"])
@pytest.mark.parametrize("harm", [alter, alter_behind_its_back])
def test_no_damaged_table_is_gathered(
    harm: Harm, name: str, results: Path, tiny: dict[str, Any], study_of: Callable[..., Study]
) -> None:
    first, second, *_ = packs(results)
    harm(second / name)
    gathered = (results / "trials.csv").read_bytes()
    with pytest.raises(UserError) as caught:
        aggregate(small(tiny, study_of), results)
    line = str(caught.value)
    assert line == (
        f"{second / name}: does not agree with its checksum; its pack now lies in {second}.damaged-1; "
        "start Snakemake again: it trains what is missing"
    )
    assert first.exists() and not second.exists()
    assert (results / "trials.csv").read_bytes() == gathered


def test_a_pack_whose_training_has_not_ended_is_neither_gathered_nor_put_aside(
    results: Path, tiny: dict[str, Any], study_of: Callable[..., Study]
) -> None:
    whole = packs(results)
    (whole[0] / CHECKSUMS).unlink()
    assert list(damaged_packs(results)) == []
    with pytest.raises(UserError, match=f"^{whole[0] / CHECKSUMS}: no such file; `trainatlas train` makes it$"):
        aggregate(small(tiny, study_of), results)
    assert packs(results) == whole


def test_a_second_damage_gets_a_name_of_its_own(results: Path) -> None:
    pack = packs(results)[0]
    for number in (1, 2):
        shutil.copytree(packs(results)[-1], pack, dirs_exist_ok=True)
        empty(pack / "curves.csv")
        mend_results(results, dry_run=False, say=lambda line: None)
        assert pack.with_name(f"{pack.name}.damaged-{number}").is_dir()


@pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2])
def test_a_copied_study_is_whole(copy: Any, results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "elsewhere", copy_function=copy)
    assert (
        list(damaged_packs(tmp_path / "elsewhere")) == list(damaged_packs(tmp_path / "elsewhere", thorough=True)) == []
    )


def test_trials_in_are_trials_out(results: Path) -> None:
    planned = pd.concat(pd.read_csv(results / name)["trial_id"] for name in ("plan-1.csv", "plan-2.csv"))
    assert sorted(pd.read_csv(results / "trials.csv")["trial_id"]) == sorted(planned)


def test_files_from_the_future_are_brought_to_the_present_before_jobs_are_planned(results: Path) -> None:
    files = [path for path in results.rglob("*") if path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in files}
    early = files[::2]
    for path in early:
        os.utime(path, (time.time() + 86_400,) * 2)
    said: list[str] = []
    mend_results(results, dry_run=True, say=said.append)
    assert all(path.stat().st_mtime > time.time() for path in early)
    mend_results(results, dry_run=False, say=said.append)
    assert all(path.stat().st_mtime <= time.time() for path in early)
    assert all(path.stat().st_mtime_ns == times[path] for path in files if path not in early)
    assert (
        said
        == [f"trainatlas: {results}: {len(early):,} files are stamped in the future; they get the present time"] * 2
    )


def test_nothing_is_mended_while_another_snakemake_is_at_work(results: Path) -> None:
    whole = packs(results)
    empty(whole[0] / "trials.csv")
    said: list[str] = []
    with (results / ".lock").open("a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        mend_results(results, dry_run=False, say=said.append)
        assert (packs(results), said) == (whole, [])
    mend_results(results, dry_run=False, say=said.append)
    assert packs(results) == whole[1:]


# Files of other machines, which are seen a while after they were written.


def test_what_is_not_seen_yet_is_waited_for_and_nothing_is_put_aside(results: Path) -> None:
    packs = sorted(path.name for path in (results / "raw").iterdir())
    table = results / "raw" / packs[0] / "curves.csv"
    content = table.read_bytes()
    table.write_bytes(content[:-30])
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            table.write_bytes(content)

    refuse_damaged(results, packs, latency=10, wait=wait)
    assert len(waits) == 3
    assert sorted(path.name for path in (results / "raw").iterdir()) == packs


def test_what_is_not_seen_after_all_is_damaged(results: Path) -> None:
    packs = sorted(path.name for path in (results / "raw").iterdir())
    (results / "raw" / packs[0] / "curves.csv").unlink()
    waits: list[float] = []
    with pytest.raises(UserError, match="its pack now lies in"):
        refuse_damaged(results, packs, latency=3.5, wait=waits.append)
    assert sum(waits) == 3.5
