"""Every pair of levels of every factor: how far apart, how surely, and what more seeds would show.

The verdicts, `tied` and `equivalent`, rest on Student's t over seeds, which alone keeps its error rates where the
difference between two levels depends on the seed. The bootstrap over pairs and the signed-rank test take the
seeds at hand as given and are shown beside it (docs/decisions/0023-intervals-by-seeds-and-by-bootstrap.md).
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pandas as pd
from scipy import special, stats

from trainatlas.analysis.bootstrap import RESAMPLES, stratified_bca
from trainatlas.analysis.comparison_columns import PAIRWISE_COLUMNS, TIE_GROUP_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE, over_seeds
from trainatlas.analysis.letters import letters
from trainatlas.analysis.pairing import by_cell, by_seed, pairing
from trainatlas.analysis.power import detectable_effect, seeds_needed
from trainatlas.train.records import names

MARGIN = 0.005
"""Levels whose mean test accuracies differ by less than this, half a point, are equivalent for practical purposes."""
FLIPS = 9999
"""Sign flips drawn where there are too many to count them all."""
_SMALL = 13
"""Signed ranks of so few values have their exact distribution counted, ties and zeros included (2^13 < FLIPS)."""


def pairwise(
    runs: pd.DataFrame, levels: dict[str, tuple[str, ...]], value: str = "test_accuracy", resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Compare each level of each factor with each level before it, everything else equal.

    A pair is two final runs of one seed that agree in every other factor, each at its own tuned rate. A seed's
    estimate is the mean over its pairs, the difference is the mean over seeds (docs/decisions/0001). Holm's correction
    runs over the pairs of levels of one factor, for the t-test and for the equivalence tests each (Holm 1979).

    Parameters
    ----------
    runs
        Final runs: the columns of FACTORS, `seed` and `value`, a share from 0 to 1.
    levels
        The study's levels by factor. Factors of one level have no row, nor have levels that share no pair.
    resamples
        Bootstrap samples for `bca_low` and `bca_high`.

    Returns
    -------
    pandas.DataFrame
        Columns as in PAIRWISE_COLUMNS; a positive difference means that `level` is better than `other`.
    """
    tables = [_compared(runs, factor, texts, value, resamples) for factor, texts in levels.items() if len(texts) > 1]
    tables = [table for table in tables if len(table)]
    columns = list(names(PAIRWISE_COLUMNS))
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _compared(runs: pd.DataFrame, factor: str, texts: tuple[str, ...], value: str, resamples: int) -> pd.DataFrame:
    found = list(pairing(runs, factor, texts, value).pairs())
    if not found:
        return pd.DataFrame()
    ends = stratified_bca(np.stack([differences for *_, differences in found]), resamples)
    rows = [
        {"factor": factor, "level": level, "other": other, "bca_low": low, "bca_high": high, **_compare(differences)}
        for (level, other, differences), (low, high) in zip(found, ends, strict=True)
    ]
    table = pd.DataFrame(rows)
    equivalence = holm(table["p_equivalence"].to_numpy())
    table["p_holm"] = holm(table["p"].to_numpy())
    table["tied"] = (~(table["p_holm"] <= 1 - CONFIDENCE)).astype("int64")
    table["equivalent"] = (equivalence <= 1 - CONFIDENCE).astype("int64")
    return table


def _compare(differences: np.ndarray) -> dict[str, float]:
    """Return what is said of one pair of levels, from differences of shape (seeds, cells)."""
    of_seeds = by_seed(differences)
    interval = over_seeds(of_seeds)
    spread = float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = float(np.divide(interval.mean, spread))
    return {
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": t_test(of_seeds),
        "p_wilcoxon": signed_rank(by_cell(differences)),
        "p_permutation": sign_flips(of_seeds),
        "p_equivalence": equivalence_test(of_seeds, MARGIN),
        "smallest_detectable": detectable_effect(len(of_seeds)) * spread,
        "seeds_needed": seeds_needed(effect),
        "seed_interaction": seed_interaction(differences),
        "pairs": int((~np.isnan(differences)).sum()),
        "seeds": len(of_seeds),
    }


def t_test(estimates: np.ndarray, centre: float = 0.0, alternative: str = "two-sided") -> float:
    """Return the p-value of Student's t-test (1908) that per-seed estimates have the mean `centre`.

    Parameters
    ----------
    estimates
        One value per seed, shape (seeds,). Of a single one nothing can be said: nan. Where all are the same the p-value is
        0 or 1.
    alternative
        two-sided, less or greater, as SciPy has them.
    """
    if len(estimates) < 2:
        return float("nan")
    distance = float(estimates.mean()) - centre
    with np.errstate(divide="ignore"):
        error = float(np.ptp(estimates) > 0) * estimates.std(ddof=1) / np.sqrt(len(estimates))
        statistic = np.divide(distance, error) if distance else 0.0
    if alternative == "two-sided":
        return float(2 * special.stdtr(len(estimates) - 1, -abs(statistic)))
    return float(special.stdtr(len(estimates) - 1, statistic if alternative == "less" else -statistic))


def equivalence_test(estimates: np.ndarray, margin: float) -> float:
    """Return the p-value of two one-sided t-tests that the mean lies within -margin to margin (Schuirmann 1987).

    Parameters
    ----------
    estimates
        One value per seed, shape (seeds,); nan of a single one.
    margin
        Largest difference that does not matter, > 0, in the unit of `estimates`.
    """
    one_sided = t_test(estimates, -margin, "greater"), t_test(estimates, margin, "less")
    return float(np.max(one_sided))


def sign_flips(values: np.ndarray) -> float:
    """Return the two-sided p-value of the mean of `values` under flips of their signs (Fisher 1935, section 21).

    Valid where, under "no difference", each value is as likely to be positive as negative, independently of the others. All
    flips are counted where there are at most FLIPS, else as many are drawn, always the same ones. With n values no p-value is
    below 2^(1 - n): over four seeds, 0.125.

    Parameters
    ----------
    values
        Shape (values,); nan of a single one.
    """
    if len(values) < 2:
        return float("nan")
    signs = _signs(len(values))
    counted = 0 if len(signs) == 2 ** len(values) else 1
    rounding = 1e-12 * np.abs(values).sum()
    as_large = np.abs(signs @ values) >= abs(values.sum()) - rounding
    # What was observed is one of the flips that are drawn (Phipson and Smyth 2010).
    return float((as_large.sum() + counted) / (len(signs) + counted))


@functools.cache
def _signs(number: int) -> np.ndarray:
    """Return all flips of so many values, or FLIPS of them drawn, shape (flips, number)."""
    if 2**number <= FLIPS:
        return np.array(list(itertools.product([-1.0, 1.0], repeat=number)))
    return np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, number))


def signed_rank(values: np.ndarray) -> float:
    """Return the p-value of Wilcoxon's signed-rank test, with zeros as Pratt (1959) has them.

    Parameters
    ----------
    values
        One difference per cell, shape (cells,), taken as independent; nan of a single one. All zeros: 1.
    """
    if len(values) < 2:
        return float("nan")
    if not values.any():
        return 1.0
    if len(values) <= _SMALL:
        return sign_flips(np.sign(values) * stats.rankdata(np.abs(values)))
    return float(stats.wilcoxon(values, zero_method="pratt").pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number (Holm 1979), shape (tests,); nan stays nan and counts for none.

    As `statsmodels.stats.multitest.multipletests` has it, which collects the process's garbage at every call: a tenth of a
    second.
    """
    order = np.argsort(p_values)  # nan last
    tests = int((~np.isnan(p_values)).sum())
    factors = np.maximum(tests - np.arange(len(p_values)), 1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected


def seed_interaction(differences: np.ndarray) -> float:
    """Return how much more seeds' mean differences vary than the scatter of pairs explains: an F statistic.

    In the two-way layout of differences by seed and cell it is the mean square of seeds over that of the remainder
    (Fisher 1925, section 42). About 1 where the difference between two levels does not depend on the seed.

    Parameters
    ----------
    differences
        Shape (seeds, cells), nan for no pair; cells that lack a seed are left out. nan with fewer than two seeds or cells, or
        without scatter.
    """
    whole = differences[~np.isnan(differences).all(axis=1)]
    whole = whole[:, ~np.isnan(whole).any(axis=0)]
    seeds, cells = whole.shape
    if min(seeds, cells) < 2:
        return float("nan")
    means = whole.mean(axis=1)
    remainder = whole - whole.mean(axis=0) - means[:, None] + means.mean()
    scatter = (remainder**2).sum() / ((seeds - 1) * (cells - 1))
    negligible = 1e-20 * max(float((whole**2).max()), 1e-20)
    return float(cells * means.var(ddof=1) / scatter) if scatter > negligible else float("nan")


def tie_groups(pairs: pd.DataFrame) -> pd.DataFrame:
    """Group the levels of each factor by "not told apart", best first (compact letter display, Piepho 2004).

    Levels are ordered by their mean difference to the others. Two share a letter if and only if they are tied in `pairs`, or
    were never compared.

    Parameters
    ----------
    pairs
        What `pairwise` returns.

    Returns
    -------
    pandas.DataFrame
        Columns as in TIE_GROUP_COLUMNS.
    """
    rows = []
    for factor, table in pairs.groupby("factor", sort=False):
        mirrored = table.assign(level=table["other"], other=table["level"], difference=-table["difference"])
        both = pd.concat([mirrored, table])  # mirrored first: the factor's first level leads where advantages are equal
        advantages = both.groupby("level", sort=False)["difference"].mean().round(9)
        advantages = advantages.sort_values(ascending=False, kind="stable")
        told = table[table["tied"] == 0]
        letter = letters(list(advantages.index), list(zip(told["level"], told["other"], strict=True)))
        best = advantages.index[0]
        beaten = set(told.loc[told["other"] == best, "level"]) | set(told.loc[told["level"] == best, "other"])
        for place, (level, advantage) in enumerate(advantages.items(), start=1):
            rows.append((factor, level, place, advantage, letter[level], int(level not in beaten)))
    return pd.DataFrame(rows, columns=list(names(TIE_GROUP_COLUMNS)))
