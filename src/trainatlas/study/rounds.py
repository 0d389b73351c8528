"""The rounds in which a study is planned: what each sample contributes to the n-th of them.

The first needs nothing but the study. Every further one is planned from what the trials before it came to: a grid's final runs
from its tuning runs, a search's next draws from its last. Random draws wait for nothing, but beside later trials they
find stacks to join, and alone they would fill each structure's stack too thinly to be fast.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.outcomes import Outcomes
from trainatlas.study.samples import CoarseToFine, GridSample, RandomSample, Sample, SuccessiveHalving
from trainatlas.study.sampling import (
    RATE,
    Planned,
    Setting,
    each_once,
    final_runs,
    grid_cells,
    random_draws,
    tuning_runs,
)
from trainatlas.study.searches import Region, round_of
from trainatlas.study.trial import FACTORS, Trial

Chosen = Sequence[Setting]
"""The values chosen for each cell of the grid."""


class StudyRound(NamedTuple):
    """The trials of a round, whether there is none after it, and the regions that searches drew them from."""

    planned: list[Planned]
    last: bool
    regions: list[Region]


def plan_of_round(study: Study, number: int, outcomes: Outcomes | None = None, chosen: Chosen = ()) -> StudyRound:
    """Return the `number`-th round of a study, counted from 1.

    Parameters
    ----------
    outcomes
        Of the trials of earlier rounds, where the study searches.
    chosen
        The values chosen for each cell of the grid, from the second round on.
    """
    planned: list[Planned] = []
    regions: list[Region] = []
    last = True
    for sample in study.samples:
        if isinstance(sample, GridSample):
            if number == 1:
                runs = (trial for cell in grid_cells(study, sample) for trial in tuning_runs(study, sample, cell))
                planned += [Planned(trial, sample.name, "tuning") for trial in runs]
                last = False
            elif number == 2:
                runs = (trial for setting in chosen for trial in final_runs(study, sample, setting))
                planned += [Planned(trial, sample.name, "final") for trial in runs]
        elif isinstance(sample, RandomSample):
            if number == _round_of_draws(study):
                planned += [Planned(trial, sample.name, "random") for trial in random_draws(study, sample)]
            last &= number >= _round_of_draws(study)
        else:
            found = round_of(study, sample, number, outcomes or {})
            planned += found.planned
            regions += found.regions
            last &= found.last
    return StudyRound(each_once(planned), last, regions)


def _round_of_draws(study: Study) -> int:
    return 1 if all(isinstance(sample, RandomSample) for sample in study.samples) else 2


def has_searches(study: Study) -> bool:
    """Return whether a round of the study depends on outcomes beyond the grid's choice of values."""
    return not all(isinstance(sample, GridSample | RandomSample) for sample in study.samples)


def sizes(study: Study) -> list[int]:
    """Return how many trials each round has at most, ranges that turn out too short aside."""
    total: Counter[int] = Counter()
    for sample in study.samples:
        for i, number in enumerate(sizes_of(study, sample)):
            total[i] += number
    return [total[i] for i in range(len(total))]


def sizes_of(study: Study, sample: Sample) -> list[int]:
    """Return the same of one sample."""
    if isinstance(sample, GridSample):
        settings = math.prod(sample.tune.values())
        cells = sum(1 for _ in grid_cells(study, sample))
        return [cells * settings * len(sample.tuning_seeds), cells * len(sample.seeds)]
    if isinstance(sample, RandomSample):
        return [0] * (_round_of_draws(study) - 1) + [sample.draws]
    winners = [sample.winners * len(sample.final_seeds)] if sample.final_seeds else []
    if isinstance(sample, CoarseToFine):
        return [sample.draws, sample.fine_draws or sample.draws, *winners]
    if isinstance(sample, SuccessiveHalving):
        return [*(trials for trials, _ in sample.rungs(study.epochs)), *winners]
    whole, rest = divmod(sample.draws, sample.batch)
    return [sample.batch] * whole + [rest] * bool(rest) + winners


def refuse_too_many(study: Study) -> None:
    """Raise UserError where a study asks for more trials than its `max_trials`."""
    trials = 0
    for sample in study.samples:
        if isinstance(sample, GridSample) and sample.resolution is None:
            a_cell = math.prod(sample.tune.values()) * len(sample.tuning_seeds) + len(sample.seeds)
            most = math.prod(map(len, study.factors.values()))
            if most * a_cell > study.max_trials:  # what is left out may make the difference
                cells = (cell for cell in study.all_cells() if study.exclusion(cell) is None)
                most = sum(1 for _ in itertools.islice(cells, study.max_trials // a_cell + 1))
            trials += most * a_cell
        else:
            trials += sum(sizes_of(study, sample))
            trials += sample.draws * sample.extensions if isinstance(sample, CoarseToFine) else 0
    if trials > study.max_trials:
        raise UserError(
            f"{study.name}: asks for {trials:,} trials or more; allowed: {study.max_trials:,}, its max_trials; a larger "
            f"max_trials or --allow-large (Snakemake: --config allow_large=true) runs it all the same"
        )


def setting_of(study: Study, trial: Trial) -> Setting | None:
    """Return the setting of a trial: its levels as the study names them, its rate and the values of its parameters.

    None where the study has no such levels.
    """
    if not study.parameters:
        return Setting(dict(zip(FACTORS, trial.cell, strict=True)), {RATE: trial.learning_rate})
    try:
        cell, values = study.space.parted(dict(zip(FACTORS, trial.cell, strict=True)), trial.batch_size)
    except KeyError:
        return None
    return Setting(cell, {RATE: trial.learning_rate, **values})
