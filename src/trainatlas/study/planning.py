"""From trials to packs on disk.

A pack is what one job trains. Its file holds whole trials, so a job needs nothing else, and
its name is a digest of its trials' ids. Packs once written are never re-formed: a study that
grows gets new packs for its new trials, and whatever was trained before stays valid.

Layout under `results/<study>/`:

    plan-<n>.csv, plan-<n>.json      the trials of the n-th round, and its packs (see study.rounds)
    packs/<pack>.json                the trials of one pack
    raw/<pack>/                      what training it yielded
    weights/<pack>/                  the state of trials that a later round may go on with
    selected.csv                     the values chosen for each cell of the grid (see analysis.selection)
    timing.csv                       seconds of a step of each kind of network (see train.timing)
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from trainatlas.study import user_code
from trainatlas.study.config import Probes, Study
from trainatlas.study.dealing import Labour, deal
from trainatlas.study.errors import UserError
from trainatlas.study.outcomes import Outcome, Outcomes, read_outcomes
from trainatlas.study.rounds import Chosen, has_searches, plan_of_round, sizes
from trainatlas.study.sampling import Planned
from trainatlas.study.storage import json_object, json_text, read_json, write_csv, write_json, write_text
from trainatlas.study.trial import TRAINING_VERSION, Trial, id_of

Structure = Callable[[Trial], Hashable]
Price = Callable[[Sequence[Trial], Probes], float]
"""(a stack, how much is measured) -> seconds that training it is predicted to take."""

STACK_LIMIT = 256
"""Trials trained side by side at most; beyond it throughput no longer grows (docs/performance.md)."""

PLAN_COLUMNS = ("trial_id", "sample", "stage", "pack")
"""Columns of a round's table."""

_PACK_FORMAT = 4


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
        The trials, stack by stack, as they are trained side by side.
    parents
        The pack and the id of the trial whose weights a trial goes on from where they are kept, by the trial's id.
    keeps_weights
        Whether trials that end before the last epoch of their schedule leave their weights behind.
    """

    pack_id: str
    probes: Probes
    trials: tuple[Trial, ...]
    folder: Path = Path()
    stacks: tuple[tuple[Trial, ...], ...] = ()
    parents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    keeps_weights: bool = False


_ALONE = Labour()
_PRICED = 20  # trials whose price stands for those of later rounds, which are not known yet


def plan_path(results: Path, number: int) -> Path:
    """Return where the plan of the `number`-th round is listed, trial by trial."""
    return results / f"plan-{number}.csv"


def summary_path(results: Path, number: int) -> Path:
    """Return where that plan's packs and counts are listed."""
    return results / f"plan-{number}.json"


def planned_rounds(results: Path) -> list[int]:
    """Return the numbers of the rounds planned so far; what an earlier reading of the study planned beyond its last is none.

    Raises UserError naming a summary that is broken.
    """
    found: list[int] = []
    while summary_path(results, len(found) + 1).exists():
        found.append(len(found) + 1)
        if read_summary(results, found[-1]).get("last", True):
            break
    return found


def read_summary(results: Path, number: int) -> dict[str, Any]:
    """Return the summary of a round's plan, not to be changed; raises UserError where it is missing or broken.

    It is read once as long as the file stays as it is.
    """
    return summary_at(summary_path(results, number))


def summary_at(path: Path) -> dict[str, Any]:
    """Return the same of the summary's own path."""
    return _summary(path, path.stat().st_mtime_ns if path.exists() else 0)


@functools.lru_cache(maxsize=64)
def _summary(path: Path, changed: int) -> dict[str, Any]:
    summary: dict[str, Any] = read_json(path, "trainatlas plan")
    return summary


def pack_path(results: Path, pack_id: str) -> Path:
    """Return the file that holds a pack's trials."""
    return results / "packs" / f"{pack_id}.json"


def selected_path(results: Path) -> Path:
    """Return where the values chosen for each cell are listed."""
    return results / "selected.csv"


def timing_path(results: Path) -> Path:
    """Return where the seconds of steps are listed."""
    return results / "timing.csv"


def known_outcomes(study: Study, results: Path, number: int) -> dict[str, Outcome]:
    """Return what trials of the rounds before the `number`-th came to, by id, where a search of the study asks for it."""
    if number == 1 or not has_searches(study):
        return {}
    packs = {pack for before in range(1, number) for pack in read_summary(results, before)["packs"]}
    return read_outcomes(results, sorted(packs))


MEASURED_STAGES = ("final", "random", "winner")
"""Stages whose runs are told of; those of all others only choose."""


def probes_of(study: Study, stage: str) -> Probes:
    """Return how much is measured of the trials of a stage, as `Planned` has it; of runs that only choose, little."""
    if stage in MEASURED_STAGES:
        return study.probes
    return "off" if study.probes == "off" else "light"


def trial_epochs(stack: Sequence[Trial], probes: Probes) -> float:
    """Price a stack by its budget alone, a thousandth of a second for each epoch of a trial."""
    return sum(trial.last_epoch for trial in stack) / 1000


def plan_round(
    study: Study,
    results: Path,
    number: int,
    structure: Structure,
    outcomes: Outcomes | None = None,
    chosen: Chosen = (),
    price: Price = trial_epochs,
    labour: Labour = _ALONE,
) -> dict[str, Any]:
    """Plan a round of `study` into `results`; return the summary that was written.

    Parameters
    ----------
    outcomes, chosen
        As for `trainatlas.study.rounds.plan_of_round`.
    structure, price, labour
        As for `write_plan`.
    """
    planned, last, regions = plan_of_round(study, number, outcomes, chosen)
    examples = [item.trial for item in planned[:: len(planned) // _PRICED + 1]]
    each = sum(price([trial] * STACK_LIMIT, study.probes) for trial in examples) / max(len(examples) * STACK_LIMIT, 1)
    later = 0 if last else sum(sizes(study)[number:])
    extra: dict[str, Any] = {
        "last": last,
        "later_trials": later,
        "later_seconds": round(later * each, 3),
        "regions": [region._asdict() for region in regions],
    }
    if number == 1:
        extra |= {
            "study": study.model_dump(mode="json"),
            "study_digest": study.digest(),
            "cells": sum(1 for _ in study.cells()),
            "excluded_cells": [{"reason": reason, "cells": cells} for reason, cells in study.excluded().items()],
        }
    return write_plan(study, results, number, planned, structure, extra, price, labour)


def write_plan(
    study: Study,
    results: Path,
    number: int,
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
    number
        Of the round, counted from 1.
    structure
        What trials of one stack share.
    extra
        More entries of the summary.
    price, labour
        What stacks cost, and who trains them. Both decide which pack a stack is dealt to, and neither what a stack is: prices may
        be measured, and a trial's numbers must not depend on a clock or on the number of cores.
    """
    texts = [item.trial.canonical_json() for item in planned]
    # By the object: a trial's own hash takes three times as long.
    ids = {id(item.trial): id_of(text) for item, text in zip(planned, texts, strict=True)}
    configurations = dict(zip(ids.values(), texts, strict=True))
    if len(configurations) < len(planned):
        _refuse_twins([item.trial.trial_id for item in planned])
    contents = _existing_packs(results)
    homes, seconds = _homes(contents), {content["pack"]: content["seconds"] for content in contents}
    parents: dict[str, tuple[str, str]] = {}
    shares: dict[str, float] = {}  # of a trial's epochs that are left to train, where it goes on from another
    fresh: dict[tuple[Probes, bool], list[Trial]] = {}
    probes_at = {stage: probes_of(study, stage) for stage in {item.stage for item in planned}}
    for trial_id, item in zip(ids.values(), planned, strict=True):
        if trial_id in homes:
            continue
        fresh.setdefault((probes_at[item.stage], item.parent is not None), []).append(item.trial)
        if item.parent is not None:
            parents[trial_id] = (homes[item.parent.trial_id], item.parent.trial_id)
            shares[trial_id] = 1 - item.parent.last_epoch / item.trial.last_epoch
    for (probes, _), new in fresh.items():
        stacks = form_stacks(new, structure, min(STACK_LIMIT, study.pack_trials))
        prices = [price(stack, probes) * shares.get(ids[id(stack[0])], 1.0) for stack in stacks]
        for positions in deal(prices, labour.packs(sum(prices), len(new))):
            members = {ids[id(trial)]: trial for position in positions for trial in stacks[position]}
            pack = Pack(
                _digest(probes, members),
                probes,
                tuple(members.values()),
                study.folder,
                tuple(tuple(stacks[position]) for position in positions),
                {trial_id: parents[trial_id] for trial_id in members if trial_id in parents},
                any(trial.stop_epoch for trial in members.values()),
            )
            seconds[pack.pack_id] = round(sum(prices[position] for position in positions), 3)
            _write_pack(results, pack, ids, configurations, seconds[pack.pack_id])
            homes.update(dict.fromkeys(members, pack.pack_id))
    rows = [
        (trial_id, item.sample, item.stage, homes[trial_id])
        for trial_id, item in zip(ids.values(), planned, strict=True)
    ]
    rows.sort(key=itemgetter(0))
    packs = sorted({row[3] for row in rows})
    summary = {
        "round": number,
        "training_version": TRAINING_VERSION,
        "trials": len(rows),
        "trials_by_stage": dict(Counter(row[2] for row in rows)),
        "packs": packs,
        "pack_seconds": {pack: seconds[pack] for pack in packs},
        **(extra or {}),
    }
    write_csv(plan_path(results, number), PLAN_COLUMNS, rows)
    write_json(summary_path(results, number), summary)
    return summary


def _refuse_twins(ids: Iterable[str]) -> None:
    twins = [trial_id for trial_id, number in Counter(ids).items() if number > 1]
    if twins:
        raise AssertionError(f"two trials share the id {twins[0]}: lengthen Trial.trial_id")


def form_stacks(trials: Iterable[Trial], structure: Structure, limit: int = STACK_LIMIT) -> list[list[Trial]]:
    """Group `trials` by structure and cut each group into even stacks of at most `limit`.

    Deterministic, and blind to the order in which trials come. Trials that see the same examples come into
    the same stack where they can, which spares memory; within a stack trials of one optimizer stand together.
    """
    groups: defaultdict[Hashable, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[structure(trial)].append(trial)
    stacks: list[list[Trial]] = []
    for key in sorted(groups, key=repr):
        parts = math.ceil(len(groups[key]) / limit)
        members = sorted(groups[key], key=_order_of_examples) if parts > 1 else groups[key]
        cuts = [round(len(members) * part / parts) for part in range(parts + 1)]
        stacks += [sorted(members[low:high], key=_order_in_stack) for low, high in itertools.pairwise(cuts)]
    return stacks


def _order_in_stack(trial: Trial) -> tuple[object, ...]:
    return trial.optimizer, trial.preprocessing, trial.init, trial.learning_rate, trial.seed, trial


def _order_of_examples(trial: Trial) -> tuple[object, ...]:
    return trial.preprocessing, trial.seed, _order_in_stack(trial)


def _digest(probes: str, trial_ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join([probes, *sorted(trial_ids)]).encode()).hexdigest()[:12]


def _write_pack(
    results: Path, pack: Pack, ids: Mapping[int, str], configurations: Mapping[str, str], seconds: float
) -> None:
    path = pack_path(results, pack.pack_id)
    if path.exists():  # same name, same trials: leave its file time alone, or Snakemake trains it again
        return
    content = {
        "format": _PACK_FORMAT,
        "training_version": TRAINING_VERSION,
        "pack": pack.pack_id,
        "probes": pack.probes,
        "folder": str(pack.folder),
        "seconds": seconds,
        "stacks": [[ids[id(trial)] for trial in stack] for stack in pack.stacks],
        "parents": pack.parents,
        "keeps_weights": pack.keeps_weights,
        "user_code": _user_code(pack.trials),
    }
    members = {name: json_text(value) for name, value in content.items()}
    trials = sorted(ids[id(trial)] for trial in pack.trials)
    members["trials"] = "{" + ", ".join([f'"{trial_id}": {configurations[trial_id]}' for trial_id in trials]) + "}"
    write_text(path, json_object(members) + "\n")


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
        stacks = content["stacks"]
        pack = Pack(
            content["pack"],
            content["probes"],
            tuple(trials.values()),
            Path(content["folder"]),
            tuple(tuple(trials[trial_id] for trial_id in stack) for stack in stacks),
            {trial_id: (home, parent) for trial_id, (home, parent) in content["parents"].items()},
            content["keeps_weights"],
        )
        stacked = sorted(trial_id for stack in stacks for trial_id in stack)
        user_code.register(content["user_code"])
        expected = {trial.user_code for trial in pack.trials}
        found = {user_code.digests(trial.levels()) for trial in pack.trials}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no pack file ({error}); delete it and run `trainatlas plan`") from None
    altered = found != expected or stacked != sorted(trials)
    if altered or _digest(pack.probes, (trial.trial_id for trial in pack.trials)) != pack.pack_id:
        raise UserError(f"{path}: its trials were altered; delete it and run `trainatlas plan`")
    return pack


def find_trial(results: Path, begins: str) -> tuple[Trial, Pack]:
    """Return the planned trial of `results` whose id begins with a text, and the pack that it was planned in.

    Raises
    ------
    UserError
        Where none does or several do, the study is not planned, or the pack is broken or of another training version.
    """
    rows = (row for number in planned_rounds(results) or [1] for row in read_plan(results, number))
    homes = {row["trial_id"]: row["pack"] for row in rows if row["trial_id"].startswith(begins)}
    if not homes:
        raise UserError(f"{begins}: no planned trial of {results} begins so; {results}/plan*.csv lists them")
    trial_id = min(homes)
    if len(homes) > 1:
        raise UserError(
            f"{begins}: {len(homes):,} planned trials of {results} begin so; allowed: more digits, such as {trial_id}"
        )
    pack = read_pack(pack_path(results, homes[trial_id]))
    return next(trial for trial in pack.trials if trial.trial_id == trial_id), pack


def measured_trials(results: Path) -> list[Trial]:
    """Return the planned trials of MEASURED_STAGES, each once, by id.

    Raises UserError naming the file where a round is not planned yet, or a plan or pack is broken.
    """
    rounds = planned_rounds(results)
    if not rounds or not read_summary(results, rounds[-1]).get("last", True):
        read_summary(results, len(rounds) + 1)  # is not there, and says so
    rows = [row for number in rounds for row in read_plan(results, number)]
    homes = {row["trial_id"]: row["pack"] for row in rows if row["stage"] in MEASURED_STAGES}
    found: dict[str, Trial] = {}
    for pack in sorted(set(homes.values())):
        found |= {trial.trial_id: trial for trial in read_pack(pack_path(results, pack)).trials}
    return [found[trial_id] for trial_id in sorted(homes)]


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


def read_plan(results: Path, number: int) -> list[dict[str, str]]:
    """Return the rows of a round's plan.

    Raises UserError naming the file where it is missing or has other columns.
    """
    path = plan_path(results, number)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != PLAN_COLUMNS:
                raise UserError(f"{path}: columns are {reader.fieldnames}; allowed: {', '.join(PLAN_COLUMNS)}")
            return list(reader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `trainatlas plan` makes it") from None
