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
from trainatlas.report.differences import difference_cells, seeds_and_pairs
from trainatlas.report.language import tr, trn
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
)

_WITHIN = MARGIN * 100
"""Percentage points within which levels are equivalent."""
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
    introduction = tr(
        "Every level against every other of its factor, everything else equal: runs in pairs that share the seed and all "
        "other factors, each at its own tuned rate. Told apart: the t-test over seeds, corrected for the number of the "
        "factor's pairs (Holm), has a p-value of at most 0.05. Equivalent: two one-sided t-tests, corrected likewise, show "
        "the difference to be smaller than {margin:g} points. Open: neither; that is no proof of equality.",
        margin=_WITHIN,
    )
    reading = tr(
        "In the diagrams (Demsar 2006) levels rank by their mean test accuracy within each seed. A bar joins levels that "
        "these tests do not tell apart; dots are its members, its letter stands behind their names. The scale above shows "
        "by how much mean ranks alone would have to differ (Nemenyi). In the tables of pairs a difference is the test "
        "accuracy of the level minus that of the one it is compared with, mean over seeds, with Student's 95% interval, not "
        "corrected; p, equivalence: of a difference of {margin:g} points or more, before correction; detectable: true "
        "difference that these seeds find with 80% power; seeds needed: to find this difference with 80% power, both for a "
        "test that stands alone. The bootstrap's intervals and two more tests are in the table behind.",
        margin=_WITHIN,
    )
    return Section(
        "pairwise",
        tr("Pairwise comparisons"),
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
    leader = {
        "factor": capital(factor_name(factor)),
        "level": level_name(best["level"]),
        "lead": points(best["advantage"]).lstrip("+"),
    }
    if pairs["p"].isna().all():
        return tr(
            "{factor}. {level} leads by {lead} points over the mean of the others; with one seed no test is possible, and "
            "nothing is told apart.",
            **leader,
        )
    if others:
        leads = tr(
            "{factor}. {level} leads by {lead} points over the mean of the others; not told apart from it: {list}.",
            **leader,
            list=_named(others),
        )
    else:
        leads = tr(
            "{factor}. {level} leads by {lead} points over the mean of the others; every other level is told apart from it.",
            **leader,
        )
    waiting = pairs[(pairs["tied"] == 1) & (pairs["equivalent"] == 0) & (pairs["seeds_needed"] > pairs["seeds"])]
    return " ".join([leads, _counts_in_words(pairs), *_waiting_in_words(waiting)])


def _counts_in_words(pairs: pd.DataFrame) -> str:
    apart, equivalent = pairs["tied"] == 0, pairs["equivalent"] == 1
    number, close = int(apart.sum()), int((apart & equivalent).sum())
    same, unsure = int((~apart & equivalent).sum()), int((~apart & ~equivalent).sum())
    told = []
    if close:
        told.append(
            trn(
                "{number} is told apart ({close} of these by less than {margin:g} points)",
                "{number} are told apart ({close} of these by less than {margin:g} points)",
                number,
                close=close,
                margin=_WITHIN,
            )
        )
    elif number:
        told.append(trn("{number} is told apart", "{number} are told apart", number))
    if same:
        told.append(trn("{number} is equivalent", "{number} are equivalent", same))
    if unsure:
        told.append(trn("{number} is open", "{number} are open", unsure))
    return trn("Of {number} pair {list}.", "Of {number} pairs {list}.", len(pairs), list=joined(told))


def _waiting_in_words(waiting: pd.DataFrame) -> list[str]:
    """Say which of the open pairs fewest seeds would tell apart; nothing where more seeds are no help."""
    if waiting.empty:
        return []
    near = waiting.sort_values("seeds_needed", kind="stable").iloc[0]
    difference, interval = difference_cells(near)
    return [
        tr(
            "Of those that are open, {level} and {other} ({difference} points, {interval}) would be told apart with the fewest "
            "seeds: {needed} in place of {seeds}, were this their true difference and theirs the only test.",
            level=level_name(near["level"]),
            other=level_name(near["other"]),
            difference=difference,
            interval=interval,
            needed=_seeds_needed(near["seeds_needed"]),
            seeds=near["seeds"],
        )
    ]


def _named(names: list[str]) -> str:
    if len(names) <= _NAMED:
        return joined(names)
    return tr("{list} and {number:,} more", list=", ".join(names[:_NAMED]), number=len(names) - _NAMED)


def verdict(pair: pd.Series) -> str:
    """Return what is said of a pair, with a sign of its own: verdicts are told apart without colour."""
    if math.isnan(pair["p"]):
        return tr("?\u00a0one\u00a0seed")
    if pair["tied"] == 0 and pair["equivalent"]:
        return tr("≠\u00a0told\u00a0apart, under {margin:g} points", margin=_WITHIN)
    if pair["tied"] == 0:
        return tr("≠\u00a0told\u00a0apart")
    return tr("≈\u00a0equivalent") if pair["equivalent"] else tr("?\u00a0open")


def _seeds_needed(number: float) -> str:
    if math.isnan(number):
        return "–"
    return tr("{number:,} or more", number=MOST_SEEDS) if number >= MOST_SEEDS else f"{number:,.0f}"


def _pairs_table(factor: str, pairs: pd.DataFrame) -> Table:
    rows = [
        (
            level_name(row["level"]),
            level_name(row["other"]),
            verdict(row),
            *difference_cells(row),
            p_value(row["p_holm"]),
            p_value(row["p_equivalence"]),
            points(row["smallest_detectable"], 2).lstrip("+"),
            _seeds_needed(row["seeds_needed"]),
            seeds_and_pairs(row),
        )
        for _, row in pairs.iterrows()
    ]
    header = (
        tr("level"),
        tr("against"),
        tr("verdict"),
        tr("difference, points"),
        tr("95% interval"),
        tr("p (Holm)"),
        tr("p, equivalence"),
        tr("detectable, points"),
        tr("seeds needed"),
        tr("seeds · pairs"),
    )
    return Table(
        tr("{factor}: every pair", factor=capital(factor_name(factor))),
        header,
        rows,
        tr("Columns are explained at the head of the section."),
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
                tr("yes") if row["among_best"] else tr("no"),
                points(row["advantage"], 2),
                *(("–",) * 3 if rank is None else (f"{rank['rank']:.2f}", f"{rank['cell_rank']:.2f}", rank["letters"])),
            )
        )
    return Table(
        tr("Groups of levels that are not told apart"),
        (
            tr("factor"),
            tr("level"),
            tr("group"),
            tr("among the best"),
            tr("advantage, points"),
            tr("mean rank"),
            tr("rank within cells"),
            tr("group by ranks"),
        ),
        rows,
        tr(
            "Levels of a factor that share a letter are not told apart by the tests of the pairs. Among the best: not told apart "
            "from the first. Advantage: mean difference to the other levels. Mean rank: over seeds; within cells: over seeds and "
            "combinations of the other factors. Group by ranks: levels that Nemenyi's test does not tell apart, after Friedman's "
            "(ranks.csv); with few seeds it sees less than the t-tests."
        ),
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
        tr("Robust summaries"),
        (
            tr("factor"),
            tr("level"),
            tr("interquartile mean"),
            tr("95% interval"),
            tr("optimality gap"),
            tr("95% interval"),
            tr("improves on the first"),
            tr("95% interval"),
            tr("runs"),
            tr("seeds"),
        ),
        rows,
        tr(
            "Of test accuracy (Agarwal et al. 2021). Interquartile mean: of the middle half of the runs, so that few failures "
            "count for little. Optimality gap: mean shortfall from 100%. Improves on the first: probability that a run beats "
            "one of the factor's first level in the same combination of the others, ties half; 50% is chance. Intervals: "
            "jackknife over seeds."
        ),
        "robust",
        text_columns=2,
    )
