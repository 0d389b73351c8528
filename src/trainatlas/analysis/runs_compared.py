"""Two runs of a study side by side: trials in pairs, differences with intervals, and whether the new run is worse.

The runs may be of two versions of the code, of two machines, or of a study that was edited in between. A pair is a trial
of each that agree in data, network, levels, seed and stage; a final run stands at its own tuned rate, as everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from trainatlas.analysis.comparisons import holm, t_test
from trainatlas.analysis.intervals import CONFIDENCE, over_seeds
from trainatlas.analysis.pairing import DECIMALS
from trainatlas.analysis.tables import PLACE_COLUMNS, TRIAL_COLUMNS, read_table
from trainatlas.study.config import ENGLISH, Language
from trainatlas.study.errors import UserError, said
from trainatlas.study.storage import read_json
from trainatlas.study.trial import FACTORS
from trainatlas.train.records import STATUSES, Column, names

STAGES = ("final", "random", "winner")
"""Stages whose trials are compared: those that look at test data."""

METRICS = ("test_accuracy", "final_validation_accuracy", "best_validation_accuracy", "final_train_accuracy")
"""What can be compared: shares, of which more is better."""

MARGIN = 0.01
"""By how much a run may be worse, where the user does not say: a point of accuracy."""

VERDICTS = ("worse", "better", "alike", "open", "no interval")

COMPARE_COLUMNS = (
    Column("factor", "text", "the factor, or stage; empty for all pairs together"),
    Column("level", "text", "its level; empty for all pairs together"),
    Column("old", "number", "mean of the metric in the old run: over a seed's pairs, then over seeds"),
    Column("new", "number", "the same in the new run"),
    Column("difference", "number", "new minus old"),
    Column("low", "number", "lower end of the 95 % interval, Student's t over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("p", "number", "p-value of no difference, paired t-test over seeds", optional=True),
    Column("p_holm", "number", "p, corrected over all rows of single levels (Holm)", optional=True),
    Column(
        "p_beyond",
        "number",
        "p-value of a difference within the margin, one-sided t-test on the side where the difference lies",
        optional=True,
    ),
    Column("p_beyond_holm", "number", "p_beyond, corrected likewise", optional=True),
    Column(
        "verdict",
        "text",
        "worse or better: the interval lies wholly beyond the margin, and p_beyond_holm is at most 0.025; alike: wholly within; "
        "open: neither; no interval: fewer than two seeds",
    ),
    Column("pairs", "whole", "pairs of trials"),
    Column("seeds", "whole", "seeds that have pairs"),
)
"""Columns of compare.csv: what `trainatlas compare` says of all pairs, of each stage and of each level."""

PAIR_COLUMNS = (
    Column("stage", "text", "final, random or winner"),
    Column("data", "text", "data set"),
    Column("network", "text", "architecture"),
    *(Column(factor, "text", "level of the factor") for factor in FACTORS),
    Column("seed", "whole", "the seed"),
    Column("old_trial_id", "text", "the trial of the old run"),
    Column("new_trial_id", "text", "the trial of the new run"),
    Column("old_rate", "number", "learning rate of the old trial"),
    Column("new_rate", "number", "learning rate of the new trial"),
    Column("old_status", "text", "how the old trial ended"),
    Column("new_status", "text", "how the new trial ended"),
    Column("old", "number", "the metric of the old trial; 0 where it failed"),
    Column("new", "number", "the metric of the new trial; 0 where it failed"),
    Column("difference", "number", "new minus old"),
)
"""Columns of pairs.csv: every pair of trials."""

COMPARED_PAGES: dict[str, tuple[Column, ...]] = {
    "reports/COMPARISON/tables/compare.csv": COMPARE_COLUMNS,
    "reports/COMPARISON/tables/pairs.csv": PAIR_COLUMNS,
}
"""Tables that `trainatlas compare` writes, for the data dictionary."""

_KEY = ["stage", "data", "network", *FACTORS, "seed"]
_DRAWN = ["learning_rate", "batch_size"]
"""What a draw has, beside parameters of the study, that a final run has by tuning or by the study."""


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


@dataclass(frozen=True)
class Comparison:
    """What comes out of two runs.

    Attributes
    ----------
    pairs
        Every pair, columns as in PAIR_COLUMNS.
    rows
        Differences, columns as in COMPARE_COLUMNS, all pairs together first.
    only
        For each stage that either run has: how many pairs, trials of the old run alone, of the new run alone.
    """

    metric: str
    margin: float
    pairs: pd.DataFrame
    rows: pd.DataFrame
    only: dict[str, tuple[int, int, int]]

    @property
    def regressions(self) -> pd.DataFrame:
        """The rows that say that the new run is worse."""
        return self.rows[self.rows["verdict"] == "worse"]


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


def compare_runs(old: Run, new: Run, metric: str = METRICS[0], margin: float = MARGIN) -> Comparison:
    """Compare two runs of a study.

    Parameters
    ----------
    metric
        One of METRICS.
    margin
        By how much the new run may be worse, 0 to 1, in the metric's unit.

    Raises
    ------
    UserError
        Where metric or margin is not allowed, and where the runs have no trial in common.
    """
    if metric not in METRICS:
        raise UserError(f"--metric is '{metric}'; allowed: {', '.join(METRICS)}")
    if not 0 <= margin <= 1:
        raise UserError(f"--margin is {margin:g}; allowed: 0 to 1, a share: 0.01 is a point")
    parameters = sorted({*old.parameters, *new.parameters})
    pairs, only = paired_trials(old.trials, new.trials, metric, parameters)
    if pairs.empty:
        found = "; ".join(f"{run.folder}: {_stages(run.trials)}" for run in (old, new))
        raise UserError(
            f"{old.folder} and {new.folder}: no trial in common ({found}); allowed: two runs that share data, network, levels "
            f"and seeds of trials of the stages {', '.join(STAGES)}"
        )
    levels = {
        factor: _once([*old.study["factors"].get(factor, ()), *new.study["factors"].get(factor, ())])
        for factor in FACTORS
    }
    return Comparison(metric, margin, pairs, compared(pairs, {"stage": STAGES, **levels}, margin), only)


def _stages(trials: pd.DataFrame) -> str:
    counts = trials["stage"].value_counts()
    return ", ".join(f"{counts[stage]:,} {stage}" for stage in STAGES if stage in counts) or "none of these stages"


def _once(levels: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(levels))


def paired_trials(
    old: pd.DataFrame, new: pd.DataFrame, metric: str, parameters: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, tuple[int, int, int]]]:
    """Pair the trials of two runs that agree in stage, data, network, levels and seed.

    Draws and winners of searches agree in their rate and their values of parameters too; where the batch size is no
    parameter, it is the study's and may differ.

    Parameters
    ----------
    old, new
        Gathered trials; those of STAGES are taken. A missing value counts as 0: all wrong.
    parameters
        The studies' parameters.

    Returns
    -------
    tuple
        The pairs, columns as in PAIR_COLUMNS, sorted by what pairs agree in; and for each stage that there is how many
        pairs, trials of the old run alone and trials of the new run alone it has.
    """
    drawn = [name for name in _DRAWN if name != "batch_size" or name in parameters]
    more = [name for name in parameters if name not in _DRAWN]
    key = [*_KEY, *(f"set {name}" for name in (*drawn, *more))]
    sides = [_keyed(trials, metric, [*drawn, *more]) for trials in (old, new)]
    both = sides[0].merge(sides[1], on=key, how="outer", suffixes=("_old", "_new"), indicator="in", sort=True)
    only = {}
    for stage in STAGES:
        where = both.loc[both["stage"] == stage, "in"]
        if len(where):
            common, before, after = (int((where == side).sum()) for side in ("both", "left_only", "right_only"))
            only[stage] = (common, before, after)
    found = both[both["in"] == "both"]
    pairs = found[_KEY].assign(
        old_trial_id=found["trial_id_old"],
        new_trial_id=found["trial_id_new"],
        old_rate=found["rate_old"],
        new_rate=found["rate_new"],
        old_status=found["status_old"],
        new_status=found["status_new"],
        old=found["value_old"],
        new=found["value_new"],
        difference=found["value_new"] - found["value_old"],
    )
    return pairs.reset_index(drop=True)[list(names(PAIR_COLUMNS))], only


def _keyed(trials: pd.DataFrame, metric: str, settings: Sequence[str]) -> pd.DataFrame:
    """Return one row for each key: of trials that agree in it, of which a study has one, the mean."""
    runs = trials[trials["stage"].isin(STAGES)]
    tuned = runs["stage"] == "final"
    key = runs[_KEY].astype({name: "str" for name in _KEY if name != "seed"})
    for name in settings:
        values = runs[name] if name in runs else pd.Series("", index=runs.index)
        key[f"set {name}"] = values.astype("object").where(values.notna() & ~tuned, "").map(str)
    valued = key.assign(
        value=runs[metric].fillna(0.0), rate=runs["learning_rate"], status=runs["status"], trial_id=runs["trial_id"]
    )
    return valued.groupby(list(key.columns), as_index=False, sort=True).agg(
        value=("value", "mean"), rate=("rate", "mean"), status=("status", "first"), trial_id=("trial_id", "first")
    )


def compared(pairs: pd.DataFrame, levels: Mapping[str, Sequence[str]], margin: float) -> pd.DataFrame:
    """Return the differences of all pairs together and of each level, with intervals over seeds.

    A seed's estimate is the mean over its pairs (docs/decisions/0001). P-values of single levels are corrected for their
    number, of all factors together (Holm 1979).

    Parameters
    ----------
    pairs
        Columns as in PAIR_COLUMNS, at least one row.
    levels
        Levels by column of `pairs`. A column whose pairs are all of one level has no row.
    margin
        Largest difference that does not matter, >= 0.

    Returns
    -------
    pandas.DataFrame
        Columns as in COMPARE_COLUMNS.
    """
    rows = [_told("", "", pairs, margin)]
    for column, texts in levels.items():
        present = [text for text in texts if (pairs[column] == text).any()]
        if len(present) > 1:
            rows += [_told(column, text, pairs[pairs[column] == text], margin) for text in present]
    table = pd.DataFrame(rows)
    for name in ("p", "p_beyond"):
        table[f"{name}_holm"] = np.concatenate([table[name].to_numpy()[:1], holm(table[name].to_numpy()[1:])])
    table["verdict"] = [
        verdict(row["low"], row["high"], row["p_beyond_holm"], margin) for row in table.to_dict("records")
    ]
    return table[list(names(COMPARE_COLUMNS))]


def _told(factor: str, level: str, pairs: pd.DataFrame, margin: float) -> dict[str, Any]:
    of_seeds = pairs.groupby("seed")[["old", "new", "difference"]].mean()
    estimates = of_seeds["difference"].round(DECIMALS).to_numpy()
    interval = over_seeds(estimates)
    worse = interval.mean < 0
    return {
        "factor": factor,
        "level": level,
        "old": float(of_seeds["old"].mean()),
        "new": float(of_seeds["new"].mean()),
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": t_test(estimates),
        "p_beyond": t_test(estimates, -margin if worse else margin, "less" if worse else "greater"),
        "pairs": len(pairs),
        "seeds": len(of_seeds),
    }


def verdict(low: float, high: float, p_beyond: float, margin: float) -> str:
    """Return one of VERDICTS.

    Parameters
    ----------
    low, high
        Ends of the 95 % interval; nan where there is none.
    p_beyond
        One-sided p-value of a difference within the margin, corrected; to be at most half of 5 %, as for a single interval.
    """
    if math.isnan(low):
        return "no interval"
    if p_beyond <= (1 - CONFIDENCE) / 2 + 1e-12:
        if high < -margin:
            return "worse"
        if low > margin:
            return "better"
    return "alike" if -margin <= low and high <= margin else "open"


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
    """Return what else differs between the studies: key, old value, new value, as JSON; levels and profiles are left out."""
    before, after = (
        {key: value for key, value in run.study.items() if key not in ("factors", "profiles")} for run in (old, new)
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
    for name in _once([*before, *after]):
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
