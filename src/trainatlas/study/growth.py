"""What a study that has grown or shrunk asks for, beside what its results folder already holds."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainatlas.study.checksums import CHECKSUMS
from trainatlas.study.config import Probes, Study
from trainatlas.study.errors import UserError
from trainatlas.study.outcomes import read_outcomes
from trainatlas.study.planning import (
    STACK_LIMIT,
    Price,
    Structure,
    form_stacks,
    plan_path,
    planned_rounds,
    probes_of,
    read_plan,
)
from trainatlas.study.rounds import setting_of, sizes_of
from trainatlas.study.samples import GridSample, RandomSample
from trainatlas.study.sampling import (
    Planned,
    Setting,
    each_once,
    final_runs,
    grid_cells,
    random_draws,
    tuning_runs,
    tuning_settings,
)
from trainatlas.study.searches import round_of
from trainatlas.study.storage import read_json
from trainatlas.study.trial import DEFAULTS, TRAINING_VERSION, Trial


@dataclass(frozen=True)
class Growth:
    """Trials of a study as it reads now, by what has become of them so far.

    Attributes
    ----------
    kept
        Trained, and valid still.
    waiting
        In a pack that is not trained yet.
    new
        In no pack.
    again
        Of the new ones, those that were trained before but count no more, by the reason.
    retired
        Trained for an earlier reading of the study; their results stay, but leave the tables.
    unsettled
        Final runs of arms whose tuning is not done, and later rounds of searches: their settings are not known yet, so they count
        nowhere else.
    seconds
        Predicted time of one core for what waits and what is new.
    """

    kept: int
    waiting: int
    new: int
    again: Counter[str]
    retired: int
    unsettled: int
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The same in words."""
        minutes = max(round(self.seconds / 60), 1)
        said = [
            f"{self.kept:,} trials kept, {self.new:,} new, {self.waiting:,} planned but not trained, {self.retired:,} retired"
        ]
        if self.new or self.waiting:
            said.append(f"to train: about {minutes:,} min of one core")
        said += [f"trained again: {number:,}, since {reason}" for reason, number in sorted(self.again.items())]
        if self.unsettled:
            said.append(f"then up to {self.unsettled:,} more, at settings that these have yet to choose")
        if self.retired:
            said.append("results of retired trials stay in the folder and leave the tables")
        return said


def growth(study: Study, results: Path, structure: Structure, price: Price) -> Growth:
    """Compare a study with what lies in its results folder; nothing is written.

    Parameters
    ----------
    structure, price
        As for `trainatlas.study.planning.write_plan`.

    Raises
    ------
    UserError
        Where a file of the folder is broken.
    """
    trained: dict[str, bool] = {}  # by the id of every trial that stands in a pack of this training version
    fields: dict[str, dict[str, Any]] = {}  # of these trials
    outdated: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)  # all that were ever trained, by what they are
    for content, done in _packs(results):
        for trial_id, own in content["trials"].items():
            if content["training_version"] == TRAINING_VERSION:
                trained[trial_id] = done or trained.get(trial_id, False)
                fields[trial_id] = own
            if done:
                whole = DEFAULTS | own
                outdated[_essence(whole)].append(whole | {"training_version": content["training_version"]})
    planned, possible, unsettled = _planned(study, results, trained, fields)
    new = [item for trial_id, item in planned.items() if trial_id not in trained]
    waiting = [item for trial_id, item in planned.items() if trained.get(trial_id) is False]
    retired = {trial_id for trial_id in _planned_before(results) if trained.get(trial_id)}
    return Growth(
        kept=len(planned) - len(new) - len(waiting),
        waiting=len(waiting),
        new=len(new),
        again=Counter(filter(None, (_why_again(item.trial, outdated) for item in new))),
        retired=len(retired - planned.keys() - possible),
        unsettled=unsettled,
        seconds=_seconds(study, [*waiting, *new], structure, price),
    )


def _planned(
    study: Study, results: Path, trained: dict[str, bool], fields: dict[str, dict[str, Any]]
) -> tuple[dict[str, Planned], set[str], int]:
    """Return what the study plans, by id; what trials may follow whose settings are not known yet, and how many will."""
    items: list[Planned] = []
    possible: set[str] = set()
    unsettled = 0

    def done(trials: Iterable[Trial]) -> bool:
        return all(trained.get(trial.trial_id) for trial in trials)

    for sample in study.samples:
        if isinstance(sample, GridSample):
            chosen = _chosen_before(study, results, fields)
            for cell in grid_cells(study, sample):
                tuning = list(tuning_runs(study, sample, cell))
                items += [Planned(trial, sample.name, "tuning") for trial in tuning]
                settings = list(tuning_settings(study, sample, cell))
                setting = chosen.get(tuple(cell.values()))
                if setting in settings and done(tuning):
                    items += [Planned(trial, sample.name, "final") for trial in final_runs(study, sample, setting)]
                else:
                    possible |= {t.trial_id for each in settings for t in final_runs(study, sample, each)}
                    unsettled += len(sample.seeds)
        elif isinstance(sample, RandomSample):
            items += [Planned(trial, sample.name, "random") for trial in random_draws(study, sample)]
        else:
            outcomes = read_outcomes(results, _trained_packs(results))
            for number in itertools.count(1):
                found = round_of(study, sample, number, outcomes)
                items += found.planned
                if found.last:
                    break
                if not done(item.trial for item in found.planned):
                    unsettled += sum(sizes_of(study, sample)[number:])
                    break
    return {item.trial.trial_id: item for item in each_once(items)}, possible, unsettled


def _chosen_before(study: Study, results: Path, fields: dict[str, dict[str, Any]]) -> dict[tuple[str, ...], Setting]:
    """Return the setting of each cell's final runs in the plan that stands, by the cell's levels."""
    chosen: dict[tuple[str, ...], Setting] = {}
    if plan_path(results, 2).exists():
        for row in read_plan(results, 2):
            if row["stage"] == "final" and row["trial_id"] in fields:
                setting = setting_of(study, Trial(**fields[row["trial_id"]]))
                if setting is not None:
                    chosen[tuple(setting.cell.values())] = setting
    return chosen


def _trained_packs(results: Path) -> list[str]:
    return sorted(path.parent.name for path in (results / "raw").glob(f"*/{CHECKSUMS}") if "." not in path.parent.name)


def _packs(results: Path) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield what the pack files hold, of whatever training version, and whether their tables stand."""
    for path in sorted((results / "packs").glob("*.json")):
        content = read_json(path, "trainatlas plan")
        if not isinstance(content.get("trials"), dict) or "training_version" not in content:
            raise UserError(f"{path}: is no pack file; delete it and run `trainatlas plan`")
        yield content, (results / "raw" / path.stem / CHECKSUMS).exists()


def _planned_before(results: Path) -> Iterator[str]:
    for number in planned_rounds(results):
        yield from (row["trial_id"] for row in read_plan(results, number))


_DIGESTS = {"data_digest": "the data have changed", "user_code": "code of your own has changed"}


def _essence(fields: dict[str, Any]) -> str:
    """Return what a trial is but for the digests of files."""
    return json.dumps({name: value for name, value in fields.items() if name not in _DIGESTS}, sort_keys=True)


def _why_again(trial: Trial, outdated: dict[str, list[dict[str, Any]]]) -> str | None:
    """Return why a trial that was trained before must be again; None for one that was not."""
    fields = trial.as_dict()
    before = outdated.get(_essence(fields))
    if not before:
        return None
    last = max(before, key=lambda each: int(each["training_version"]))
    if last["training_version"] != TRAINING_VERSION:
        return f"training_version is {TRAINING_VERSION}, not {last['training_version']}"
    return next(reason for name, reason in _DIGESTS.items() if fields[name] != last.get(name))


def _seconds(study: Study, ahead: Sequence[Planned], structure: Structure, price: Price) -> float:
    by_probes: defaultdict[Probes, list[Trial]] = defaultdict(list)
    for item in ahead:
        by_probes[probes_of(study, item.stage)].append(item.trial)
    limit = min(STACK_LIMIT, study.pack_trials)
    return sum(
        price(stack, probes) for probes, trials in by_probes.items() for stack in form_stacks(trials, structure, limit)
    )
