"""The section on pairs of levels: which are told apart, which are as good as the same, and what is left open.

Every verdict is the analysis' own: Student's t over seeds, Holm's correction over the pairs of a factor
(`trainatlas.analysis.comparisons`).
"""

from __future__ import annotations

import math

import pandas as pd

from trainatlas.analysis.comparisons import MARGIN
from trainatlas.analysis.power import MOST_SEEDS
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.rank_diagrams import rank_diagram
from trainatlas.report.wording import (
    capital,
    factor_name,
    joined,
    level_name,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
)

WITHIN = f"{MARGIN * 100:g} points"
_NAMED = 8
"""Levels or pairs that a sentence names, at most."""


def pairwise_section(tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section from pairwise.csv, tie_groups.csv, ranks.csv and robust.csv; the first must have rows."""
    by_factor = {str(factor): rows for factor, rows in tables["pairwise"].groupby("factor", sort=False)}
    groups = {str(factor): rows for factor, rows in tables["tie_groups"].groupby("factor", sort=False)}
    ranks = {str(factor): rows for factor, rows in tables["ranks"].groupby("factor", sort=False)}
    blocks: list[Figure | Table] = [
        rank_diagram(factor, ranks[factor], groups[factor]) for factor in groups if factor in ranks
    ]
    blocks.append(_groups_table(tables["tie_groups"], tables["ranks"]))
    if len(tables["robust"]):
        blocks.append(_robust_table(tables["robust"]))
    blocks += [_pairs_table(factor, rows) for factor, rows in by_factor.items()]
    introduction = (
        "Every level against every other of its factor, everything else equal: runs in pairs that share the seed and all "
        "other factors, each at its own tuned rate. Told apart: the t-test over seeds, corrected for the number of the "
        "factor's pairs (Holm), has a p-value of at most 0.05. Equivalent: two one-sided t-tests, corrected likewise, show "
        f"the difference to be smaller than {WITHIN}. Open: neither; that is no proof of equality."
    )
    reading = (
        "In the diagrams (Demsar 2006) levels rank by their mean test accuracy within each seed. A bar joins levels that "
        "these tests do not tell apart; dots are its members, its letter stands behind their names. The scale above shows "
        "by how much mean ranks alone would have to differ (Nemenyi). In the tables of pairs a difference is the test "
        "accuracy of the level minus that of the one it is compared with, mean over seeds, with Student's 95% interval, not "
        f"corrected; p, equivalence: of a difference of {WITHIN} or more, before correction; detectable: true difference that "
        "these seeds find with 80% power; seeds needed: to find this difference with 80% power, both for a test that stands "
        "alone. The bootstrap's intervals and two more tests are in the table behind."
    )
    return Section(
        "pairwise",
        "Pairwise comparisons",
        [
            introduction,
            *(factor_in_words(factor, rows, groups[factor]) for factor, rows in by_factor.items()),
            reading,
        ],
        blocks,
    )


def factor_in_words(factor: str, pairs: pd.DataFrame, groups: pd.DataFrame) -> str:
    """Say who leads a factor, who is not told apart from it, and how its pairs divide into told apart, equivalent and open."""
    best = groups.iloc[0]
    others = [level_name(level) for level in groups.loc[groups["among_best"] == 1, "level"] if level != best["level"]]
    lead = points(best["advantage"]).lstrip("+")
    text = f"{capital(factor_name(factor))}. {level_name(best['level'])} leads by {lead} points over the mean of the others; "
    if pairs["p"].isna().all():
        return f"{text}with one seed no test is possible, and nothing is told apart."
    text += f"not told apart from it: {_named(others)}. " if others else "every other level is told apart from it. "
    apart, equivalent = pairs["tied"] == 0, pairs["equivalent"] == 1
    close, unsure = int((apart & equivalent).sum()), pairs[~apart & ~equivalent]
    within = f" ({close} of these by less than {WITHIN})" if close else ""
    counts = [
        (int(apart.sum()), f"told apart{within}"),
        (int((~apart & equivalent).sum()), "equivalent"),
        (len(unsure), "open"),
    ]
    told = joined([f"{number} {'is' if number == 1 else 'are'} {what}" for number, what in counts if number])
    text += f"Of {len(pairs)} pair{'s' if len(pairs) > 1 else ''} {told}."
    waiting = unsure[unsure["seeds_needed"] > unsure["seeds"]]
    if len(waiting):
        near = waiting.sort_values("seeds_needed", kind="stable").iloc[0]
        text += (
            f" Of those that are open, {level_name(near['level'])} and {level_name(near['other'])} "
            f"({points(near['difference'], 2)} points, {points_interval(near['low'], near['high'], 2)}) would be told apart "
            f"with the fewest seeds: {_seeds_needed(near['seeds_needed'])} in place of {near['seeds']}, were this their true "
            "difference and theirs the only test."
        )
    return text


def _named(names: list[str]) -> str:
    return joined(names) if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"


def verdict(pair: pd.Series) -> str:
    """Return what is said of a pair, with a sign of its own: verdicts are told apart without colour."""
    if math.isnan(pair["p"]):
        return "?\u00a0one\u00a0seed"
    if pair["tied"] == 0:
        return f"≠\u00a0told\u00a0apart, under {WITHIN}" if pair["equivalent"] else "≠\u00a0told\u00a0apart"
    return "≈\u00a0equivalent" if pair["equivalent"] else "?\u00a0open"


def _seeds_needed(number: float) -> str:
    if math.isnan(number):
        return "–"
    return f"{MOST_SEEDS:,} or more" if number >= MOST_SEEDS else f"{number:,.0f}"


def _pairs_table(factor: str, pairs: pd.DataFrame) -> Table:
    rows = [
        (
            level_name(row["level"]),
            level_name(row["other"]),
            verdict(row),
            points(row["difference"], 2),
            points_interval(row["low"], row["high"], 2),
            p_value(row["p_holm"]),
            p_value(row["p_equivalence"]),
            points(row["smallest_detectable"], 2).lstrip("+"),
            _seeds_needed(row["seeds_needed"]),
            f"{row['seeds']} · {row['pairs']:,}",
        )
        for _, row in pairs.iterrows()
    ]
    header = (
        "level",
        "against",
        "verdict",
        "difference, points",
        "95% interval",
        "p (Holm)",
        "p, equivalence",
        "detectable, points",
        "seeds needed",
        "seeds · pairs",
    )
    return Table(
        f"{capital(factor_name(factor))}: every pair",
        header,
        rows,
        "Columns are explained at the head of the section.",
        "pairwise",
        text_columns=3,
    )


def _groups_table(groups: pd.DataFrame, ranks: pd.DataFrame) -> Table:
    found = {(row["factor"], row["level"]): row for _, row in ranks.iterrows()}
    rows = []
    for _, row in groups.iterrows():
        rank = found.get((row["factor"], row["level"]))
        rows.append(
            (
                factor_name(row["factor"]),
                level_name(row["level"]),
                row["letters"],
                "yes" if row["among_best"] else "no",
                points(row["advantage"], 2),
                *(("–",) * 3 if rank is None else (f"{rank['rank']:.2f}", f"{rank['cell_rank']:.2f}", rank["letters"])),
            )
        )
    return Table(
        "Groups of levels that are not told apart",
        (
            "factor",
            "level",
            "group",
            "among the best",
            "advantage, points",
            "mean rank",
            "rank within cells",
            "group by ranks",
        ),
        rows,
        "Levels of a factor that share a letter are not told apart by the tests of the pairs. Among the best: not told apart "
        "from the first. Advantage: mean difference to the other levels. Mean rank: over seeds; within cells: over seeds and "
        "combinations of the other factors. Group by ranks: levels that Nemenyi's test does not tell apart, after Friedman's "
        "(ranks.csv); with few seeds it sees less than the t-tests.",
        "tie_groups",
        text_columns=4,
    )


def _robust_table(robust: pd.DataFrame) -> Table:
    rows = []
    for _, row in robust.iterrows():
        better = row["improvement"]
        rows.append(
            (
                factor_name(row["factor"]),
                level_name(row["level"]),
                percent(row["iqm"]),
                percent_interval(row["iqm_low"], row["iqm_high"]),
                percent(row["optimality_gap"]),
                percent_interval(row["gap_low"], row["gap_high"]),
                percent(better),
                "–" if math.isnan(better) else percent_interval(row["improvement_low"], row["improvement_high"]),
                f"{row['runs']:,}",
                f"{row['seeds']}",
            )
        )
    return Table(
        "Robust summaries",
        (
            "factor",
            "level",
            "interquartile mean",
            "95% interval",
            "optimality gap",
            "95% interval",
            "improves on the first",
            "95% interval",
            "runs",
            "seeds",
        ),
        rows,
        "Of test accuracy (Agarwal et al. 2021). Interquartile mean: of the middle half of the runs, so that few failures "
        "count for little. Optimality gap: mean shortfall from 100%. Improves on the first: probability that a run beats "
        "one of the factor's first level in the same combination of the others, ties half; 50% is chance. Intervals: "
        "jackknife over seeds.",
        "robust",
        text_columns=2,
    )
