"""From a part of a claim and a study's tables to observations: what is compared with what, everything else equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from trainatlas.catalogue import TABLES
from trainatlas.claims.config import Contrast, Part, Scale
from trainatlas.claims.feed import Feed, MissingEvidenceError, where
from trainatlas.claims.metrics import metric
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level
from trainatlas.study.texts import worded

LEAST_SEEDS = 3
"""With fewer seeds there is no verdict."""

SMALLEST, LARGEST = 1e-12, 1e12
"""What counts as the smallest positive value of a metric, where a ratio asks for its logarithm, and what an infinite one, such as
the loss of a diverged run, counts as."""


@dataclass(frozen=True)
class Evidence:
    """What a part of a claim rests on.

    Attributes
    ----------
    observations
        Columns seed, pair and effect; see `trainatlas.claims.observations`.
    trials
        The ids of the trials behind them, each once.
    """

    observations: pd.DataFrame
    trials: tuple[str, ...] = ()


def canonical(part: Part) -> Part:
    """Return the part with levels as studies write them; raises UserError for one that the catalogue does not have."""
    levels = {
        factor: tuple(_level(factor, text, f"where.{factor}") for text in texts) for factor, texts in part.where.items()
    }
    contrast = part.contrast
    if contrast is not None:
        level = _level(contrast.factor, contrast.level, "contrast.level")
        against = tuple(_level(contrast.factor, text, "contrast.against") for text in contrast.against)
        contrast = Contrast(factor=contrast.factor, level=level, against=against)
    return part.model_copy(update={"where": levels, "contrast": contrast})


def _level(factor: str, text: str, key: str) -> str:
    try:
        return parse_level(text, TABLES[factor])
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def evidence(part: Part, feed: Feed) -> Evidence:
    """Return what a study says of a part that has a metric, from the final runs of its grid.

    A pair is two final runs of one seed that agree in every factor but the contrast's, each at its own tuned rate. Without a
    contrast every run is an observation.

    Raises
    ------
    MissingEvidenceError
        When the study lacks a level or the metric, when there are fewer than LEAST_SEEDS seeds, or when a pair lacks one side
        at some seeds and not at others.
    """
    trials = where(feed.stage("final"), part.where)
    assert part.metric is not None
    if part.contrast is None:
        values = metric(feed, trials, part.metric)
        names = in_words(trials, feed.others())
        observations = pd.DataFrame({"seed": trials["seed"], "pair": names, "effect": scaled(values, part.scale)})
        return checked(Evidence(observations, tuple(trials["trial_id"])))
    contrast = part.contrast
    trials = where(trials, {contrast.factor: (contrast.level, *contrast.against)})
    values = scaled(metric(feed, trials, part.metric), part.scale)
    pairs = paired(trials.assign(value=values), contrast, feed.others(contrast.factor))
    return checked(Evidence(pairs, tuple(trials["trial_id"])))


def scaled(values: pd.Series, scale: Scale) -> pd.Series:
    """Return values as effects add up: as they are, or as natural logarithms, for ratios."""
    finite = values.clip(-LARGEST, LARGEST)
    return finite if scale == "difference" else np.log(finite.clip(lower=SMALLEST))


def in_words(rows: pd.DataFrame, factors: Sequence[str]) -> pd.Series:
    """Return the levels of these factors, joined, for every row; nothing where there are no factors."""
    levels = zip(*(rows[factor] for factor in factors), strict=True) if factors else ((),) * len(rows)
    return pd.Series([", ".join(each) for each in levels], index=rows.index, dtype="str")


def paired(trials: pd.DataFrame, contrast: Contrast, others: Sequence[str]) -> pd.DataFrame:
    """Return the differences in `value` between a level and those that it is compared with.

    Parameters
    ----------
    trials
        Runs at these levels: `seed`, `value`, the contrast's factor and the `others`, which a pair shares.

    Returns
    -------
    pandas.DataFrame
        Columns seed, pair and effect. A combination that the study does not run at one of both levels has no pair.
    """
    keys = [*others, "seed"]
    groups = trials.groupby([*keys, contrast.factor], observed=True)
    wide, ran = groups["value"].mean().unstack(), groups.size().unstack()
    tables = []
    for other in contrast.against:
        both = ran[[contrast.level, other]].notna().all(axis=1)
        by_cell = both.groupby(level=list(others)) if others else both.groupby(lambda _: "")
        there = by_cell.transform("any")
        lacking = int((~both & there).sum())
        if lacking:
            raise MissingEvidenceError(
                worded(
                    "unequal pairs: of {pairs} pairs of {level} and {other} {lacking} lack one side",
                    pairs=int(there.sum()),
                    level=contrast.level,
                    other=other,
                    lacking=lacking,
                )
            )
        effects = (wide[contrast.level] - wide[other]).reindex(both[both].index).rename("effect").reset_index()
        against = f"against {other}" if len(contrast.against) > 1 else ""
        pair = [", ".join(filter(None, (against, text))) for text in in_words(effects, others)]
        tables.append(effects[["seed", "effect"]].assign(pair=pair))
    return pd.concat(tables, ignore_index=True)[["seed", "pair", "effect"]]


def checked(found: Evidence) -> Evidence:
    """Return evidence without missing effects; raises MissingEvidenceError where too few seeds are left."""
    rows = found.observations.dropna(subset="effect")
    seeds = rows["seed"].nunique()
    if seeds < LEAST_SEEDS:
        raise MissingEvidenceError(
            worded("1 seed; at least {least} are needed", least=LEAST_SEEDS)
            if seeds == 1
            else worded("{seeds} seeds; at least {least} are needed", seeds=seeds, least=LEAST_SEEDS)
        )
    rows = rows[["seed", "pair", "effect"]].sort_values(["seed", "pair"], ignore_index=True)
    return replace(found, observations=rows)
