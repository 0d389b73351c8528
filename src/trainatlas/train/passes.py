"""How the trials of a stack pass through their network: side by side, or one after the other.

Side by side, `torch.func` maps the network over the trials, so that small matrices share one call. Where a trial alone
keeps the processor busy there is nothing to share, and mapping costs: convolutions become one with many groups, which
a CPU does slowly. There each trial goes by itself, images with their channels last, as the CPU's convolutions like them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from trainatlas.train.work import layer_work

Pass = Callable[..., Any]
"""(parameters, buffers, example tensors ...) of one trial -> tensors, nested in tuples and dictionaries."""

Gradients = Callable[..., tuple[dict[str, Tensor], Tensor]]
"""(parameters, buffers, example tensors ...) of a stack -> gradients by parameter and losses (trials,)."""

APART_FROM = 16_000_000
"""Multiply-adds of a minibatch in a trial's convolutions from which a CPU takes trials one after the other."""


def goes_apart(network: nn.Module, shape: tuple[int, ...], trials: int, batch_size: int, device: torch.device) -> bool:
    """Return whether trials go one after the other: one alone, or large convolutions on the CPU.

    Parameters
    ----------
    shape
        Of one example.
    trials, batch_size
        Size of the stack as it begins, and of a minibatch.
    """
    if trials == 1 or device.type != "cpu":
        return trials == 1
    work = sum(work for layer, work, _ in layer_work(network, shape) if isinstance(layer, nn.Conv2d))
    return batch_size * work >= APART_FROM


def over_trials(function: Pass, apart: bool) -> Pass:
    """Return `function` for a stack: every tensor given and returned has the trials in front."""
    if not apart:
        mapped: Pass = vmap(function, randomness="error")
        return mapped

    def one_after_the_other(*stacked: Any) -> Any:
        trials = len(stacked[-1])
        return _stack([function(*(_images_last(_at(each, i)) for each in stacked)) for i in range(trials)])

    return one_after_the_other


def gradients_of(loss: Pass, apart: bool) -> Gradients:
    """Return what computes the gradients of each trial's loss by its parameters, and the losses."""
    if not apart:
        mapped: Gradients = vmap(grad_and_value(loss), randomness="error")
        return mapped

    def one_after_the_other(
        parameters: dict[str, Tensor], buffers: dict[str, Tensor], *examples: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        of_trials: list[tuple[Tensor, ...]] = []
        losses = []
        for i in range(len(examples[0])):
            leaves = {name: stacked[i].detach().requires_grad_() for name, stacked in parameters.items()}
            value = loss(leaves, _at(buffers, i), *(_images_last(each[i]) for each in examples))
            of_trials.append(torch.autograd.grad(value, list(leaves.values()), materialize_grads=True))
            losses.append(value.detach())
        stacked = map(torch.stack, zip(*of_trials, strict=True))
        return dict(zip(parameters, stacked, strict=True)), torch.stack(losses)

    return one_after_the_other


def _at(stacked: Any, i: int) -> Any:
    return {name: each[i] for name, each in stacked.items()} if isinstance(stacked, dict) else stacked[i]


def _images_last(examples: Any) -> Any:
    if isinstance(examples, Tensor) and examples.dim() == 4:
        return examples.contiguous(memory_format=torch.channels_last)
    return examples


def _stack(results: list[Any]) -> Any:
    first = results[0]
    if isinstance(first, dict):
        return {name: _stack([each[name] for each in results]) for name in first}
    if isinstance(first, tuple):
        return tuple(_stack(list(each)) for each in zip(*results, strict=True))
    return torch.stack(results)
