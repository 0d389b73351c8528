"""A stack: many trials of one structure, trained side by side.

Parameters of all trials lie in one tensor per parameter, trials along the first axis. `torch.func` maps
the network's forward and backward pass over that axis, and optimizers update the whole stack
elementwise. `trainatlas.train.reference` trains one trial the plain way and defines what is correct.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from trainatlas.data.datasets import data_set_level
from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import initial_parameters
from trainatlas.optim.optimizers import StackedOptimizer
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, StackedExamples, steps_of_epoch
from trainatlas.train.probes import LayerProbe, captured, layer_sums, layers_of

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
        with torch.device("meta"):
            self.network = build_network(
                lead.network,
                lead.activation,
                lead.normalisation,
                self.examples.shape,
                data_set_level(lead.data).classes,
            )
        self.layers = layers_of(self.network)
        starts = [initial_parameters(self.network, trial.init, trial.seed) for trial in self.trials]
        self.parameters = {name: torch.stack([start[name] for start in starts]).to(device, dtype) for name in starts[0]}
        self.buffers = {
            name: _initial_buffer(name, buffer, dtype).to(device).expand(len(trials), *buffer.shape).clone()
            for name, buffer in self.network.named_buffers()
        }
        self.parameter_count = sum(p[0].numel() for p in self.parameters.values())
        self._optimizer = StackedOptimizer(
            [trial.optimizer for trial in self.trials],
            [trial.learning_rate for trial in self.trials],
            self.parameters,
        )
        self._gradients = vmap(grad_and_value(self._loss), randomness="different")
        self._logits = vmap(self._forward, randomness="different")
        self._probed = vmap(self._forward_probed, randomness="different")

    @property
    def units(self) -> dict[str, int]:
        """Return the number of units of each layer, by name."""
        return {layer.name: self.parameters[layer.weight].shape[1] for layer in self.layers}

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

    def step(self, x: Tensor, y: Tensor, measure: bool = False) -> tuple[Tensor, Movement | None]:
        """Take one optimizer step on a minibatch.

        Parameters
        ----------
        x, y
            Examples (trials, batch, *shape) and classes (trials, batch).
        measure
            Whether to return what the step did to each layer.

        Returns
        -------
        tuple
            Each trial's mean cross-entropy before the step, (trials,), and the movement.
        """
        self.network.train()
        gradients, losses = self._gradients(self.parameters, self.buffers, x, y)
        before = {layer.weight: self.parameters[layer.weight].clone() for layer in self.layers} if measure else {}
        self._optimizer.step(gradients)
        if not measure:
            return losses, None
        norms, ratios = {}, {}
        for layer in self.layers:
            old = before[layer.weight]
            norms[layer.name] = _norm(gradients[layer.weight])
            ratios[layer.name] = _norm(self.parameters[layer.weight] - old) / _norm(old)
        return losses, Movement(norms, ratios)

    def train_epoch(self, epoch: int) -> tuple[Tensor, Movement, Movement]:
        """Train one epoch, counted from 1.

        Returns
        -------
        tuple
            Minibatch losses (steps, trials), the first step's movement and the last one's.
        """
        losses = []
        movements: list[Movement] = []
        last = self.steps_per_epoch - 1
        for number, (x, y) in enumerate(self.examples.batches(epoch, self._batch_size)):
            loss, movement = self.step(x, y, measure=number == last or (number == 0 and epoch == 1))
            losses.append(loss)
            if movement is not None:
                movements.append(movement)
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
    def probe(self, untrained: bool = False) -> tuple[Evaluation, dict[str, dict[str, Tensor]]]:
        """Evaluate on the training part and read the layers' statistics off the same pass.

        Parameters
        ----------
        untrained
            The network has seen no batch yet: take each normalisation's statistics from the training
            part itself, in place of running statistics that know nothing.
        """
        buffers = self._fitted_buffers() if untrained and self.buffers else self.buffers
        self.network.eval()
        tally, layers = _Tally(), LayerProbe()
        for x, y in self.examples.chunks("train", EVALUATION_CHUNK):
            logits, sums = self._probed(self.parameters, buffers, x)
            tally.add(logits, y)
            layers.add(sums, self._outputs)
        return tally.result(), layers.statistics()

    def _fitted_buffers(self) -> dict[str, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        self.network.train()
        with _whole_momentum(self.network):
            for x, _ in self.examples.chunks("train", self.examples.size("train")):
                self._logits(self.parameters, buffers, x)
        return buffers

    def keep(self, positions: list[int]) -> None:
        """Go on with the trials at `positions` only."""
        index = torch.tensor(positions, device=next(iter(self.parameters.values())).device)
        self.trials = [self.trials[i] for i in positions]
        self.parameters = {name: p[index] for name, p in self.parameters.items()}
        self.buffers = {name: b[index] for name, b in self.buffers.items()}
        self.examples.keep(index)
        self._optimizer.keep(positions, self.parameters)


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


def _initial_buffer(name: str, buffer: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a buffer's value before training: running variance 1, everything else 0."""
    value = 1.0 if name.endswith("running_var") else 0.0
    return torch.full(buffer.shape, value, dtype=dtype if buffer.is_floating_point() else buffer.dtype)


@contextmanager
def _whole_momentum(network: nn.Module) -> Iterator[None]:
    """Let each batch normalisation take the next batch's statistics over whole, while the block runs."""
    modules = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    usual = [module.momentum for module in modules]
    for module in modules:
        module.momentum = 1.0
    try:
        yield
    finally:
        for module, momentum in zip(modules, usual, strict=True):
            module.momentum = momentum
