"""Measure how often intervals hold the truth, and tests find what is not there, on simulated studies.

A simulated study has one factor whose levels are compared, cells of the other factors, and seeds. Accuracy is the sum of
effects of the level, of the cell, of the two together, of the seed, of seed and level together, and of noise. Intervals and
p-values are those of `trainatlas.analysis`; what it decided against is measured beside them.

    make calibration
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from trainatlas.analysis.bootstrap import stratified_bca
from trainatlas.analysis.comparisons import holm, pairwise, sign_flips
from trainatlas.analysis.intervals import CONFIDENCE, over_seeds
from trainatlas.analysis.pairing import by_seed, pairing
from trainatlas.analysis.ranks import friedman
from trainatlas.analysis.robust import interquartile_mean, probability_of_improvement, robust
from trainatlas.study.trial import FACTORS

LEVELS = ("relu", "tanh", "elu", "sigmoid")
COMPARED = {"activation": LEVELS}
CHANCE = 0.1
RESAMPLES = 100
"""Bootstrap samples of the intervals that were decided against: enough for their coverage, on average."""


@dataclass(frozen=True)
class Design:
    """What a simulated study is like. Sizes are in accuracy, standard deviations unless said otherwise.

    Attributes
    ----------
    cells
        Numbers of levels of three other factors.
    seeds
        Number of seeds.
    step
        True difference between a level and the one before it.
    interaction
        Of the effects of level and cell together, which are the same in every study of the design.
    taste
        Of the effects of seed and level together.
    noise
        Of single runs.
    excluded
        Share of the combinations of level and cell that no seed runs.
    diverged
        Probability that a run ends at chance.
    """

    cells: tuple[int, int, int] = (2, 3, 4)
    seeds: int = 4
    step: float = 0.0
    interaction: float = 0.0
    taste: float = 0.0
    noise: float = 0.026
    excluded: float = 0.0
    diverged: float = 0.0


SHAPES = {"balanced": {}, "a quarter excluded": {"excluded": 0.25}, "a tenth diverged": {"diverged": 0.1}}
TASTES = {"the same for all seeds": 0.0, "differ by seed": 0.007}
EFFECT = {"step": 0.01, "interaction": 0.02}


class Simulation:
    """Studies of one design; effects of cells and what is excluded are drawn once.

    Attributes
    ----------
    truth
        For each two levels, (level, other), the expected difference over the pairs that are run.
    """

    def __init__(self, design: Design, seed: int = 0) -> None:
        self.design = design
        self._generator = np.random.default_rng(seed)
        number = int(np.prod(design.cells))
        together = self._generator.normal(0, design.interaction, (len(LEVELS), number))
        steps = design.step * np.arange(len(LEVELS))[:, None]
        self._fixed = 0.6 + steps + together + self._generator.normal(0, 0.05, number)
        self._run = self._generator.random((len(LEVELS), number)) >= design.excluded
        places = itertools.product(LEVELS, *map(range, design.cells), range(design.seeds))
        grid = pd.DataFrame(places, columns=["activation", "init", "normalisation", "optimizer", "seed"])
        grid = grid.assign(**{name: "only" for name in FACTORS if name not in grid})
        grid = grid.astype(dict.fromkeys(FACTORS, "str")).astype(dict.fromkeys(FACTORS, "category"))
        self._grid = grid[np.repeat(self._run.ravel(), design.seeds)]
        self.truth = {
            (LEVELS[b], LEVELS[a]): (1 - design.diverged)
            * float((self._fixed[b] - self._fixed[a])[self._run[a] & self._run[b]].mean())
            for a, b in itertools.combinations(range(len(LEVELS)), 2)
        }

    def accuracies(self, seeds: int) -> np.ndarray:
        """Return accuracies of new runs, shape (levels, cells, seeds), nan where excluded."""
        design, draw = self.design, self._generator
        shape = (*self._fixed.shape, seeds)
        values = self._fixed[:, :, None] + draw.normal(0, 0.02, seeds) + draw.normal(0, design.noise, shape)
        values += draw.normal(0, design.taste, (len(LEVELS), 1, seeds))
        values = np.where(draw.random(shape) < design.diverged, CHANCE, values)
        return np.where(self._run[:, :, None], values, np.nan)

    def study(self) -> pd.DataFrame:
        """Return the final runs of a new study: the columns of FACTORS, `seed` and `test_accuracy`."""
        return self._grid.assign(test_accuracy=self.accuracies(self.design.seeds)[self._run].ravel())


def false_verdicts(design: Design, studies: int) -> dict[str, float]:
    """Return in which shares of studies each test tells some pair of levels apart, after Holm's correction.

    Where nothing differs these are false. Beside the tests of `pairwise` and `ranks` stand flips of the signs of single
    pairs, and Friedman's test with cells as blocks.
    """
    simulation = Simulation(design)
    told: dict[str, list[bool]] = {}
    tests = {"t-test": "p", "signed rank": "p_wilcoxon", "flips of seeds": "p_permutation"}
    for _ in range(studies):
        runs = simulation.study()
        table, paired = pairwise(runs, COMPARED), pairing(runs, "activation", LEVELS)
        p_values = {name: table[column].to_numpy() for name, column in tests.items()}
        single = [sign_flips(differences[~np.isnan(differences)]) for *_, differences in paired.pairs()]
        for name, values in {**p_values, "flips of pairs": np.array(single)}.items():
            told.setdefault(name, []).append(bool((holm(values) <= 1 - CONFIDENCE).any()))
        shared = paired.values[:, :, ~np.isnan(paired.values).any(axis=(0, 1))]
        for name, axis in {"Friedman over seeds": 2, "Friedman over cells": 1}.items():
            told.setdefault(name, []).append(friedman(shared.mean(axis=axis).T) <= 1 - CONFIDENCE)
    return {name: float(np.mean(each)) for name, each in told.items()}


def coverage(design: Design, studies: int) -> dict[str, float]:
    """Return the shares of both intervals of `pairwise` that hold the true difference, over studies and pairs of levels."""
    simulation = Simulation(design)
    held: dict[str, list[bool]] = {"t over seeds": [], "BCa over pairs": []}
    for _ in range(studies):
        pairs = list(pairing(simulation.study(), "activation", LEVELS).pairs())
        ends = stratified_bca(np.stack([differences for *_, differences in pairs]))
        for (level, other, differences), bca in zip(pairs, ends, strict=True):
            truth, student = simulation.truth[level, other], over_seeds(by_seed(differences))
            held["t over seeds"].append(student.low <= truth <= student.high)
            held["BCa over pairs"].append(bool(bca[0] <= truth <= bca[1]))
    return {name: float(np.mean(each)) for name, each in held.items()}


def summaries(design: Design, studies: int) -> dict[str, float]:
    """Return how often intervals of `robust`, and those of two bootstraps, hold the truth for the last level.

    Returns
    -------
    dict
        Shares of intervals of the interquartile mean and of the probability of improvement: by the jackknife over seeds
        (the package's), with seeds drawn anew, and with runs drawn anew within cells (Agarwal et al. 2021).
    """
    simulation = Simulation(design)
    generator = np.random.default_rng(1)
    many = simulation.accuracies(1000)
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "iqm": lambda values: interquartile_mean(values[-1]),
        "improvement": lambda values: probability_of_improvement(values[-1].T, values[0].T),
    }
    truth = {name: statistic(many) for name, statistic in statistics.items()}
    held: dict[str, list[bool]] = {}
    for _ in range(studies):
        runs = simulation.study()
        last = robust(runs, COMPARED).iloc[-1]
        values = np.moveaxis(pairing(runs, "activation", LEVELS).values, 1, 2)
        for name, statistic in statistics.items():
            ends = {"jackknife": (last[f"{name}_low"], last[f"{name}_high"])}
            whole = (values[:, :, generator.integers(design.seeds, size=design.seeds)] for _ in range(RESAMPLES))
            ends["seeds drawn anew"] = percentiles(map(statistic, whole))
            single = (generator.integers(design.seeds, size=values.shape) for _ in range(RESAMPLES))
            ends["runs drawn anew"] = percentiles(statistic(np.take_along_axis(values, drawn, 2)) for drawn in single)
            for method, (low, high) in ends.items():
                held.setdefault(f"{name}, {method}", []).append(bool(low <= truth[name] <= high))
    return {name: float(np.mean(each)) for name, each in held.items()}


def percentiles(drawn: Iterable[float]) -> tuple[float, float]:
    """Return both ends of the middle 95 % of what bootstrap samples came to."""
    low, high = np.quantile(list(drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def designs(**effect: float) -> dict[tuple[str, str, int], Design]:
    """Return the designs that are measured, by their shape, what is said of tastes, and the number of seeds."""
    base = replace(Design(), **effect)
    table = {
        (shape, tastes, base.seeds): replace(base, taste=taste, **changes)
        for (shape, changes), (tastes, taste) in itertools.product(SHAPES.items(), TASTES.items())
    }
    more = {("balanced", tastes, 10): replace(base, taste=taste, seeds=10) for tastes, taste in TASTES.items()}
    return table | more


def measured(
    measure: Callable[[Design, int], dict[str, float]], of: dict[tuple[str, str, int], Design], studies: int
) -> str:
    """Return the shares that `measure` finds of each design as a table in Markdown, in percent."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        rows = list(workers.map(partial(measure, studies=studies), of.values()))
    head = ["study", "differences", "seeds", *rows[0]]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    lines += [
        [shape, tastes, str(seeds), *(f"{100 * share:.1f}" for share in row.values())]
        for (shape, tastes, seeds), row in zip(of, rows, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the tables of docs/calibration.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each design")
    studies = parser.parse_args().studies
    known = designs(**EFFECT)
    print("Known differences: intervals that hold them, %\n")
    print(measured(coverage, known, studies), flush=True)
    print("\nRobust summaries, a quarter as many studies: intervals that hold the truth, %\n")
    print(
        measured(summaries, {key: design for key, design in known.items() if design.taste}, -(-studies // 4)),
        flush=True,
    )
    print("\nNo difference: studies with a false verdict, %\n")
    print(measured(false_verdicts, designs(), studies), flush=True)


if __name__ == "__main__":
    main()
