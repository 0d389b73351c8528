"""From trials to packs on disk.

A pack is what one job trains. Its file holds whole trials, so a job needs nothing else, and
its name is a digest of its trials' ids. Packs once written are never re-formed: a study that
grows gets new packs for its new trials, and whatever was trained before stays valid.

Layout under `results/<study>/`:

    plan.csv, plan.json              first stage: tuning runs
    selected.csv                     the rate chosen for each cell (see analysis.selection)
    plan-final.csv, plan-final.json  final stage: the grid's final runs and the random draws
    packs/<pack>.json                the trials of one pack
    raw/<pack>/                      what training it yielded
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainatlas.study import user_code
from trainatlas.study.config import GridSample, Probes, RandomSample, Study
from trainatlas.study.dealing import Labour, deal
from trainatlas.study.errors import UserError
from trainatlas.study.sampling import Planned, first_stage
from trainatlas.study.storage import read_json, write_csv, write_json
from trainatlas.study.trial import TRAINING_VERSION, Trial

Stage = Literal["first", "final"]
STAGES: tuple[Stage, ...] = ("first", "final")
Structure = Callable[[Trial], Hashable]
Price = Callable[[Sequence[Trial], Probes], float]
"""(a stack, how much is measured) -> seconds that training it is predicted to take."""

STACK_LIMIT = 256
"""Trials trained side by side at most; beyond it throughput no longer grows (docs/performance.md)."""

PLAN_COLUMNS = ("trial_id", "sample", "stage", "pack")
_PACK_FORMAT = 3
_STEM: dict[Stage, str] = {"first": "plan", "final": "plan-final"}


@dataclass(frozen=True)
class Pack:
    """Trials that one job trains, and how much is measured while it does.

    Attributes
    ----------
    probes
        "off": no layer is probed, and the training part is evaluated at the end alone; "light": both are done
        before training and at the end; "standard": after every epoch too; "full": as standard, and before
        training and at the end gradients and histograms of every layer as well.
    folder
        The study's folder, which paths of the user's own data are relative to.
    stacks
        The trials, stack by stack, as they are trained side by side; empty in files of format 2, which left it to the job
        to form them.
    """

    pack_id: str
    probes: Probes
    trials: tuple[Trial, ...]
    folder: Path = Path()
    stacks: tuple[tuple[Trial, ...], ...] = ()


_ALONE = Labour()
_PRICED = 20  # trials whose price stands for those of the final stage, of which planning knows no rates yet


def plan_path(results: Path, stage: Stage) -> Path:
    """Return where the plan of `stage` is listed, trial by trial."""
    return results / f"{_STEM[stage]}.csv"


def summary_path(results: Path, stage: Stage) -> Path:
    """Return where the plan's packs and counts are listed."""
    return results / f"{_STEM[stage]}.json"


def pack_path(results: Path, pack_id: str) -> Path:
    """Return the file that holds a pack's trials."""
    return results / "packs" / f"{pack_id}.json"


def selected_path(results: Path) -> Path:
    """Return where the rate chosen for each cell is listed."""
    return results / "selected.csv"


def probes_of(study: Study, stage: str) -> Probes:
    """Return how much is measured of the trials of a stage, as `Planned` has it: of tuning runs no more than lightly."""
    if stage == "tuning":
        return "off" if study.probes == "off" else "light"
    return study.probes


def trial_epochs(stack: Sequence[Trial], probes: Probes) -> float:
    """Price a stack by its budget alone, a thousandth of a second for each epoch of a trial."""
    return sum(trial.epochs for trial in stack) / 1000


def write_first_plan(
    study: Study, results: Path, structure: Structure, price: Price = trial_epochs, labour: Labour = _ALONE
) -> dict[str, Any]:
    """Plan the first stage of `study` into `results`; return the summary that was written.

    Parameters
    ----------
    structure, price, labour
        As for `write_plan`.
    """
    excluded: Counter[str] = Counter()
    for cell in study.all_cells():
        reason = study.exclusion(cell)
        if reason is not None:
            excluded[reason] += 1
    cells = sum(1 for _ in study.cells())
    final = sum(cells * len(sample.seeds) for sample in study.samples if isinstance(sample, GridSample))
    draws = sum(sample.draws for sample in study.samples if isinstance(sample, RandomSample))
    planned = first_stage(study)
    examples = [item.trial for item in planned[:: len(planned) // _PRICED + 1]]
    each = sum(price([trial] * STACK_LIMIT, study.probes) for trial in examples) / max(len(examples) * STACK_LIMIT, 1)
    extra = {
        "study": study.model_dump(mode="json"),
        "study_digest": study.digest(),
        "cells": cells,
        "excluded_cells": [{"reason": reason, "cells": number} for reason, number in excluded.items()],
        "draws": draws,
        "final_runs": final,
        "final_seconds": round((final + draws) * each, 3),
    }
    return write_plan(study, results, "first", planned, structure, extra, price, labour)


def write_plan(
    study: Study,
    results: Path,
    stage: Stage,
    planned: Sequence[Planned],
    structure: Structure,
    extra: dict[str, Any] | None = None,
    price: Price = trial_epochs,
    labour: Labour = _ALONE,
) -> dict[str, Any]:
    """Give every planned trial a pack, write new packs, then the plan's table and summary.

    Trials that stand in an earlier pack of `results` keep it. The summary is written last: where
    it exists, every pack it names exists.

    Parameters
    ----------
    structure
        What trials of one stack share.
    extra
        More entries of the summary.
    price, labour
        What stacks cost, and who trains them. Both decide which pack a stack is dealt to, and neither what a stack is: prices may
        be measured, and a trial's numbers must not depend on a clock or on the number of cores.
    """
    ids = {item.trial: item.trial.trial_id for item in planned}
    _refuse_twins(ids)
    contents = _existing_packs(results)
    homes, seconds = _homes(contents), {content["pack"]: content["seconds"] for content in contents}
    fresh: dict[Probes, list[Trial]] = {}
    for item in planned:
        if ids[item.trial] not in homes:
            fresh.setdefault(probes_of(study, item.stage), []).append(item.trial)
    for probes, new in fresh.items():
        stacks = form_stacks(new, structure, min(STACK_LIMIT, study.pack_trials))
        prices = [price(stack, probes) for stack in stacks]
        for positions in deal(prices, labour.packs(sum(prices), len(new))):
            members = {ids[trial]: trial for position in positions for trial in stacks[position]}
            pack_id = _digest(probes, members)
            seconds[pack_id] = round(sum(prices[position] for position in positions), 3)
            by_stack = [[ids[trial] for trial in stacks[position]] for position in positions]
            _write_pack(results, pack_id, probes, members, by_stack, seconds[pack_id], study.folder)
            homes.update(dict.fromkeys(members, pack_id))
    rows = [(ids[item.trial], item.sample, item.stage, homes[ids[item.trial]]) for item in planned]
    rows.sort()
    packs = sorted({row[3] for row in rows})
    summary = {
        "stage": stage,
        "training_version": TRAINING_VERSION,
        "trials": len(rows),
        "trials_by_stage": dict(Counter(row[2] for row in rows)),
        "packs": packs,
        "pack_seconds": {pack: seconds[pack] for pack in packs},
        **(extra or {}),
    }
    write_csv(plan_path(results, stage), PLAN_COLUMNS, rows)
    write_json(summary_path(results, stage), summary)
    return summary


def _refuse_twins(ids: dict[Trial, str]) -> None:
    twins = [trial_id for trial_id, number in Counter(ids.values()).items() if number > 1]
    if twins:
        raise AssertionError(f"two trials share the id {twins[0]}: lengthen Trial.trial_id")


def form_stacks(trials: Iterable[Trial], structure: Structure, limit: int = STACK_LIMIT) -> list[list[Trial]]:
    """Group `trials` by structure and cut each group into even stacks of at most `limit`.

    Deterministic, and blind to the order in which trials come. Trials that see the same examples come into
    the same stack where they can, which spares memory; within a stack trials of one optimizer stand together.
    """
    groups: defaultdict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[repr(structure(trial))].append(trial)
    stacks: list[list[Trial]] = []
    for key in sorted(groups):
        members = sorted(groups[key], key=_order_of_examples)
        parts = math.ceil(len(members) / limit)
        cuts = [round(len(members) * part / parts) for part in range(parts + 1)]
        stacks += [sorted(members[low:high], key=_order_in_stack) for low, high in itertools.pairwise(cuts)]
    return stacks


def _order_of_examples(trial: Trial) -> tuple[Any, ...]:
    return (trial.preprocessing, trial.seed, *_order_in_stack(trial))


def _order_in_stack(trial: Trial) -> tuple[Any, ...]:
    lead = (trial.optimizer, trial.preprocessing, trial.init, trial.learning_rate, trial.seed)
    return (*lead, *trial.as_dict().values())


def _digest(probes: str, trial_ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join([probes, *sorted(trial_ids)]).encode()).hexdigest()[:12]


def _write_pack(
    results: Path,
    pack_id: str,
    probes: Probes,
    trials: dict[str, Trial],
    stacks: list[list[str]],
    seconds: float,
    folder: Path,
) -> None:
    path = pack_path(results, pack_id)
    if path.exists():  # same name, same trials: leave its file time alone, or Snakemake trains it again
        return
    content = {
        "format": _PACK_FORMAT,
        "training_version": TRAINING_VERSION,
        "pack": pack_id,
        "probes": probes,
        "folder": str(folder),
        "seconds": seconds,
        "stacks": stacks,
        "trials": {trial_id: trial.as_dict() for trial_id, trial in trials.items()},
        "user_code": _user_code(trials.values()),
    }
    write_json(path, content, indent=None)


def _user_code(trials: Iterable[Trial]) -> dict[str, str]:
    """Return the text of the user's files that trials name, by path: what a job needs beside the trials."""
    sources: dict[str, str] = {}
    for trial in trials:
        if trial.user_code:
            sources |= user_code.sources_of(trial.levels())
    return sources


def read_pack(path: Path) -> Pack:
    """Read a pack's file and check that its trials, and the user's files they name, are what it was named for.

    Raises UserError naming the file when it is missing, broken, altered, or was planned for another
    version of the training code.
    """
    content = read_json(path, "trainatlas plan")
    try:
        version = content["training_version"]
        if version != TRAINING_VERSION:
            raise UserError(
                f"{path}: training_version is {version}; allowed: {TRAINING_VERSION}; `trainatlas plan` writes new packs"
            )
        trials = {trial_id: Trial(**fields) for trial_id, fields in content["trials"].items()}
        stacks = content["stacks"] if content["format"] != 2 else []
        pack = Pack(
            content["pack"],
            content["probes"],
            tuple(trials.values()),
            Path(content["folder"]),
            tuple(tuple(trials[trial_id] for trial_id in stack) for stack in stacks),
        )
        stacked = sorted(trial_id for stack in stacks for trial_id in stack)
        user_code.register(content["user_code"])
        expected = {trial.user_code for trial in pack.trials}
        found = {user_code.digests(trial.levels()) for trial in pack.trials}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no pack file ({error}); delete it and run `trainatlas plan`") from None
    altered = found != expected or (stacks and stacked != sorted(trials))
    if altered or _digest(pack.probes, (trial.trial_id for trial in pack.trials)) != pack.pack_id:
        raise UserError(f"{path}: its trials were altered; delete it and run `trainatlas plan`")
    return pack


def existing_homes(results: Path) -> dict[str, str]:
    """Return the pack of every trial that earlier plans in `results` placed, by trial id."""
    return _homes(_existing_packs(results))


def _homes(contents: Iterable[dict[str, Any]]) -> dict[str, str]:
    homes: dict[str, str] = {}
    for content in contents:
        homes |= dict.fromkeys(content["trials"], content["pack"])
    return homes


def _existing_packs(results: Path) -> list[dict[str, Any]]:
    """Return what the pack files of this training version hold: pack, ids of trials, and seconds where they say."""
    contents = []

    def untrained_first(path: Path) -> tuple[bool, Path]:
        return (results / "raw" / path.stem).is_dir(), path

    for path in sorted((results / "packs").glob("*.json"), key=untrained_first):  # of two homes the last one counts
        content = read_json(path, "trainatlas plan")
        try:
            if content["training_version"] == TRAINING_VERSION:
                ids = list(content["trials"])  # whole trials would fill the memory of a large study
                contents.append({"pack": content["pack"], "trials": ids, "seconds": content.get("seconds", 0.0)})
        except (KeyError, TypeError):
            raise UserError(f"{path}: is no pack file; delete it and run `trainatlas plan`") from None
    return contents


def read_plan(results: Path, stage: Stage) -> list[dict[str, str]]:
    """Return the rows of a stage's plan.

    Raises UserError naming the file where it is missing or has other columns.
    """
    path = plan_path(results, stage)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != PLAN_COLUMNS:
                raise UserError(f"{path}: columns are {reader.fieldnames}; allowed: {', '.join(PLAN_COLUMNS)}")
            return list(reader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `trainatlas plan` makes it") from None
