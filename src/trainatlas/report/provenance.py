"""The section on provenance: what it took to come from the study to this report, on what, and how to do it again."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.drawing import PALETTE, WIDTH, canvas_of, svg_of
from trainatlas.report.wording import duration, from_here
from trainatlas.study.config import Study
from trainatlas.study.stage_times import StageTime


class Checksum(NamedTuple):
    """A table's name, its size in bytes, and the SHA-256 of its bytes."""

    table: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Origin:
    """What is known of a report's tables beside provenance.json.

    Attributes
    ----------
    stages
        What the stages before the report took, in the order in which they ended.
    checksums
        Of the tables that the report rests on.
    """

    stages: Sequence[StageTime] = ()
    checksums: Sequence[Checksum] = ()


NOTHING_MORE = Origin()


def checksums_of(paths: Iterable[Path]) -> list[Checksum]:
    """Return the checksums of tables, by their files' names."""
    found = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(Checksum(path.name, path.stat().st_size, digest))
    return found


def provenance_section(study: Study, provenance: dict[str, Any], origin: Origin) -> Section:
    """Return the section.

    Parameters
    ----------
    provenance
        As `trainatlas aggregate` wrote it.
    """
    blocks: list[Figure | Table] = [_facts(provenance)]
    steps = _steps(provenance, origin.stages)
    if steps:
        blocks = [_pipeline(steps), *blocks]
    if origin.checksums:
        blocks.append(_checksums(origin.checksums))
    return Section(
        "provenance",
        "Provenance",
        [
            f"The command that makes all this anew: snakemake --cores all --config {_source(study)}",
            "The same study, commit and machine give the same tables, times apart.",
            f"To cite: trainatlas {provenance['trainatlas']}, commit {provenance['source']['commit'][:12]}, study {study.name} "
            f"(digest {study.digest()}); CITATION.cff has the software's entry.",
        ],
        blocks,
    )


def _source(study: Study) -> str:
    path, profile = study.named
    return f"study={from_here(path)}" + (f" profile={profile}" if profile else "")


def _facts(provenance: dict[str, Any]) -> Table:
    source, hardware, training = provenance["source"], provenance["hardware"], provenance["training"]
    state = {True: " with uncommitted changes", False: "", None: ""}[source["dirty"]]
    seeds = "; ".join(
        f"{name}: " + ", ".join(f"{use} {' '.join(map(str, values))}" for use, values in uses.items())
        for name, uses in provenance["seeds"].items()
    )
    facts = [
        ("study digest", provenance["study_digest"]),
        ("trainatlas", f"{provenance['trainatlas']}, training version {provenance['training_version']}"),
        ("commit", f"{source['commit']}{state}"),
        ("Python", provenance["python"]),
        *((name, version) for name, version in provenance["packages"].items()),
        ("system", f"{hardware['system']} on {hardware['machine']}"),
        ("processor", f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']:g} GiB"),
        ("trained on", ", ".join(hardware["training_devices"])),
        ("seeds", seeds),
        ("trained from", f"{training['first_start']} to {training['last_end']}"),
        ("wall time of training", duration(training["wall_seconds"])),
        ("core time of training", f"{duration(training['core_seconds'])} in {training['packs']} packs"),
        ("optimizer steps, all trials", f"{training['trial_steps']:,}"),
        ("peak memory of a job", f"{training['peak_memory_mib']:,.0f} MiB"),
    ]
    return Table("How these results came about", ("what", "value"), facts, text_columns=2)


def _checksums(checksums: Sequence[Checksum]) -> Table:
    rows = [(each.table, f"{each.size:,}", each.sha256) for each in checksums]
    return Table(
        "The tables behind this report",
        ("table", "bytes", "SHA-256"),
        rows,
        "All of them lie in tables/ beside the report.",
        text_columns=3,
    )


class _Step(NamedTuple):
    """A box of the drawing: what is done, on how much, and what it took."""

    name: str
    amount: str = ""
    time: str = ""


_NAMES = {
    "prepare": "prepare data",
    "aggregate": "gather tables",
    "time": "time steps",
    "analyse": "analyse",
}


def _steps(provenance: dict[str, Any], stages: Sequence[StageTime]) -> list[_Step]:
    """Return the steps from the study to the report; rounds of training between their plans and the gathering."""
    took = {each.stage: f"{duration(each.seconds)}, {each.peak_mib:,.0f} MiB" for each in stages}
    if not took:
        return []
    steps = [_Step(_NAMES["prepare"], "", took.get("prepare", ""))]
    for each in provenance.get("rounds", []):
        name = f"plan-{each['round']}"
        steps.append(_Step(f"plan, round {each['round']}", f"{each['trials']:,} trials", took.get(name, "")))
        packs = f"{each['packs']:,} pack{'s' * (each['packs'] != 1)}"
        steps.append(_Step("train", packs))
    steps += [_Step(_NAMES[name], "", took.get(name, "")) for name in ("aggregate", "time", "analyse")]
    return [*steps, _Step("report")]


_ACROSS = 5
"""Boxes in a row of the drawing."""


def _pipeline(steps: Sequence[_Step]) -> Figure:
    """Draw the steps as boxes, row by row, each row from left to right."""
    rows = -(-len(steps) // _ACROSS)
    canvas, axes = canvas_of(1, 1, 0.2 + 0.72 * rows, share=False)
    axis = axes[0, 0]
    axis.set_axis_off()
    axis.set_xlim(0, _ACROSS)
    axis.set_ylim(rows, 0)
    wide, high = 0.82, 0.66
    places = [(number % _ACROSS, number // _ACROSS) for number in range(len(steps))]
    for step, (x, y) in zip(steps, places, strict=True):
        hue = PALETTE[1] if step.name == "train" else PALETTE[0]
        axis.add_patch(
            FancyBboxPatch(
                (x + (1 - wide) / 2, y + (1 - high) / 2), wide, high,
                boxstyle="round,pad=0,rounding_size=0.05", facecolor="white", edgecolor=hue, linewidth=1.2,
                mutation_aspect=WIDTH / _ACROSS / 0.72,
            )
        )  # fmt: skip
        lines = [step.name, *filter(None, (step.amount, step.time))]
        for line, text in enumerate(lines):
            down = (line - (len(lines) - 1) / 2) * 0.2
            weight = "bold" if line == 0 else "normal"
            axis.text(x + 0.5, y + 0.5 + down, text, ha="center", va="center", fontsize=7.5, fontweight=weight)
    for (x, y), (next_x, next_y) in itertools.pairwise(places):
        if next_y == y:
            start, end = (x + (1 + wide) / 2, y + 0.5), (next_x + (1 - wide) / 2, y + 0.5)
        else:
            start, end = (x + 0.5, y + (1 + high) / 2), (next_x + 0.5, next_y + (1 - high) / 2)
        axis.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=7, linewidth=0.9, color="#666666", shrinkA=0, shrinkB=0
            )
        )
    told = "; ".join(" ".join(filter(None, (step.name, f"({step.amount})" if step.amount else ""))) for step in steps)
    return Figure(
        "pipeline",
        svg_of(canvas),
        "From the study to this report",
        "Each box is a step that can be run by hand too; times are wall clock, from the start of the step's process to its end, "
        "with the most memory that it held. What training took is in the table below.",
        f"Boxes joined by arrows: {told}.",
        "",
    )
