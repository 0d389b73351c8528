"""What a training step costs at least: operations and bytes counted from the network, and what this machine can do.

The roofline of Williams, Waterman and Patterson 2009: a step takes no less time than its arithmetic at the machine's best
rate of matrix products, nor than its memory traffic at its best rate of copying.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainatlas.study.errors import UserError
from trainatlas.study.storage import write_json

NUMBER = 4
"""Bytes of a number in single precision."""


@torch.no_grad()
def layer_work(network: nn.Module, shape: tuple[int, ...]) -> list[tuple[nn.Module, int, int]]:
    """Return each linear and convolution layer, its multiply-adds and its outputs for one example of a shape."""
    found: list[tuple[nn.Module, int, int]] = []

    def note(module: nn.Linear | nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((module, output.numel() * module.weight[0].numel(), output.numel()))

    handles = [
        module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    was_training = network.training
    like = next(network.parameters())
    network.eval()(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    network.train(was_training)
    for handle in handles:
        handle.remove()
    return found


@dataclass(frozen=True)
class StepWork:
    """The least work of one trial's training step.

    Attributes
    ----------
    operations
        Floating-point operations of the matrix products: forward, and backward for weights and inputs.
    bytes
        Traffic: parameters read in both directions, gradients written and read, parameters and the optimizer's
        slots read and written, the minibatch read, and each layer's outputs and their gradients written and read.
    """

    operations: float
    bytes: float


def step_work(network: nn.Module, shape: tuple[int, ...], batch_size: int, slots: int) -> StepWork:
    """Count the work of a step on a minibatch, in single precision.

    Parameters
    ----------
    shape
        Of one example.
    slots
        Numbers that the optimizer keeps for each parameter.
    """
    layers = layer_work(network, shape)
    forward = sum(work for _, work, _ in layers)
    of_first = layers[0][1] if layers else 0  # nobody asks for the gradient of the examples
    outputs = sum(numbers for _, _, numbers in layers)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    of_inputs = torch.Size(shape).numel()
    return StepWork(
        operations=2.0 * batch_size * (3 * forward - of_first),
        bytes=NUMBER * (parameters * (2 + 2 + 2 + 2 * slots) + batch_size * (of_inputs + 4 * outputs)),
    )


@dataclass(frozen=True)
class Ceilings:
    """What the machine does at best: operations of a matrix product, and bytes copied, each per second."""

    operations: float
    bytes: float

    def seconds(self, work: StepWork) -> float:
        """Return the least time of a step of `work`."""
        return max(work.operations / self.operations, work.bytes / self.bytes)


def measure_ceilings(device: torch.device, repeats: int = 5) -> Ceilings:
    """Measure both rates on a device, with as many threads as are set: the best of `repeats`."""
    side = 4096 if device.type == "cuda" else 1024
    a = torch.full((side, side), 0.5, device=device)
    numbers = torch.full((2**27 if device.type == "cuda" else 2**24,), 0.5, device=device)
    copied = torch.empty_like(numbers)
    product = min(_seconds(lambda: a @ a, device) for _ in range(repeats))
    copy = min(_seconds(lambda: copied.copy_(numbers), device) for _ in range(repeats))
    return Ceilings(2.0 * side**3 / product, 2.0 * NUMBER * numbers.numel() / copy)


def kept_ceilings(path: Path, device: torch.device) -> Ceilings:
    """Return the ceilings of this host's device: from a JSON file, where an earlier job has left them, else measured.

    What is measured is left in the file for later jobs; where that fails, they measure again.
    """
    name = f"{platform.node()} {torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}"
    kept: dict[str, dict[str, float]] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        kept = dict(json.loads(path.read_text(encoding="utf-8")))
    if name not in kept:
        kept[name] = asdict(measure_ceilings(device))
        with contextlib.suppress(UserError):
            write_json(path, kept)
    return Ceilings(**kept[name])


def _seconds(act: Callable[[], object], device: torch.device) -> float:
    act()
    settle(device)
    begun = time.perf_counter()
    act()
    settle(device)
    return time.perf_counter() - begun


def settle(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
