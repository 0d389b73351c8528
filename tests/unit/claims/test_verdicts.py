"""Verdicts against SciPy's and statsmodels' tests, by hand over all directions, and by simulation: how often they are false."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
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
    scatter_of,
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


def verdicts_of(effects: np.ndarray, margin: float, pairs: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of effects, shape (studies, rows, seeds), say "above the margin", and which "below".

    `estimate` and `verdict` for many rows at once: `test_many_rows_at_once_are_each_row` holds it against them. `pairs`, of
    shape (studies, rows, seeds, pairs), are single effects where runs diverged.
    """
    mean, error, half = intervals_of(effects)
    above = stats.t.sf((mean - margin) / error, effects.shape[-1] - 1)
    below = 1 - above
    if pairs is not None:
        freedom = (pairs.shape[-2] - 1) * pairs.shape[-1]
        squares = ((pairs - pairs.mean(axis=-2, keepdims=True)) ** 2).sum(axis=(-1, -2))
        by_pairs = stats.t.sf((mean - margin) / np.sqrt(squares / freedom / math.prod(pairs.shape[-2:])), freedom)
        above, below = np.maximum(above, by_pairs), np.maximum(below, 1 - by_pairs)
    holm = holm_of(np.minimum(above, below))
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


def test_many_rows_with_their_pairs_at_once_are_each_row() -> None:
    pairs = lost_in_both(np.random.default_rng(4), (20, 6, 3)) + 0.05
    above, below = verdicts_of(pairs.mean(axis=-1), 0.0, pairs)
    alone = verdicts_of(pairs.mean(axis=-1), 0.0)
    assert (above <= alone[0]).all() and (below <= alone[1]).all() and above.sum() < alone[0].sum()
    for study, own in enumerate(pairs):
        found = [estimate(by_seed(row), Expectation(0.0, INF), scatter_of(row)) for row in map(table_of, own)]
        holm = corrected([each.p for each in found], ["A"] * len(own))
        said = [verdict(each, Expectation(0.0, INF), p) for each, p in zip(found, holm, strict=True)]
        assert [each == "supported" for each in said] == above[study].tolist()
        assert [each == "refuted" for each in said] == below[study].tolist()


def table_of(effects: np.ndarray) -> pd.DataFrame:
    """Return effects of shape (seeds, pairs) as a table of observations."""
    seeds, pairs = np.indices(effects.shape)
    named = [f"pair {number}" for number in pairs.ravel()]
    return pd.DataFrame({"seed": seeds.ravel(), "pair": named, "effect": effects.ravel()})


def test_scatter_of_pairs_is_that_of_a_linear_model_of_pairs() -> None:
    whole = table_of(np.random.default_rng(5).normal(size=(4, 6)))
    for rows in (whole, whole.drop(index=[0, 7, 8])):
        model = ols("effect ~ C(pair)", rows).fit()
        found = scatter_of(rows)
        assert found is not None and found.freedom == model.df_resid
        weights = 1 / (4 * rows.groupby("seed")["effect"].transform("size"))
        assert found.error == pytest.approx(math.sqrt(model.mse_resid * (weights**2).sum()))
    assert scatter_of(whole.assign(pair=range(len(whole)))) is None, "no pair is seen twice"


def test_where_seeds_agree_by_chance_their_pairs_still_speak() -> None:
    """Three seeds, twelve pairs each, one of them lost to divergence in each seed: the seeds' means are all the same."""
    effects = np.zeros((3, 12))
    effects[range(3), range(3)] = -0.8
    rows, expected = table_of(effects), Expectation(-0.05, INF)
    blind, seeing = estimate(by_seed(rows), expected), estimate(by_seed(rows), expected, scatter_of(rows))
    assert verdict(blind, expected, blind.p) == "refuted" and verdict(seeing, expected, seeing.p) == "inconclusive"
    assert seeing.interval == blind.interval and seeing.p > 0.2


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Effects of seeds, normal."""
    return rng.normal(size=shape)


def unbalanced(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Means over pairs whose number, 1 to 12, differs from seed to seed; pairs of one seed are alike in part."""
    pairs = rng.integers(1, 13, size=shape)
    effects: np.ndarray = rng.normal(size=shape) + rng.normal(size=shape) / np.sqrt(pairs)
    return effects


def lost(rng: np.random.Generator, shape: tuple[int, ...], pairs: int, shares: tuple[float, float]) -> np.ndarray:
    """Single effects of accuracies 0.02 apart, such shares of either arm's runs at chance; less the effect."""
    arms = ((0.90, shares[0]), (0.88, shares[1]))
    ends = [
        np.where(rng.random((*shape, pairs)) < share, CHANCE, rng.normal(level, 0.01, size=(*shape, pairs)))
        for level, share in arms
    ]
    means = [(1 - share) * level + share * CHANCE for level, share in arms]
    effects: np.ndarray = ends[0] - ends[1] - (means[0] - means[1])
    return effects


def lost_in_both(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Twelve pairs a seed, a tenth of either arm's runs at chance."""
    return lost(rng, shape, 12, (0.1, 0.1))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("noise", [normal, unbalanced])
def test_of_twenty_chapters_without_any_effect_at_most_one_has_a_false_verdict(noise: Noise, seeds: int) -> None:
    effects = noise(np.random.default_rng(seeds), (STUDIES, ROWS, seeds))
    for false in verdicts_of(effects, 0.0):
        chapters = int(false.any(axis=1).sum())
        assert stats.binomtest(chapters, STUDIES, LEVEL, alternative="greater").pvalue > 0.001, chapters


@pytest.mark.parametrize("pairs", [4, 12, 48])
@pytest.mark.parametrize("seeds", [3, 4, 5, 10])
def test_nor_where_a_tenth_of_the_runs_diverges(seeds: int, pairs: int) -> None:
    effects = lost(np.random.default_rng(seeds), (STUDIES, ROWS, seeds), pairs, (0.1, 0.1))
    for false in verdicts_of(effects.mean(axis=-1), 0.0, effects):
        assert false.any(axis=1).mean() <= LEVEL


def test_one_arm_alone_that_diverges_now_and_then_needs_many_pairs() -> None:
    """No test sees losses that could have been and were not: means of few pairs lie, more often than not, on one side."""
    for pairs, least, most in ((48, 0.0, LEVEL), (12, 0.05, 0.3)):
        for seeds in (3, 5, 10):
            effects = lost(np.random.default_rng(seeds), (STUDIES, ROWS, seeds), pairs, (0.1, 0.0))
            rate = max(false.any(axis=1).mean() for false in verdicts_of(effects.mean(axis=-1), 0.0, effects))
            assert least <= rate <= most, (pairs, seeds, rate)


def test_without_looking_at_pairs_three_seeds_would_deceive_there() -> None:
    """Effects come in lumps, and three seeds may all have the same: about one chapter of eight has a false verdict."""
    effects = lost_in_both(np.random.default_rng(3), (STUDIES, ROWS, 3)).mean(axis=-1)
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
