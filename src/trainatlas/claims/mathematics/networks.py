"""What follows from how a network is built: signs of gradients (A3), sizes (A12), linear and stepwise networks (A16)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainatlas.claims.observations import Check
from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import initial_parameters
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial

_SHAPE, _CLASSES = (1, 4, 4), 10
_TRIAL = Trial("digits", "mlp(depth=3, width=12)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 1, 1, 0)


def gradient_signs() -> list[Check]:
    """Check that a neuron whose inputs are all positive has weight gradients of one sign on each example (A3).

    They are the gradient by its bias times the inputs, so they have that gradient's sign (CS231n 2016, lecture 5). Networks of
    three hidden layers with outputs that are never negative, on 40 examples in (0, 1), one at a time.
    """
    x = torch.rand(40, *_SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    checks = []
    for activation in ("sigmoid", "relu", "softplus"):
        network = _network(_TRIAL._replace(activation=activation, init="kaiming_normal(bias=0.1)"))
        agreeing = neurons = 0
        worst = 0.0
        for i, example in enumerate(x):
            inputs = _layer_inputs(network, example[None])
            network.zero_grad()
            F.cross_entropy(network(example[None]), torch.tensor([i % _CLASSES])).backward()  # type: ignore[no-untyped-call]
            for layer, given in inputs.items():
                gradient, own = layer.weight.grad, layer.bias.grad
                assert gradient is not None and own is not None
                signs = gradient.sign()
                agreeing += int(((signs >= 0).all(1) | (signs <= 0).all(1)).sum())
                neurons += len(gradient)
                worst = max(worst, (gradient - own[:, None] * given).abs().max().item())
        share = worded("share of {activation} neurons whose weight gradients agree in sign", activation=activation)
        product = worded(
            "{activation}: weight gradients less bias gradient times inputs, largest", activation=activation
        )
        checks += [Check(share, 1.0, agreeing / neurons, 0.0), Check(product, 0.0, worst, 1e-14)]
    return checks


def maxout_parameters() -> list[Check]:
    """Check that maxout of k pieces has k times the parameters of each hidden neuron (A12; Goodfellow et al. 2013, eq. 1)."""
    checks = []
    sizes = {"mlp(depth=2, width=6)": [16, 6], "cnn(depth=2, width=6)": [9 * 1, 9 * 6]}  # inputs of each layer's units
    widths = {"mlp(depth=2, width=6)": [6, 6], "cnn(depth=2, width=6)": [6, 12]}
    for network, inputs in sizes.items():
        for activation, pieces in (("relu", 1), ("maxout", 2), ("maxout(k=3)", 3)):
            built = build_network(network, activation, "none", _SHAPE, _CLASSES)
            for number, (fan, units) in enumerate(zip(inputs, widths[network], strict=True), 1):
                layer = built.get_submodule(f"hidden.{number - 1}")
                found = sum(parameter.numel() for parameter in layer.parameters()) / units
                what = worded(
                    "parameters a unit of layer {number} of {network}, {activation}",
                    number=number,
                    network=network,
                    activation=activation,
                )
                checks.append(Check(what, float(pieces * (fan + 1)), found, 0.0))
    return checks


def linear_networks() -> list[Check]:
    """Check that a network without nonlinearity is one matrix, and that a step passes no gradient back (A16).

    With identity activations the logits are W x + b, W = W_4 W_3 W_2 W_1 and b likewise (CS231n 2016, lecture 4). With a binary
    step hidden weights have no gradient at all, while the last layer's do.
    """
    x = torch.randn(40, *_SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = torch.arange(40) % _CLASSES
    network = _network(_TRIAL._replace(activation="identity", init="kaiming_normal(bias=0.1)"))
    product, shift = torch.eye(16, dtype=torch.float64), torch.zeros(16, dtype=torch.float64)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            product, shift = layer.weight @ product, layer.weight @ shift + layer.bias
        logits = network(x)
        deviation = (logits - (x.flatten(1) @ product.T + shift)).abs().max().item()
    stepped = _network(_TRIAL._replace(activation="binary_step"))
    F.cross_entropy(stepped(x), y).backward()  # type: ignore[no-untyped-call]
    gradients = {name: _largest(parameter.grad) for name, parameter in stepped.named_parameters()}
    last = float(gradients["output.weight"] > 0)
    hidden = max(value for name, value in gradients.items() if name.startswith("hidden"))
    return [
        Check(
            worded("logits of a linear network less those of the product of its weights, largest"),
            0.0,
            deviation,
            1e-12,
        ),
        Check(worded("largest gradient of a hidden weight behind binary steps"), 0.0, hidden, 0.0),
        Check(worded("whether the last layer behind binary steps has a gradient (1: yes)"), 1.0, last, 0.0),
    ]


def _largest(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else gradient.abs().max().item()


def _network(trial: Trial) -> nn.Module:
    """Return the trial's network before training, in double precision."""
    network = build_network(trial.network, trial.activation, trial.normalisation, _SHAPE, _CLASSES)
    start = initial_parameters(network, trial, lambda: torch.empty(0))
    network.load_state_dict(start)
    return network.double()


def _layer_inputs(network: nn.Module, x: Tensor) -> dict[nn.Linear, Tensor]:
    """Return what each linear layer is given: (examples, inputs)."""
    seen: dict[nn.Linear, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda layer, inputs, output: seen.__setitem__(layer, inputs[0].detach()))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return seen
