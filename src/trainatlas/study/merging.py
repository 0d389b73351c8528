"""Results of several machines put into one folder, pack by pack."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainatlas.study.checksums import CHECKSUMS, fault_of
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.planning import existing_homes, pack_path, planned_rounds, read_pack, summary_path
from trainatlas.study.storage import read_json


@dataclass(frozen=True)
class Merged:
    """What became of the packs of other folders.

    Attributes
    ----------
    packs, trials
        Taken over.
    known
        Packs left out, for all of their trials are trained here already.
    untrained
        Packs left out, for they have no tables yet.
    """

    packs: int
    trials: int
    known: int
    untrained: int


def merge(sources: Sequence[Path], target: Path) -> Merged:
    """Take over the trained packs of other results folders; the study is planned anew when Snakemake next runs.

    Everything is checked before anything is copied, and a pack appears whole or not at all.

    Parameters
    ----------
    sources
        Other machines' `results/<study>`, of the same study or another.
    target
        This machine's; made where it does not exist.

    Raises
    ------
    UserError
        Where a source is no results folder or the target itself, or holds packs of another training version, altered packs or
        damaged tables, or was trained by another torch than the rest; nothing is copied then.
    """
    trained = {
        trial_id for trial_id, pack in existing_homes(target).items() if (target / "raw" / pack / CHECKSUMS).exists()
    }
    builds = {build: path for path in (target / "raw").glob("*/pack.csv") for build in _torch_builds(path)}
    chosen: dict[str, Path] = {}
    trials = known = untrained = 0
    for source in sources:
        if source.resolve() == target.resolve():
            raise UserError(f"{source}: is the folder to merge into; allowed: results of another machine")
        packs = sorted((source / "packs").glob("*.json"))
        if not packs:
            raise UserError(f"{source}: holds no packs; allowed: a study's results folder, results/STUDY")
        for path in packs:
            pack, folder = read_pack(path), source / "raw" / path.stem
            if not (folder / CHECKSUMS).exists():
                untrained += 1
                continue
            if (fault := fault_of(folder, thorough=True)) is not None:
                raise UserError(f"{fault}; nothing was merged")
            ids = {trial.trial_id for trial in pack.trials}
            if ids <= trained:
                known += 1
                continue
            for build in _torch_builds(folder / "pack.csv"):
                _refuse_other_build(build, folder / "pack.csv", builds)
            trained |= ids
            trials += len(ids)
            chosen[path.stem] = source
    for pack_id, source in chosen.items():
        _copy(source, target, pack_id)
    if chosen:
        for number in planned_rounds(target)[::-1]:  # without them Snakemake plans anew, and the plan finds the packs
            summary_path(target, number).unlink()
    return Merged(len(chosen), trials, known, untrained)


_NAMING = {"name", "language"}
"""What a study may say otherwise under another name."""


def renamed_from(study: Study, results: Path) -> Path | None:
    """Return the folder in which a study was trained under another name: one beside its own whose plan says all the same.

    None where there is none, or the study has packs of its own.
    """
    if any((results / "packs").glob("*.json")):
        return None
    said = study.model_dump(mode="json", exclude=_NAMING)
    for path in sorted(results.parent.glob(f"*/{summary_path(results, 1).name}")):
        with contextlib.suppress(UserError):
            before = read_json(path, "trainatlas plan").get("study", {})
            if {key: value for key, value in before.items() if key not in _NAMING} == said:
                return path.parent
    return None


def _torch_builds(path: Path) -> list[str]:
    """Return the torch that trained a pack, without the name of its build for one device or another."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row["torch_version"].split("+")[0] for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as a pack's table ({error})") from None


def _refuse_other_build(build: str, path: Path, builds: dict[str, Path]) -> None:
    other = next((each for each in builds if each != build), None)
    if other is not None:
        raise UserError(
            f"{path}: torch_version is {build}, but {other} in {builds[other]}; allowed: results of one version; "
            f"nothing was merged"
        )
    builds[build] = path


def _copy(source: Path, target: Path, pack_id: str) -> None:
    """Copy a pack: its tables first, under another name until all are there, then the file that names them."""
    raw = target / "raw"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=raw, prefix=f".{pack_id}."))
        try:
            shutil.copytree(source / "raw" / pack_id, part, dirs_exist_ok=True)
            shutil.rmtree(raw / pack_id, ignore_errors=True)  # of a training that did not end
            os.replace(part, raw / pack_id)  # noqa: PTH105
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        destination = pack_path(target, pack_id)
        destination.parent.mkdir(exist_ok=True)
        shutil.copy2(pack_path(source, pack_id), destination)
    except OSError as error:
        raise UserError(f"{error.filename or raw}: cannot be written: {error.strerror or error}") from None
