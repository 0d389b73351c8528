"""What the report says of the data: what they are, and how they are split."""

from __future__ import annotations

from typing import Any

from trainatlas.report.blocks import Table
from trainatlas.study.config import Study

LISTED_CLASSES = 20
"""Classes whose counts are shown one by one, at most."""


def data_table(data: dict[str, Any]) -> Table:
    """Return what `trainatlas prepare` wrote of the data, as a table."""
    parts = {part: data[f"{part}_examples"] for part in ("train", "validation", "test")}
    channels, height, width = data["shape"]
    rows = [
        ("name", data["data"]),
        (
            "examples",
            f"{sum(parts.values()):,}: {parts['train']:,} for training, {parts['validation']:,} for validation, "
            f"{parts['test']:,} for test",
        ),
        ("shape of an example", f"{channels} x {height} x {width} (channels x height x width)"),
        ("classes", _classes(data["classes"], data["class_counts"])),
        ("channel means", ", ".join(f"{mean:.4g}" for mean in data["channel_mean"])),
        ("channel standard deviations", ", ".join(f"{std:.4g}" for std in data["channel_std"])),
        ("SHA-256 of the arrays", data["sha256"]),
    ]
    if data["digest"]:
        rows.append(("digest of the files", data["digest"]))
    note = (
        "Counts, means and standard deviations are over all examples, without the test part where the data bring one; "
        "before preprocessing, bytes as shares of 255."
    )
    return Table("The data", ("what", "value"), rows, note, text_columns=2)


def _classes(names: list[str], counts: list[int]) -> str:
    if len(names) > LISTED_CLASSES:
        return f"{len(names)}, of {min(counts):,} to {max(counts):,} examples each"
    return ", ".join(f"{name}: {number:,}" for name, number in zip(names, counts, strict=True))


def split_in_words(study: Study) -> str:
    """Return how many examples each part has, and where the parts come from."""
    sizes = study.parts
    validation, test = study.facts.given or (0, 0)
    given = [name for name, number in (("validation", validation), ("test", test)) if number]
    text = f"{sizes.train:,} examples are for training, {sizes.validation:,} for validation, {sizes.test:,} for test"
    if given:
        text += f"; the {' and '.join(given)} part{'s are' if len(given) > 1 else ' is'} the data's own"
    drawn = [name for name in ("validation", "test") if name not in given]
    if not drawn:
        return f"{text}. "
    what = "split" if len(drawn) > 1 else f"{drawn[0]} part"
    return f"{text}; the {what} is stratified by class and drawn anew for each seed. "
