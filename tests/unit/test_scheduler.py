"""What cannot be submitted is refused in one line before anything is, against programs that stand in for SLURM's."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import trainatlas
from trainatlas.scheduler import (
    RELEASE,
    Asked,
    partitions_here,
    refuse_missing_program,
    refuse_missing_resources,
    refuse_other_release,
    release,
)
from trainatlas.study.errors import UserError
from trainatlas.study.trial import TRAINING_VERSION

SINFO = "main*|(null)\ngpu|gpu:a100:4(S:0-1),shard:8\ngpu|gpu:h100:2\nold|gpu:2\n"


def program(folder: Path, name: str, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a shell script that bears a program's name in front of the path."""
    (folder / name).write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.fixture
def partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    program(tmp_path, "sinfo", f"printf '{SINFO}'", monkeypatch)
    return partitions_here()


def test_partitions_and_their_devices_are_read(partitions: dict[str, set[str]]) -> None:
    devices = {"gpu:a100:4(S:0-1)", "shard:8", "gpu:h100:2"}
    assert partitions == {"main": set(), "": set(), "gpu": devices, "old": {"gpu:2"}}


@pytest.mark.parametrize(
    ("partition", "gres"),
    [
        ("", ""),
        ("main", ""),
        ("gpu", "gpu:1"),
        ("gpu", "gpu:a100:4"),
        ("gpu", "gpu"),
        ("old", "gpu:2"),
        ("main,old", "gpu:1"),
    ],
)
def test_what_is_there_may_be_asked_for(partition: str, gres: str, partitions: dict[str, set[str]]) -> None:
    refuse_missing_resources([Asked("train", partition, gres)], partitions)


@pytest.mark.parametrize(
    ("partition", "gres", "said"),
    [
        ("nowhere", "", "rule train: slurm_partition is 'nowhere'; allowed: gpu, main, old"),
        ("main,nowhere", "", "rule train: slurm_partition is 'nowhere'; allowed: gpu, main, old"),
        ("main", "gpu:1", "rule train: gres is 'gpu:1', which partition main lacks; allowed: none"),
        ("", "gpu:1", "rule train: gres is 'gpu:1', which the default partition lacks; allowed: none"),
        ("old", "gpu:3", "rule train: gres is 'gpu:3', which partition old lacks; allowed: gpu:2"),
        ("old", "gpu:a100:1", "rule train: gres is 'gpu:a100:1', which partition old lacks; allowed: gpu:2"),
        ("old", "fpga:1", "rule train: gres is 'fpga:1', which partition old lacks; allowed: gpu:2"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    partition: str, gres: str, said: str, partitions: dict[str, set[str]]
) -> None:
    with pytest.raises(UserError) as caught:
        refuse_missing_resources([Asked("aggregate", "main", ""), Asked("train", partition, gres)], partitions)
    assert str(caught.value) == said


def test_a_site_without_a_default_partition_wants_one_named(partitions: dict[str, set[str]]) -> None:
    del partitions[""]
    with pytest.raises(
        UserError, match=r"^rule train: slurm_partition is not set, and there is no default; allowed: gpu"
    ):
        refuse_missing_resources([Asked("train", "", "")], partitions)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("echo first >&2; echo 'Unable to contact slurm controller' >&2; exit 1", "Unable to contact slurm controller"),
        ("exit 1", "no reason given"),
    ],
)
def test_a_controller_that_does_not_answer_is_told(
    lines: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "sinfo", lines, monkeypatch)
    with pytest.raises(UserError, match=rf"^executor slurm: sinfo fails: {said}; allowed: "):
        partitions_here()


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match=r"^executor lsf: there is no bsub on this machine; allowed: .*profiles/default$"
    ):
        refuse_missing_program("lsf", "bsub")
    with pytest.raises(UserError, match=r"^executor slurm: sinfo: "):
        partitions_here()


def test_a_node_with_other_versions_says_so_and_trains_nothing(
    command: Callable[..., CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = importlib.metadata.version("torch").split("+")[0]
    assert release() == f"trainatlas {trainatlas.__version__}, training version {TRAINING_VERSION}, torch {torch}"
    other = release().replace(trainatlas.__version__, "99.0")
    monkeypatch.setenv(RELEASE, other)
    done = command("train", tmp_path / "no-pack.json", "--out", tmp_path / "out")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert done.stderr == (
        f"trainatlas: this machine has {release()}; allowed: {other}, as where Snakemake was started\n"
    )
    monkeypatch.setenv(RELEASE, release())
    assert "no-pack.json: no such file" in command("train", tmp_path / "no-pack.json", "--out", tmp_path / "out").stderr


def test_torch_may_be_missing_where_jobs_are_only_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    here, version = release(), importlib.metadata.version

    def without_torch(package: str) -> str:
        if package == "torch":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    with monkeypatch.context() as there:
        there.setattr(importlib.metadata, "version", without_torch)
        told = release()
    assert told == here.rpartition(", torch")[0]
    monkeypatch.setenv(RELEASE, told)
    refuse_other_release()
    monkeypatch.setenv(RELEASE, told.replace(trainatlas.__version__, "99.0"))
    with pytest.raises(UserError, match=r"allowed: trainatlas 99\.0"):
        refuse_other_release()
