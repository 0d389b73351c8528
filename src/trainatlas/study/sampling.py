"""From a study to its trials: the grid, the random sample, and the grid's final runs.

Every independent draw of the random sample is keyed by its number, its factor and the level's own text, so
more draws leave the earlier ones alone, reordering levels changes nothing, and a new level
takes over just the draws that fall to it. A Sobol sequence can be made longer and its levels reordered, a Latin
hypercube reordered alone; with another number of levels, either draws anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainatlas.study import user_code
from trainatlas.study.config import GridSample, RandomSample, Study
from trainatlas.study.lazy import LazyModule
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import FACTORS, Trial

if TYPE_CHECKING:
    from scipy.stats import qmc
    from scipy.stats.qmc import QMCEngine
else:
    qmc = LazyModule("scipy.stats.qmc")


@dataclass(frozen=True, slots=True)
class Planned:
    """A trial and its place in the study.

    Attributes
    ----------
    stage
        "tuning" (a rate is tried on a tuning seed), "final" (the chosen rate on a fresh seed) or
        "random" (a draw of the random sample).
    """

    trial: Trial
    sample: str
    stage: str


def first_stage(study: Study) -> list[Planned]:
    """Return the trials that later ones wait for: the grids' tuning runs, each once."""
    planned: dict[Trial, Planned] = {}
    for sample in study.samples:
        if isinstance(sample, GridSample):
            for cell in study.cells():
                for trial in tuning_runs(study, sample, cell):
                    planned.setdefault(trial, Planned(trial, sample.name, "tuning"))
    return list(planned.values())


def final_stage(study: Study, rates: Iterable[tuple[str, Mapping[str, str], float]]) -> list[Planned]:
    """Return the final runs of the grid samples, and the random draws.

    Draws wait for nothing, but beside the final runs they find stacks to join, and alone they would
    fill each structure's stack too thinly to be fast.

    Parameters
    ----------
    rates
        For each sample's cell the chosen learning rate: (sample name, levels by factor, rate).
    """
    grids = {sample.name: sample for sample in study.samples if isinstance(sample, GridSample)}
    planned: dict[Trial, Planned] = {}
    for name, cell, rate in rates:
        for trial in final_runs(study, grids[name], cell, rate):
            planned.setdefault(trial, Planned(trial, name, "final"))
    for sample in study.samples:
        if isinstance(sample, RandomSample):
            for trial in _draws(study, sample):
                planned.setdefault(trial, Planned(trial, sample.name, "random"))
    return list(planned.values())


def tuning_runs(study: Study, sample: GridSample, cell: Mapping[str, str]) -> Iterator[Trial]:
    """Yield the trials that the rate of a cell is chosen by: every rate on every tuning seed."""
    for rate in study.rate_range(cell["optimizer"]).grid(sample.rates):
        for seed in sample.tuning_seeds:
            yield _trial(study, cell, rate, seed)


def final_runs(study: Study, sample: GridSample, cell: Mapping[str, str], rate: float) -> Iterator[Trial]:
    """Yield the trials of a cell at the rate chosen for it: one a seed."""
    for seed in sample.seeds:
        yield _trial(study, cell, rate, seed)


def _draws(study: Study, sample: RandomSample) -> Iterator[Trial]:
    drawn = _independent(study, sample) if sample.design == "independent" else _evenly_spread(study, sample)
    for cell, share, seed in drawn:
        if study.exclusion(cell) is None:
            yield _trial(study, cell, study.rate_range(cell["optimizer"]).at(share), seed)


def _independent(study: Study, sample: RandomSample) -> Iterator[tuple[dict[str, str], float, int]]:
    """Yield every draw's levels by factor, its place in the range of rates, in [0, 1), and its seed."""
    for number in range(sample.draws):
        stream = f"{sample.name}/{number}"
        cell = {
            factor: max(
                study.factors[factor],
                key=lambda level: stream_key(sample.draw_seed, f"{stream}/{factor}/{level}"),
            )
            for factor in FACTORS
        }
        share = stream_key(sample.draw_seed, f"{stream}/learning_rate") / 2**63
        yield cell, share, sample.seeds[number % len(sample.seeds)]


def _evenly_spread(study: Study, sample: RandomSample) -> Iterator[tuple[dict[str, str], float, int]]:
    """Yield the same of a Sobol sequence or a Latin hypercube.

    Seeds have a dimension of their own: taken in turn they would go with the halves of the sequence's other dimensions.
    """
    varied = [factor for factor in FACTORS if len(study.factors[factor]) > 1]
    key = stream_key(sample.draw_seed, f"{sample.name}/{sample.design}")
    engine: QMCEngine
    if sample.design == "sobol":
        engine = qmc.Sobol(len(varied) + 2, rng=key)
        points = engine.random_base2(math.ceil(math.log2(sample.draws)))[: sample.draws]
    else:
        engine = qmc.LatinHypercube(len(varied) + 2, rng=key)
        points = engine.random(sample.draws)
    only = {factor: levels[0] for factor, levels in study.factors.items()}
    ordered = {factor: sorted(study.factors[factor]) for factor in varied}
    for *shares, share, of_seeds in points.tolist():
        levels = zip(varied, shares, strict=True)
        cell = only | {factor: ordered[factor][int(at * len(ordered[factor]))] for factor, at in levels}
        yield cell, share, sample.seeds[int(of_seeds * len(sample.seeds))]


def _trial(study: Study, cell: Mapping[str, str], rate: float, seed: int) -> Trial:
    return Trial(
        data=study.data,
        network=study.network,
        learning_rate=rate,
        batch_size=study.batch_size,
        epochs=study.epochs,
        seed=seed,
        validation_share=study.validation_share,
        test_share=study.test_share,
        user_code=user_code.digests({**cell, "network": study.network}),
        data_digest=study.facts.digest,
        **cell,
    )
