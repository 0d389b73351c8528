"""What the report says of the data: what they are, and how they are split."""

from __future__ import annotations

from typing import Any

from trainatlas.report.blocks import Table
from trainatlas.report.language import tr
from trainatlas.study.config import Study

LISTED_CLASSES = 20
"""Classes whose counts are shown one by one, at most."""


def data_table(data: dict[str, Any]) -> Table:
    """Return what `trainatlas prepare` wrote of the data, as a table."""
    parts = {part: data[f"{part}_examples"] for part in ("train", "validation", "test")}
    channels, height, width = data["shape"]
    rows = [
        (tr("name"), data["data"]),
        (
            tr("examples"),
            tr(
                "{all:,}: {train:,} for training, {validation:,} for validation, {test:,} for test",
                all=sum(parts.values()),
                **parts,
            ),
        ),
        (
            tr("shape of an example"),
            tr(
                "{channels} x {height} x {width} (channels x height x width)",
                channels=channels,
                height=height,
                width=width,
            ),
        ),
        (tr("classes"), _classes(data["classes"], data["class_counts"])),
        (tr("channel means"), ", ".join(f"{mean:.4g}" for mean in data["channel_mean"])),
        (tr("channel standard deviations"), ", ".join(f"{std:.4g}" for std in data["channel_std"])),
        (tr("SHA-256 of the arrays"), data["sha256"]),
    ]
    if data["digest"]:
        rows.append((tr("digest of the files"), data["digest"]))
    note = tr(
        "Counts, means and standard deviations are over all examples, without the test part where the data bring one; "
        "before preprocessing, bytes as shares of 255."
    )
    return Table(tr("The data"), (tr("what"), tr("value")), rows, note, text_columns=2)


def _classes(names: list[str], counts: list[int]) -> str:
    if len(names) > LISTED_CLASSES:
        return tr(
            "{classes}, of {fewest:,} to {most:,} examples each",
            classes=len(names),
            fewest=min(counts),
            most=max(counts),
        )
    return ", ".join(f"{name}: {number:,}" for name, number in zip(names, counts, strict=True))


def split_in_words(study: Study) -> str:
    """Return how many examples each part has, and where the parts come from."""
    sizes = study.parts
    validation, test = study.facts.given or (0, 0)
    parts = {"train": sizes.train, "validation": sizes.validation, "test": sizes.test}
    if validation and test:
        return tr(
            "{train:,} examples are for training, {validation:,} for validation, {test:,} for test; the validation and test "
            "parts are the data's own.",
            **parts,
        )
    if validation:
        return tr(
            "{train:,} examples are for training, {validation:,} for validation, {test:,} for test; the validation part is the "
            "data's own; the test part is stratified by class and drawn anew for each seed.",
            **parts,
        )
    if test:
        return tr(
            "{train:,} examples are for training, {validation:,} for validation, {test:,} for test; the test part is the "
            "data's own; the validation part is stratified by class and drawn anew for each seed.",
            **parts,
        )
    return tr(
        "{train:,} examples are for training, {validation:,} for validation, {test:,} for test; the split is stratified by "
        "class and drawn anew for each seed.",
        **parts,
    )
