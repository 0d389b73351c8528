"""A stack: many trials of one structure, trained side by side.

Parameters of all trials lie in one tensor per parameter, trials along the first axis. The network's forward and
backward passes go over that axis (`trainatlas.train.passes`), and optimizers update the whole stack
elementwise. `trainatlas.train.reference` trains one trial the plain way and defines what is correct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from trainatlas.data.augmentation import mixes_labels
from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import depends_on_data, initial_parameters
from trainatlas.optim.optimizers import OPTIMIZERS
from trainatlas.optim.regularisation import StackedRegularisation, dropout_of, smoothing_of
from trainatlas.optim.schedules import StackedSchedules
from trainatlas.optim.stacked import StackedOptimizer
from trainatlas.study.trial import Trial
from trainatlas.train.examples import Batch, ExampleStore, StackedExamples, steps_of_epoch
from trainatlas.train.losses import soft_cross_entropy
from trainatlas.train.noise import DropoutNoise, dropout_shapes
from trainatlas.train.passes import goes_apart, gradients_of, over_trials
from trainatlas.train.probes import LayerProbe, captured, layer_sums, layers_of
from trainatlas.train.signals import Distribution, measure
from trainatlas.train.work import StepWork, step_work

EVALUATION_CHUNK = 128
"""Examples passed through a stack at once outside training; bounds memory, not results."""


@dataclass(frozen=True)
class Movement:
    """What one step did to each layer, one value per trial, by layer name."""

    gradient_norm: dict[str, Tensor]
    update_to_weight_ratio: dict[str, Tensor]


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats) and accuracy, each (trials,), float64, on the CPU.

    An example whose loss is not finite counts as wrong.
    """

    loss: Tensor
    accuracy: Tensor


class Stack:
    """Trials of one structure, their parameters and optimizers, and the examples they see.

    Parameters
    ----------
    trials
        Trials that agree in `trainatlas.catalogue.structure`, those of one optimizer side by side.
    store
        Where examples come from.
    device, dtype
        Where and in which precision to train.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        store: ExampleStore,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.trials = list(trials)
        self.examples = StackedExamples(trials, store)
        lead = self.trials[0]
        self._batch_size = lead.batch_size
        self.network = build_network(
            lead.network,
            lead.activation,
            lead.normalisation,
            self.examples.shape,
            store.classes(lead),
            dropout_of(lead.regularisation),
        )
        self.layers = layers_of(self.network)
        self._dropouts = dropout_shapes(self.network, self.examples.shape)
        starts = _starts(self.trials, self.network, store)
        self.parameters = {name: torch.stack([start[name] for start in starts]).to(device, dtype) for name in starts[0]}
        self.buffers = {
            name: _stacked_buffer(name, buffer, self.trials, dtype).to(device)
            for name, buffer in self.network.named_buffers()
        }
        self._fitted: dict[str, Tensor] | None = None  # buffers of the untrained network, once looked at
        self.parameter_count = sum(p[0].numel() for p in self.parameters.values())
        self._optimizer = StackedOptimizer(
            [trial.optimizer for trial in self.trials],
            [trial.learning_rate for trial in self.trials],
            self.parameters,
        )
        self._schedules = StackedSchedules([trial.schedule for trial in self.trials], self.steps_per_epoch, lead.epochs)
        self._regularisation = StackedRegularisation(
            [trial.regularisation for trial in self.trials], [layer.weight for layer in self.layers]
        )
        self._soft = mixes_labels(lead.augmentation) or smoothing_of(lead.regularisation) is not None
        self._smoothing = torch.tensor(
            [smoothing_of(trial.regularisation) or 0.0 for trial in self.trials], device=device, dtype=dtype
        )
        apart = goes_apart(self.network, self.examples.shape, len(self.trials), self._batch_size, device)
        self._gradients = gradients_of(self._soft_loss if self._soft else self._loss, apart)
        self._logits = over_trials(self._forward, apart)
        self._probed = over_trials(self._forward_probed, apart)

    @property
    def units(self) -> dict[str, int]:
        """Return the number of units of each layer, by name."""
        return {layer.name: self.parameters[layer.weight].shape[1] for layer in self.layers}

    @property
    def step_work(self) -> StepWork:
        """Return the least work of one trial's step, with the optimizer of the first."""
        lead = self.trials[0]
        slots = len(OPTIMIZERS.build(lead.optimizer).slots)
        return step_work(self.network, self.examples.shape, lead.batch_size, slots)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many optimizer steps an epoch takes."""
        return len(steps_of_epoch(self.examples.size("train"), self._batch_size))

    def _forward(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, (parameters, buffers), (x,))
        return logits

    def _loss(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self._forward(parameters, buffers, x), y)

    def _forward_probed(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor
    ) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
        with captured(self.network, self.layers) as seen:
            logits = self._forward(parameters, buffers, x)
        self._outputs = {name: output.numel() for name, (output, _) in seen.items()}
        return logits, layer_sums(seen, self.trials[0])

    def _soft_loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        other: Tensor,
        share: Tensor,
        smoothing: Tensor,
    ) -> Tensor:
        return soft_cross_entropy(self._forward(parameters, buffers, x), y, other, share, smoothing)

    def rates(self, epoch: int) -> np.ndarray:
        """Return the learning rates in force in an epoch, counted from 1: float64, (steps, trials)."""
        base = np.array([trial.learning_rate for trial in self.trials])
        rates: np.ndarray = self._schedules.epoch(epoch) * base
        return rates

    def penalties(self) -> Tensor:
        """Return what penalties add to each trial's loss now, (trials,)."""
        return self._regularisation.penalties(self.parameters)

    def observe(self, validation: Evaluation) -> None:
        """Tell schedules that heed it how an epoch ended."""
        self._schedules.observe(validation.loss.numpy())

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, Movement | None]]:
        """Take an epoch's optimizer steps, one whenever the next is asked for.

        Yields
        ------
        tuple
            Each trial's loss before the step without penalties, (trials,), and, at the last step and the first of
            the first epoch, what the step did to each layer.
        """
        self._fitted = None
        multipliers = None if self._schedules.constant else torch.from_numpy(self._schedules.epoch(epoch))
        seeds = sorted({trial.seed for trial in self.trials})
        noise = [DropoutNoise(seed, epoch, self._dropouts) for seed in seeds] if self._dropouts else []
        members = [seeds.index(trial.seed) for trial in self.trials]
        last = self.steps_per_epoch - 1
        for number, batch in enumerate(self.examples.batches(epoch, self._batch_size)):
            if noise:
                draws = [each.draw(self._batch_size) for each in noise]
                for path in self._dropouts:
                    drawn = torch.stack([each[path] for each in draws]).to(batch.x)
                    self.buffers[f"{path}.noise"] = drawn[members]
            measure = number == last or (number == 0 and epoch == 1)
            yield self._step(batch, None if multipliers is None else multipliers[number], measure)

    def _step(self, batch: Batch, multipliers: Tensor | None, measure: bool) -> tuple[Tensor, Movement | None]:
        if not self.network.training:
            self.network.train()
        arguments: tuple[Tensor, ...] = (batch.x, batch.y)
        if self._soft:
            arguments = (*arguments, *_labels(batch), self._smoothing)
        gradients, losses = self._gradients(self.parameters, self.buffers, *arguments)
        before = {layer.weight: self.parameters[layer.weight].clone() for layer in self.layers} if measure else {}
        norms = {layer.name: _norm(gradients[layer.weight]) for layer in self.layers} if measure else {}
        regularisation = self._regularisation
        if not regularisation.idle:
            regularisation.add_penalties(self.parameters, gradients)
            regularisation.clip_gradients(gradients)
            rates = torch.tensor([trial.learning_rate for trial in self.trials], dtype=torch.float64)
            regularisation.decay(self.parameters, rates if multipliers is None else rates * multipliers)
        self._optimizer.step(gradients, multipliers)
        if not regularisation.idle:
            regularisation.limit_weights(self.parameters)
        if not measure:
            return losses, None
        ratios = {
            layer.name: _norm(self.parameters[layer.weight] - before[layer.weight]) / _norm(before[layer.weight])
            for layer in self.layers
        }
        return losses, Movement(norms, ratios)

    def train_epoch(
        self, epoch: int, after_step: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, Movement, Movement]:
        """Train one epoch, counted from 1; `after_step` is called after every step and may raise.

        Returns
        -------
        tuple
            Minibatch losses (steps, trials), the first step's movement in the first epoch, and the last one's.
        """
        losses, movements = [], []
        for loss, movement in self.steps(epoch):
            losses.append(loss)
            if movement is not None:
                movements.append(movement)
            after_step()
        return torch.stack(losses), movements[0], movements[-1]

    @torch.no_grad()
    def evaluate(self, part: str, positions: list[int] | None = None) -> Evaluation:
        """Evaluate the trials, or those at `positions`, on a whole part, with running statistics."""
        self.network.eval()
        parameters, buffers = self.parameters, self.buffers
        if positions is not None:
            parameters = {name: p[positions] for name, p in parameters.items()}
            buffers = {name: b[positions] for name, b in buffers.items()}
        tally = _Tally()
        for x, y in self.examples.chunks(part, EVALUATION_CHUNK, positions):
            tally.add(self._logits(parameters, buffers, x), y)
        return tally.result()

    @torch.no_grad()
    def probe(
        self, untrained: bool = False, positions: list[int] | None = None
    ) -> tuple[Evaluation, dict[str, dict[str, Tensor]]]:
        """Evaluate on the probe set and read the layers' statistics off the same pass.

        Parameters
        ----------
        positions
            Look at the trials at these positions only.
        untrained
            The network has seen no batch yet: take each normalisation's statistics from the probe set
            itself, in place of running statistics that know nothing.
        """
        parameters, buffers = self._looked_at(untrained, positions)
        tally, layers = _Tally(), LayerProbe()
        for x, y in self.examples.chunks("probe", EVALUATION_CHUNK, positions):
            logits, sums = self._probed(parameters, buffers, x)
            tally.add(logits, y)
            layers.add(sums, self._outputs)
        return tally.result(), layers.statistics()

    @torch.no_grad()
    def signals(
        self, untrained: bool = False, positions: list[int] | None = None
    ) -> dict[str, dict[str, Distribution]]:
        """Return how each layer's outputs and gradients are distributed over the probe set, as `measure` does.

        Parameters are those of `probe`. Pieces are a quarter of a minibatch, so that all layers' outputs and gradients,
        held at once, take no more memory than a training step (tests/unit/train/test_memory.py).
        """
        parameters, buffers = self._looked_at(untrained, positions)
        size = min(EVALUATION_CHUNK, -(-self._batch_size // 4))
        return measure(
            self.network, self.layers, parameters, buffers, lambda: self.examples.chunks("probe", size, positions)
        )

    def _looked_at(self, untrained: bool, positions: list[int] | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return parameters and buffers to look at the probe set with; see `probe`."""
        parameters = self.parameters
        buffers = self.buffers
        if untrained and buffers:
            if self._fitted is None:
                self._fitted = self._fitted_buffers()
            buffers = self._fitted
        if positions is not None:
            parameters = {name: p[positions] for name, p in parameters.items()}
            buffers = {name: b[positions] for name, b in buffers.items()}
        self.network.eval()
        return parameters, buffers

    def _fitted_buffers(self) -> dict[str, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        ((x, _),) = self.examples.chunks("probe", self.examples.size("probe"))
        with _taking_statistics(self.network):
            self._logits(self.parameters, buffers, x)
        return buffers

    def keep(self, positions: list[int]) -> None:
        """Go on with the trials at `positions` only."""
        index = torch.tensor(positions, device=next(iter(self.parameters.values())).device)
        self.trials = [self.trials[i] for i in positions]
        self.parameters = {name: p[index] for name, p in self.parameters.items()}
        self.buffers = {name: b[index] for name, b in self.buffers.items()}
        self._smoothing = self._smoothing[index]
        self.examples.keep(positions)
        self._optimizer.keep(positions, self.parameters)
        self._schedules.keep(positions)
        self._regularisation.keep(positions)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that training has changed, by name, on the CPU; where it can be, memory is shared, not copied."""
        steps, slots = self._optimizer.state()
        drawn_anew = {f"{path}.noise" for path in self._dropouts}
        kept = {name: buffer for name, buffer in self.buffers.items() if name not in drawn_anew}
        tensors = {"parameters": self.parameters, "buffers": kept, "slots": slots}
        return {
            "steps": np.array(steps),
            "one_pass": np.array(self._optimizer.one_pass),
            **{f"schedules/{name}": value for name, value in self._schedules.state().items()},
            **{f"{kind}/{name}": t.cpu().numpy() for kind, group in tensors.items() for name, t in group.items()},
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave for a stack of the same trials, cut down to the same ones by `keep`."""

        def group(kind: str) -> dict[str, NDArray[Any]]:
            return {name.removeprefix(f"{kind}/"): v for name, v in state.items() if name.startswith(f"{kind}/")}

        for own, kind in ((self.parameters, "parameters"), (self.buffers, "buffers")):
            for name, value in group(kind).items():
                own[name].copy_(torch.from_numpy(value))
        self._optimizer.restore(
            int(state["steps"]),
            {name: torch.from_numpy(value) for name, value in group("slots").items()},
            state["one_pass"].tolist(),
        )
        self._schedules.restore(group("schedules"))


class _Tally:
    """Adds up losses and right answers over pieces of a part."""

    def __init__(self) -> None:
        self._loss: Tensor | float = 0.0
        self._right: Tensor | float = 0.0
        self._examples = 0

    def add(self, logits: Tensor, y: Tensor) -> None:
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").reshape(y.shape)
        right = (logits.argmax(-1) == y) & losses.isfinite()
        self._loss = self._loss + losses.double().sum(1)
        self._right = self._right + right.double().sum(1)
        self._examples += y.shape[1]

    def result(self) -> Evaluation:
        assert isinstance(self._loss, Tensor) and isinstance(self._right, Tensor)
        return Evaluation((self._loss / self._examples).cpu(), (self._right / self._examples).cpu())


def _norm(stacked: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(stacked.flatten(1), dim=1)
    return norm


def _labels(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the classes mixed in and the weight of the own ones, (trials, ...); none are mixed in where no batch says."""
    if batch.other is not None and batch.share is not None:
        return batch.other, batch.share
    return batch.y, torch.ones(len(batch.y), dtype=batch.x.dtype, device=batch.x.device)


def _starts(trials: Sequence[Trial], network: nn.Module, store: ExampleStore) -> list[dict[str, Tensor]]:
    """Return each trial's initial parameters; trials that must start alike share theirs."""
    known: dict[tuple[object, ...], dict[str, Tensor]] = {}
    starts = []
    for trial in trials:
        key = (trial.init, trial.seed, store.key(trial) if depends_on_data(trial.init) else None)
        if key not in known:
            known[key] = initial_parameters(network, trial, lambda trial=trial: store.first_minibatch(trial))  # type: ignore[misc]
        starts.append(known[key])
    return starts


def _stacked_buffer(name: str, buffer: Tensor, trials: Sequence[Trial], dtype: torch.dtype) -> Tensor:
    """Return a buffer's value before training, trials in front: each trial's own share for dropout."""
    dtype = dtype if buffer.is_floating_point() else buffer.dtype
    if name.endswith("dropout.p"):
        return torch.tensor([dropout_of(trial.regularisation) or 0.0 for trial in trials], dtype=dtype)
    return buffer.to(dtype).expand(len(trials), *buffer.shape).clone()


@contextmanager
def _taking_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation, alone in training, keep the statistics of the one batch that passes in the block."""
    network.eval()
    modules = [module for module in network.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    usual = [module.momentum for module in modules]
    for module in modules:
        module.momentum = 1.0
        module.train()
    try:
        yield
    finally:
        for module, momentum in zip(modules, usual, strict=True):
            module.momentum = momentum
