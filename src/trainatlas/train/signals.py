"""Signals: how the outputs and the gradients of each layer of a stack are distributed over the probe set.

The gradient is that of the cross-entropy, summed over examples, by the input of a layer's activation (by the output
of a layer without one): what Glorot and Bengio 2010, section 4.2, write dCost/ds. An example's gradient then depends
on no other example, so the pieces in which the probe set is looked at do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from trainatlas.train.probes import Layer
from trainatlas.train.records import BINS

Tensors = dict[str, Tensor]
Pieces = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Distribution:
    """How one quantity of one layer is distributed, for each trial of a stack.

    Attributes
    ----------
    std, low, high
        Standard deviation and extremes, float64, (trials,).
    shares
        Shares of the values in BINS equal bins from low to high, float64, (trials, BINS).
    """

    std: Tensor
    low: Tensor
    high: Tensor
    shares: Tensor

    def bins(self, trial: int) -> list[tuple[float, float, float]]:
        """Return (low, high, share) of a trial's bins that hold anything.

        One bin without width where all values are the same, none where some are not finite.
        """
        low, high = self.low[trial].item(), self.high[trial].item()
        edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64).tolist()
        if not self.low[trial].isfinite() or not self.high[trial].isfinite():
            return []
        if low == high:
            return [(low, high, 1.0)]
        shares = self.shares[trial].tolist()
        return [(edges[i], edges[i + 1], share) for i, share in enumerate(shares) if share > 0]


def measure(
    network: nn.Module, layers: list[Layer], parameters: Tensors, buffers: Tensors, pieces: Pieces
) -> dict[str, dict[str, Distribution]]:
    """Measure the outputs ("activation") and gradients ("gradient") of each layer, in two passes.

    Parameters
    ----------
    network
        In the mode in which it is to be looked at.
    parameters, buffers
        With the trials in front.
    pieces
        Yields, each time it is called, the same examples (trials, n, *shape) and classes (trials, n).

    Returns
    -------
    dict
        By layer and quantity. A layer that the network runs several times, or not at all, is left out.
    """
    first, _ = next(iter(pieces()))
    shapes = _shapes(network, layers, _of(0, parameters), _of(0, buffers), first[0, :1])
    watched = [layer for layer in layers if layer.name in shapes]

    def loss(offsets: Tensors, parameters: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensors]:
        outputs: Tensors = {}
        with _watched(network, watched, lambda name, z: z + offsets[name], outputs.__setitem__):
            logits = functional_call(network, (parameters, buffers), (x,))
        return F.cross_entropy(logits, y, reduction="sum"), outputs

    differentiated = vmap(grad(loss, has_aux=True), randomness="error")

    def values() -> Iterator[tuple[tuple[str, str], Tensor]]:
        """Yield, piece by piece, ((layer, quantity), its values (trials, numbers) as float64)."""
        for x, y in pieces():
            offsets = {name: x.new_zeros(*x.shape[:2], *shape) for name, shape in shapes.items()}
            gradients, outputs = differentiated(offsets, parameters, buffers, x, y)
            for name in shapes:
                yield (name, "activation"), outputs[name].flatten(1).double()
                yield (name, "gradient"), gradients[name].flatten(1).double()

    ranges: dict[tuple[str, str], _Range] = {}
    for key, each in values():
        ranges[key] = ranges[key].joined(_Range.of(each)) if key in ranges else _Range.of(each)
    counts: dict[tuple[str, str], Tensor] = {}
    for key, each in values():
        counts[key] = counts.get(key, torch.zeros(())) + _counted(each, ranges[key].low, ranges[key].high)
    found: dict[str, dict[str, Distribution]] = {}
    for (name, quantity), seen in ranges.items():
        shares = counts[name, quantity].double() / seen.number
        found.setdefault(name, {})[quantity] = Distribution(
            seen.std().cpu(), seen.low.cpu(), seen.high.cpu(), shares.cpu()
        )
    return found


@dataclass(frozen=True)
class _Range:
    """What adds up over pieces, one value a trial."""

    number: int
    low: Tensor
    high: Tensor
    sum: Tensor
    square: Tensor

    @classmethod
    def of(cls, values: Tensor) -> _Range:
        return cls(values.shape[1], values.amin(1), values.amax(1), values.sum(1), values.square().sum(1))

    def joined(self, other: _Range) -> _Range:
        return _Range(
            self.number + other.number,
            torch.minimum(self.low, other.low),
            torch.maximum(self.high, other.high),
            self.sum + other.sum,
            self.square + other.square,
        )

    def std(self) -> Tensor:
        return (self.square / self.number - (self.sum / self.number).square()).clamp(min=0.0).sqrt()


def _counted(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return how many of each trial's values lie in each bin, (trials, BINS); the highest belongs to the last.

    Works in place: `values` are lost.
    """
    place = values.sub_(low[:, None]).div_((high - low)[:, None]).mul_(BINS)
    bins = place.nan_to_num_(0.0).clamp_(0, BINS - 1).long()
    bins += torch.arange(len(values), device=values.device)[:, None] * BINS
    return torch.bincount(bins.flatten(), minlength=len(values) * BINS).reshape(-1, BINS)


def _of(trial: int, stacked: Tensors) -> Tensors:
    return {name: value[trial] for name, value in stacked.items()}


def _shapes(
    network: nn.Module, layers: list[Layer], parameters: Tensors, buffers: Tensors, x: Tensor
) -> dict[str, tuple[int, ...]]:
    """Return, by layer that is run once, the shape of what gradients are taken by, for one example."""
    seen: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str, z: Tensor) -> Tensor:
        seen.setdefault(name, []).append(tuple(z.shape[1:]))
        return z

    with _watched(network, layers, note, lambda name, output: None):
        functional_call(network, (parameters, buffers), (x,))
    return {name: shapes[0] for name, shapes in seen.items() if len(shapes) == 1}


@contextmanager
def _watched(
    network: nn.Module,
    layers: list[Layer],
    enter: Callable[[str, Tensor], Tensor],
    leave: Callable[[str, Tensor], None],
) -> Iterator[None]:
    """Let `enter` change what enters each layer's activation, and `leave` see what leaves it, while the block runs.

    A layer without activation has its output changed instead.
    """
    with ExitStack() as undo:
        for layer in layers:
            last = network.get_submodule(layer.activation or layer.module)
            handles = []
            if layer.activation is not None:
                handles.append(last.register_forward_pre_hook(_before(layer.name, enter)))
            handles.append(last.register_forward_hook(_after(layer, enter, leave)))
            for handle in handles:
                undo.callback(handle.remove)
        yield


def _before(name: str, enter: Callable[[str, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda module, inputs: enter(name, inputs[0])


def _after(
    layer: Layer, enter: Callable[[str, Tensor], Tensor], leave: Callable[[str, Tensor], None]
) -> Callable[..., Tensor]:
    def seen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output if layer.activation is not None else enter(layer.name, output)
        leave(layer.name, output)
        return output

    return seen
