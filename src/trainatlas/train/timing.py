"""The timing stage: seconds of an optimizer step of one network trained alone, for every kind of step in a study.

Training times say nothing of one trial: they depend on who is stacked beside whom. Here the plain loop takes a few steps of each
kind, with nothing beside it; steps to a target times these seconds are the time to a target. What a step takes follows from
structure, optimizer, regularisation, augmentation and batch size; not from initial weights, rates, schedules or seeds.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainatlas.catalogue import impossible
from trainatlas.data.preprocessing import changes_shape
from trainatlas.optim.regularisation import largest_loss_of, patience_of
from trainatlas.study.config import Study
from trainatlas.study.levels import NOTHING, split_parts
from trainatlas.study.planning import measured_trials, timing_path
from trainatlas.study.storage import write_csv
from trainatlas.study.trial import FACTORS, Trial
from trainatlas.train.clock import step_seconds, turns
from trainatlas.train.devices import device_name
from trainatlas.train.examples import ExampleStore
from trainatlas.train.records import COMPOSED, MEASURED, TIMED_BY, TIMING_COLUMNS, names, number

MOST_KINDS = 100
"""Kinds of steps that are all measured; of more, one factor at a time is."""

TURNS = 5
"""Turns that count, where all kinds are measured."""

TURNS_TO_COMPOSE = 15
"""The same where others are composed of those measured, and share their errors."""

TURN_SECONDS = 0.06
"""What a kind's runs within a turn, of which the fastest counts, shall take together."""

RUN_SECONDS = 0.005
"""What a run shall take, short enough to pass between two looks of other work at the core; it has one step at least."""

FEWEST_RUNS = 3
"""Runs of a kind within a turn, however long they take."""

LONGEST = 90.0
"""Seconds after which no further turn begins."""

_TAME = {"init": "kaiming_normal", "learning_rate": 1e-4, "schedule": "constant"}
_ENDLESS = {"epochs": 10_000, "stop_epoch": 0}

Key = tuple[str | int, ...]
"""The study's own levels, and the batch size, in the order of TIMED_BY."""


@dataclass(frozen=True)
class Timed:
    """How many kinds of steps a study has, and how many of them were measured; the others are composed."""

    kinds: int
    measured: int


def time_steps(study: Study, results: Path, device: torch.device) -> Timed:
    """Time the steps of a study's final runs, random draws and winners, and write timing.csv into `results`.

    Raises UserError where plans or packs are missing or broken.
    """
    rows = steps_of_study(study, measured_trials(results))
    kinds = sorted(set(rows.values()))
    chosen, most = kinds, TURNS
    if len(kinds) > MOST_KINDS:
        chosen, most = one_at_a_time(kinds, study.folder), TURNS_TO_COMPOSE
    store = ExampleStore(device, fitted=results / "fitted", folder=study.folder)
    found = dict(zip(chosen, measure([stopwatch(kind, store) for kind in chosen], most), strict=True))
    seconds = {kind: statistics.median(each) for kind, each in found.items()}
    seconds = composed([kind for kind in kinds if kind not in found], seconds) | seconds
    table = [
        (*key, number(seconds[kind]), *_turns(found.get(kind)), device_name(device))
        for key, kind in sorted(rows.items())
    ]
    write_csv(timing_path(results), names(TIMING_COLUMNS), table)
    return Timed(len(kinds), len(found.keys() & set(kinds)))


def _turns(seconds: Sequence[float] | None) -> tuple[object, ...]:
    if seconds is None:
        return "", "", 0, COMPOSED
    return number(min(seconds)), number(max(seconds)), len(seconds), MEASURED


def steps_of_study(study: Study, trials: Iterable[Trial]) -> dict[Key, Trial]:
    """Return for each combination of TIMED_BY, as trials.csv holds it, the trial whose steps are timed.

    Levels are those that the study writes: where an option of theirs is a parameter of the study, one trial stands for all.
    """
    found: dict[Key, Trial] = {}
    distinct = {(trial.cell, trial.batch_size): trial for trial in sorted(trials, reverse=True)}
    seed = min((trial.seed for trial in distinct.values()), default=0)
    for trial in sorted(distinct.values()):
        levels: dict[str, str] = dict(zip(FACTORS, trial.cell, strict=True))
        if study.parameters:
            levels, _ = study.space.parted(levels, trial.batch_size)
        found.setdefault((*(levels[name] for name in TIMED_BY[:-1]), trial.batch_size), alone(trial, seed))
    return found


def alone(trial: Trial, seed: int) -> Trial:
    """Return the trial whose steps are timed in place of `trial`'s: what their time does not depend on is the same for all.

    Regularisers that end training early are left out: they look at whole epochs.
    """
    changed = (
        changes_shape(trial.preprocessing) or trial.augmentation != NOTHING
    )  # augmented images are transformed step by step
    kept = [part for part in split_parts(trial.regularisation) if not _ends_early(part)]
    own = {
        "seed": seed,
        "preprocessing": trial.preprocessing if changed else "raw",
        "regularisation": " + ".join(kept) or NOTHING,
        "user_code": "",
    }
    return trial._replace(**_TAME, **_ENDLESS, **own)  # type: ignore[arg-type]


def _ends_early(regulariser: str) -> bool:
    return patience_of(regulariser) is not None or largest_loss_of(regulariser) is not None


def stopwatch(kind: Trial, store: ExampleStore) -> Callable[[], float]:
    """Return what times a kind's steps anew and yields their seconds, the mean of the fastest run.

    The first call tries single steps; from then on runs are as long and as many as RUN_SECONDS and TURN_SECONDS say.
    """
    steps, runs = 1, FEWEST_RUNS

    def look() -> float:
        nonlocal steps, runs
        fastest = min(step_seconds(kind, store, steps, runs))
        steps = max(math.ceil(RUN_SECONDS / fastest), 1)
        runs = max(math.ceil(TURN_SECONDS / (steps * fastest)), FEWEST_RUNS)
        return fastest

    return look


def measure(timed: Sequence[Callable[[], float]], most: int) -> list[tuple[float, ...]]:
    """Return for each of `timed` what it yields in each of `most` turns, fewer where LONGEST is over.

    All are run in turn, after a turn that does not count.
    """
    found: list[list[float]] = []
    begun = time.monotonic()
    for turn in itertools.islice(turns(timed), most):
        found.append(turn)
        if time.monotonic() - begun > LONGEST:
            break
    return list(zip(*found, strict=True))


def one_at_a_time(kinds: Sequence[Trial], folder: Path) -> list[Trial]:
    """Return the kinds that are measured in place of all: a reference, and what differs from it in one of TIMED_BY.

    The reference has the commonest levels. Where a level cannot stand beside the reference's others, the kind that has
    it and is nearest to the reference is taken.

    Parameters
    ----------
    kinds
        As `alone` returns them, at least one.
    folder
        What paths of the user's own data are relative to.
    """
    counts = {name: Counter(getattr(kind, name) for kind in kinds) for name in TIMED_BY}
    reference = max(kinds, key=lambda kind: sum(counts[name][getattr(kind, name)] for name in TIMED_BY))

    def distance(kind: Trial) -> int:
        return sum(getattr(kind, name) != getattr(reference, name) for name in TIMED_BY)

    chosen = [reference]
    for name in TIMED_BY:
        for level in sorted(counts[name].keys() - {getattr(reference, name)}):
            other = reference._replace(**{name: level})
            if other != alone(other, other.seed) or impossible(other, folder) is not None:
                other = min((kind for kind in kinds if getattr(kind, name) == level), key=distance)
            chosen.append(other)
    return list(dict.fromkeys(chosen))


def composed(kinds: Sequence[Trial], seconds: Mapping[Trial, float]) -> dict[Trial, float]:
    """Return the seconds of kinds that were not measured: a reference's times the ratio of each of their levels to it.

    Logarithms are a sum of what each level of TIMED_BY adds, fitted to those measured by least squares; where these differ
    from a reference in one level at a time, that is the product of the measured ratios.

    Parameters
    ----------
    kinds
        Of levels that occur among those measured.
    seconds
        Of the kinds that were measured, > 0.
    """
    if not kinds:
        return {}
    columns = {level: i for i, level in enumerate(dict.fromkeys(level for kind in seconds for level in _levels(kind)))}

    def design(of: Iterable[Trial]) -> np.ndarray:
        rows = [[columns[level] for level in _levels(kind)] for kind in of]
        matrix = np.zeros((len(rows), len(columns)))
        np.put_along_axis(matrix, np.array(rows), 1.0, axis=1)
        return matrix

    effects = np.linalg.lstsq(design(seconds), np.log(list(seconds.values())), rcond=None)[0]
    return dict(zip(kinds, np.exp(design(kinds) @ effects).tolist(), strict=True))


def _levels(kind: Trial) -> list[tuple[str, str | int]]:
    return [(name, getattr(kind, name)) for name in TIMED_BY]
