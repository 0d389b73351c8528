"""The data dictionary of the tables that compare two runs of a study."""

from __future__ import annotations

from trainatlas.study.trial import FACTORS
from trainatlas.train.records import Column

COMPARE_COLUMNS = (
    Column("factor", "text", "the factor, or stage; empty for all pairs together"),
    Column("level", "text", "its level; empty for all pairs together"),
    Column("old", "number", "mean of the metric in the old run: over a seed's pairs, then over seeds"),
    Column("new", "number", "the same in the new run"),
    Column("difference", "number", "new minus old"),
    Column("low", "number", "lower end of the 95 % interval, Student's t over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("p", "number", "p-value of no difference, paired t-test over seeds", optional=True),
    Column("p_holm", "number", "p, corrected over all rows of single levels (Holm)", optional=True),
    Column(
        "p_beyond",
        "number",
        "p-value of a difference within the margin, one-sided t-test on the side where the difference lies",
        optional=True,
    ),
    Column("p_beyond_holm", "number", "p_beyond, corrected likewise", optional=True),
    Column(
        "verdict",
        "text",
        "worse or better: the interval lies wholly beyond the margin, and p_beyond_holm is at most 0.025; alike: wholly within; "
        "open: neither; no interval: fewer than two seeds",
    ),
    Column("pairs", "whole", "pairs of trials"),
    Column("seeds", "whole", "seeds that have pairs"),
)
"""Columns of compare.csv: what `trainatlas compare` says of all pairs, of each stage and of each level."""

PAIR_COLUMNS = (
    Column("stage", "text", "final, random or winner"),
    Column("data", "text", "data set"),
    Column("network", "text", "architecture"),
    *(Column(factor, "text", "level of the factor") for factor in FACTORS),
    Column("seed", "whole", "the seed"),
    Column("old_trial_id", "text", "the trial of the old run"),
    Column("new_trial_id", "text", "the trial of the new run"),
    Column("old_rate", "number", "learning rate of the old trial"),
    Column("new_rate", "number", "learning rate of the new trial"),
    Column("old_status", "text", "how the old trial ended"),
    Column("new_status", "text", "how the new trial ended"),
    Column("old", "number", "the metric of the old trial; 0 where it failed"),
    Column("new", "number", "the metric of the new trial; 0 where it failed"),
    Column("difference", "number", "new minus old"),
)
"""Columns of pairs.csv: every pair of trials."""

COMPARED_PAGES: dict[str, tuple[Column, ...]] = {
    "reports/COMPARISON/tables/compare.csv": COMPARE_COLUMNS,
    "reports/COMPARISON/tables/pairs.csv": PAIR_COLUMNS,
}
"""Tables that `trainatlas compare` writes, for the data dictionary."""
