"""Searches in rounds: each is planned from what the rounds before it came to.

A search is a pure function of the study and of outcomes: asked for its n-th round, it goes through the earlier ones again. So
nothing but results is kept between rounds, and a run that was killed goes on where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainatlas.study.config import Study
from trainatlas.study.lazy import LazyModule
from trainatlas.study.outcomes import Outcomes
from trainatlas.study.parameters import BATCH_SIZE, Value
from trainatlas.study.ranges import Range
from trainatlas.study.samples import AnySearch, Bayesian, CoarseToFine, SuccessiveHalving
from trainatlas.study.sampling import RATE, Planned, Setting, drawn, rate_name, trial_of
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import FACTORS, Trial

if TYPE_CHECKING:
    import optuna
else:
    optuna = LazyModule("optuna")

EDGE = 0.1
"""A best value within this share of a range's length from its end lies on its edge."""

_MARGIN = 0.05  # of a range's length, by which the region of the best draws is widened on either side
_ASKS = 20  # times that many proposals are asked for at most, where the study leaves combinations out


class Region(NamedTuple):
    """What a round of draws found of one range.

    Attributes
    ----------
    sample, name
        The search, and its range: `learning_rate.KEY`, or a parameter.
    searched_low, searched_high
        The range that draws came from.
    best
        The best draw's value.
    edge
        "low" or "high" where that lies within a tenth of the range's end, "" otherwise.
    low, high
        The range of the next draws.
    """

    sample: str
    name: str
    searched_low: float
    searched_high: float
    best: float
    edge: str
    low: float
    high: float


class Round(NamedTuple):
    """The trials of a search's round, whether there are none after it, and the regions they were drawn from."""

    planned: list[Planned]
    last: bool
    regions: list[Region] = []  # noqa: RUF012 - never changed


_NOTHING = Round([], True)


def round_of(study: Study, sample: AnySearch, number: int, outcomes: Outcomes) -> Round:
    """Return the `number`-th round of a search, counted from 1; an empty one after its last.

    Parameters
    ----------
    outcomes
        Of all trials of earlier rounds.
    """
    if isinstance(sample, CoarseToFine):
        return _coarse_to_fine(study, sample, number, outcomes)
    if isinstance(sample, SuccessiveHalving):
        return _successive_halving(study, sample, number, outcomes)
    return _bayesian(study, sample, number, outcomes)


class _Candidate(NamedTuple):
    setting: Setting
    trial: Trial


def _ranked(candidates: Sequence[_Candidate], sample: AnySearch, outcomes: Outcomes) -> list[_Candidate]:
    """Return candidates, the best first; equal ones in the order given."""
    return sorted(candidates, key=lambda each: outcomes[each.trial.trial_id].merit(sample.metric), reverse=True)


def _planned(sample: AnySearch, stage: str, candidates: Sequence[_Candidate]) -> list[Planned]:
    return [Planned(each.trial, sample.name, stage) for each in candidates]


def _winners(study: Study, sample: AnySearch, candidates: Sequence[_Candidate], outcomes: Outcomes) -> Round:
    best = _ranked(candidates, sample, outcomes)[: sample.winners]
    trials = [trial_of(study, each.setting, seed) for each in best for seed in sample.final_seeds]
    return Round([Planned(trial, sample.name, "winner") for trial in trials], True)


# Coarse to fine.


def _coarse_to_fine(study: Study, sample: CoarseToFine, number: int, outcomes: Outcomes) -> Round:
    ranges = _ranges(study)
    coarse: list[_Candidate] = []
    regions: list[Region] = []
    for stage in range(1, sample.extensions + 2):
        own = _drawn(study, sample, sample.draws, f"coarse/{stage}", ranges, sample.coarse_epochs)
        if stage == number:
            return Round(_planned(sample, "coarse", own), False, regions)
        coarse += own
        bests = {name: _values(study, name, _ranked(coarse, sample, outcomes)) for name in ranges}
        edges = {name: _edge(ranges[name], values[0]) for name, values in bests.items() if values}
        longer = {name: _extended(study, name, ranges[name], edge) for name, edge in edges.items() if edge}
        goes_on = stage <= sample.extensions and any(longer[name] != ranges[name] for name in longer)
        following = longer if goes_on else {n: _spanned(ranges[n], v, sample.keep) for n, v in bests.items() if v}
        regions = [
            Region(
                sample.name, name, ranges[name].low, ranges[name].high, bests[name][0], edge,
                (near := following.get(name, ranges[name])).low, near.high,
            )
            for name, edge in edges.items()
        ]  # fmt: skip
        ranges |= following
        if not goes_on:
            break
    fine = _drawn(study, sample, sample.fine_draws or sample.draws, "fine", ranges, study.epochs)
    if number == stage + 1:
        return Round(_planned(sample, "fine", fine), not sample.final_seeds, regions)
    return _winners(study, sample, fine, outcomes) if number == stage + 2 and sample.final_seeds else _NOTHING


def _ranges(study: Study) -> dict[str, Range]:
    """Return every range that draws come from, by name; choices are not narrowed."""
    rates = {rate_name(study, optimizer): study.rate_range(optimizer) for optimizer in study.factors["optimizer"]}
    return {**rates, **{name: law.range for name, law in study.parameters.items() if law.choices is None}}


def _drawn(
    study: Study, sample: AnySearch, draws: int, stream: str, ranges: dict[str, Range], epochs: int
) -> list[_Candidate]:
    found = drawn(study, sample, draws, f"{sample.name}/{stream}", ranges)
    return [_Candidate(setting, trial_of(study, setting, seed, epochs)) for setting, seed in found]


def _values(study: Study, name: str, candidates: Sequence[_Candidate]) -> list[float]:
    """Return the values that come from a range, of the candidates that have any, in their order."""
    if name in study.parameters:
        return [float(each.setting.values[name]) for each in candidates if name in each.setting.values]
    return [
        float(each.setting.values[RATE])
        for each in candidates
        if rate_name(study, each.setting.cell["optimizer"]) == name
    ]


def _edge(searched: Range, best: float) -> str:
    share = searched.share(best)
    if searched.low == searched.high or EDGE < share < 1 - EDGE:
        return ""
    return "low" if share <= EDGE else "high"


def _extended(study: Study, name: str, searched: Range, edge: str) -> Range:
    """Return a range longer by half on one side, as far as values are allowed there."""
    longer = searched.between(-0.5, 1.0) if edge == "low" else searched.between(0.0, 1.5)
    if name not in study.parameters:
        return longer.model_copy(update={"low": max(longer.low, 1e-12)})
    least, most = (1.0, float(study.parts.train)) if name == BATCH_SIZE else study.space.extent(name)
    least = max(least, searched.low / 1e3) if searched.scale == "log" else least
    return longer.model_copy(update={"low": max(longer.low, least), "high": min(longer.high, most)})


def _spanned(searched: Range, values: Sequence[float], keep: float) -> Range:
    """Return the range that the best share of the values spans, with a margin, within the one searched."""
    best = [searched.share(value) for value in values[: max(2, math.ceil(keep * len(values)))]]
    return searched.between(max(min(best) - _MARGIN, 0.0), min(max(best) + _MARGIN, 1.0))


# Successive halving.


def _successive_halving(study: Study, sample: SuccessiveHalving, number: int, outcomes: Outcomes) -> Round:
    rungs = sample.rungs(study.epochs)
    if number > len(rungs) + bool(sample.final_seeds):
        return _NOTHING
    settings = list(drawn(study, sample, sample.draws, sample.name))
    parents: list[Trial | None] = [None] * len(settings)
    for rung, (_, epochs) in enumerate(rungs, 1):
        stop = epochs if epochs < study.epochs else 0
        own = [_Candidate(setting, trial_of(study, setting, seed, stop_epoch=stop)) for setting, seed in settings]
        if rung == number:
            placed = zip(own, parents, strict=True)
            planned = [Planned(each.trial, sample.name, "rung", parent) for each, parent in placed]
            return Round(planned, rung == len(rungs) and not sample.final_seeds)
        if rung == len(rungs):
            break
        sound = [each for each in own if outcomes[each.trial.trial_id].status == "ok"]
        best = _ranked(sound, sample, outcomes)[: rungs[rung][0]]
        settings = [(each.setting, each.trial.seed) for each in best]
        parents = [each.trial for each in best]
    return _winners(study, sample, own, outcomes)


# Bayesian search.


def _bayesian(study: Study, sample: Bayesian, number: int, outcomes: Outcomes) -> Round:
    batches = math.ceil(sample.draws / sample.batch)
    if number > batches + bool(sample.final_seeds):
        return _NOTHING
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=sample.startup,
        constant_liar=True,  # proposals of one batch keep their distance
        seed=stream_key(sample.draw_seed, f"{sample.name}/tpe") % 2**32,
    )
    search = optuna.create_study(direction="maximize", sampler=sampler)
    every: list[_Candidate] = []
    for batch in range(1, batches + 1):
        size = min(sample.batch, sample.draws - len(every))
        own = list(_proposed(study, sample, search, size, len(every)))
        candidates = [candidate for _, candidate in own]
        if batch == number:
            return Round(_planned(sample, "batch", candidates), batch == batches and not sample.final_seeds)
        for proposal, candidate in own:
            merit = outcomes[candidate.trial.trial_id].merit(sample.metric)[0]
            search.tell(proposal, max(merit, -1e6))
        every += candidates
    return _winners(study, sample, every, outcomes)


def _proposed(
    study: Study, sample: Bayesian, search: optuna.Study, size: int, before: int
) -> Iterator[tuple[optuna.trial.Trial, _Candidate]]:
    """Yield so many proposals that the study runs; those it leaves out are told as failed."""
    found = 0
    for _ in range(size * _ASKS):
        if found == size:
            return
        proposal = search.ask()
        setting = _setting(study, proposal)
        if study.exclusion(setting.cell, setting.values) is not None:
            search.tell(proposal, state=optuna.trial.TrialState.FAIL)
            continue
        seed = sample.seeds[(before + found) % len(sample.seeds)]
        found += 1
        yield proposal, _Candidate(setting, trial_of(study, setting, seed))


def _setting(study: Study, proposal: optuna.trial.Trial) -> Setting:
    cell = {
        factor: levels[0] if len(levels) == 1 else str(proposal.suggest_categorical(factor, sorted(levels)))
        for factor in FACTORS
        if (levels := study.factors[factor])
    }
    values: dict[str, Value] = {
        RATE: _suggested(proposal, rate_name(study, cell["optimizer"]), study.rate_range(cell["optimizer"]))
    }
    for name, law in study.space.laws.items():
        if study.space.has(name, cell, values):
            choices: Any = law.choices
            if choices is None:
                values[name] = _suggested(proposal, name, law.range)
            else:
                values[name] = proposal.suggest_categorical(name, choices)
    return Setting(cell, values)


def _suggested(proposal: optuna.trial.Trial, name: str, law: Range) -> float:
    suggest: Callable[..., float] = proposal.suggest_int if law.integral else proposal.suggest_float
    low, high = (int(law.low), int(law.high)) if law.integral else (law.low, law.high)
    value = suggest(name, low, high, log=law.scale == "log")
    return value if law.integral else float(f"{value:.6g}")
