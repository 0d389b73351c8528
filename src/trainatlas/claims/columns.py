"""The data dictionary of claims: the columns of the tables that verdicts are told by, and rest on."""

from __future__ import annotations

from trainatlas.train.records import Column

MEASURED_COLUMNS = (
    Column("case", "text", "data set and architecture"),
    Column("seed", "whole", "the seed"),
    Column("pair", "text", "what else the pair shares"),
    Column("effect", "number", "the effect; for a ratio its natural logarithm"),
)
"""Columns of the table of an experiment."""

CHECK_COLUMNS = (
    Column("claim", "text", "id of the claim"),
    Column("what", "text", "what is checked"),
    Column("expected", "number", "the number by theory"),
    Column("found", "number", "the number that the code yields, in double precision", optional=True),
    Column("tolerance", "number", "the largest difference that rounding explains"),
    Column("holds", "whole", "1 where the difference is within the tolerance"),
)

VERDICT_COLUMNS = (
    Column("claim", "text", "id of the claim"),
    Column("part", "whole", "number of the part of the claim, from 1"),
    Column("what", "text", "what the effect is"),
    Column("study", "text", "the study that answers; empty for an experiment"),
    Column("case", "text", "data set and architecture"),
    Column("direction", "text", "greater, less, equal, differs or between: what the claim expects of the effect"),
    Column("scale", "text", "difference or ratio; the numbers of a ratio are natural logarithms"),
    Column("unit", "text", "unit of a difference"),
    Column("expected_low", "number", "the effect is expected above this - for differs below it -"),
    Column("expected_high", "number", "and below this - for differs, or above it"),
    Column("effect", "number", "mean over seeds", optional=True),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column(
        "p", "number", "the smaller of two p-values: for an effect as expected, and for one that is not", optional=True
    ),
    Column("p_holm", "number", "the same, corrected over the rows of the claim's chapter (Holm 1979)", optional=True),
    Column("verdict", "text", "supported, refuted, inconclusive or not run"),
    Column("reason", "text", "why it was not run"),
    Column("stable", "whole", "0 where leaving out a single seed moves the mean to the other side of what is expected"),
    Column("seeds", "whole", "seeds"),
    Column("pairs", "whole", "observations, of all seeds"),
    Column("trials", "whole", "trials behind them"),
    Column(
        "diverged",
        "whole",
        "of these, trials that diverged; where there are any, p is the larger of two: over seeds, and over pairs",
    ),
)

SUMMARY_COLUMNS = (
    Column("claim", "text", "id of the claim"),
    Column("chapter", "text", "letter of its chapter"),
    Column("statement", "text", "what is claimed"),
    Column("source", "text", "where"),
    Column("kind", "text", "mathematics, experiment or both"),
    Column("verdict", "text", "what its rows say together; mixed where some support and others refute it"),
    Column("supported", "whole", "rows that support it, all its exact checks counted as one row"),
    Column("refuted", "whole", "rows that refute it"),
    Column("inconclusive", "whole", "rows that leave it open"),
    Column("not_run", "whole", "rows without evidence"),
    Column("checks", "whole", "exact checks"),
    Column("turned_by", "text", "data sets and architectures without any of which the verdict would be another"),
)

EVIDENCE_COLUMNS = (
    Column("claim", "text", "id of the claim"),
    Column("part", "whole", "number of the part"),
    Column("study", "text", "the study; empty for an experiment"),
    *MEASURED_COLUMNS,
)

BEHIND_COLUMNS = (
    Column("claim", "text", "id of the claim"),
    Column("part", "whole", "number of the part"),
    Column("study", "text", "the study"),
    Column("trial_id", "text", "a trial behind the verdict"),
)

LITERATURE_COLUMNS = (
    Column("claim", "text", "id of the claim; empty where it belongs to none"),
    Column("part", "whole", "number of the part that measures the same; 0: none"),
    Column("figure", "text", "what was published"),
    Column("source", "text", "by whom"),
    Column("single_run", "whole", "1 where it rests on a single run"),
    Column("study", "text", "our study; empty for an experiment or none"),
    Column("case", "text", "our data set and architecture"),
    Column("scale", "text", "difference or ratio; the numbers of a ratio are natural logarithms"),
    Column("unit", "text", "unit of a difference"),
    Column("effect", "number", "ours, mean over seeds", optional=True),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("agreement", "text", "agrees, contradicts, underpowered or not comparable"),
    Column("reason", "text", "in what the set-ups differ, or why nothing can be compared"),
)

CLAIM_TABLES: dict[str, tuple[Column, ...]] = {
    "summary": SUMMARY_COLUMNS,
    "verdicts": VERDICT_COLUMNS,
    "checks": CHECK_COLUMNS,
    "evidence": EVIDENCE_COLUMNS,
    "trials": BEHIND_COLUMNS,
    "literature": LITERATURE_COLUMNS,
}
"""Every table of verdicts, by the name of its file."""

CLAIM_PAGES = {f"results/CLAIMS/{name}.csv": columns for name, columns in CLAIM_TABLES.items()} | {
    "results/CLAIMS/measured/EXPERIMENT.csv": MEASURED_COLUMNS
}
"""The same by path, for the data dictionary."""
