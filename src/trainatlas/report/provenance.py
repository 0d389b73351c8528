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
from trainatlas.report.language import mark, spoken, tr, trn
from trainatlas.report.wording import duration, from_here, word
from trainatlas.study.config import Study
from trainatlas.study.languages import ENGLISH
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
        tr("Provenance"),
        [
            tr(
                "The command that makes all this anew: {command}",
                command=f"snakemake --cores all --config {_source(study)}" + _asked_language(),
            ),
            tr("The same study, commit and machine give the same tables, times apart."),
            tr(
                "To cite: trainatlas {version}, commit {commit}, study {study} (digest {digest}); CITATION.cff has the "
                "software's entry.",
                version=provenance["trainatlas"],
                commit=provenance["source"]["commit"][:12],
                study=study.name,
                digest=study.digest(),
            ),
        ],
        blocks,
    )


def _asked_language() -> str:
    """Return the setting that asks for the language spoken, whatever the study's file says; English goes without."""
    return "" if spoken() == ENGLISH else f" language={spoken()}"


def _source(study: Study) -> str:
    path, profile = study.named
    return f"study={from_here(path)}" + (f" profile={profile}" if profile else "")


def _facts(provenance: dict[str, Any]) -> Table:
    source, hardware, training = provenance["source"], provenance["hardware"], provenance["training"]
    commit = source["commit"]
    seeds = "; ".join(
        f"{name}: " + ", ".join(f"{word(use)} {' '.join(map(str, values))}" for use, values in uses.items())
        for name, uses in provenance["seeds"].items()
    )
    facts = [
        (tr("study digest"), provenance["study_digest"]),
        (
            "trainatlas",
            tr(
                "{version}, training version {training_version}",
                version=provenance["trainatlas"],
                training_version=provenance["training_version"],
            ),
        ),
        (tr("commit"), tr("{commit} with uncommitted changes", commit=commit) if source["dirty"] else commit),
        ("Python", provenance["python"]),
        *((name, version) for name, version in provenance["packages"].items()),
        (tr("system"), tr("{system} on {machine}", system=hardware["system"], machine=hardware["machine"])),
        (
            tr("processor"),
            tr(
                "{processor}, {cores} cores, {memory:g} GiB",
                processor=hardware["processor"],
                cores=hardware["cores"],
                memory=hardware["memory_gib"],
            ),
        ),
        (tr("trained on"), ", ".join(hardware["training_devices"])),
        (tr("seeds"), seeds),
        (tr("trained from"), tr("{low} to {high}", low=training["first_start"], high=training["last_end"])),
        (tr("wall time of training"), duration(training["wall_seconds"])),
        (
            tr("core time of training"),
            tr("{time} in {packs} packs", time=duration(training["core_seconds"]), packs=training["packs"]),
        ),
        (tr("optimizer steps, all trials"), f"{training['trial_steps']:,}"),
        (tr("peak memory of a job"), f"{training['peak_memory_mib']:,.0f} MiB"),
    ]
    return Table(tr("How these results came about"), (tr("what"), tr("value")), facts, text_columns=2)


def _checksums(checksums: Sequence[Checksum]) -> Table:
    rows = [(each.table, f"{each.size:,}", each.sha256) for each in checksums]
    return Table(
        tr("The tables behind this report"),
        (tr("table"), tr("bytes"), "SHA-256"),
        rows,
        tr("All of them lie in tables/ beside the report."),
        text_columns=3,
    )


class _Step(NamedTuple):
    """A box of the drawing: what is done, on how much, and what it took."""

    name: str
    amount: str = ""
    cost: StageTime | None = None
    trains: bool = False


_NAMES = {
    "prepare": mark("prepare data"),
    "aggregate": mark("gather tables"),
    "time": mark("time steps"),
    "analyse": mark("analyse"),
}


def _steps(provenance: dict[str, Any], stages: Sequence[StageTime]) -> list[_Step]:
    """Return the steps from the study to the report; rounds of training between their plans and the gathering."""
    took = {each.stage: each for each in stages}
    if not took:
        return []
    steps = [_stage("prepare", took)]
    for each in provenance.get("rounds", []):
        planned = tr("{trials:,} trials", trials=each["trials"])
        steps.append(_Step(tr("plan, round {round}", round=each["round"]), planned, took.get(f"plan-{each['round']}")))
        steps.append(_Step(tr("train"), trn("{number:,} pack", "{number:,} packs", each["packs"]), trains=True))
    steps += [_stage(name, took) for name in ("aggregate", "time", "analyse")]
    return [*steps, _Step(tr("report"))]


def _stage(name: str, took: dict[str, StageTime]) -> _Step:
    text = _NAMES[name]
    return _Step(tr(text), "", took.get(name))


def _spent(cost: StageTime | None) -> str:
    return "" if cost is None else f"{duration(cost.seconds)}, {cost.peak_mib:,.0f} MiB"


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
        hue = PALETTE[1] if step.trains else PALETTE[0]
        axis.add_patch(
            FancyBboxPatch(
                (x + (1 - wide) / 2, y + (1 - high) / 2), wide, high,
                boxstyle="round,pad=0,rounding_size=0.05", facecolor="white", edgecolor=hue, linewidth=1.2,
                mutation_aspect=WIDTH / _ACROSS / 0.72,
            )
        )  # fmt: skip
        lines = [step.name, *filter(None, (step.amount, _spent(step.cost)))]
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
    longest, cost = max(((step, step.cost) for step in steps if step.cost), key=lambda timed: timed[1].seconds)
    told = "; ".join(" ".join(filter(None, (step.name, f"({step.amount})" if step.amount else ""))) for step in steps)
    return Figure(
        "pipeline",
        svg_of(canvas),
        tr("From the study to this report"),
        tr(
            "Of the steps beside training, {name} took longest: {time}. Each box is a step that can be run by hand too; times "
            "are wall clock, from the start of the step's process to its end, with the most memory that it held. What training "
            "took is in the table below.",
            name=longest.name,
            time=duration(cost.seconds),
        ),
        tr("Boxes joined by arrows: {steps}.", steps=told),
        "",
    )
