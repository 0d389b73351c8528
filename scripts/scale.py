"""Measure planning, gathering, analysis and report with made-up results, at sizes no training here would reach.

The study is the default one with more levels, filled up with random draws to the number of trials asked for. It is
really planned; then, instead of training, tables are made up for every pack (scripts/made_up.py). A stage runs in a
process of its own, as a rule of the pipeline runs it.

    make scale SCALE_SIZES="1000 10000"
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainatlas.catalogue import TABLES

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "benchmarks" / "digits.yaml"
COLUMNS = (
    "trials", "curve_rows", "layer_rows", "stage", "wall_seconds", "cpu_seconds", "peak_mib", "output_mib", "files"
)  # fmt: skip
FILES = {"index.html": "page", "report.pdf": "document"}
"""Files whose sizes are told singly, and what they are."""
STAGES = {
    "plan": ("plan --round 1", "plan-1.json", ["plan-1.*"]),
    "plan 2": ("plan --round 2", "plan-2.json", ["plan-2.*"]),
    "aggregate": (
        "aggregate",
        "",
        ["trials.csv", "curves.csv", "layers.csv", "histograms.csv", "packs.csv", "selected.csv"],
    ),
    "time": ("time", "", ["timing.csv"]),
    "analyse": ("analyse", "", ["analysis/*.csv"]),
    "report": ("report", "", ["index.html", "report.pdf"]),
}
"""What is measured: the command, the summary of what it plans, and the files whose size is told."""


@dataclass(frozen=True)
class Cost:
    """What a command took: wall-clock time, time on a core, and the resident memory of its largest process.

    A report's PDF is made in a process of its own beside the first, which waits.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def study_of(size: int) -> dict[str, Any]:
    """Return what the YAML of a study of about `size` trials says.

    The default study's factors get more of the catalogue's levels, evenly, while the grid still fits; draws fill the rest.
    """
    content: dict[str, Any] = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    grid, random = content["samples"]
    per_cell = grid["tune"]["learning_rate"] * len(grid["tuning_seeds"]) + len(grid["seeds"])
    levels = {
        factor: given + [name for name in TABLES[factor] if name not in {level.split("(")[0] for level in given}]
        for factor, given in content["factors"].items()
    }
    levels["normalisation"].remove("instance")  # the study's network has nothing for it
    counts = dict.fromkeys(levels, 1)

    def fits(factor: str) -> bool:
        return math.prod((counts | {factor: counts[factor] + 1}).values()) * per_cell <= size

    while growing := [factor for factor in levels if counts[factor] < len(levels[factor]) and fits(factor)]:
        counts[min(growing, key=lambda factor: (counts[factor] > 1, counts[factor] / len(levels[factor])))] += 1
    random["draws"] = max(size - math.prod(counts.values()) * per_cell, 1)
    content["factors"] = {factor: texts[: counts[factor]] for factor, texts in levels.items()}
    content["learning_rate"]["default"] = {"low": 0.001, "high": 0.1}
    content.pop("profiles", None)
    return content


def measured(words: Sequence[str]) -> Cost:
    """Run a command to its end and return what it took; raises RuntimeError with its last words where it fails."""
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {complaint.decode()[-500:]}")
    kibibytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Cost(wall, usage.ru_utime + usage.ru_stime, kibibytes / 1024)


def measure(size: int, out: Path) -> Iterator[tuple[object, ...]]:
    """Yield a row of `COLUMNS` for each stage of a study of about `size` trials, made anew under `out`."""
    name = f"scale-{size}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    study, results, reports = out / f"{name}.yaml", out / "results", out / "reports"
    study.write_text(yaml.safe_dump(study_of(size), sort_keys=False), encoding="utf-8")
    trials = curves = layers = 0
    measured(
        [sys.executable, "-m", "trainatlas.cli", "prepare", str(study), "--results", str(results)]
    )  # for the report
    for stage, (command, summary, patterns) in STAGES.items():
        words = [sys.executable, "-m", "trainatlas.cli", *command.split(), str(study), "--results", str(results)]
        cost = measured([*words, "--reports", str(reports)] if stage == "report" else words)
        folder = (reports if stage == "report" else results) / name
        if summary:
            planned = json.loads((folder / summary).read_text(encoding="utf-8"))
            more_curves, more_layers = made_up(folder, planned["packs"])
            trials, curves, layers = trials + planned["trials"], curves + more_curves, layers + more_layers
        sizes = {path.name: path.stat().st_size / 2**20 for pattern in patterns for path in folder.glob(pattern)}
        figures = (cost.wall_seconds, cost.cpu_seconds, cost.peak_mib, sum(sizes.values()))
        told = ", ".join(f"{what} {sizes[name]:.2f}" for name, what in FILES.items() if name in sizes)
        yield (trials, curves, layers, stage, *(round(figure, 1) for figure in figures), told)


def made_up(folder: Path, packs: Sequence[str]) -> list[int]:
    """Make tables up for `packs`, and return how many rows of curves and of layers.

    In a process of its own: a stage's peak memory counts that of the process that starts it.
    """
    words = [sys.executable, str(Path(__file__).with_name("made_up.py")), str(folder)]
    done = subprocess.run(words, input=json.dumps(packs), stdout=subprocess.PIPE, text=True, check=True)
    rows: list[int] = json.loads(done.stdout)
    return rows


def main() -> None:
    """Measure every size asked for, print the table and write it to OUT/scale.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="+", type=int, help="numbers of trials")
    parser.add_argument("--out", type=Path, default=Path("results/scale"), help="folder to work in")
    parser.add_argument("--keep", action="store_true", help="leave the made-up results where they are")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "scale.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        print("".join(f"{name:>14}" for name in COLUMNS[:-1]))
        for size in given.sizes:
            for row in measure(size, given.out / str(size)):
                writer.writerow(row)
                file.flush()
                cells = [f"{cell:>14,}" if not isinstance(cell, str) else f"{cell:>14}" for cell in row[:-1]]
                print("".join(cells), row[-1], flush=True)
            if not given.keep:
                shutil.rmtree(given.out / str(size))


if __name__ == "__main__":
    main()
