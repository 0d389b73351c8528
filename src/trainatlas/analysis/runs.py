"""A run of a study, read from its gathered results, and what two runs do not have in common to begin with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from trainatlas.analysis.tables import PLACE_COLUMNS, TRIAL_COLUMNS, read_table
from trainatlas.study.errors import UserError, said
from trainatlas.study.languages import ENGLISH, Language
from trainatlas.study.storage import read_json
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import STATUSES, Column, names


@dataclass(frozen=True)
class Run:
    """A run of a study, gathered.

    Attributes
    ----------
    folder
        Where its results lie, as the user wrote it.
    trials
        Every trial.
    provenance
        As `trainatlas aggregate` wrote it.
    """

    folder: Path
    trials: pd.DataFrame
    provenance: dict[str, Any]

    @property
    def study(self) -> dict[str, Any]:
        """What the study said."""
        study: dict[str, Any] = self.provenance["study"]
        return study

    @property
    def parameters(self) -> list[str]:
        """The study's parameters."""
        return list(self.study.get("parameters") or ())

    @property
    def language(self) -> Language:
        """What the study's report is written in."""
        return ENGLISH if self.study.get("language") not in get_args(Language) else self.study["language"]

    def fact(self, part: str, key: str = "") -> str:
        """Return what the provenance says under `part`, or under `key` of it, as text; unknown where it says nothing."""
        found = self.provenance.get(part)
        found = _part(found, key) if key else found
        return "unknown" if found is None else _shown(found)


def read_run(folder: Path) -> Run:
    """Read what is compared of a study's results folder.

    Raises
    ------
    UserError
        One line: where there is no such folder, where it is no results folder, and where a file in it is not as it should be.
    """
    example = "a study's gathered results, such as results/digits"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; allowed: {example}")
    path = folder / "trials.csv"
    if not path.is_file():
        raise UserError(f"{folder}: is no results folder, it has no trials.csv; allowed: {example}")
    provenance = read_json(folder / "provenance.json", "trainatlas aggregate")
    for key, inside in (("study", provenance), ("factors", _part(provenance, "study")), ("packages", provenance)):
        if not isinstance(_part(inside, key), dict):
            raise UserError(
                f"{folder / 'provenance.json'}: {key} is {_shown(_part(inside, key))}; allowed: a mapping, as "
                "`trainatlas aggregate` writes it"
            )
    for factor, levels in provenance["study"]["factors"].items():
        if not isinstance(levels, list):
            raise UserError(
                f"{folder / 'provenance.json'}: factors.{factor} is {_shown(levels)}; allowed: a list of levels"
            )
    return Run(folder, _read_trials(path, Run(folder, pd.DataFrame(), provenance).parameters), provenance)


def _part(mapping: Any, key: str) -> Any:
    return mapping.get(key) if isinstance(mapping, dict) else None


def _read_trials(path: Path, parameters: Sequence[str]) -> pd.DataFrame:
    """Read trials.csv, whatever targets the study has."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            header = [name.strip('"') for name in file.readline().rstrip("\r\n").split(",")]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({said(error)}); allowed: a table that can be") from None
    fixed = (*TRIAL_COLUMNS, *PLACE_COLUMNS)
    given = [
        Column(name, "text", "", optional=True) for name in parameters if name in header and name not in names(fixed)
    ]
    known = {*names(fixed), *names(given)}
    targets = [
        Column(name, "number", "", optional=True)
        for name in header
        if name.startswith("steps_to_") and name not in known
    ]
    wanted = [*names(fixed), *names(given)]
    return read_table(path, [*fixed, *given, *targets], "trainatlas aggregate", only=wanted)


def status_counts(old: pd.DataFrame, new: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return how many trials, of every stage, ended in each way: status, in the old run, in the new run."""
    before, after = (trials["status"].value_counts() for trials in (old, new))
    return [(status, int(before.get(status, 0)), int(after.get(status, 0))) for status in STATUSES]


def level_changes(old: Run, new: Run) -> list[tuple[str, list[str], list[str]]]:
    """Return the factors whose levels differ: factor, levels that were taken away, levels that were added."""
    found = []
    for factor in FACTORS:
        before, after = (list(run.study["factors"].get(factor, ())) for run in (old, new))
        gone = [level for level in before if level not in after]
        added = [level for level in after if level not in before]
        if gone or added:
            found.append((factor, gone, added))
    return found


def setting_changes(old: Run, new: Run) -> list[tuple[str, str, str]]:
    """Return what else differs between the studies, but for profiles and language: key, old value, new value, as JSON."""
    before, after = (
        {key: value for key, value in run.study.items() if key not in ("factors", "profiles", "language")}
        for run in (old, new)
    )
    return [*_changes(before, after, ""), *_digest_changes(old, new)]


def _digest_changes(old: Run, new: Run) -> list[tuple[str, str, str]]:
    """Return whether the user's own data and code are others: their digests, from the trials."""
    found = []
    for column, name in (("data_digest", "digest of your own data"), ("user_code", "digests of your own code")):
        before, after = (", ".join(sorted(set(run.trials[column].fillna("")) - {""})) for run in (old, new))
        if before != after:
            found.append((name, before or "–", after or "–"))
    return found


def environment_changes(old: Run, new: Run) -> list[tuple[str, str, str]]:
    """Return what differs in code, packages and hardware: key, old value, new value."""
    keys = ("trainatlas", "training_version", "source", "python", "packages", "hardware")
    before, after = ({key: run.provenance.get(key) for key in keys} for run in (old, new))
    return _changes(before, after, "")


def _changes(old: Any, new: Any, key: str) -> list[tuple[str, str, str]]:
    """Return the leaves in which two JSON values differ; lists of things that have names are compared by these."""
    if old == new and type(old) is type(new):
        return []
    before, after = _by_name(old), _by_name(new)
    if before is None or after is None:
        return [(key, _shown(old), _shown(new))]
    found = []
    for name in dict.fromkeys([*before, *after]):
        inside = f"{key}.{name}" if key else str(name)
        if name in before and name in after:
            found += _changes(before[name], after[name], inside)
        else:
            gone, came = ("–" if name not in side else _shown(side[name]) for side in (before, after))
            found.append((inside, gone, came))
    return found


def _by_name(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {str(item["name"]): item for item in value}
    return None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
