"""The data dictionary of the tables that compare levels: pairs, groups, robust summaries, ranks, stability."""

from __future__ import annotations

from trainatlas.train.records import Column

PAIRWISE_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("other", "text", "the level it is compared with, one before it in the study"),
    Column("difference", "number", "mean paired difference in test accuracy, level minus other: mean over seeds"),
    Column("low", "number", "lower end of the 95 % interval, Student's t over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column(
        "bca_low",
        "number",
        "lower end of the 95 % BCa bootstrap interval over pairs, for these very seeds",
        optional=True,
    ),
    Column("bca_high", "number", "upper end", optional=True),
    Column("p", "number", "p-value of no difference, t-test over seeds", optional=True),
    Column(
        "p_wilcoxon",
        "number",
        "the same, signed-rank test over cells, each the mean of its (these very) seeds",
        optional=True,
    ),
    Column("p_permutation", "number", "the same, sign flips of whole seeds; at least 2^(1 - seeds)", optional=True),
    Column("p_holm", "number", "p, corrected for the number of pairs of the factor's levels (Holm)", optional=True),
    Column("tied", "whole", "1: not told apart, p_holm above 0.05 or missing"),
    Column(
        "p_equivalence",
        "number",
        "p-value of a difference of 0.5 points or more, two one-sided t-tests over seeds",
        optional=True,
    ),
    Column("equivalent", "whole", "1: p_equivalence, corrected likewise, is at most 0.05"),
    Column(
        "smallest_detectable",
        "number",
        "true difference that so many seeds find with 80 % power (t-test at 5 %)",
        optional=True,
    ),
    Column(
        "seeds_needed",
        "number",
        "seeds that find a difference as large as this one with 80 % power, 1000 at most; empty where there is none",
        optional=True,
    ),
    Column(
        "seed_interaction",
        "number",
        "variance of the seeds' differences over what the scatter of pairs explains (F); above 1 they depend on the seed",
        optional=True,
    ),
    Column("pairs", "whole", "pairs of trials that differ in this factor alone (and in its tuned rate)"),
    Column("seeds", "whole", "seeds that have pairs"),
)

TIE_GROUP_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("place", "whole", "1 for the best by advantage"),
    Column("advantage", "number", "mean of the paired differences to the other levels"),
    Column("letters", "text", "levels that share a letter are not told apart (compact letter display)"),
    Column("among_best", "whole", "1: not told apart from the best"),
)

ROBUST_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("iqm", "number", "interquartile mean of test accuracy over cells and seeds"),
    Column("iqm_low", "number", "lower end of the 95 % interval, jackknife over seeds", optional=True),
    Column("iqm_high", "number", "upper end", optional=True),
    Column("optimality_gap", "number", "mean shortfall of test accuracy from 1"),
    Column("gap_low", "number", "lower end of its 95 % interval, likewise", optional=True),
    Column("gap_high", "number", "upper end", optional=True),
    Column(
        "improvement",
        "number",
        "probability that a run beats one of the factor's first level in the same cell, ties half; mean over cells",
        optional=True,
    ),
    Column("improvement_low", "number", "lower end of its 95 % interval, likewise", optional=True),
    Column("improvement_high", "number", "upper end", optional=True),
    Column("runs", "whole", "final runs"),
    Column("seeds", "whole", "seeds"),
)

RANK_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("rank", "number", "mean over seeds of the level's rank by its seed's mean test accuracy; 1 is the best"),
    Column(
        "cell_rank", "number", "mean over seeds and cells of its rank within them; a description, no test rests on it"
    ),
    Column(
        "friedman_p",
        "number",
        "p-value of all levels ranking alike (Friedman; of two levels: sign test)",
        optional=True,
    ),
    Column("critical_difference", "number", "mean ranks this far apart are told apart (Nemenyi, 5 %)"),
    Column(
        "letters", "text", "levels that share a letter are not told apart; one letter for all unless friedman_p <= 0.05"
    ),
    Column("seeds", "whole", "blocks: seeds in which every level was run"),
)

STABILITY_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("other", "text", "the level it is compared with, one before it in the study"),
    Column("difference", "number", "mean paired difference in test accuracy, level minus other: mean over seeds"),
    Column("smallest", "number", "smallest difference when one seed is left out", optional=True),
    Column("largest", "number", "largest difference when one seed is left out", optional=True),
    Column("conclusion", "text", "better, worse or not told apart, by the 95 % interval over all seeds"),
    Column("unstable", "whole", "1: without some seed the conclusion is another one"),
    Column("seeds", "whole", "seeds that have pairs"),
)

COMPARISON_TABLES: dict[str, tuple[Column, ...]] = {
    "pairwise": PAIRWISE_COLUMNS,
    "tie_groups": TIE_GROUP_COLUMNS,
    "robust": ROBUST_COLUMNS,
    "ranks": RANK_COLUMNS,
    "stability": STABILITY_COLUMNS,
}
"""Every table that compares levels, by the name of its file under `analysis/`."""
