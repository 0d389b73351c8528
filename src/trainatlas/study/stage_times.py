"""What each stage of the pipeline took: noted beside the results when the stage ends well, for the report to tell."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trainatlas.study.peak_memory import peak_mib
from trainatlas.study.storage import read_json, write_json


class StageTime(NamedTuple):
    """What a stage took the last time that it ran to its end.

    Attributes
    ----------
    stage
        Its name, such as "plan-1" or "aggregate".
    seconds
        From the start of its process, wall clock.
    peak_mib
        The most memory that its process held.
    """

    stage: str
    seconds: float
    peak_mib: float


def note_stage(results: Path, stage: str, seconds: float) -> None:
    """Note that a stage took so many seconds, and what memory this process has held at most, in `results`/stages."""
    write_json(results / "stages" / f"{stage}.json", {"seconds": round(seconds, 2), "peak_mib": round(peak_mib())})


def stage_times(results: Path) -> list[StageTime]:
    """Return the stages noted in `results`, in the order in which they ended."""
    paths = sorted((results / "stages").glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [StageTime(path.stem, **read_json(path, "trainatlas")) for path in paths]
