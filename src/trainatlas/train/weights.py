"""Weights that trials leave behind at the end of a rung, for a later round to go on from.

They spare time and change nothing: a trial whose weights are missing, damaged or of another build is trained from its start,
to the same results but for rounding (docs/decisions/0012-what-neighbours-share.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainatlas.data.arrays import read_arrays, write_arrays
from trainatlas.study.trial import Trial
from trainatlas.train.stacked import Moment

Arrays = dict[str, NDArray[Any]]

_SHARED = ("steps", "one_pass", "schedules/observed")  # what the trials of a stack have in common


@dataclass(frozen=True)
class _Left:
    """What one trial left behind: where it stood, its result so far, its rows of the stack's arrays, and what it shared."""

    epoch: int
    result: dict[str, Any]
    own: Arrays
    shared: Arrays


def leave_weights(folder: Path, identity: Mapping[str, Any], trials: Sequence[Trial], moment: Moment) -> None:
    """Write the state of a stack's sound trials; raises UserError where it cannot be written.

    Parameters
    ----------
    folder
        The pack's own.
    identity
        What another job must agree with to use them.
    trials
        All trials of the stack as it was formed.
    moment
        The end of their last epoch.
    """
    rows = [row for row, place in enumerate(moment.live) if moment.results[place]["status"] == "ok"]
    if not rows:
        return
    places = [moment.live[row] for row in rows]
    head = {
        "identity": dict(identity),
        "epoch": moment.epoch,
        "trials": [trials[place].trial_id for place in places],
        "results": [moment.results[place] for place in places],
    }
    arrays = {name: value if name in _SHARED else value[rows] for name, value in moment.arrays.items()}
    encoded = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    write_arrays(folder / f"{trials[0].trial_id}.npz", {"head": encoded, **arrays})


def take_weights(
    folder: Path, identity: Mapping[str, Any], trials: Sequence[Trial], parents: Mapping[str, tuple[str, str]]
) -> Moment | None:
    """Return the moment that a stack goes on from; None where not all of its trials have one, and the same.

    Parameters
    ----------
    folder
        That of all packs.
    parents
        The pack and the id of the trial that each goes on from, by its own id.
    """
    if not all(trial.trial_id in parents for trial in trials):
        return None
    left: dict[str, _Left] = {}
    for pack in sorted({parents[trial.trial_id][0] for trial in trials}):
        for path in sorted((folder / pack).glob("*.npz")):
            left |= _read(path, identity)
    found = [left.get(parents[trial.trial_id][1]) for trial in trials]
    states = [each for each in found if each is not None]
    if len(states) < len(trials) or len({each.epoch for each in states}) > 1:
        return None
    shared = states[0].shared
    if any(not np.array_equal(each.shared[name], shared[name]) for each in states for name in _SHARED):
        return None
    like = {name: value for each in states for name, value in each.own.items()}
    own = {
        name: np.stack([each.own.get(name, np.zeros_like(value)) for each in states]) for name, value in like.items()
    }
    return Moment(states[0].epoch, list(range(len(trials))), [each.result for each in states], {**shared, **own})


def _read(path: Path, identity: Mapping[str, Any]) -> dict[str, _Left]:
    arrays = read_arrays(path)
    if arrays is None:
        return {}
    head = json.loads(arrays.pop("head").tobytes())
    if head["identity"] != dict(identity):
        return {}
    shared = {name: arrays.pop(name) for name in _SHARED}
    return {
        trial_id: _Left(head["epoch"], result, {name: value[i] for name, value in arrays.items()}, shared)
        for i, (trial_id, result) in enumerate(zip(head["trials"], head["results"], strict=True))
    }
