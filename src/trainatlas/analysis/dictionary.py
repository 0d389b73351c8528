"""The data dictionary as a page: every column of every table, from the same declarations that check them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.analysis.tables import PLACE_COLUMNS, PLAN_TABLE, SELECTED_COLUMNS
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    STACK_COLUMNS,
    TIMING_COLUMNS,
    TRIAL_COLUMNS,
    Column,
)


def data_dictionary(more: Mapping[str, Sequence[Column]] = MappingProxyType({})) -> str:
    """Return the page in Markdown.

    Parameters
    ----------
    more
        Tables that later stages write: columns by path.
    """
    pages = [
        _page("results/STUDY/plan-N.csv", PLAN_TABLE, "One for each round of planning, N from 1."),
        _page(
            "results/STUDY/selected.csv",
            SELECTED_COLUMNS,
            "After these comes a column for each parameter that the grid tuned, with the value chosen.",
        ),
        _page(
            "results/STUDY/trials.csv",
            (*TRIAL_COLUMNS, *PLACE_COLUMNS),
            "After these comes a column for each parameter of the study, such as `optimizer.momentum`, and the factor's column "
            "then holds the level as the study writes it. Columns `steps_to_<metric>_<value>` follow, one for each target: "
            "steps to the first evaluation that meets it, `inf` for never, empty where it was not measured. The tables of "
            "single packs, `raw/<pack>/trials.csv`, end before `sample`.",
        ),
        _page("results/STUDY/curves.csv", CURVE_COLUMNS),
        _page("results/STUDY/layers.csv", LAYER_COLUMNS),
        _page(
            "results/STUDY/histograms.csv",
            HISTOGRAM_COLUMNS,
            "Filled by full probes alone. 40 bins of equal width lie between the layer's extremes over the probe set; bins that "
            "hold nothing have no row, and where all values are the same there is one row without width.",
        ),
        _page("results/STUDY/packs.csv", PACK_COLUMNS, "The only gathered table that holds times."),
        _page(
            "results/STUDY/timing.csv",
            TIMING_COLUMNS,
            "Written by `trainatlas time`: the times of this machine, one thread, without evaluation and loading. A row for each "
            "combination of these levels among final runs, random draws and winners. Their options that are parameters of the "
            "study are those of one trial. Rows of which nothing that a step's time depends on differs share one measurement.",
        ),
        _page(
            "results/STUDY/raw/PACK/stacks.csv",
            STACK_COLUMNS,
            "What the next planning corrects its estimates by; it is not gathered.",
        ),
        *(_page(f"results/STUDY/analysis/{name}.csv", columns) for name, columns in ANALYSIS_TABLES.items()),
        *(_page(path, tuple(columns)) for path, columns in more.items()),
    ]
    head = (
        "# Data dictionary\n\nMade by `make schemas`; do not edit by hand. Tables are CSV in UTF-8 with one header row, `.` as "
        "decimal mark, empty cells for what is missing and `inf` for what is not finite or never happened. Accuracies, "
        "fractions and shares run from 0 to 1.\n"
    )
    return "\n".join([head, *pages])


def _page(title: str, columns: Iterable[Column], note: str = "") -> str:
    rows = [
        f"| `{column.name}` | {column.kind}{', may be empty' if column.optional else ''} | {column.meaning} |"
        for column in columns
    ]
    table = "\n".join(["| column | kind | meaning |", "|---|---|---|", *rows])
    return f"## {title}\n\n{table}\n" + (f"\n{note}\n" if note else "")
