"""One trial trained anew, by itself, and whether it comes to what it came to in its pack.

Its configuration is all it takes. What its neighbours share with it does not enter its numbers, but for rounding: a trial
alone takes other kernels than a stack does (docs/decisions/0012-what-neighbours-share.md), and small differences grow
over a run.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from trainatlas.study.errors import UserError
from trainatlas.study.planning import Pack
from trainatlas.study.trial import Trial
from trainatlas.train.checkpoints import Say
from trainatlas.train.pack import train_pack
from trainatlas.train.records import TRIAL_COLUMNS, names

LOSS_TOLERANCE = 0.02
"""Losses agree where they differ by no more than this share of the larger one, or by as many nats."""
SHARE_TOLERANCE = 0.01
"""Accuracies, and shares of units, agree where they differ by no more than this."""
TOLERANCE = f"{LOSS_TOLERANCE:.0%} of a loss, {SHARE_TOLERANCE * 100:g} point of a share"

_NOT_OUTCOMES = ("error", "device", "dtype", "training_version")
_OUTCOMES = [name for name in names(TRIAL_COLUMNS)[names(TRIAL_COLUMNS).index("status") :] if name not in _NOT_OUTCOMES]


def rerun(trial: Trial, pack: Pack, results: Path, out: Path, device: torch.device, started: float, say: Say) -> str:
    """Train a trial of a pack alone into `out`, and return one line: whether it came to what its pack has of it.

    Parameters
    ----------
    out
        Folder for the same tables that a pack has; not within `results`/raw.
    started, say
        As for `trainatlas.train.pack.train_pack`.
    """
    raw = (results / "raw").resolve()
    if raw in (out.resolve(), *out.resolve().parents):
        raise UserError(f"--out {out}: lies within {raw}, where packs are; allowed: any other folder")
    alone = Pack(trial.trial_id, pack.probes, (trial,), pack.folder)
    train_pack(alone, out, device, started, say, fitted=results / "fitted")
    before = _row(results / "raw" / pack.pack_id / "trials.csv", trial.trial_id)
    if before is None:
        return f"has nothing to be compared with: its pack {pack.pack_id} is not trained"
    after = _row(out / "trials.csv", trial.trial_id)
    assert after is not None  # train_pack wrote it
    return agreement(before, after)


def agreement(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say in words whether two rows of trials.csv tell of the same outcome.

    Parameters
    ----------
    before, after
        Texts by column: of the trial in its pack, and of the trial alone.
    """
    different = [name for name in _OUTCOMES if before[name] != after[name]]
    if not different:
        return "agrees to the last digit with what its pack came to"
    apart = [name for name in different if not _close(name, before[name], after[name])]
    if not apart:
        return f"agrees with what its pack came to within {TOLERANCE}: {_told(different, before, after)}"
    return f"does not agree with what its pack came to (allowed: {TOLERANCE}): {_told(apart, before, after)}"


def _told(columns: Iterable[str], before: Mapping[str, str], after: Mapping[str, str]) -> str:
    told = [f"{name} {before[name] or 'none'} there, {after[name] or 'none'} here" for name in columns]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def _close(name: str, before: str, after: str) -> bool:
    if name == "status" or not before or not after:
        return False
    first, second = float(before), float(after)
    if math.isinf(first) or math.isinf(second):
        return first == second
    if name.endswith("loss"):
        return abs(first - second) <= LOSS_TOLERANCE * max(abs(first), abs(second), 1.0)
    if name.endswith(("accuracy", "fraction")):
        return abs(first - second) <= SHARE_TOLERANCE + 1e-9
    return math.isclose(first, second, rel_tol=1e-4)


def _row(path: Path, trial_id: str) -> dict[str, str] | None:
    """Return the trial's row of a pack's trials.csv; None where there is no such table or row."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next((row for row in csv.DictReader(file) if row["trial_id"] == trial_id), None)
    except FileNotFoundError:
        return None
