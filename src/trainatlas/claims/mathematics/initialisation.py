"""Initialisation: constant weights (I1), variances of the weights (I5, I9) and of what passes through layers (I5, I6).

Weights are random draws, so their variance is checked against the formula within five standard errors, stated in each check:
a correct draw fails once in two million, and the draws follow from the seeds.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from trainatlas.claims.observations import Check
from trainatlas.model.activations import ACTIVATIONS
from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import INITIALISATIONS, Initialiser, Weight, initial_parameters
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, epoch_order, steps_of_epoch
from trainatlas.train.reference import train_reference

_ERRORS = 5.0
"""Standard errors that a sample may stray from theory."""

_STEPS, _RATE = 20, 0.1


# Constant weights ----------------------------------------------------------------------------------------------------


def identical_units() -> list[Check]:
    """Check that from zeros nothing but the last bias moves, and that from any constant a layer's units stay identical (I1).

    On digits over 20 steps of gradient descent. From zeros, with ReLU or tanh, the network is its last bias alone, which must
    move as that of a softmax regression without inputs: b <- b - lr (softmax(b) - shares of the classes in the batch).
    """
    store = ExampleStore(torch.device("cpu"), torch.float64)
    trial = Trial("digits", "mlp(depth=2, width=6)", "relu", "zeros", "none", "sgd", "raw", _RATE, 64, 2, 0)
    checks = []
    expected = _bias_alone(trial, store)
    for activation in ("relu", "tanh"):
        parameters = _trained(trial._replace(activation=activation), store)
        others = max(value.abs().max().item() for name, value in parameters.items() if name != "output.bias")
        deviation = (parameters["output.bias"] - expected).abs().max().item()
        largest = worded("{activation} from zeros: largest of all parameters but the last bias", activation=activation)
        bias = worded(
            "{activation} from zeros: last bias less that of a regression without inputs", activation=activation
        )
        checks += [Check(largest, 0.0, others, 0.0), Check(bias, 0.0, deviation, 1e-12)]
    for activation in ("relu", "tanh", "sigmoid"):
        for value in (0.1, -0.05, 0.2):
            same = trial._replace(activation=activation, init=f"constant(value={value})")
            parameters = _trained(same, store)
            units = [parameters[f"hidden.{i}.linear.{part}"] for i in range(2) for part in ("weight", "bias")]
            spread = max((unit - unit[0]).abs().max().item() for unit in units)
            what = worded(
                "{activation} from {value}: largest difference between two units of a hidden layer",
                activation=activation,
                value=f"{value:g}",
            )
            checks.append(Check(what, 0.0, spread, 1e-12))
            if activation != "relu" or value > 0:  # a ReLU of nothing but negative weights is dead
                moved = float((units[0] - value).abs().max() > 1e-9)
                what = worded(
                    "{activation} from {value}: whether hidden weights moved (1: yes)",
                    activation=activation,
                    value=f"{value:g}",
                )
                checks.append(Check(what, 1.0, moved, 0.0))
    return checks


def _trained(trial: Trial, store: ExampleStore) -> dict[str, Tensor]:
    network = train_reference(trial, store, _STEPS, torch.float64).network
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _bias_alone(trial: Trial, store: ExampleStore) -> Tensor:
    """Return the bias of a softmax regression without inputs after the trial's steps: (classes,)."""
    y = store.variant(trial).y["train"].numpy()
    bias, step = np.zeros(10), 0
    for epoch in range(1, trial.epochs + 1):
        order = epoch_order(trial.seed, epoch, len(y)).numpy()
        for batch in steps_of_epoch(len(y), trial.batch_size):
            if step == _STEPS:
                break
            shares = np.bincount(y[order[batch]], minlength=10) / trial.batch_size
            bias = bias - _RATE * (np.exp(bias) / np.exp(bias).sum() - shares)
            step += 1
    return torch.from_numpy(bias)


# Variances of weights ------------------------------------------------------------------------------------------------

_KURTOSIS = {"normal": 3.0, "uniform": 9 / 5}


def _variance(init: str, shape: tuple[int, ...]) -> tuple[float, int]:
    """Return the mean square of the level's draws for a weight of this shape, and how many there are."""
    initialiser: Initialiser = INITIALISATIONS.build(init)
    drawn = initialiser.draw(Weight(0, f"init/{init}/{shape}", shape, "relu")).double()
    return drawn.square().mean().item(), drawn.numel()


def _variance_check(init: str, shape: tuple[int, ...], expected: float) -> Check:
    """Compare the weights' mean square with theory: its standard error is sqrt((kurtosis - 1) / draws) of it."""
    found, draws = _variance(init, shape)
    error = math.sqrt((_KURTOSIS["uniform" if "uniform" in init else "normal"] - 1) / draws)
    what = worded("variance of {init} weights of shape {shape}", init=init, shape=" x ".join(map(str, shape)))
    return Check(what, expected, found, _ERRORS * error * expected)


_LAYERS, _WIDTH, _SEEDS = 10, 256, 8


def weight_variances() -> list[Check]:
    """Check Xavier's and LeCun's variances, and that they keep the variance through linear layers (I5).

    1 / fan_in (LeCun et al. 1998, 4.6), 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 12), within sqrt(6 / (fan_in +
    fan_out)) where uniform (eq. 16). For white inputs the variance behind l linear layers of n units is 1 in expectation, and
    has the relative standard deviation sqrt(l (l + 1)) / n, to leading order, from start to start.
    """
    fan_in, fan_out = 600, 300
    shape = (fan_out, fan_in)
    checks = [
        _variance_check("lecun_normal", shape, 1 / fan_in),
        _variance_check("xavier_normal", shape, 2 / (fan_in + fan_out)),
        _variance_check("xavier_uniform", shape, 2 / (fan_in + fan_out)),
    ]
    initialiser: Initialiser = INITIALISATIONS.build("xavier_uniform")
    limit = math.sqrt(6 / (fan_in + fan_out))
    found = initialiser.draw(Weight(0, "init/limit", shape, "tanh")).double().abs().max().item()
    checks.append(Check(worded("largest xavier_uniform weight"), limit, found, limit * 1e-3))
    for init in ("lecun_normal", "xavier_normal", "xavier_uniform"):
        squares = _mean_squares("identity", init, torch.eye(_WIDTH, dtype=torch.float64) * math.sqrt(_WIDTH)).mean(0)
        for layers in (1, 5, _LAYERS):
            error = math.sqrt(layers * (layers + 1)) / _WIDTH / math.sqrt(_SEEDS)
            what = worded(
                "variance behind {layers} linear layers from {init}, over that of the input", layers=layers, init=init
            )
            checks.append(Check(what, 1.0, squares[layers - 1].item(), _ERRORS * error))
    return checks


def _mean_squares(activation: str, init: str, x: Tensor) -> Tensor:
    """Return the mean square, over examples and units, of each layer's outputs from each seed: (seeds, layers).

    Parameters
    ----------
    x
        Examples, (examples, units of a layer).
    """
    network = f"mlp(depth={_LAYERS}, width={_WIDTH})"
    module = build_network(network, activation, "none", (1, 1, _WIDTH), 10)
    found = torch.empty(_SEEDS, _LAYERS, dtype=torch.float64)
    for seed in range(_SEEDS):
        trial = Trial("digits", network, activation, init, "none", "sgd", "raw", 0.1, 64, 1, seed)
        start = initial_parameters(module, trial, lambda: x)
        module.double().load_state_dict(start)
        outputs = x
        with torch.no_grad():
            for number, layer in enumerate(module.get_submodule("hidden").children()):
                outputs = layer(outputs)
                found[seed, number] = outputs.square().mean()
    return found


def second_moments() -> list[Check]:
    """Check that behind ReLU Xavier halves the second moment from layer to layer, and He keeps it (I6).

    For z normal with variance q, E[relu(z)^2] = q / 2 (He et al. 2015, section 2.2), integrated by Gauss-Hermite quadrature,
    whose symmetric nodes are exact here in spite of the kink; so a layer of variance v multiplies the second moment by
    fan_in v / 2: 1/2 with Xavier where fan_in = fan_out, 1 with He. The mean of that ratio over the layers of networks of 256
    units has the relative standard error sqrt(5 / 256 / ratios), the outputs' squares having a variance of 5/4 of their
    squared mean.
    """
    nodes, weights = hermegauss(64)
    relu = ACTIVATIONS.build("relu").double()
    checks = []
    for q in (0.1, 1.0, 10.0):
        values = relu(torch.from_numpy(math.sqrt(q) * nodes)).numpy()
        moment = float(weights @ values**2 / weights.sum())
        what = worded("E[relu(z)^2] for z of variance {variance}", variance=f"{q:g}")
        checks.append(Check(what, q / 2, moment, 1e-12 * q))
    x = torch.randn(1, _WIDTH, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    for init, ratio in (
        ("xavier_normal", 0.5),
        ("xavier_uniform", 0.5),
        ("kaiming_normal", 1.0),
        ("kaiming_uniform", 1.0),
    ):
        expected = 2 * ratio / _WIDTH
        checks.append(_variance_check(init, (_WIDTH, _WIDTH), expected))
        squares = _mean_squares("relu", init, x)
        ratios = squares[:, 1:] / squares[:, :-1]
        error = math.sqrt(5 / _WIDTH / ratios.numel())
        what = worded("second moment behind a layer of ReLU over that before it, {init}", init=init)
        checks.append(Check(what, ratio, ratios.mean().item(), _ERRORS * error * ratio))
    return checks


def convolutional_fans() -> list[Check]:
    """Check that the fan-in of a convolution is F^2 C, for every initialisation that uses it (I9).

    Weights of 256 units of 3 x 3 and of 5 x 5 pixels of 32 channels; F^2 times the units is the fan-out.
    """
    checks = []
    for side in (3, 5):
        units, channels = 256, 32
        shape = (units, channels, side, side)
        fan_in, fan_out = side * side * channels, side * side * units
        expected = {
            "lecun_normal": 1 / fan_in,
            "xavier_normal": 2 / (fan_in + fan_out),
            "xavier_uniform": 2 / (fan_in + fan_out),
            "kaiming_normal": 2 / fan_in,
            "kaiming_uniform": 2 / fan_in,
            "kaiming_normal(mode=fan_out)": 2 / fan_out,
            "kaiming_uniform(mode=fan_out)": 2 / fan_out,
        }
        checks += [_variance_check(init, shape, variance) for init, variance in expected.items()]
        for init in ("orthogonal", "lsuv"):  # rows of length 1: exact, but for single precision
            found, _ = _variance(init, shape)
            what = worded("mean square of {init} weights, {size}", init=init, size=f"{side} x {side}")
            checks.append(Check(what, 1 / fan_in, found, 1e-6 / fan_in))
    return checks
