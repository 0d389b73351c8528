"""Probes: what is read off a stack's layers while it trains.

A unit is *dead* when its local slope stays below DEAD_SLOPE of the activation's largest slope on
every example of the probe set (`trainatlas.train.examples.probe_rows`). *Saturated* is the share of
(unit, example) pairs whose local slope is below SATURATED_SLOPE of the largest one. Slopes come from
autograd, so both hold for every activation; a maxout unit's is that of all its pieces together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainatlas.model.activations import maximum_slope
from trainatlas.study.trial import Trial

DEAD_SLOPE = 1e-6
SATURATED_SLOPE = 1e-2


@dataclass(frozen=True)
class Layer:
    """A layer with weights and the activation that follows it.

    Attributes
    ----------
    name
        The layer's path in the network ("hidden.0", "output").
    weight
        Path of its weight.
    activation
        Path of its activation's module; None for a layer without one, such as the last.
    """

    name: str
    module: str
    weight: str
    activation: str | None


def layers_of(network: nn.Module) -> list[Layer]:
    """Return the layers with weights in the order in which the network holds them."""
    layers: list[Layer] = []
    for path, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            parent, _, own = path.rpartition(".")
            name = parent if own in ("linear", "convolution") else path
            layers.append(Layer(name, path, f"{path}.weight", None))
        elif path.rpartition(".")[2] == "activation" and layers and layers[-1].activation is None:
            last = layers[-1]
            layers[-1] = Layer(last.name, last.module, last.weight, path)
    return layers


@contextmanager
def captured(network: nn.Module, layers: list[Layer]) -> Iterator[dict[str, tuple[Tensor, Tensor | None]]]:
    """Collect, while the block runs the network, each layer's output and its activation's local slope.

    Yields
    ------
    dict
        By layer: output a and slope f'(z), both (examples, units, ...); the slope is None for a
        layer without activation.
    """
    seen: dict[str, tuple[Tensor, Tensor | None]] = {}
    with ExitStack() as undo:
        for layer in layers:
            if layer.activation is None:
                handle = network.get_submodule(layer.module).register_forward_hook(_note_output(seen, layer.name))
                undo.callback(handle.remove)
            else:
                module = network.get_submodule(layer.activation)
                undo.callback(delattr, module, "forward")
                module.forward = _with_slope(module.forward, seen, layer.name)
        yield seen


def _note_output(seen: dict[str, tuple[Tensor, Tensor | None]], name: str) -> Callable[..., None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[name] = (output, None)

    return note


def _with_slope(
    forward: Callable[[Tensor], Tensor], seen: dict[str, tuple[Tensor, Tensor | None]], name: str
) -> Callable[[Tensor], Tensor]:
    """Return an activation that also notes its slope: the pull-back of ones, as no output shares an input."""

    def probed(x: Tensor) -> Tensor:
        output: Tensor
        output, pull = torch.func.vjp(forward, x)[:2]
        (slope,) = pull(torch.ones_like(output))
        if slope.shape != output.shape:
            slope = slope.unflatten(1, (output.shape[1], -1)).sum(2)
        seen[name] = (output, slope)
        return output

    return probed


def layer_sums(seen: dict[str, tuple[Tensor, Tensor | None]], trial: Trial) -> dict[str, dict[str, Tensor]]:
    """Reduce one piece of the probe set to what adds up over pieces.

    Returns
    -------
    dict
        By layer: `sum` and `square` of the outputs (scalars), `alive` per unit (bool, (units,)) and
        the number of `saturated` pairs (scalar), the last two for layers with an activation.
    """
    largest = maximum_slope(trial.activation)
    sums: dict[str, dict[str, Tensor]] = {}
    for name, (output, slope) in seen.items():
        sums[name] = {"sum": output.sum(), "square": output.square().sum()}
        if slope is not None:
            steepness = slope.abs()
            others = [dim for dim in range(slope.dim()) if dim != 1]
            sums[name]["alive"] = steepness.amax(others) >= DEAD_SLOPE * largest
            # Whole parts of slope / threshold, cut off at 1, count the pairs that are not saturated: three
            # passes over floats, where a comparison and a sum of booleans take five times as long.
            lively = (steepness / (SATURATED_SLOPE * largest)).clamp(max=1.0).floor().sum()
            sums[name]["saturated"] = slope.numel() - lively
    return sums


class LayerProbe:
    """Adds up `layer_sums` of a stack over the pieces of the probe set."""

    def __init__(self) -> None:
        self._totals: dict[str, dict[str, Tensor]] = {}
        self._outputs: dict[str, int] = {}

    def add(self, sums: dict[str, dict[str, Tensor]], outputs: dict[str, int]) -> None:
        """Add a piece: sums with the trials in front, and how many outputs a trial had by layer."""
        for name, piece in sums.items():
            self._outputs[name] = self._outputs.get(name, 0) + outputs[name]
            total = self._totals.setdefault(name, {})
            for key, value in piece.items():
                value = value.double() if value.is_floating_point() else value
                if key not in total:
                    total[key] = value
                else:
                    total[key] = total[key] | value if key == "alive" else total[key] + value

    def statistics(self) -> dict[str, dict[str, Tensor]]:
        """Return by layer, one value per trial: activation mean and std, dead and saturated fractions."""
        result: dict[str, dict[str, Tensor]] = {}
        for name, total in self._totals.items():
            number = self._outputs[name]
            mean = total["sum"] / number
            variance = (total["square"] / number - mean.square()).clamp(min=0.0)
            result[name] = {"activation_mean": mean, "activation_std": variance.sqrt()}
            if "alive" in total:
                result[name]["dead_fraction"] = 1.0 - total["alive"].double().mean(-1)
                result[name]["saturated_fraction"] = total["saturated"] / number
        return result
