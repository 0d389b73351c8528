"""The section on how runs went: what labels their loss curves got, by level."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.patches import Patch

from trainatlas.analysis.diagnosis import LABELS, RULES, UNCLEAR
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.drawing import PALETTE, canvas_of, pages_of, percent_axis, rows_by_factor, rows_high, svg_of
from trainatlas.report.language import mark, tr
from trainatlas.report.level_values import farthest_apart
from trainatlas.report.wording import joined, level_name, percent, word

MEANINGS = {rule.name: rule.meaning for rule in RULES} | {UNCLEAR: mark("no rule holds")}
DRAWN = (*(label for label in reversed(LABELS) if label != UNCLEAR), UNCLEAR)
"""The labels as bars have them from left to right: healthy first, then by how much went wrong."""
HEALTHY = "healthy"
_LEVELS = 34
"""Levels of a figure, at most: as many as fit a page."""
_WRITTEN = 0.075
"""Shares from which on a bar has its number written on it."""
_HATCHES = ("", "////")


def diagnosis_section(tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section from diagnoses.csv, which must have rows, and diagnosis_counts.csv."""
    totals = tables["diagnoses"]["diagnosis"].value_counts()
    runs = len(tables["diagnoses"])
    blocks: list[Figure | Table] = []
    if len(tables["diagnosis_counts"]):
        blocks += diagnosis_figures(tables["diagnosis_counts"])
    blocks.append(_meanings(totals, runs))
    ailing = [label for label in totals.index if label not in (HEALTHY, UNCLEAR)]
    healthy = int(totals.get(HEALTHY, 0))
    numbers = {"runs": runs, "healthy": healthy, "share": percent(healthy / runs)}
    if ailing:
        named = [f"{word(label)} {totals[label]:,} ({percent(totals[label] / runs)})" for label in ailing[:3]]
        text = tr(
            "Of {runs:,} final runs {healthy:,} ({share}) are healthy; most frequent among the other diagnoses: {list}.",
            list=joined(named),
            **numbers,
        )
    else:
        text = tr("Of {runs:,} final runs {healthy:,} ({share}) are healthy.", **numbers)
    return Section(
        "diagnosis",
        tr("Diagnosis of loss curves"),
        [
            text,
            tr(
                "Each final run has one label, by the first rule that its loss curves, its accuracies and the way it ended "
                "satisfy. Precision and recall of every label, measured on one data set with plain faults, are in "
                "docs/diagnosis.md; elsewhere a label is a first look."
            ),
        ],
        blocks,
    )


def diagnosis_figures(counts: pd.DataFrame) -> list[Figure]:
    """Draw the share of each label among the runs of each level as stacked bars.

    Parameters
    ----------
    counts
        diagnosis_counts.csv, at least one row.
    """
    present = [label for label in DRAWN if (counts.loc[counts["diagnosis"] == label, "runs"] > 0).any()]
    shares = counts.pivot_table(index=["factor", "level"], columns="diagnosis", values="fraction", sort=False)
    shares = shares.reindex(columns=present, fill_value=0.0)
    trials = counts.groupby(["factor", "level"], sort=False)["trials"].first()
    found = []
    for name, number, rows in pages_of(len(shares), _LEVELS):
        part = shares.iloc[rows]
        labels = [(factor, f"{level_name(level)}  ({trials[factor, level]:,})") for factor, level in part.index]
        canvas, axes = canvas_of(1, 1, 0.85 + 0.17 * -(-len(present) // 4) + rows_high(labels), share=False)
        axis = axes[0, 0]
        places = rows_by_factor(axis, labels)
        left = pd.Series(0.0, index=part.index)
        for label in present:
            style = _style(label)
            axis.barh(places, part[label], left=left, height=0.8, linewidth=0.5, edgecolor="white", **style)
            for place, start, share in zip(places, left, part[label], strict=True):
                if share >= _WRITTEN:
                    axis.text(
                        start + share / 2, place, percent(share, 0), ha="center", va="center", fontsize=6.5, color="#111111",
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                    )  # fmt: skip
            left = left + part[label]
        axis.set_xlim(0, 1)
        percent_axis(axis, "x")
        axis.set_xlabel(tr("share of the level's final runs (their number in brackets)"))
        handles = [Patch(label=word(label), edgecolor="white", linewidth=0.5, **_style(label)) for label in present]
        canvas.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, handlelength=2.2)
        title = tr("Diagnoses by level") + number
        how = tr(
            "Bars divide each level's final runs by the label of their loss curves; the table below says what labels mean."
        )
        caption = f"{_healthiest(counts)} {how}"
        alt = f"{title}: " + "; ".join(
            f"{level_name(level)} "
            + ", ".join(f"{word(label)} {percent(share)}" for label, share in zip(present, own, strict=True) if share)
            for (_, level), own in zip(part.index, part.to_numpy(), strict=True)
        )
        found.append(Figure(f"diagnoses{name}", svg_of(canvas), title, caption, alt, "diagnosis_counts"))
    return found


def _style(label: str) -> dict[str, Any]:
    """Return hue and hatch of a label: the same in every study."""
    round_, hue = divmod(DRAWN.index(label), len(PALETTE))
    return {"facecolor": PALETTE[hue], "hatch": _HATCHES[round_]}


def _healthiest(counts: pd.DataFrame) -> str:
    """Say between which shares of healthy runs the levels lie, for the factor where that is farthest."""
    healthy = counts[counts["diagnosis"] == HEALTHY]
    if not healthy["runs"].any():
        return tr("No final run is healthy.")
    return farthest_apart(healthy.assign(value=healthy["fraction"]), word(HEALTHY))


def _meanings(totals: pd.Series, runs: int) -> Table:
    rows = [
        (word(label).replace(" ", "\u00a0"), tr(meaning), f"{totals[label]:,}", percent(totals[label] / runs))
        for label, meaning in ((label, MEANINGS[label]) for label in LABELS)
        if label in totals
    ]
    return Table(
        tr("What the diagnoses mean"),
        (tr("diagnosis"), tr("when; the first that holds, from above"), tr("runs"), tr("share")),
        rows,
        tr(
            "Labels that no run got are left out. Each run's label, with the numbers it was told from, is in the table behind; "
            "sources of the rules, and how often they are right: docs/diagnosis.md."
        ),
        "diagnoses",
        text_columns=2,
    )
