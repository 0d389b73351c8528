"""Updates for a stack of trials: which of them share one, and which go over memory once, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainatlas.optim.optimizers import Coefficients, Optimizer, Pass, PerTrial, described, kind


class _Run(NamedTuple):
    """Neighbouring trials of one kind: how many, the first one's optimizer, everybody's numbers."""

    trials: int
    optimizer: Optimizer
    hyper: dict[str, NDArray[np.float64]]


ONE_PASS_FROM = 16_384
"""Numbers of a parameter from which a CPU updates one trial after the other, each in one pass over memory (Adam, AdamW).

Smaller ones lie in the cache while a shared update goes over them several times, and sharing saves calls
(docs/decisions/0016-adam-in-one-pass.md).
"""


class StackedOptimizer:
    """Updates for a stack of trials whose optimizers may differ.

    Neighbouring trials of one kind share an update: the stack is cut into runs, and each run's
    parameters, gradients and slots are views of the stack's. Whether a parameter is updated in one pass is settled when the
    stack is formed, so that trials may leave: one that is large, or every one of a stack of one.

    Parameters
    ----------
    levels
        Canonical text of each trial's optimizer, trials of one kind (`kind`) side by side.
    learning_rates
        One rate per trial.
    parameters
        Stacked parameters by name, each of shape (trials, ...), all of one precision and on one device;
        updated in place.
    """

    def __init__(self, levels: list[str], learning_rates: list[float], parameters: dict[str, Tensor]) -> None:
        self._levels = levels
        self._rates = learning_rates
        self._parameters = parameters
        most = max(len(described(level).slots) for level in levels)
        self._slots = {name: [torch.zeros_like(p) for _ in range(most)] for name, p in parameters.items()}
        self._steps = 0
        self._large = [
            name for name, p in parameters.items() if p.is_cpu and (len(levels) == 1 or p[0].numel() >= ONE_PASS_FROM)
        ]
        self._prepare()
        for name, parameter in parameters.items():
            shape = (-1, *[1] * (parameter.dim() - 1))
            pieces = zip(self._runs, self._cut(parameter), self._kept[name], strict=True)
            for run, piece, (slots, _) in pieces:
                hyper = {key: torch.from_numpy(value.reshape(shape)) for key, value in run.hyper.items()}
                for slot, start in zip(slots, run.optimizer.slots, strict=True):
                    start(slot, piece, hyper)

    def _prepare(self) -> None:
        """Cut the stack into runs of one kind, each with its hyper-parameters and its views."""
        kinds = [kind(level) for level in self._levels]
        starts = [i for i, found in enumerate(kinds) if i == 0 or kinds[i - 1] != found]
        self._runs: list[_Run] = []
        for start, stop in zip(starts, [*starts[1:], len(kinds)], strict=True):
            members = [described(level) for level in self._levels[start:stop]]
            values = {"learning_rate": self._rates[start:stop]}
            for key in members[0].options:
                values[key] = [float(member.options[key]) for member in members]
            hyper = {key: np.array(value, dtype=np.float64) for key, value in values.items()}
            self._runs.append(_Run(stop - start, members[0], hyper))
        self._sizes = [run.trials for run in self._runs]
        self._ranks = {parameter.dim() for parameter in self._parameters.values()}
        # The updates of all runs and parameters take turns at one piece of spare memory.
        like = next(iter(self._parameters.values()))
        most = max(run.optimizer.spare for run in self._runs)
        largest = max(p.numel() // len(kinds) * max(self._sizes) for p in self._parameters.values())
        spare = [like.new_empty(largest) for _ in range(most)]
        self._kept = {name: self._views(name, spare) for name in self._parameters}

    def _cut(self, stacked: Tensor) -> Sequence[Tensor]:
        """Return each run's view of a stacked tensor."""
        return [stacked] if len(self._sizes) == 1 else stacked.split_with_sizes(self._sizes)

    def _views(self, name: str, spare_memory: list[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Return each run's slots and spare tensors for a parameter."""
        pieces = self._cut(self._parameters[name])
        slots = [self._cut(slot) for slot in self._slots[name]]
        found = []
        for i, (run, piece) in enumerate(zip(self._runs, pieces, strict=True)):
            spare = [block[: piece.numel()].view(piece.shape) for block in spare_memory[: run.optimizer.spare]]
            found.append(([slot[i] for slot in slots[: len(run.optimizer.slots)]], spare))
        return found

    def _hyper(self, multipliers: Tensor | None) -> list[PerTrial]:
        """Return the hyper-parameters of each run's trials at this step."""
        if multipliers is None:
            return [run.hyper for run in self._runs]
        factors = np.split(multipliers.numpy(), np.cumsum(self._sizes)[:-1])
        return [
            {**run.hyper, "learning_rate": run.hyper["learning_rate"] * of_run}
            for run, of_run in zip(self._runs, factors, strict=True)
        ]

    def _coefficients(self, hyper: list[PerTrial]) -> list[dict[int, Coefficients]]:
        """Return this step's coefficients of each run, in the shape that a parameter of each rank needs."""
        with np.errstate(all="ignore"):  # a rate too large for the parameters' precision is the trial's affair
            numbers = [
                run.optimizer.coefficients(of_run, self._steps) for run, of_run in zip(self._runs, hyper, strict=True)
            ]
        # All in one tensor, so that they cross to the parameters' device at once.
        moved = torch.from_numpy(np.concatenate([value for of_run in numbers for value in of_run.values()]))
        like = next(iter(self._parameters.values()))
        moved = moved.to(like.device, like.dtype, non_blocking=like.is_cuda)
        found: list[dict[int, Coefficients]] = []
        start = 0
        for run, of_run in zip(self._runs, numbers, strict=True):
            block = moved[start : start + len(of_run) * run.trials]
            by_rank: dict[int, Coefficients] = {}
            for rank in self._ranks:
                shaped = block.view(len(of_run), run.trials, *[1] * (rank - 1)).unbind()
                by_rank[rank] = dict(zip(of_run, shaped, strict=True))
            found.append(by_rank)
            start += len(block)
        return found

    def step(self, gradients: Mapping[str, Tensor], multipliers: Tensor | None = None) -> None:
        """Update every parameter.

        Parameters
        ----------
        gradients
            By the parameters' names and of their shapes; left as they are.
        multipliers
            What each trial's learning rate is multiplied by at this step, (trials,), float64, on the
            CPU; 1 where left out. The step is the one torch takes with `lr` of its group set so.
        """
        self._steps += 1
        hyper = self._hyper(multipliers)
        large = self._large
        for place, run in enumerate(self._runs):
            if run.optimizer.one_pass is not None and large:
                self._one_by_one(run.optimizer.one_pass, place, large, gradients, hyper[place])
        if len(large) == len(self._parameters) and all(run.optimizer.one_pass for run in self._runs):
            return
        coefficients = self._coefficients(hyper)
        for name, parameter in self._parameters.items():
            rank = parameter.dim()
            pieces = zip(
                self._runs,
                coefficients,
                self._cut(parameter),
                self._cut(gradients[name]),
                self._kept[name],
                strict=True,
            )
            for run, by_rank, p, g, (slots, spare) in pieces:
                if run.optimizer.one_pass is None or name not in large:
                    run.optimizer.update(p, g, slots, by_rank[rank], spare)

    def _one_by_one(
        self, update: Pass, place: int, names: list[str], gradients: Mapping[str, Tensor], hyper: PerTrial
    ) -> None:
        """Update some parameters of a run's trials, trial by trial."""
        p = [self._cut(self._parameters[name])[place] for name in names]
        g = [self._cut(gradients[name])[place].contiguous() for name in names]  # whatever the strides say
        slots = [self._kept[name][place][0] for name in names]
        for i in range(self._sizes[place]):
            own = {key: float(values[i]) for key, values in hyper.items()}
            update(
                [each[i] for each in p],
                [each[i] for each in g],
                [[slot[i] for slot in of_one] for of_one in slots],
                own,
                self._steps,
            )

    def keep(self, kept: list[int], parameters: dict[str, Tensor]) -> None:
        """Go on with the trials at the positions `kept`, whose parameters are now `parameters`."""
        index = torch.tensor(kept, device=next(iter(parameters.values())).device)
        self._levels = [self._levels[i] for i in kept]
        self._rates = [self._rates[i] for i in kept]
        self._parameters = parameters
        self._slots = {name: [slot[index] for slot in slots] for name, slots in self._slots.items()}
        self._prepare()

    @property
    def one_pass(self) -> list[bool]:
        """Return for each parameter whether it is updated in one pass, trial by trial, where the optimizer has such."""
        return [name in self._large for name in self._parameters]

    def state(self) -> tuple[int, dict[str, Tensor]]:
        """Return the steps taken and the slots, by the parameter's name and the slot's number; not copies."""
        return self._steps, {f"{name}/{i}": slot for name, slots in self._slots.items() for i, slot in enumerate(slots)}

    def restore(self, steps: int, slots: Mapping[str, Tensor], one_pass: Sequence[bool]) -> None:
        """Go on from what `state` and `one_pass` gave for the same trials; slots are copied."""
        self._steps = steps
        self._large = [name for name, flag in zip(self._parameters, one_pass, strict=True) if flag]
        for name, own in self.state()[1].items():
            own.copy_(slots[name])
