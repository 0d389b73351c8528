"""Where results come from: study, code, packages, hardware, seeds, times."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

import trainatlas
from trainatlas.study.config import Study
from trainatlas.study.planning import planned_rounds, read_summary
from trainatlas.study.trial import TRAINING_VERSION

PACKAGES = (
    "torch", "numpy", "pandas", "scikit-learn", "scipy", "seaborn", "matplotlib",
    "jinja2", "weasyprint", "snakemake",
)  # fmt: skip


def provenance(study: Study, results: Path, packs: pd.DataFrame) -> dict[str, Any]:
    """Describe how the results under `results` came about.

    Gathered once with the tables, so that a report built anew from them says the same.
    """
    plan = read_summary(results, 1)
    return {
        "study": study.model_dump(mode="json"),
        "study_digest": study.digest(),
        "excluded_cells": plan["excluded_cells"],
        "cells": plan["cells"],
        "training_version": TRAINING_VERSION,
        "trainatlas": trainatlas.__version__,
        "source": _source(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "hardware": {
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "training_devices": sorted(set(packs["device"])),
        },
        "rounds": [_round(results, number) for number in planned_rounds(results)],
        "seeds": {sample.name: sample.seeds_by_use for sample in study.samples},
        "training": {
            "packs": len(packs),
            "trial_steps": int(packs["trial_steps"].sum()),
            "core_seconds": round(float((packs["seconds"] + packs["start_seconds"]).sum()), 1),
            "first_start": packs["started"].min(),
            "last_end": packs["ended"].max(),
            "wall_seconds": round(
                (pd.to_datetime(packs["ended"]).max() - pd.to_datetime(packs["started"]).min()).total_seconds(),
                1,
            ),
            "peak_memory_mib": float(packs["peak_memory_mib"].max()),
        },
    }


def _round(results: Path, number: int) -> dict[str, int]:
    """Return how many trials and packs a round of planning has."""
    plan = read_summary(results, number)
    return {"round": number, "trials": plan.get("trials", 0), "packs": len(plan.get("packs", ()))}


def _source() -> dict[str, object]:
    """Return the commit of the code in use and whether files differ from it; unknown outside a checkout."""
    folder = Path(trainatlas.__file__).parent
    commit, status = (_git(folder, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    return {"commit": commit or "unknown", "dirty": bool(status) if status is not None else None}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
