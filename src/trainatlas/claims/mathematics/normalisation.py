"""Batch normalisation: what it is at test time (B5), what undoes it (B6), what it does not see (B11)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from trainatlas.claims.observations import Check
from trainatlas.model.normalisation import NORMALISATIONS, folded
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference

_NETWORKS = ("mlp(depth=2, width=16)", "cnn(depth=2, width=4)")
_STEPS = 30
_KINDS = {worded("units"): (200, 8), worded("channels"): (40, 8, 5, 5)}
"""Shapes of what is normalised: outputs of a linear layer, and images of a convolution's channels."""


def folding() -> list[Check]:
    """Check that a trained network gives the same logits with its batch normalisations folded into the layers before (B5).

    An MLP and a CNN after 30 steps on digits, on the test part. The folded weights are compared with
    gamma W / sqrt(running variance + eps) and beta - gamma * running mean / sqrt(...), computed by NumPy
    (Ioffe and Szegedy 2015, section 3.1).
    """
    store = ExampleStore(torch.device("cpu"), torch.float64)
    checks = []
    for text in _NETWORKS:
        trial = Trial("digits", text, "relu", "kaiming_normal", "batch", "momentum", "raw", 0.05, 64, 2, 0)
        trained = train_reference(trial, store, _STEPS, torch.float64).network.eval()
        x = store.variant(trial).x["test"]
        one = copy.deepcopy(trained)
        worst = 0.0
        for layer in one.get_submodule("hidden").children():
            name = "linear" if hasattr(layer, "linear") else "convolution"
            weighted, norm = layer.get_submodule(name), layer.get_submodule("normalisation")
            replacement = folded(weighted, norm)
            worst = max(worst, _distance_from_closed_form(weighted, norm, replacement))
            setattr(layer, name, replacement)
            layer.normalisation = nn.Identity()
        with torch.no_grad():
            deviation = (one(x) - trained(x)).abs().max().item()
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
        left = sum(isinstance(module, kinds) for module in one.modules())
        logits = worded("{network}: logits of the folded network less those of the network, largest", network=text)
        weights = worded("{network}: folded weights and biases less the closed form, largest", network=text)
        norms = worded("{network}: normalisations left in the folded network", network=text)
        checks += [
            Check(logits, 0.0, deviation, 1e-10),
            Check(weights, 0.0, worst, 1e-12),
            Check(norms, 0.0, float(left), 0.0),
        ]
    return checks


def _distance_from_closed_form(layer: nn.Module, norm: nn.Module, replacement: nn.Module) -> float:
    state = {name: value.numpy() for name, value in norm.state_dict().items()}
    weight = layer.get_parameter("weight").detach().numpy()
    scale = state["weight"] / np.sqrt(state["running_var"] + 1e-5)
    expected = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    shift = state["bias"] - scale * state["running_mean"]
    found = replacement.get_parameter("weight").detach().numpy(), replacement.get_parameter("bias").detach().numpy()
    return float(max(np.abs(found[0] - expected).max(), np.abs(found[1] - shift).max()))


def undone_normalisation() -> list[Check]:
    """Check that gamma = sigma and beta = mu give back what was normalised (B6; Ioffe and Szegedy 2015, section 3).

    sigma^2 is the batch's variance plus the 1e-5 that the normalisation adds to it.
    """
    checks = []
    for kind, shape in _KINDS.items():
        x = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 3 + 2
        norm = _batch_norm(kind).train()
        over = [dim for dim in range(x.dim()) if dim != 1]
        with torch.no_grad():
            changed = (norm(x) - x).abs().max().item()
            norm.get_parameter("weight").copy_((x.var(over, correction=0) + 1e-5).sqrt())
            norm.get_parameter("bias").copy_(x.mean(over))
            deviation = (norm(x) - x).abs().max().item()
        undone = worded("{kind}: output less input with gamma = sigma, beta = mu, largest", kind=kind)
        control = worded("{kind}: whether gamma = 1, beta = 0 change the input (1: yes)", kind=kind)
        checks += [Check(undone, 0.0, deviation, 1e-12), Check(control, 1.0, float(changed > 0.1), 0.0)]
    return checks


def scale_invariance() -> list[Check]:
    """Check that BN(a W x) = BN(W x), and that the gradient by a W is that by W over a (B11; Ioffe and Szegedy 2015, 3.3).

    It is so but for the 1e-5 that is added to the variance; W is made so large that this is lost in rounding.
    """
    draws = torch.Generator().manual_seed(6)
    x = torch.randn(50, 6, generator=draws, dtype=torch.float64)
    weight = torch.randn(8, 6, generator=draws, dtype=torch.float64) * 1e6
    target = torch.randn(50, 8, generator=draws, dtype=torch.float64)
    norm = _batch_norm("units").train()
    output, gradient = _output_and_gradient(norm, x, weight, target)
    size = gradient.abs().max().item()
    checks = []
    for a in (0.1, 3.0, 100.0):
        scaled, smaller = _output_and_gradient(norm, x, a * weight, target)
        same = (scaled - output).abs().max().item()
        ratio = ((a * smaller - gradient).abs().max() / size).item()
        outputs = worded("BN(a W x) less BN(W x) at a = {a}, largest", a=f"{a:g}")
        gradients = worded("a times the gradient by a W less that by W at a = {a}, largest share", a=f"{a:g}")
        checks += [Check(outputs, 0.0, same, 1e-10), Check(gradients, 0.0, ratio, 1e-10)]
    return checks


def _output_and_gradient(norm: nn.Module, x: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return BN(W x) and the gradient of its squared distance from `target` by W."""
    leaf = weight.clone().requires_grad_()
    output = norm(x @ leaf.T)
    (gradient,) = torch.autograd.grad((output - target).square().sum(), leaf)
    return output.detach(), gradient


def _batch_norm(kind: str) -> nn.Module:
    """Return the table's batch normalisation of 8 units or channels, in double precision."""
    layer = nn.Conv2d(3, 8, 3) if kind == "channels" else nn.Linear(6, 8)
    norm: nn.Module = NORMALISATIONS.build("batch", layer=layer, units=8)
    return norm.double()
