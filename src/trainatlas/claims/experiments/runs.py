"""Trials that experiments train by the plain loop, one at a time: each once, its rate tuned, its steps watched.

What is trained is kept and shared between experiments; whoever changes a network takes a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainatlas.claims.observations import OBSERVATION_COLUMNS
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, Variant
from trainatlas.train.reference import Look, ReferenceRun, train_reference, watch_reference

DIGITS = Trial(
    data="digits",
    network="mlp(depth=2, width=64)",
    activation="relu",
    init="kaiming_normal",
    normalisation="none",
    optimizer="momentum",
    preprocessing="standardize",
    learning_rate=0.03,
    batch_size=64,
    epochs=12,
    seed=0,
)
"""What experiments vary: two layers of 64 units on digits."""

RATES = {
    "sgd": (0.03, 0.1, 0.3),
    "momentum": (0.01, 0.03, 0.1),
    "adagrad": (0.01, 0.03, 0.1),
    "rmsprop": (0.0003, 0.001, 0.003),
    "adam": (0.001, 0.003, 0.01),
}
"""Learning rates that tuning tries, by optimizer."""

Row = tuple[str, int, str, float]
"""A case, a seed, a pair and an effect."""


def observations(rows: Iterable[Row]) -> pd.DataFrame:
    """Return observations as a table with OBSERVATION_COLUMNS."""
    return pd.DataFrame(list(rows), columns=list(OBSERVATION_COLUMNS))


def case_of(trial: Trial) -> str:
    """Return a trial's data set and network in words."""
    return f"{trial.data}, {trial.network}"


@lru_cache(maxsize=1)
def store() -> ExampleStore:
    """Return where the examples of all experiments come from, on the CPU."""
    return ExampleStore(torch.device("cpu"))


def examples(trial: Trial) -> Variant:
    """Return the examples of a trial, split and preprocessed, float32 on the CPU."""
    return store().variant(trial)


@lru_cache(maxsize=512)
def trained(trial: Trial, steps: int | None = None) -> ReferenceRun:
    """Return a trial after its epochs, or after so many steps; the network is shared, so it is for looking at alone."""
    return train_reference(trial, store(), steps)


def evaluated(trial: Trial, network: nn.Module, part: str) -> tuple[float, float]:
    """Return loss (nats) and accuracy of a network on a part of the trial's examples, as the network would be used.

    A network that is not finite has infinite loss; its accuracy is what it is.
    """
    variant = examples(trial)
    with torch.no_grad():
        logits = network.eval()(variant.x[part])
    loss = F.cross_entropy(logits, variant.y[part]).item()
    return (loss if loss == loss else float("inf")), accuracy(logits, variant.y[part])


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the share of examples whose largest logit is their class's: (examples, classes), (examples,)."""
    return (logits.argmax(1) == y).double().mean().item()


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the best validation accuracy after training, ties by the smaller validation loss."""

    def rank(trial: Trial) -> tuple[float, float]:
        loss, share = evaluated(trial, trained(trial).network, "validation")
        return -share, loss

    return min(trials, key=rank)


def tuned(trial: Trial) -> Trial:
    """Return the trial at the best of the rates that RATES has for its optimizer, by validation data."""
    return best([trial._replace(learning_rate=rate) for rate in RATES[trial.optimizer]])


def watched(
    trial: Trial, before: Look | None = None, after: Look | None = None, steps: int | None = None
) -> ReferenceRun:
    """Train a trial anew and look at its parameters, as `watch_reference` does."""
    return watch_reference(trial, store(), before, after, steps)


@contextmanager
def outputs_of(network: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect, while the block runs the network, what the modules at these paths return, by path."""
    seen: dict[str, Tensor] = {}

    def note(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: seen.__setitem__(path, output.detach())

    with ExitStack() as undo:
        for path in paths:
            undo.callback(network.get_submodule(path).register_forward_hook(note(path)).remove)
        yield seen


def hidden_outputs(trial: Trial, network: nn.Module, part: str) -> list[Tensor]:
    """Return the outputs of each hidden layer's activation on a part, dropout idle: (examples, units, ...) each."""
    paths = [path for path, _ in network.named_modules() if path.rpartition(".")[2] == "activation"]
    with torch.no_grad(), outputs_of(network, paths) as seen:
        network.eval()(examples(trial).x[part])
    return [seen[path] for path in paths]
