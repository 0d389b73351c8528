"""Examples as trials see them: split by seed, preprocessed by level, augmented, shared where trials share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainatlas.data.augmentation import AUGMENTATIONS, Draws, augment
from trainatlas.data.datasets import DataSet, load
from trainatlas.data.fitted import FittedPreprocessings
from trainatlas.data.kept_splits import KeptSplits
from trainatlas.data.prepare import examples_of
from trainatlas.data.preprocessing import Preprocessing
from trainatlas.data.splits import Split
from trainatlas.study.levels import NOTHING
from trainatlas.study.splits import probe_set_size, split_key
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import Trial

PARTS = ("train", "validation", "test")
TRANSFORMED_AT_ONCE = 4096
"""Examples preprocessed at once: double precision is not needed for all of them at a time."""


@dataclass(frozen=True)
class Variant:
    """One split under one preprocessing.

    Attributes
    ----------
    x, y
        Examples (n, *shape) and int64 classes (n,) of each part, by part.
    preprocessing
        What was fitted on the training part, ready for tensors on the device.
    retained_variance
        Share of the training part's variance that preprocessing kept, 0 to 1.
    """

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    preprocessing: Preprocessing
    retained_variance: float


class Batch(NamedTuple):
    """A minibatch of one trial, or of a stack with the trials in front.

    Attributes
    ----------
    x, y
        Examples (batch, *shape) and classes (batch,).
    other, share
        Where labels are mixed: the class mixed in, (batch,), and the weight of `y`, a scalar or (batch,).
    """

    x: Tensor
    y: Tensor
    other: Tensor | None = None
    share: Tensor | None = None


class ExampleStore:
    """Loads each data set, splits it for each seed and fits each preprocessing once.

    Parameters
    ----------
    device, dtype
        Where examples live and in which precision.
    fitted
        Folder where splits and fitted preprocessings are kept for other jobs; None keeps them in memory alone.
    folder
        What paths of the user's own data are relative to.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        fitted: Path | None = None,
        folder: Path = Path(),
    ) -> None:
        self.device, self.dtype, self._folder = device, dtype, folder
        self._fitted = FittedPreprocessings(fitted)
        self._sets: dict[str, DataSet] = {}
        self._splits = KeptSplits(fitted)
        self._variants: dict[tuple[object, ...], Variant] = {}
        self._raw: dict[tuple[object, ...], Tensor] = {}

    def key(self, trial: Trial) -> tuple[object, ...]:
        """Return what two trials must share to see the same examples."""
        return (*self._split_key(trial), trial.preprocessing)

    @staticmethod
    def _split_key(trial: Trial) -> tuple[object, ...]:
        return split_key(trial.data, trial.data_digest, trial.seed, trial.validation_share, trial.test_share)

    def variant(self, trial: Trial) -> Variant:
        """Return the examples of `trial`."""
        key = self.key(trial)
        if key not in self._variants:
            self._variants[key] = self._make(trial)
        return self._variants[key]

    def raw(self, trial: Trial) -> Tensor:
        """Return the training part as it is before preprocessing: what augmentation changes."""
        key = self._split_key(trial)
        if key not in self._raw:
            data, split = self._split(trial)
            self._raw[key] = torch.from_numpy(examples_of(data, split.train)).to(self.device, self.dtype)
        return self._raw[key]

    def loaded_bytes(self, trial: Trial) -> int:
        """Return the bytes that a trial's data take as they were loaded."""
        return int(self._split(trial)[0].x.nbytes)

    def drop_variants(self) -> None:
        """Forget preprocessed examples; what was fitted stays."""
        self._variants.clear()

    def classes(self, trial: Trial) -> int:
        """Return the number of classes of a trial's data."""
        return len(self._split(trial)[0].classes)

    def first_minibatch(self, trial: Trial) -> Tensor:
        """Return the examples of a trial's first step, without augmentation: (batch, *shape)."""
        x = self.variant(trial).x["train"]
        return x[epoch_order(trial.seed, 1, len(x))[: trial.batch_size].to(x.device)]

    def _split(self, trial: Trial) -> tuple[DataSet, Split]:
        if trial.data not in self._sets:
            self._sets[trial.data] = load(trial.data, self._folder)
        data = self._sets[trial.data]
        shares = (trial.validation_share, trial.test_share)
        return data, self._splits.get(trial.data, trial.data_digest, data.y, data.part, trial.seed, shares)

    def _make(self, trial: Trial) -> Variant:
        data, split = self._split(trial)

        preprocessing = self._fitted.get(
            trial.preprocessing, self._split_key(trial), lambda: examples_of(data, split.train)
        )
        x, y = {}, {}
        for part in PARTS:
            rows = getattr(split, part)
            pieces = [rows[start : start + TRANSFORMED_AT_ONCE] for start in range(0, len(rows), TRANSFORMED_AT_ONCE)]
            made = [preprocessing.transform(examples_of(data, piece).astype(np.float64)) for piece in pieces]
            tensors = [torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype) for values in made]
            x[part] = torch.cat(tensors)
            y[part] = torch.from_numpy(data.y[rows]).to(self.device)
        return Variant(x, y, preprocessing.to(self.device, self.dtype), preprocessing.retained_variance)


class StackedExamples:
    """The examples of a stack: each variant held once, with the variant and seed of every trial."""

    def __init__(self, trials: Sequence[Trial], store: ExampleStore) -> None:
        self._store = store
        keys = [store.key(trial) for trial in trials]
        first = dict(zip(reversed(keys), reversed(trials), strict=True))
        order = {key: position for position, key in enumerate(first)}
        self._variants = [store.variant(trial) for trial in first.values()]
        self._seeds = [trial.seed for trial in first.values()]
        self._trials = list(trials)
        self._variant = torch.tensor([order[key] for key in keys], device=store.device)
        self.retained_variance = [store.variant(trial).retained_variance for trial in trials]

    def size(self, part: str) -> int:
        """Return the number of examples of a part, or of the "probe" set."""
        if part == "probe":
            return len(probe_rows(self.size("train")))
        return len(self._variants[0].x[part])

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self._variants[0].x["train"].shape[1:])

    def keep(self, positions: list[int]) -> None:
        """Go on with the trials at these positions."""
        self._trials = [self._trials[i] for i in positions]
        self._variant = self._variant[positions]

    def batches(self, epoch: int, batch_size: int) -> Iterator[Batch]:
        """Yield an epoch's minibatches, trials in front."""
        if any(trial.augmentation != NOTHING for trial in self._trials):
            yield from self._augmented_batches(epoch, batch_size)
            return
        examples = self.size("train")
        orders = {seed: epoch_order(seed, epoch, examples).to(self._store.device) for seed in set(self._seeds)}
        for batch in steps_of_epoch(examples, batch_size):
            rows = [orders[seed][batch] for seed in self._seeds]
            x = torch.stack([variant.x["train"][own] for variant, own in zip(self._variants, rows, strict=True)])
            y = torch.stack([variant.y["train"][own] for variant, own in zip(self._variants, rows, strict=True)])
            yield Batch(x[self._variant], y[self._variant])

    def _augmented_batches(self, epoch: int, batch_size: int) -> Iterator[Batch]:
        """Augment once for all trials of one seed and augmentation, preprocess once for those of one variant."""
        keys = [(self._store.key(trial), trial.augmentation) for trial in self._trials]
        first = dict(zip(reversed(keys), reversed(self._trials), strict=True))
        streams = [augmented_batches(trial, self._store, epoch, batch_size) for trial in first.values()]
        place = {key: position for position, key in enumerate(first)}
        which = torch.tensor([place[key] for key in keys], device=self._store.device)
        for batches in zip(*streams, strict=True):
            x, y = (torch.stack([batch[part] for batch in batches])[which] for part in (0, 1))
            if all(batch.share is None for batch in batches):
                yield Batch(x, y)
                continue
            other = torch.stack([batch.y if batch.other is None else batch.other for batch in batches])
            whole = torch.ones((), device=x.device, dtype=x.dtype)
            share = torch.stack([whole if batch.share is None else batch.share for batch in batches])
            yield Batch(x, y, other[which], share[which])

    def chunks(self, part: str, size: int, positions: list[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a part, or the "probe" set, in pieces of at most `size`: x (trials, n, *shape) and y (trials, n).

        With `positions`, for the trials at these positions only.
        """
        which = self._variant if positions is None else self._variant[positions]
        number = self.size(part)
        rows = probe_rows(self.size("train")).to(self._store.device) if part == "probe" else None
        part = "train" if part == "probe" else part
        for start in range(0, number, size):
            piece = slice(start, start + size) if rows is None else rows[start : start + size]
            x = torch.stack([variant.x[part][piece] for variant in self._variants])
            y = torch.stack([variant.y[part][piece] for variant in self._variants])
            yield x[which], y[which]


def augmented_batches(trial: Trial, store: ExampleStore, epoch: int, batch_size: int) -> Iterator[Batch]:
    """Yield one trial's minibatches of an epoch: augmented as raw images, then preprocessed."""
    variant, raw = store.variant(trial), store.raw(trial)
    parts = AUGMENTATIONS.build_parts(trial.augmentation)
    draws = Draws(trial.seed, epoch, store.device, store.dtype)
    order = epoch_order(trial.seed, epoch, len(raw)).to(raw.device)
    for batch in steps_of_epoch(len(raw), batch_size):
        rows = order[batch]
        changed = augment(parts, raw[rows], draws)
        y = variant.y["train"][rows]
        other = None if changed.partner is None else y[changed.partner]
        yield Batch(variant.preprocessing.transform(changed.x), y, other, changed.share)


def probe_rows(examples: int) -> Tensor:
    """Return the rows of the training part that make the probe set, evenly spaced: int64, ascending."""
    size = probe_set_size(examples)
    return torch.arange(size) * examples // size


def epoch_order(seed: int, epoch: int, examples: int) -> Tensor:
    """Return the order in which an epoch (counted from 1) visits the training part: int64, (examples,)."""
    generator = torch.Generator().manual_seed(stream_key(seed, f"order/{epoch}"))
    return torch.randperm(examples, generator=generator)


def steps_of_epoch(examples: int, batch_size: int) -> list[slice]:
    """Return the slices of an epoch's order that its steps take.

    All batches are full: the examples left over sit an epoch out, and the next one's order is new.
    """
    return [slice(i * batch_size, (i + 1) * batch_size) for i in range(examples // batch_size)]
