"""How much memory a stack needs, predicted before it is trained, so that a job keeps to the limit it is given.

A prediction adds up what is known beforehand: the examples, a trial's parameters with their gradients and the
optimizer's slots, and the outputs of every module for a minibatch, which the backward pass keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainatlas.model.architectures import build_network
from trainatlas.model.modules import SoftExponential
from trainatlas.optim.optimizers import OPTIMIZERS, Optimizer
from trainatlas.optim.regularisation import dropout_of
from trainatlas.study.trial import Trial
from trainatlas.train.examples import PARTS, ExampleStore, probe_rows
from trainatlas.train.passes import goes_apart
from trainatlas.train.stack import EVALUATION_CHUNK

BASE = 600 * 2**20
"""Bytes of a process that has torch and scikit-learn loaded and trains nothing."""

NUMBER = 4
"""Bytes of a number in single precision."""

# How often things are held at once, measured on the CPU (tests/unit/train/test_memory.py) with room to spare: a
# module's output while training, by module; a layer's output while probing; a parameter, beside the optimizer's slots.
_OUTPUT_COPIES = {nn.Conv2d: 26.0, SoftExponential: 40.0}
_OTHER_OUTPUT_COPIES = 6.0
_PROBING_COPIES = 5.0
_PARAMETER_COPIES = 6.0

_ROOM = 1.6
"""Factor on what a trial needs: freed memory is kept by the process, and how much of it lies idle varies from run to run."""


@dataclass(frozen=True)
class Prediction:
    """Bytes that a stack needs.

    Attributes
    ----------
    fixed
        Whatever the number of trials: the process and the examples.
    trial
        For each trial beside that.
    """

    fixed: float
    trial: float

    def of(self, trials: int) -> float:
        """Return the bytes that a stack of so many trials needs."""
        return self.fixed + trials * self.trial


def predict(trials: Sequence[Trial], store: ExampleStore) -> Prediction:
    """Predict what a stack of these trials, of one structure, needs; their examples are loaded for it."""
    lead = trials[0]
    keys = {store.key(trial): trial for trial in trials}
    variant = store.variant(lead)
    shape = tuple(variant.x["train"].shape[1:])
    network = build_network(
        lead.network, lead.activation, lead.normalisation, shape, store.classes(lead), dropout_of(lead.regularisation)
    )
    outputs = _outputs(network, shape)
    held = sum(numbers * _OUTPUT_COPIES.get(kind, _OTHER_OUTPUT_COPIES) for kind, numbers in outputs)
    largest = max(numbers for _, numbers in outputs)
    parameters = sum(p.numel() for p in network.parameters())
    slots = max(_slots(trial.optimizer) for trial in trials)
    inputs = variant.x["train"][0].numel()
    training = lead.batch_size * (held + 2 * inputs)
    looking = EVALUATION_CHUNK * (largest * _PROBING_COPIES + 2 * inputs)
    if any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules()):
        looking = max(looking, len(probe_rows(len(variant.y["train"]))) * (largest * 3 + inputs))
    apart = goes_apart(network, shape, len(trials), lead.batch_size, store.device)
    working, kept = max(training, looking), parameters * (_PARAMETER_COPIES + slots)
    a_variant = sum(variant.x[part].numel() for part in PARTS) * NUMBER
    shared = lead.batch_size * inputs * NUMBER * len(keys)
    return Prediction(
        fixed=BASE + store.loaded_bytes(lead) + len(keys) * a_variant + shared + apart * _ROOM * NUMBER * working,
        trial=_ROOM * NUMBER * (kept + (0 if apart else working)),
    )


def _slots(optimizer: str) -> int:
    described: Optimizer = OPTIMIZERS.build(optimizer)
    return len(described.slots) + described.spare


@torch.no_grad()
def _outputs(network: nn.Module, shape: tuple[int, ...]) -> list[tuple[type[nn.Module], int]]:
    """Return each innermost module's class, and how many numbers it puts out for one example."""
    sizes: list[tuple[type[nn.Module], int]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append((type(module), output.numel()))

    handles = [
        module.register_forward_hook(note)
        for module in network.modules()
        if not list(module.children()) and not isinstance(module, nn.Identity | nn.Flatten)
    ]
    network.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return sizes
