"""Initialisation: each entry says how a layer's weights start, and every one takes the biases' start.

Draws are paired: for one seed, a layer's standard normal (or uniform) draws are the same whatever the
level, which only scales or turns them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from trainatlas.model.activations import gain as gain_of
from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import AnyOption, Level, LevelTable, Option, OptionValue, Word
from trainatlas.study.streams import stream_key
from trainatlas.study.trial import Trial

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from trainatlas.model import modules
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")
    modules = LazyModule("trainatlas.model.modules")


@dataclass(frozen=True)
class Weight:
    """A weight that is to be drawn.

    Attributes
    ----------
    seed, stream
        Key of its draws.
    shape
        (out, in) for a linear layer, (out, in, height, width) for a convolution.
    activation
        Text of the trial's activation, for gains that depend on it.
    """

    seed: int
    stream: str
    shape: tuple[int, ...]
    activation: str

    @property
    def fans(self) -> tuple[int, int]:
        """Return (fan_in, fan_out)."""
        return fans(self.shape)

    def normal(self, std: float) -> Tensor:
        """Return draws of mean 0 and this standard deviation."""
        return _unit_draws(self.seed, self.stream, self.shape, "normal") * std

    def uniform(self, std: float) -> Tensor:
        """Return uniform draws of mean 0 and this standard deviation, so within sqrt(3) times it."""
        return _unit_draws(self.seed, self.stream, self.shape, "uniform") * std

    def orthogonal(self, gain: float) -> Tensor:
        """Return a matrix of orthogonal rows or columns, whichever are fewer, of this length."""
        return _orthogonal(self.seed, self.stream, self.shape) * gain

    def filled(self, value: float) -> Tensor:
        """Return the weight with every entry at `value`."""
        return torch.full(self.shape, value)

    def gain(self, given: OptionValue) -> float:
        """Return the gain that an option asks for: a number, relu's, or the trial's own activation's."""
        if given == "activation":
            return gain_of(self.activation)
        return gain_of("relu") if given == "relu" else float(given)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (out, in, *kernel): kernel size times channels."""
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


@dataclass(frozen=True)
class Initialiser:
    """How a network starts.

    Attributes
    ----------
    draw
        A weight's values.
    bias
        Every bias of a linear or convolution layer.
    unit_variance
        (tolerance, most iterations) where weights are then scaled until each layer's output has variance 1.
    """

    draw: Callable[[Weight], Tensor]
    bias: float
    unit_variance: tuple[float, int] | None = None


def _level(
    name: str,
    formula: str,
    source: str,
    draw: Callable[..., Tensor],
    options: dict[str, AnyOption] | None = None,
) -> Level:
    """Return an entry: `draw` takes the weight and the entry's own options; the bias is every entry's."""

    def build(bias: float, **given: OptionValue) -> Initialiser:
        return Initialiser(lambda weight: draw(weight, **given), bias)

    return Level(name, formula, source, build, {**(options or {}), "bias": _BIAS})


_BIAS = Option(0.0, -10.0, 10.0, "every bias before training")
_GAIN = Option(1.0, 0.0, 100.0, "factor on the weights, or the activation's own", open_low=True, words=("activation",))
_RELU_GAIN = Option(
    "relu", 0.0, 100.0, "factor on the weights: relu's sqrt(2), or the activation's own", True, ("relu", "activation")
)
_MODE = Word("fan_in", ("fan_in", "fan_out"), "keep the variance forward or backward")


def _xavier_std(weight: Weight, gain: OptionValue) -> float:
    return weight.gain(gain) * math.sqrt(2 / sum(weight.fans))


def _kaiming_std(weight: Weight, mode: str, gain: OptionValue) -> float:
    return weight.gain(gain) / math.sqrt(weight.fans[0 if mode == "fan_in" else 1])


INITIALISATIONS = LevelTable(
    "init",
    _level("zeros", "0", "CS231n 2017, lecture 6", lambda weight: weight.filled(0.0)),
    _level(
        "constant",
        "value",
        "CS231n 2017, lecture 6",
        lambda weight, value: weight.filled(value),
        {"value": Option(0.1, -100.0, 100.0, "every weight before training")},
    ),
    _level(
        "normal",
        "N(0, std^2)",
        "CS231n 2017, lecture 6",
        lambda weight, std: weight.normal(std),
        {"std": Option(0.01, 0.0, 100.0, "standard deviation", open_low=True)},
    ),
    _level(
        "lecun_normal",
        "N(0, 1 / fan_in)",
        "LeCun et al. 1998, Efficient BackProp, 4.6",
        lambda weight: weight.normal(math.sqrt(1 / weight.fans[0])),
    ),
    _level(
        "xavier_normal",
        "N(0, gain^2 * 2 / (fan_in + fan_out))",
        "Glorot and Bengio 2010, eq. 12",
        lambda weight, gain: weight.normal(_xavier_std(weight, gain)),
        {"gain": _GAIN},
    ),
    _level(
        "xavier_uniform",
        "U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out))",
        "Glorot and Bengio 2010, eq. 16",
        lambda weight, gain: weight.uniform(_xavier_std(weight, gain)),
        {"gain": _GAIN},
    ),
    _level(
        "kaiming_normal",
        "N(0, gain^2 / fan)",
        "He et al. 2015, Delving Deep into Rectifiers, eq. 10 and 14",
        lambda weight, mode, gain: weight.normal(_kaiming_std(weight, mode, gain)),
        {"mode": _MODE, "gain": _RELU_GAIN},
    ),
    _level(
        "kaiming_uniform",
        "U(-a, a), a = gain * sqrt(3 / fan)",
        "He et al. 2015, Delving Deep into Rectifiers, eq. 10 and 14",
        lambda weight, mode, gain: weight.uniform(_kaiming_std(weight, mode, gain)),
        {"mode": _MODE, "gain": _RELU_GAIN},
    ),
    _level(
        "orthogonal",
        "gain * Q of the QR decomposition of normal draws",
        "Saxe et al. 2014, section 3",
        lambda weight, gain: weight.orthogonal(weight.gain(gain)),
        {"gain": _GAIN},
    ),
    Level(
        "lsuv",
        "orthogonal, then each layer in turn divided by the standard deviation of its output on the first minibatch",
        "Mishkin and Matas 2016, algorithm 1",
        lambda bias, tolerance, iterations: Initialiser(
            lambda weight: weight.orthogonal(1.0), bias, (tolerance, iterations)
        ),
        {
            "tolerance": Option(0.1, 0.0, 1.0, "distance of the variance from 1 that is let be", open_low=True),
            "iterations": Option(10, 1, 1000, "most divisions a layer"),
            "bias": _BIAS,
        },
    ),
)
"""Every initialisation by name."""


@lru_cache(maxsize=1024)
def depends_on_data(init: str) -> bool:
    """Return whether the level that `init` names looks at examples."""
    initialiser: Initialiser = INITIALISATIONS.build(init)
    return initialiser.unit_variance is not None


def initial_parameters(network: nn.Module, trial: Trial, minibatch: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return initial values for every parameter of `network`, by name, float32 on the CPU.

    Weights of linear and convolution layers are drawn by the trial's level, each from its own
    stream "init/<parameter>"; their biases are the level's. A weight normalisation's scale starts at the
    norms of the weights it divides by, so that it changes nothing at first. Parameters of other
    modules keep the values they were built with.

    Parameters
    ----------
    network
        A network on the CPU; left as it is.
    trial
        Says which level, which activation and which seed.
    minibatch
        Returns the trial's first minibatch, (examples, *shape); called where the level depends on data.
    """
    initialiser: Initialiser = INITIALISATIONS.build(trial.init)
    values = {name: parameter.detach().clone().float() for name, parameter in network.named_parameters()}
    for path, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            name = f"{path}.weight" if path else "weight"
            shape = tuple(module.weight.shape)
            values[name] = initialiser.draw(Weight(trial.seed, f"init/{name}", shape, trial.activation))
            if module.bias is not None:
                values[name.removesuffix("weight") + "bias"].fill_(initialiser.bias)
    _start_weight_norms(network, values)
    if initialiser.unit_variance is not None:
        _scale_to_unit_variance(network, values, minibatch(), *initialiser.unit_variance)
    return values


def _start_weight_norms(network: nn.Module, values: dict[str, Tensor]) -> None:
    paths = {module: path for path, module in network.named_modules()}
    for module, path in paths.items():
        if isinstance(module, modules.WeightNorm):
            values[f"{path}.weight"] = modules.norms(values[f"{paths[module.layer]}.weight"])


def _scale_to_unit_variance(
    network: nn.Module, values: dict[str, Tensor], x: Tensor, tolerance: float, iterations: int
) -> None:
    """Divide each layer's weight, first layer first, until its output has variance 1 up to `tolerance`."""
    layers = [(path, m) for path, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    x = x.to("cpu", torch.float32)
    was_training = network.training
    network.eval()  # nothing is dropped, and batch normalisation passes on what it is given
    seen: list[Tensor] = []
    for path, layer in layers:
        hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            for _ in range(iterations):
                with torch.no_grad():
                    torch.func.functional_call(network, values, (x,))
                variance = seen.pop().var().item()
                if abs(variance - 1) < tolerance or not 0 < variance < math.inf:
                    break
                name = f"{path}.weight" if path else "weight"
                values[name] = values[name] / math.sqrt(variance)
                _start_weight_norms(network, values)
        finally:
            hook.remove()
            seen.clear()
    network.train(was_training)


@lru_cache(maxsize=256)
def _unit_draws(seed: int, stream: str, shape: tuple[int, ...], distribution: str) -> Tensor:
    """Draw from mean 0 and variance 1; the cache spares a pack of many levels the same draws."""
    generator = torch.Generator().manual_seed(stream_key(seed, stream))
    if distribution == "normal":
        return torch.randn(shape, generator=generator)
    return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)


@lru_cache(maxsize=256)
def _orthogonal(seed: int, stream: str, shape: tuple[int, ...]) -> Tensor:
    """Return Q of the QR decomposition of the normal draws, signs such that it is drawn uniformly (Mezzadri 2007)."""
    flat = _unit_draws(seed, stream, shape, "normal").flatten(1).double()
    tall = flat if flat.shape[0] >= flat.shape[1] else flat.T
    q, r = torch.linalg.qr(tall)
    q = q * r.diagonal().sign()
    result: Tensor = (q if flat.shape[0] >= flat.shape[1] else q.T).reshape(shape).float()
    return result
