"""Verdicts against SciPy's and statsmodels' tests, by hand over all directions, and by simulation: how often they are false."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from cases import naming
from trainatlas.analysis.intervals import over_seeds
from trainatlas.claims.config import Part
from trainatlas.claims.verdicts import (
    LEVEL,
    Expectation,
    by_seed,
    corrected,
    estimate,
    overall,
    verdict,
)

SAMPLES = [np.random.default_rng(number).normal(0.02 * number - 0.05, 0.05, size=3 + 2 * number) for number in range(6)]
INF = math.inf


def expectation(part: Part) -> Expectation:
    return Expectation(*part.bounds, inside=part.direction != "differs")


@pytest.mark.parametrize("bound", [-0.03, 0.0, 0.02])
def test_one_end_is_asked_for_by_students_test(bound: float) -> None:
    for values in SAMPLES:
        above, below = (stats.ttest_1samp(values, bound, alternative=side).pvalue for side in ("greater", "less"))
        greater, less = estimate(values, Expectation(bound, INF)), estimate(values, Expectation(-INF, bound))
        assert (greater.p_within, greater.p_beyond) == pytest.approx((above, below))
        assert (less.p_within, less.p_beyond) == pytest.approx((below, above))
        assert greater.p == pytest.approx(min(above, below))


@pytest.mark.parametrize(("low", "high"), [(-0.05, 0.05), (-0.01, 0.1), (-0.2, 0.2)])
def test_two_ends_are_asked_for_by_two_one_sided_tests(low: float, high: float) -> None:
    """Schuirmann's test as statsmodels has it; for beyond, both one-sided tests corrected for being two (Bonferroni)."""
    for values in SAMPLES:
        found = estimate(values, Expectation(low, high))
        assert found.p_within == pytest.approx(DescrStatsW(values).ttost_mean(low, high)[0])
        each = [
            stats.ttest_1samp(values, low, alternative="less").pvalue,
            stats.ttest_1samp(values, high, alternative="greater").pvalue,
        ]
        assert found.p_beyond == pytest.approx(min(1.0, 2 * min(each)))
        outside = estimate(values, Expectation(low, high, inside=False))
        assert (outside.p_within, outside.p_beyond) == (found.p_within, found.p_beyond)


def test_the_interval_is_scipys() -> None:
    for values in SAMPLES:
        found = estimate(values, Expectation(0.0, INF)).interval
        ends = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
        assert found.mean == pytest.approx(values.mean())


def test_each_chapter_is_corrected_by_itself_as_statsmodels_does() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=40) ** 3
    p[[3, 17]] = np.nan
    chapters = rng.choice(["A", "B", "C"], size=40)
    found = corrected(p, chapters)
    for letter in "ABC":
        own = (chapters == letter) & ~np.isnan(p)
        assert found[own] == pytest.approx(multipletests(p[own], method="holm")[1])
    assert np.isnan(found[[3, 17]]).all()


def test_holm_by_hand() -> None:
    """Sorted p-values times 3, 2 and 1, never falling; a row without evidence and one of another chapter play no part."""
    found = corrected([0.02, 0.01, 0.04, math.nan, 0.04], ["A", "A", "A", "A", "B"])
    assert found[:3] == pytest.approx([0.04, 0.03, 0.04])
    assert math.isnan(found[3]) and found[4] == pytest.approx(0.04)
    assert corrected([], []).tolist() == []
    assert np.isnan(corrected([math.nan], ["A"])).all()


# direction, scale, margin; the interval as a difference or a ratio; what it says
CASES: list[tuple[str, str, Any, tuple[float, float], str]] = [
    ("greater", "difference", 0.1, (0.11, 0.3), "supported"),
    ("greater", "difference", 0.1, (-0.3, 0.09), "refuted"),
    ("greater", "difference", 0.1, (0.05, 0.3), "inconclusive"),
    ("greater", "difference", -0.1, (-0.09, 0.3), "supported"),
    ("less", "difference", -0.1, (-0.3, -0.11), "supported"),
    ("less", "difference", -0.1, (-0.09, 0.3), "refuted"),
    ("less", "difference", -0.1, (-0.3, 0.0), "inconclusive"),
    ("equal", "difference", 0.1, (-0.09, 0.09), "supported"),
    ("equal", "difference", 0.1, (0.11, 0.3), "refuted"),
    ("equal", "difference", 0.1, (-0.3, -0.11), "refuted"),
    ("equal", "difference", 0.1, (0.0, 0.3), "inconclusive"),
    ("equal", "difference", 0.1, (-0.3, 0.3), "inconclusive"),
    ("differs", "difference", 0.1, (0.11, 0.3), "supported"),
    ("differs", "difference", 0.1, (-0.3, -0.11), "supported"),
    ("differs", "difference", 0.1, (-0.09, 0.09), "refuted"),
    ("differs", "difference", 0.1, (0.0, 0.3), "inconclusive"),
    ("between", "difference", [0.1, 0.2], (0.12, 0.18), "supported"),
    ("between", "difference", [0.1, 0.2], (0.21, 0.3), "refuted"),
    ("between", "difference", [0.1, 0.2], (0.0, 0.09), "refuted"),
    ("between", "difference", [0.1, 0.2], (0.15, 0.25), "inconclusive"),
    ("greater", "ratio", 2.0, (2.1, 5.0), "supported"),
    ("greater", "ratio", 2.0, (0.5, 1.9), "refuted"),
    ("less", "ratio", 0.5, (0.1, 0.4), "supported"),
    ("less", "ratio", 0.5, (0.6, 2.0), "refuted"),
    ("equal", "ratio", 1.25, (0.81, 1.24), "supported"),
    ("equal", "ratio", 1.25, (0.5, 0.79), "refuted"),
    ("differs", "ratio", 1.25, (1.3, 2.0), "supported"),
    ("differs", "ratio", 1.25, (0.81, 1.24), "refuted"),
    ("between", "ratio", [0.5, 3.0], (0.6, 2.5), "supported"),
    ("between", "ratio", [0.5, 3.0], (0.4, 2.5), "inconclusive"),
]


def of_interval(low: float, high: float, seeds: int = 10) -> np.ndarray:
    """Effects of seeds whose interval these are the ends of."""
    shape = np.linspace(-1.0, 1.0, seeds)
    unit = over_seeds(shape)
    scale = (high - low) / (unit.high - unit.low)
    values: np.ndarray = (low + high) / 2 + shape * scale
    return values


def test_an_interval_says_what_its_place_beside_the_margin_says(part_of: Callable[..., Part]) -> None:
    for direction, scale, margin, ends, said in CASES:
        with naming(direction, scale, margin, ends):
            expected = expectation(part_of(direction=direction, scale=scale, margin=margin))
            low, high = (math.log(end) if scale == "ratio" else end for end in ends)
            found = estimate(of_interval(low, high), expected)
            assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
            assert found.leaning(expected) == said
            assert verdict(found, expected, min(found.p, 0.049)) == said
            assert verdict(found, expected, LEVEL + 1e-9) == "inconclusive", "the corrected p-value has to bear it out"


def test_a_verdict_by_the_interval_never_lacks_its_uncorrected_p_value() -> None:
    """The interval is the stricter of both on one row, so that only the correction over rows can take a verdict back."""
    rng = np.random.default_rng(1)
    for low, high, inside in ((0.0, INF, True), (-INF, 0.0, True), (-0.5, 0.5, True), (-0.5, 0.5, False)):
        expected = Expectation(low, high, inside)
        for values in rng.normal(rng.normal(size=(100, 1)), 1.0, size=(100, 5)):
            found = estimate(values, expected)
            assert found.leaning(expected) == "inconclusive" or found.p < LEVEL


def test_stable_is_what_no_single_seed_turns() -> None:
    for values, expected, stable in (
        ([1.0, 1.0, 1.0, 1.0], Expectation(0.5, INF), True),
        ([0.0, 0.0, 0.0, 3.0], Expectation(0.5, INF), False),
        ([0.0, 0.0, 0.0, 3.0], Expectation(-INF, 0.5), False),
        ([0.0, 0.1, -0.1, 0.0], Expectation(-0.5, 0.5, inside=False), True),
        ([2.0, -2.0, 2.0], Expectation(-0.5, 0.5, inside=False), False),
    ):
        with naming(values, expected):
            assert estimate(values, expected).stable == stable


def test_seeds_that_all_agree_are_certain() -> None:
    """As happens with the loss before training; but for an effect exactly on the margin, on which nothing is said."""
    for effect, expected, said in (
        (0.2, Expectation(0.1, INF), "supported"),
        (0.2, Expectation(-INF, 0.1), "refuted"),
        (0.0, Expectation(-0.1, 0.1), "supported"),
        (0.3, Expectation(-0.1, 0.1), "refuted"),
        (0.3, Expectation(-0.1, 0.1, inside=False), "supported"),
        (0.1, Expectation(0.1, INF), "inconclusive"),
        (0.1 + 1e-16, Expectation(0.1, INF), "inconclusive"),
    ):
        with naming(effect, expected):
            found = estimate([effect] * 4, expected)
            assert verdict(found, expected, float(corrected([found.p], ["A"])[0])) == said
            assert found.interval == pytest.approx((effect, effect, effect))
    assert estimate([0.1 + 0.2, 0.3, 0.3], Expectation(0.2, INF)).p == 0.0, "rounding is no spread"


def test_seeds_count_once_however_many_pairs_they_have() -> None:
    table = pd.DataFrame({"seed": [1, 1, 1, 2], "effect": [1.0, 2.0, 6.0, 5.0]})
    assert by_seed(table).to_dict() == {1: 3.0, 2: 5.0}


def test_rows_are_told_together_but_not_pooled() -> None:
    for said, together in (
        (["supported", "inconclusive", "not run"], "supported"),
        (["refuted", "refuted"], "refuted"),
        (["supported", "refuted", "supported"], "mixed"),
        (["inconclusive", "not run"], "inconclusive"),
        (["not run"], "not run"),
        ([], "not run"),
    ):
        assert overall(said) == together  # type: ignore[arg-type]


# How often verdicts are false. Every effect lies exactly on its margin, which is where an error is likeliest: `greater` is
# then false and its negation true, or, had the effect lain a hair above, the other way round. Both are held against 5 %.

STUDIES, ROWS, CHANCE = 1_000, 12, 0.1
Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def intervals_of(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means over the last axis, seeds, their standard errors and half the widths of their intervals."""
    seeds = effects.shape[-1]
    mean, error = effects.mean(axis=-1), effects.std(axis=-1, ddof=1) / math.sqrt(seeds)
    return mean, error, stats.t.ppf(0.975, seeds - 1) * error


def holm_of(p: np.ndarray) -> np.ndarray:
    """Holm's correction along the last axis; statsmodels' collects garbage at every call, too slow for thousands."""
    order, rows = np.argsort(p, axis=-1), p.shape[-1]
    steps = np.take_along_axis(p, order, axis=-1) * np.arange(rows, 0, -1)
    result = np.empty_like(p)
    np.put_along_axis(result, order, np.maximum.accumulate(steps, axis=-1).clip(max=1.0), axis=-1)
    return result


def verdicts_of(effects: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of effects, shape (studies, rows, seeds), say "above the margin", and which "below".

    `estimate` and `verdict` for many rows at once: `test_many_rows_at_once_are_each_row` holds it against them.
    """
    mean, error, half = intervals_of(effects)
    above = stats.t.sf((mean - margin) / error, effects.shape[-1] - 1)
    holm = holm_of(np.minimum(above, 1 - above))
    return (holm < LEVEL) & (mean - half > margin), (holm < LEVEL) & (mean + half <= margin)


def test_many_rows_at_once_are_each_row() -> None:
    effects = np.random.default_rng(2).normal(0.3, 0.2, size=(40, 6, 4))
    expected = Expectation(0.2, INF)
    above, below = verdicts_of(effects, 0.2)
    kinds = set()
    for study, own in enumerate(effects):
        found = [estimate(values, expected) for values in own]
        holm = corrected([each.p for each in found], ["A"] * len(own))
        assert holm_of(np.array([each.p for each in found])) == pytest.approx(holm)
        said = [verdict(each, expected, p) for each, p in zip(found, holm, strict=True)]
        assert [each == "supported" for each in said] == above[study].tolist()
        assert [each == "refuted" for each in said] == below[study].tolist()
        kinds |= set(said)
    assert {"supported", "inconclusive"} <= kinds


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Effects of seeds, normal."""
    return rng.normal(size=shape)


def unbalanced(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Means over pairs whose number, 1 to 12, differs from seed to seed; pairs of one seed are alike in part."""
    pairs = rng.integers(1, 13, size=shape)
    effects: np.ndarray = rng.normal(size=shape) + rng.normal(size=shape) / np.sqrt(pairs)
    return effects


def diverged(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Means over twelve pairs of accuracies 0.02 apart, a tenth of either arm's runs at chance; less the effect."""
    ends = [
        np.where(rng.random((*shape, 12)) < 0.1, CHANCE, rng.normal(level, 0.01, size=(*shape, 12)))
        for level in (0.90, 0.88)
    ]
    effects: np.ndarray = (ends[0] - ends[1]).mean(axis=-1) - 0.9 * 0.02
    return effects


@pytest.mark.parametrize(
    ("noise", "seeds"), [*itertools.product([normal, unbalanced], [3, 5, 10]), (diverged, 5), (diverged, 10)]
)
def test_of_twenty_chapters_without_any_effect_at_most_one_has_a_false_verdict(noise: Noise, seeds: int) -> None:
    effects = noise(np.random.default_rng(seeds), (STUDIES, ROWS, seeds))
    for false in verdicts_of(effects, 0.0):
        chapters = int(false.any(axis=1).sum())
        assert stats.binomtest(chapters, STUDIES, LEVEL, alternative="greater").pvalue > 0.001, chapters


def test_three_seeds_are_too_few_where_a_tenth_of_the_runs_diverges() -> None:
    """Effects then come in lumps, and three seeds may all have the same: about one chapter of eight has a false verdict."""
    effects = diverged(np.random.default_rng(3), (STUDIES, ROWS, 3))
    rates = [false.any(axis=1).mean() for false in verdicts_of(effects, 0.0)]
    assert all(0.05 < rate < 0.15 for rate in rates), rates


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("noise", [normal, unbalanced])
def test_a_known_effect_is_within_its_interval_as_often_as_it_says(noise: Noise, seeds: int) -> None:
    effects = 0.3 + noise(np.random.default_rng(seeds), (10_000, seeds))
    mean, _, half = intervals_of(effects)
    assert over_seeds(effects[0]) == pytest.approx((mean[0], mean[0] - half[0], mean[0] + half[0]))
    assert 0.93 < (np.abs(mean - 0.3) <= half).mean() < 0.97


def test_equivalence_is_rarely_found_where_there_is_none() -> None:
    """An effect on the end of what counts as nothing: two one-sided tests say "equal" in at most one of twenty."""
    expected = Expectation(-0.5, 0.5)
    for seeds, end in itertools.product((3, 10), (-0.5, 0.5)):
        values = np.random.default_rng(seeds).normal(end, 0.2, size=(300, seeds))
        found = [estimate(each, expected) for each in values]
        said = [verdict(each, expected, each.p) for each in found]
        wrong = sum(each == "supported" for each in said)
        assert stats.binomtest(wrong, len(said), LEVEL, alternative="greater").pvalue > 0.001
