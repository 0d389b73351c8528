"""Activations: each entry builds an ordinary torch module.

All but maxout are elementwise. `maximum_slope` is the largest |f'(x)| over all x: what "dead" and
"saturated" are measured against.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainatlas.study import user_code
from trainatlas.study.errors import UserError
from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, Options, name_of, split_level

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trainatlas.model import modules
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")
    modules = LazyModule("trainatlas.model.modules")


@dataclass(frozen=True, kw_only=True)
class ActivationLevel(Level):
    """An activation's entry: its formula, its source, and its largest slope.

    Attributes
    ----------
    maximum_slope
        Largest |f'(x)|. A learned activation's is that of its starting point; one without any slope
        says 1, so that all its units count as dead.
    gain
        What torch.nn.init.calculate_gain says; None where torch knows no gain.
    """

    maximum_slope: float = 1.0
    gain: float | None = None


def _of_user(made: Any, options: Options) -> Any:
    if isinstance(made, type) and issubclass(made, nn.Module):
        return made(**options)
    return modules.Elementwise(functools.partial(made, **options))


ACTIVATIONS = LevelTable(
    "activation",
    ActivationLevel("relu", "max(0, x)", "Nair and Hinton 2010", lambda: nn.ReLU(), gain=math.sqrt(2)),
    ActivationLevel(
        "leaky_relu",
        "x for x > 0, slope * x below",
        "Maas et al. 2013",
        lambda slope: nn.LeakyReLU(slope),
        {"slope": Option(0.01, 0.0, 1.0, "slope below zero")},
    ),
    ActivationLevel(
        "prelu",
        "x for x > 0, a * x below, one learned a a layer",
        "He et al. 2015, Delving Deep into Rectifiers, eq. 1",
        lambda slope: modules.PReLU(slope),
        {"slope": Option(0.25, 0.0, 1.0, "a before training")},
    ),
    ActivationLevel(
        "elu",
        "x for x > 0, alpha * (exp(x) - 1) below",
        "Clevert et al. 2016, eq. 15",
        lambda alpha: nn.ELU(alpha),
        {"alpha": Option(1.0, 0.0, 1.0, "minus the limit at minus infinity", open_low=True)},
    ),
    ActivationLevel(
        "selu",
        "1.0507 * (x for x > 0, 1.6733 * (exp(x) - 1) below)",
        "Klambauer et al. 2017, eq. 2",
        lambda: nn.SELU(),
        maximum_slope=1.0507009873554804934193349852946 * 1.6732632423543772848170429916717,
        gain=3 / 4,
    ),
    ActivationLevel(
        "gelu",
        "x * Phi(x), Phi the normal distribution's",
        "Hendrycks and Gimpel 2016, section 2",
        lambda: nn.GELU(),
        maximum_slope=1.1289041451851549,
    ),
    ActivationLevel(
        "silu",
        "x / (1 + exp(-x)), also called Swish",
        "Elfwing et al. 2018; Ramachandran et al. 2017",
        lambda: nn.SiLU(),
        maximum_slope=1.0998393201288669,
    ),
    ActivationLevel(
        "mish",
        "x * tanh(ln(1 + exp(x)))",
        "Misra 2020, eq. 1",
        lambda: modules.Elementwise(modules.mish),
        maximum_slope=1.0884981612517279,
    ),
    ActivationLevel(
        "softplus",
        "ln(1 + exp(beta * x)) / beta",
        "Dugas et al. 2001; Glorot et al. 2011",
        lambda beta: nn.Softplus(beta),
        {"beta": Option(1.0, 0.0, 100.0, "sharpness of the bend", open_low=True)},
    ),
    ActivationLevel("softsign", "x / (1 + |x|)", "Bergstra et al. 2009", lambda: nn.Softsign()),
    ActivationLevel("tanh", "tanh(x)", "LeCun et al. 1998, Efficient BackProp, 4.4", lambda: nn.Tanh(), gain=5 / 3),
    ActivationLevel(
        "scaled_tanh",
        "1.7159 * tanh(2 x / 3)",
        "LeCun et al. 1998, Efficient BackProp, 4.4",
        lambda: modules.Elementwise(lambda x: 1.7159 * torch.tanh(2 / 3 * x)),
        maximum_slope=1.7159 * 2 / 3,
    ),
    ActivationLevel(
        "sigmoid",
        "1 / (1 + exp(-x))",
        "Rumelhart et al. 1986, eq. 2",
        lambda: nn.Sigmoid(),
        maximum_slope=0.25,
        gain=1.0,
    ),
    ActivationLevel("hardtanh", "x cut off at -1 and 1", "Collobert 2004", lambda: nn.Hardtanh()),
    ActivationLevel(
        "hardsigmoid",
        "x / 6 + 1/2 cut off at 0 and 1",
        "Courbariaux et al. 2015; Howard et al. 2019, section 5.2",
        lambda: nn.Hardsigmoid(),
        maximum_slope=1 / 6,
    ),
    ActivationLevel(
        "hardswish",
        "x * (x / 6 + 1/2 cut off at 0 and 1)",
        "Howard et al. 2019, section 5.2",
        lambda: nn.Hardswish(),
        maximum_slope=1.5,
    ),
    ActivationLevel(
        "maxout",
        "the largest of k linear maps; k times the weights",
        "Goodfellow et al. 2013, eq. 1",
        lambda k: modules.Maxout(k),
        {"k": Option(2, 2, 16, "linear maps a unit")},
    ),
    ActivationLevel(
        "soft_exponential",
        "-ln(1 - a (x + a)) / a for a < 0, x for a = 0, (exp(a x) - 1) / a + a for a > 0; one learned a a layer",
        "Godfrey and Gashler 2015, eq. 1",
        lambda alpha: modules.SoftExponential(alpha),
        {"alpha": Option(0.0, -1.0, 1.0, "a before training")},
    ),
    ActivationLevel("cos", "cos(x)", "Ramachandran et al. 2017", lambda: modules.Elementwise(torch.cos)),
    ActivationLevel(
        "binary_step",
        "1 for x >= 0, 0 below",
        "McCulloch and Pitts 1943",
        lambda: modules.Elementwise(modules.binary_step),
    ),
    ActivationLevel("identity", "x", "-", lambda: nn.Identity(), gain=1.0),
    user_build=_of_user,
)
"""Every activation by name."""


def pieces(text: str) -> int:
    """Return how many inputs an output of the activation has: k for maxout(k), 1 for all others."""
    name, given = split_level(text)
    return int(ACTIVATIONS.options(name, given)["k"]) if name == "maxout" else 1


def maximum_slope(text: str) -> float:
    """Return the largest slope of the activation that `text` names, as its entry says or, the user's, measured."""
    level = ACTIVATIONS.get(name_of(text))
    if level is None:
        return _measured_slope(text, user_code.digest_of(text))
    assert isinstance(level, ActivationLevel)
    return level.maximum_slope


@functools.lru_cache(maxsize=64)
def _measured_slope(text: str, digest: str) -> float:
    """Return the largest slope autograd finds on [-20, 20]; 1 where it finds none."""
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    with torch.enable_grad():
        _, pull = torch.func.vjp(ACTIVATIONS.build(text).double(), x)[:2]
    (slope,) = pull(torch.ones_like(x))
    return float(slope.detach().nan_to_num(0.0).abs().max()) or 1.0


def gain(text: str) -> float:
    """Return the factor by which an activation's weights keep the size of what passes through.

    Torch's recommended value where it has one (torch.nn.init.calculate_gain); else 1 / sqrt(E[f(z)^2]), z standard
    normal, which is what He et al. 2015, section 2.2, derive for ReLU.
    """
    name, given = split_level(text)
    level = ACTIVATIONS.get(name)
    if name == "leaky_relu":
        return math.sqrt(2 / (1 + float(ACTIVATIONS.options(name, given)["slope"]) ** 2))
    if isinstance(level, ActivationLevel) and level.gain is not None:
        return level.gain
    return _measured_gain(text, user_code.digest_of(text))


@functools.lru_cache(maxsize=256)
def _measured_gain(text: str, digest: str) -> float:
    k = pieces(text)
    z = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = k * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * torch.special.ndtr(z) ** (k - 1)
    with torch.no_grad():
        values = z if k > 1 else ACTIVATIONS.build(text).double()(z)  # the largest of k normals has this density
    square = torch.trapezoid(density * values.square(), z).item()
    return 1 / math.sqrt(square) if square > 0 else 1.0


def check_user_activation(text: str) -> None:
    """Check that a user's activation can be trained, by running it on a few numbers.

    Raises
    ------
    UserError
        One line naming the file when it cannot be run, raises, changes the shape, is not finite near zero,
        is not elementwise, or has no gradient.
    """
    path = text.partition("(")[0]
    x = torch.linspace(-2, 2, 30, dtype=torch.float64).reshape(5, 6)
    try:
        module = ACTIVATIONS.build(text).double()
        mapped = torch.func.vmap(lambda each: torch.func.vjp(module, each)[0])(x)
        with torch.enable_grad():
            value, pull = torch.func.vjp(module, x)[:2]
            pull(torch.ones_like(value))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: fails on a tensor of shape (5, 6): {type(error).__name__}: {error}") from None
    if value.shape != x.shape:
        raise UserError(f"{path}: returns shape {tuple(value.shape)} for (5, 6); allowed: the shape it is given")
    if not value.isfinite().all():
        raise UserError(f"{path}: is not finite on [-2, 2]; allowed: a finite number for every finite number")
    if not torch.allclose(mapped, value):
        raise UserError(f"{path}: mixes examples; allowed: an activation that treats every element alone")
