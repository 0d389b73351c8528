"""Checkpoints: where the training of a pack stands, kept on disk so that a job that was stopped goes on from there.

A checkpoint is taken at the end of an epoch, or of a stack, and holds all that the rest depends on; random draws
are keyed by seed and epoch and need no keeping. A job that goes on from one yields the same bytes as one that was
never stopped (on a CPU).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainatlas.data.arrays import read_arrays, write_arrays
from trainatlas.study.errors import UserError
from trainatlas.study.planning import Pack
from trainatlas.study.trial import TRAINING_VERSION, Trial
from trainatlas.train.stacked import Course, Moment, TrialResult
from trainatlas.train.weights import leave_weights, take_weights

Say = Callable[[str], None]
Arrays = dict[str, NDArray[Any]]

CHECKPOINT_FORMAT = 3
"""Raised whenever what a checkpoint holds changes its form or its meaning."""

RARITY = 20
"""A checkpoint is written when so many times the cost of the last one has gone by: 5 % of the time at most."""


class Interrupted(Exception):  # noqa: N818 - no error, but what was asked for
    """Training was asked to stop and did; holds the signal's number and a line for the user."""

    def __init__(self, line: str, number: int) -> None:
        super().__init__(line)
        self.number = number


class StopRequest:
    """Whether, by which signal and when this process was asked to stop.

    Parameters
    ----------
    deadline
        When, by `time.monotonic()`, it counts as asked by SIGTERM if nobody has asked before: the approach of a time limit.
    patient
        Whether a second signal changes nothing. A user's second Ctrl-C ends the process at once; a scheduler sends its signals by
        several ways, and kills by itself.
    """

    def __init__(self, deadline: float = math.inf, patient: bool = False) -> None:
        self._deadline, self._patient = deadline, patient
        self._number: int | None = None
        self._at = 0.0

    @property
    def number(self) -> int | None:
        """Number of the signal; None as long as nothing asks to stop."""
        if self._number is None and time.monotonic() >= self._deadline:
            return signal.SIGTERM
        return self._number

    @property
    def at(self) -> float:
        """When it was asked, by `time.monotonic()`."""
        return self._deadline if self.by_clock else self._at

    @property
    def by_clock(self) -> bool:
        """Whether it is the time limit that asks."""
        return self._number is None or self._at >= self._deadline

    def ask(self, number: int) -> None:
        """Note the request; the second one ends the process at once, unless it is patient."""
        if self._number is None:
            self._number, self._at = number, time.monotonic()
        elif not self._patient:
            os._exit(128 + number)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take SIGTERM and SIGINT for requests while the block runs."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.ask(number)

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Keeping:
    """Where and how often checkpoints are written, and what asks training to stop.

    Attributes
    ----------
    folder
        The pack's own, removed when the pack is done; None keeps nothing.
    between
        Least seconds between two checkpoints; 0 writes one at every epoch, whatever it costs.
    grace
        Seconds in which an epoch may still be ended once training was asked to stop.
    weights
        Folder in which packs leave weights for later ones (`trainatlas.train.weights`); None: none do.
    """

    folder: Path | None = None
    between: float = 30.0
    grace: float = 20.0
    stop: StopRequest | None = None
    weights: Path | None = None


class Checkpoints(Course):
    """The course of a pack's training: which stacks wait, what those before yielded, and the checkpoint on disk.

    Parameters
    ----------
    pack
        The pack that is trained.
    device
        The kind of device: a checkpoint of another one is not used.
    keeping, say
        As told; `say` takes one line at a time.

    Attributes
    ----------
    waiting
        Stacks that are not done; the first is the one in training.
    results
        Of the stacks that are.
    seconds_before
        Seconds that earlier jobs trained until the checkpoint that this one goes on from.
    spent
        Seconds that this job spent on checkpoints.
    """

    def __init__(self, pack: Pack, device: str, keeping: Keeping, say: Say) -> None:
        self._pack, self._keeping, self._say = pack, keeping, say
        self._stop = keeping.stop or StopRequest()
        self._path = None if keeping.folder is None else keeping.folder / "checkpoint.npz"
        self._build = {
            "format": CHECKPOINT_FORMAT,
            "probes": pack.probes,
            "training_version": TRAINING_VERSION,
            "torch": torch.__version__,
            "device": device,
        }
        self._identity = self._build | {"pack": pack.pack_id}
        self.waiting: list[list[Trial]] = []
        self.results: list[TrialResult] = []
        self.seconds_before = 0.0
        self.spent = 0.0
        self._written = 0
        self._done: list[NDArray[np.uint8]] = []  # results of each stack that is done, as they are written
        self._begun = self._last = time.monotonic()
        self._cost = 0.0
        self._resumed: Moment | None = None  # what the first stack goes on from
        self._forget()

    def _forget(self) -> None:
        """Stand before the first epoch of the first stack."""
        self._epoch = 0  # ended last
        self._epoch_begun = time.monotonic()
        self._epoch_seconds: float | None = None
        self._kept: Moment | None = None  # the end of that epoch, where disk does not hold it
        self._on_disk = False

    # What the pack tells.

    def form(self, stacks: Callable[[], list[list[Trial]]]) -> None:
        """Go on from the checkpoint, if there is one to be trusted, or begin with `stacks()`."""
        content = self._read()
        if content is None:
            self.waiting = stacks()
            return
        head, arrays = content
        trials = {trial.trial_id: trial for trial in self._pack.trials}
        self.waiting = [[trials[trial_id] for trial_id in stack] for stack in head["waiting"]]
        self._done = [arrays.pop(f"done/{i}") for i in range(head["done"])]
        for encoded in self._done:
            self.results += [TrialResult.of_state(trials[i], state) for i, state in _decoded(encoded).items()]
        self.seconds_before = head["seconds"]
        if head["moment"] is not None:
            self._resumed = Moment(**head["moment"], arrays=arrays)
        epoch = 0 if self._resumed is None else self._resumed.epoch
        self._say(f"pack {self._pack.pack_id}: continues at {self._place(epoch + 1)}")

    def recut(self, cut: Callable[[list[list[Trial]]], list[list[Trial]]]) -> None:
        """Cut the waiting stacks smaller; the first keeps its place if it stays whole."""
        first = self.waiting[:1]
        self.waiting = cut(self.waiting)
        if self.waiting[:1] != first:
            self._resumed = None

    def halve(self) -> None:
        """Put the halves of the first waiting stack in its place; they begin anew."""
        trials = self.waiting[0]
        middle = len(trials) // 2
        self.waiting[:1] = [trials[:middle], trials[middle:]]
        self._resumed = None

    def end_stack(self, results: list[TrialResult]) -> None:
        """Take in what the first waiting stack yielded; raises Interrupted where asked to stop before the last."""
        self.results += results
        self._done.append(_encoded({result.trial.trial_id: result.state() for result in results}))
        del self.waiting[0]
        self._forget()
        if not self.waiting:
            return
        if self._due():
            self._write(None)
        if self._stop.number is not None:
            self._raise()

    def discard(self) -> None:
        """Remove the checkpoint, since the pack's tables are written, and say what checkpoints cost."""
        if self._written:
            self._say(
                f"pack {self._pack.pack_id}: {self._written} checkpoints took {self.spent:.2f} s, "
                f"{self.spent / (time.monotonic() - self._begun):.1%} of the time"
            )
        if self._keeping.folder is not None:
            shutil.rmtree(self._keeping.folder, ignore_errors=True)

    @property
    def seconds(self) -> float:
        """Return how long the pack has been trained, by earlier jobs too."""
        return self.seconds_before + time.monotonic() - self._begun

    @property
    def resumes(self) -> bool:
        """Return whether the first waiting stack goes on from within."""
        return self._resumed is not None

    @property
    def counts(self) -> tuple[int, int]:
        """Return how many stacks are done and how many are not."""
        return len(self._done), len(self.waiting)

    # What the stack in training tells.

    def begin(self) -> Moment | None:
        """Return where the first waiting stack goes on from; None for its start."""
        moment, self._resumed = self._resumed, None
        self._forget()
        if moment is None:
            moment = self._taken()
        if moment is not None:
            self._epoch, self._on_disk = moment.epoch, True
        self.after_step()  # a request may have come since the last stack
        return moment

    def after_step(self) -> None:
        """Raise Interrupted where training was asked to stop and the epoch is not about to end."""
        if self._stop.number is None:
            return
        deadline = self._stop.at + self._keeping.grace
        if self._epoch_seconds is not None and self._epoch_begun + self._epoch_seconds <= deadline:
            return
        if self._epoch and not self._on_disk:
            if self._kept is None:  # epochs were short until now: this one is ended, or the last would be lost
                return
            self._write(self._kept)
        elif not self._epoch:
            self._write(None)
        self._raise()

    def end_epoch(self, moment: Callable[[], Moment]) -> None:
        """Write a checkpoint where one is due; raises Interrupted where training was asked to stop."""
        self._epoch += 1
        self._epoch_seconds = time.monotonic() - self._epoch_begun
        self._kept, self._on_disk = None, False
        if self._due():
            self._on_disk = self._write(moment())
        if self._stop.number is not None:
            self._raise()
        if not self._on_disk and self._epoch_seconds > self._keeping.grace:
            now = moment()
            self._kept = replace(now, arrays={name: value.copy() for name, value in now.arrays.items()})
        self._epoch_begun = time.monotonic()

    def end_epochs(self, moment: Callable[[], Moment]) -> None:
        """Leave the weights of trials that a later round may go on with; where they cannot be written, it trains them anew."""
        if self._keeping.weights is not None and self._pack.keeps_weights:
            try:
                leave_weights(self._keeping.weights / self._pack.pack_id, self._build, self.waiting[0], moment())
            except UserError as error:
                self._say(f"{error}; a later round trains these trials from their start")

    def _taken(self) -> Moment | None:
        """Return where weights of an earlier round let the first waiting stack go on; None for its start."""
        if self._keeping.weights is None or not self._pack.parents:
            return None
        moment = take_weights(self._keeping.weights, self._build, self.waiting[0], self._pack.parents)
        began = (
            "goes on from the weights of an earlier round" if moment else "has no weights to go on from and begins anew"
        )
        self._say(f"pack {self._pack.pack_id}: a stack of {len(self.waiting[0])} {began}")
        return moment

    # The file.

    def _due(self) -> bool:
        between = self._keeping.between
        rest = max(between, RARITY * self._cost) if between else 0.0
        return self._stop.number is not None or time.monotonic() - self._last >= rest

    def _write(self, moment: Moment | None) -> bool:
        """Write a checkpoint and return whether it lies there; training goes on where it cannot be written."""
        if self._path is None:
            return False
        began = time.monotonic()
        head = {
            "identity": self._identity,
            "seconds": self.seconds,
            "waiting": [[trial.trial_id for trial in stack] for stack in self.waiting],
            "done": len(self._done),
            "moment": None if moment is None else {k: v for k, v in vars(moment).items() if k != "arrays"},
        }
        arrays: Arrays = {"head": _encoded(head), **{f"done/{i}": part for i, part in enumerate(self._done)}}
        try:
            write_arrays(self._path, arrays | ({} if moment is None else moment.arrays))
            self._written += 1
            return True
        except UserError as error:
            self._say(f"{error}; training goes on without this checkpoint")
            return False
        finally:
            self._last = time.monotonic()
            self._cost = self._last - began
            self.spent += self._cost

    def _read(self) -> tuple[dict[str, Any], Arrays] | None:
        """Return the checkpoint's head and arrays; None, with a line that says why, where there is none to be used."""
        if self._path is None or not self._path.exists():
            return None
        arrays = read_arrays(self._path)
        if arrays is None:
            self._say(f"{self._path}: is damaged; the pack is trained from the start")
            return None
        head = _decoded(arrays.pop("head"))
        for key, value in self._identity.items():
            if head["identity"].get(key) != value:
                found = head["identity"].get(key)
                self._say(f"{self._path}: {key} is {found}, not {value}; the pack is trained from the start")
                return None
        return head, arrays

    def _place(self, epoch: int) -> str:
        done, waiting = self.counts
        return f"epoch {epoch} of {self.waiting[0][0].last_epoch} of stack {done + 1} of {done + waiting}"

    def _raise(self) -> None:
        assert self._stop.number is not None
        raise Interrupted(
            f"pack {self._pack.pack_id}: stopped at {self._place(self._epoch)}"
            f"{', near its time limit' if self._stop.by_clock else ''}; start again to go on",
            self._stop.number,
        )


def _encoded(value: Mapping[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def _decoded(encoded: NDArray[np.uint8]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(encoded.tobytes())
    return value
