"""From a study to its trials: the cells of a grid, their tuning and final runs, and random draws.

Every independent draw of a random sample is keyed by its number, its factor and the level's own text, so
more draws leave the earlier ones alone, reordering levels changes nothing, and a new level
takes over just the draws that fall to it. A Sobol sequence can be made longer and its levels reordered, a Latin
hypercube reordered alone; with another number of levels, either draws anew.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trainatlas.study.config import Study
from trainatlas.study.designs import fraction, spread_points
from trainatlas.study.lazy import LazyModule
from trainatlas.study.parameters import BATCH_SIZE, Value
from trainatlas.study.ranges import Range
from trainatlas.study.samples import AnySearch, Design, GridSample, RandomSample
from trainatlas.study.streams import stream_numbers
from trainatlas.study.trial import FACTORS, Trial

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyModule("numpy")  # planning a grid needs none of it

RATE = "learning_rate"


class Planned(NamedTuple):
    """A trial and its place in the study.

    Attributes
    ----------
    stage
        "tuning" (values are tried on a tuning seed), "final" (the chosen ones on a fresh seed), "random" (a draw of
        the random sample); of searches "coarse", "fine", "rung", "batch" and "winner" (the best on a fresh seed).
    parent
        The trial whose weights this one may go on from, where there is one.
    """

    trial: Trial
    sample: str
    stage: str
    parent: Trial | None = None


class Setting(NamedTuple):
    """What a trial is but for its seed and epochs: the study's levels by factor, and the values of its parameters.

    Attributes
    ----------
    values
        The learning rate, by that name, and the other parameters that the levels have.
    """

    cell: Mapping[str, str]
    values: Mapping[str, Value]


Laws = Mapping[str, Range]
"""Ranges in place of a study's own, by the names that `rate_name` and `Study.parameters` give them."""


def rate_name(study: Study, optimizer: str) -> str:
    """Return the name of the range that an optimizer's learning rates are drawn from."""
    return f"{RATE}.{study.rate_key(optimizer)}"


def grid_cells(study: Study, sample: GridSample) -> Iterator[dict[str, str]]:
    """Yield the cells that a grid runs: all, or the fraction that its resolution asks for."""
    if sample.resolution is None:
        yield from study.cells()
        return
    levels = [sorted(study.factors[factor]) for factor in FACTORS]
    for run in fraction(tuple(len(each) for each in levels), sample.resolution):
        cell = {factor: each[i] for factor, each, i in zip(FACTORS, levels, run, strict=True)}
        if study.exclusion(cell) is None:
            yield cell


def tuning_settings(study: Study, sample: GridSample, cell: Mapping[str, str]) -> Iterator[Setting]:
    """Yield what a cell is tried at: every combination of evenly spaced rates and values of the parameters to be tuned."""
    rates = study.rate_range(cell["optimizer"]).grid(sample.tune[RATE])
    others = [{}] if not study.parameters else list(study.space.grid(cell, sample.tune))
    for rate in rates:
        for values in others:
            if not values or study.exclusion(cell, values) is None:
                yield Setting(cell, {RATE: rate, **values})


def tuning_runs(study: Study, sample: GridSample, cell: Mapping[str, str]) -> Iterator[Trial]:
    """Yield the trials that a cell's values are chosen by: every setting on every tuning seed."""
    for setting in tuning_settings(study, sample, cell):
        for seed in sample.tuning_seeds:
            yield trial_of(study, setting, seed)


def final_runs(study: Study, sample: GridSample, setting: Setting) -> Iterator[Trial]:
    """Yield the trials of a cell at the values chosen for it: one a seed."""
    for seed in sample.seeds:
        yield trial_of(study, setting, seed)


def random_draws(study: Study, sample: RandomSample) -> Iterator[Trial]:
    """Yield the trials of a random sample, but for combinations that are not run."""
    if study.parameters:
        for setting, seed in drawn(study, sample, sample.draws, sample.name):
            yield trial_of(study, setting, seed)
        return
    # The same for rates alone, of which a study may draw a hundred thousand: without a setting for each.
    rates = {level: study.rate_range(level) for level in study.factors["optimizer"]}
    example_of = functools.cache(lambda levels: study.example(cell) if (cell := _cell(study, levels)) else None)
    for levels, (share,), seed in _points(study, sample, (RATE,), sample.draws, sample.name):
        example = example_of(levels)
        if example is not None:
            yield example.at(rates[example.optimizer].at(share), study.batch_size, study.epochs, seed)


def drawn(
    study: Study, sample: RandomSample | AnySearch, draws: int, stream: str, laws: Laws | None = None
) -> Iterator[tuple[Setting, int]]:
    """Yield the settings and seeds of so many draws, but for combinations that are not run.

    Parameters
    ----------
    stream
        Keys the draws, together with the sample's `draw_seed`.
    laws
        Ranges in place of the study's own.
    """
    laws = laws or {}
    rates = {
        level: laws.get(rate_name(study, level)) or study.rate_range(level) for level in study.factors["optimizer"]
    }
    numbers = (RATE, *study.parameters)
    has_parameters = len(numbers) > 1
    cell_of = functools.cache(functools.partial(_cell, study))  # many draws fall to one cell
    for levels, shares, seed in _points(study, sample, numbers, draws, stream):
        cell = cell_of(levels)
        if cell is None:
            continue
        values: dict[str, Value] = {RATE: rates[cell["optimizer"]].at(shares[0])}
        if has_parameters:
            values |= study.space.draw(cell, dict(zip(numbers, shares, strict=True)), laws)
            if study.exclusion(cell, values) is not None:
                continue
        yield Setting(cell, values), seed


_Draw = tuple[tuple[str, ...], Sequence[float], int]
"""A level of every factor, in the order of FACTORS, the place of every number in its law, in [0, 1), and a seed."""


def _points(
    study: Study, sample: RandomSample | AnySearch, numbers: Sequence[str], draws: int, stream: str
) -> Iterator[_Draw]:
    """Yield so many draws; levels that are the only ones of their factor are not drawn."""
    design: Design = getattr(sample, "design", "independent")
    if design == "independent":
        streams = [stream_numbers(sample.draw_seed, f"{stream}/{name}", draws) / 2.0**64 for name in numbers]
        places = zip(*(np.minimum(column, _BELOW_ONE).tolist() for column in streams), strict=True)
        picked = (_picked(study.factors[f], sample.draw_seed, f"{stream}/{f}", draws) for f in FACTORS)
        yield from zip(zip(*picked, strict=True), places, itertools.cycle(sample.seeds), strict=False)
        return
    ordered = {factor: sorted(study.factors[factor]) for factor in FACTORS}
    varied = [factor for factor, levels in study.factors.items() if len(levels) > 1]
    # Seeds have a dimension of their own: taken in turn they would go with the halves of the sequence's other dimensions.
    for point in spread_points(design, draws, [*varied, *numbers, "seed"], sample.draw_seed, stream):
        levels = tuple(each[int(point.get(factor, 0) * len(each))] for factor, each in ordered.items())
        yield levels, [point[name] for name in numbers], sample.seeds[int(point["seed"] * len(sample.seeds))]


def _cell(study: Study, levels: tuple[str, ...]) -> dict[str, str] | None:
    """Return the cell of levels in the order of FACTORS; None where it is not run, whatever the values of parameters."""
    cell = dict(zip(FACTORS, levels, strict=True))
    return cell if study.parameters or study.exclusion(cell) is None else None


_BELOW_ONE = 1 - 2**-53


def _picked(levels: Sequence[str], seed: int, stream: str, draws: int) -> Iterable[str]:
    """Return the level that each draw takes: the one whose stream has the largest number there (Thaler and Ravishankar 1998)."""
    if len(levels) == 1:
        return itertools.repeat(levels[0], draws)
    scores = np.stack([stream_numbers(seed, f"{stream}/{level}", draws) for level in levels])
    return map(levels.__getitem__, scores.argmax(axis=0).tolist())


def trial_of(study: Study, setting: Setting, seed: int, epochs: int | None = None, stop_epoch: int = 0) -> Trial:
    """Return the trial of a setting.

    Parameters
    ----------
    epochs
        In place of the study's.
    stop_epoch
        As for `Trial`.
    """
    levels, values = setting
    if len(values) > 1:
        levels = study.space.applied(levels, {name: value for name, value in values.items() if name != RATE})
    return study.example(levels).at(
        float(values[RATE]),
        int(values.get(BATCH_SIZE, study.batch_size)),
        study.epochs if epochs is None else epochs,
        seed,
        stop_epoch,
    )


def each_once(planned: Iterable[Planned]) -> list[Planned]:
    """Return what is planned, each trial once, in the first place it has."""
    found: dict[Trial, Planned] = {}
    for item in planned:
        found.setdefault(item.trial, item)
    return list(found.values())
