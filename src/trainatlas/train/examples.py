"""Examples as trials see them: split by seed, preprocessed by level, shared where trials share both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainatlas.data.datasets import DATA_SETS, DataSet
from trainatlas.data.preprocessing import PREPROCESSINGS, Preprocessing
from trainatlas.data.splits import Split, stratified_split
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import Trial

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Variant:
    """One split under one preprocessing.

    Attributes
    ----------
    x, y
        Examples (n, *shape) and int64 classes (n,) of each part, by part.
    retained_variance
        Share of the training part's variance that preprocessing kept, 0 to 1.
    """

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    retained_variance: float


class ExampleStore:
    """Loads each data set, splits it for each seed and fits each preprocessing once.

    Parameters
    ----------
    device, dtype
        Where examples live and in which precision.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self._device, self._dtype = device, dtype
        self._sets: dict[str, DataSet] = {}
        self._splits: dict[tuple[object, ...], Split] = {}
        self._variants: dict[tuple[object, ...], Variant] = {}

    def key(self, trial: Trial) -> tuple[object, ...]:
        """Return what two trials must share to see the same examples."""
        return (*self._split_key(trial), trial.preprocessing)

    @staticmethod
    def _split_key(trial: Trial) -> tuple[object, ...]:
        return (trial.data, trial.seed, trial.validation_share, trial.test_share)

    def variant(self, trial: Trial) -> Variant:
        """Return the examples of `trial`."""
        key = self.key(trial)
        if key not in self._variants:
            self._variants[key] = self._make(trial)
        return self._variants[key]

    def _make(self, trial: Trial) -> Variant:
        if trial.data not in self._sets:
            self._sets[trial.data] = DATA_SETS.build(trial.data)
        data = self._sets[trial.data]
        split_key = self._split_key(trial)
        if split_key not in self._splits:
            self._splits[split_key] = stratified_split(data.y, trial.seed, trial.validation_share, trial.test_share)
        split = self._splits[split_key]
        preprocessing: Preprocessing = PREPROCESSINGS.build(trial.preprocessing)
        preprocessing.fit(data.x[split.train].astype(np.float64))
        x, y = {}, {}
        for part in PARTS:
            rows = getattr(split, part)
            values = preprocessing.transform(data.x[rows].astype(np.float64))
            x[part] = torch.from_numpy(np.ascontiguousarray(values)).to(self._device, self._dtype)
            y[part] = torch.from_numpy(data.y[rows]).to(self._device)
        return Variant(x, y, preprocessing.retained_variance)


class StackedExamples:
    """The examples of a stack: each variant held once, with the variant and seed of every trial."""

    def __init__(self, trials: Sequence[Trial], store: ExampleStore) -> None:
        keys = [store.key(trial) for trial in trials]
        first = dict(zip(reversed(keys), reversed(trials), strict=True))
        order = {key: position for position, key in enumerate(first)}
        variants = [store.variant(trial) for trial in first.values()]
        self._x = {part: torch.stack([variant.x[part] for variant in variants]) for part in PARTS}
        self._y = {part: torch.stack([variant.y[part] for variant in variants]) for part in PARTS}
        device = self._x["train"].device
        self._variant = torch.tensor([order[key] for key in keys], device=device)
        self._seeds = sorted({trial.seed for trial in trials})
        self._seed = torch.tensor([self._seeds.index(trial.seed) for trial in trials], device=device)
        self.retained_variance = [store.variant(trial).retained_variance for trial in trials]

    def size(self, part: str) -> int:
        """Return the number of examples of a part."""
        return self._x[part].shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self._x["train"].shape[2:])

    def keep(self, kept: Tensor) -> None:
        """Go on with the trials at the positions `kept`."""
        self._variant, self._seed = self._variant[kept], self._seed[kept]

    def batches(self, epoch: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's minibatches: x (trials, batch, *shape) and y (trials, batch)."""
        x, y = self._x["train"], self._y["train"]
        order = torch.stack([epoch_order(seed, epoch, x.shape[1]) for seed in self._seeds]).to(x.device)
        rows = order[self._seed]
        which = self._variant[:, None]
        for batch in steps_of_epoch(x.shape[1], batch_size):
            yield x[which, rows[:, batch]], y[which, rows[:, batch]]

    def chunks(self, part: str, size: int, positions: list[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a part in pieces of at most `size` examples: x (trials, n, *shape) and y (trials, n).

        With `positions`, for the trials at these positions only.
        """
        which = self._variant if positions is None else self._variant[positions]
        for start in range(0, self.size(part), size):
            piece = slice(start, start + size)
            yield self._x[part][:, piece][which], self._y[part][:, piece][which]


def epoch_order(seed: int, epoch: int, examples: int) -> Tensor:
    """Return the order in which an epoch (counted from 1) visits the training part: int64, (examples,)."""
    generator = torch.Generator().manual_seed(stream_key(seed, f"order/{epoch}"))
    return torch.randperm(examples, generator=generator)


def steps_of_epoch(examples: int, batch_size: int) -> list[slice]:
    """Return the slices of an epoch's order that its steps take.

    All batches are full: the examples left over sit an epoch out, and the next one's order is new.
    """
    return [slice(i * batch_size, (i + 1) * batch_size) for i in range(examples // batch_size)]
