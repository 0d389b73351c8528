"""Optimizers: each entry holds an update over stacked tensors and its plain torch counterpart.

A stacked parameter has the trials along its first axis; every hyper-parameter is a tensor
of one value per trial that broadcasts against it. An update works in place and equals
`Optimizer.plain` step by step (tests/unit/optim): a class of `torch.optim`, or of
`trainatlas.optim.plain` for what torch lacks.

Second moments are kept as decaying sums, q <- keep * q + g^2, not as means, which saves a pass over
memory: the mean is new * q with new = 1 - keep, and the square root of `new` is taken into the
coefficients, where it costs one number per trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Flag, Inner, Level, LevelTable, Option

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from trainatlas.optim import plain as own
else:
    np = LazyModule("numpy")
    torch = LazyModule("torch")
    own = LazyModule("trainatlas.optim.plain")

PerTrial = Mapping[str, "NDArray[np.float64]"]
"""Numbers by name, each an array of one value per trial. NumPy's, whose operations on arrays as small
as these cost the host a third of torch's."""

Coefficients = Mapping[str, "Tensor"]
"""Numbers by name that broadcast against a stacked parameter, in its precision and on its device."""

Update = Callable[["Tensor", "Tensor", "list[Tensor]", Coefficients, "list[Tensor]"], None]
"""(parameter, gradient, slots, coefficients, spare) -> None: one step in place, the gradient left alone."""

Pass = Callable[["list[Tensor]", "list[Tensor]", "list[list[Tensor]]", Mapping[str, float], int], None]
"""(parameters, gradients, slots of each, hyper-parameters, step) of one trial -> None: one step in place."""

Start = Callable[["Tensor", "Tensor", Coefficients], None]
"""(slot, parameter, hyper-parameters) -> None: fill a slot, which holds zeros, before the first step."""


def _as_given(h: PerTrial, step: int) -> PerTrial:
    return h


def _zeros(slot: Tensor, parameter: Tensor, h: Coefficients) -> None:
    pass


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with its options filled in.

    Attributes
    ----------
    kind
        Names the sequence of operations. Optimizers of one kind differ in numbers only, so their
        trials may share an update.
    update
        One step for one stacked parameter.
    reference
        Class in `torch.optim`, or in `trainatlas.optim.plain`, and its keyword arguments beside `lr`.
    slots
        What fills each of the tensors of the parameter's shape that the update keeps between steps.
    spare
        How many tensors of the parameter's shape the update writes to and forgets.
    options
        Hyper-parameters other than the learning rate, which is passed as "learning_rate".
    coefficients
        (hyper-parameters, step counted from 1) -> what the update multiplies by, in float64: one
        minus a decay near one would lose its digits in float32. They depend on nothing else, so that
        a run may drop trials or go on from any step; their names may change from step to step.
    one_pass
        The same step of one trial's parameters, in one pass over memory. What it keeps in the slots is its own affair.
    """

    kind: str
    update: Update
    reference: tuple[str, dict[str, Any]]
    slots: tuple[Start, ...] = ()
    spare: int = 0
    options: dict[str, float] = field(default_factory=dict)
    coefficients: Callable[[PerTrial, int], PerTrial] = _as_given
    one_pass: Pass | None = None

    def plain(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return an ordinary torch optimizer of `parameters` that does the same, one trial at a time."""
        name, options = self.reference
        library = own if hasattr(own, name) else torch.optim
        optimizer: torch.optim.Optimizer = getattr(library, name)(list(parameters), lr=learning_rate, **options)
        return optimizer


@lru_cache(maxsize=4096)
def described(level: str) -> Optimizer:
    """Return the optimizer that `level`, in canonical form, names."""
    optimizer: Optimizer = OPTIMIZERS.build(level)
    return optimizer


# Gradient descent and momentum ---------------------------------------------------------------------------------------


def _sgd(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    p.addcmul_(g, c["learning_rate"], value=-1)


def _momentum(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (velocity,) = slots
    velocity.mul_(c["momentum"]).add_(g)
    p.addcmul_(velocity, c["learning_rate"], value=-1)


def _nesterov_coefficients(h: PerTrial, step: int) -> PerTrial:
    return {
        "momentum": h["momentum"],
        "gradient": h["learning_rate"],
        "velocity": h["learning_rate"] * h["momentum"],
    }


def _nesterov(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (velocity,) = slots
    velocity.mul_(c["momentum"]).add_(g)
    p.addcmul_(g, c["gradient"], value=-1).addcmul_(velocity, c["velocity"], value=-1)


# Rates from the second moment ----------------------------------------------------------------------------------------


def _adagrad_start(slot: Tensor, parameter: Tensor, h: Coefficients) -> None:
    slot.copy_(h["initial_accumulator_value"])


def _adagrad_coefficients(h: PerTrial, step: int) -> PerTrial:
    return {"rate": h["learning_rate"] / (1 + (step - 1) * h["lr_decay"]), "eps": h["eps"]}


def _adagrad(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (total,), (x,) = slots, spare
    torch.sqrt(total.addcmul_(g, g), out=x)
    torch.div(g, x.add_(c["eps"]), out=x)
    p.addcmul_(x, c["rate"], value=-1)


def _rmsprop_coefficients(h: PerTrial, step: int) -> PerTrial:
    new = 1 - h["alpha"]
    scale = np.sqrt(new)  # root of the mean = scale * root of the sum
    return {"keep": h["alpha"], "eps": h["eps"] / scale, "rate": h["learning_rate"] / scale}


def _rmsprop_momentum_coefficients(h: PerTrial, step: int) -> PerTrial:
    return {**_rmsprop_coefficients(h, step), "momentum": h["momentum"]}


def _centered_coefficients(h: PerTrial, step: int) -> PerTrial:
    return {"keep": h["alpha"], "new": 1 - h["alpha"], "eps": h["eps"], "rate": h["learning_rate"]}


def _centered_momentum_coefficients(h: PerTrial, step: int) -> PerTrial:
    return {**_centered_coefficients(h, step), "momentum": h["momentum"]}


def _over_root(g: Tensor, square: Tensor, c: Coefficients, x: Tensor) -> None:
    """Write the gradient over the root of its second moment to `x`, up to the scale in the rate."""
    torch.sqrt(square.mul_(c["keep"]).addcmul_(g, g), out=x)
    torch.div(g, x.add_(c["eps"]), out=x)


def _over_deviation(g: Tensor, square: Tensor, mean: Tensor, c: Coefficients, x: Tensor) -> None:
    """Write the gradient over its running standard deviation to `x`."""
    mean.lerp_(g, c["new"])
    torch.mul(square.mul_(c["keep"]).addcmul_(g, g), c["new"], out=x)
    # Rounding may leave the variance of a constant gradient below zero, where torch's root is not a number.
    x.addcmul_(mean, mean, value=-1).clamp_(min=0).sqrt_()
    torch.div(g, x.add_(c["eps"]), out=x)


def _rmsprop(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (square,), (x,) = slots, spare
    _over_root(g, square, c, x)
    p.addcmul_(x, c["rate"], value=-1)


def _rmsprop_momentum(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (square, velocity), (x,) = slots, spare
    _over_root(g, square, c, x)
    p.addcmul_(velocity.mul_(c["momentum"]).add_(x), c["rate"], value=-1)


def _centered(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (square, mean), (x,) = slots, spare
    _over_deviation(g, square, mean, c, x)
    p.addcmul_(x, c["rate"], value=-1)


def _centered_momentum(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (square, mean, velocity), (x,) = slots, spare
    _over_deviation(g, square, mean, c, x)
    p.addcmul_(velocity.mul_(c["momentum"]).add_(x), c["rate"], value=-1)


def _build_rmsprop(alpha: float, eps: float, centered: bool, momentum: float) -> Optimizer:
    """Return the variant that does no more than its options ask for."""
    kind, update, coefficients = {
        (False, False): ("rmsprop", _rmsprop, _rmsprop_coefficients),
        (False, True): ("rmsprop, momentum", _rmsprop_momentum, _rmsprop_momentum_coefficients),
        (True, False): ("rmsprop, centered", _centered, _centered_coefficients),
        (True, True): ("rmsprop, centered, momentum", _centered_momentum, _centered_momentum_coefficients),
    }[centered, momentum > 0]
    return Optimizer(
        kind,
        update,
        ("RMSprop", {"alpha": alpha, "eps": eps, "centered": centered, "momentum": momentum}),
        (_zeros,) * (1 + centered + (momentum > 0)),
        1,
        {"alpha": alpha, "eps": eps, "momentum": momentum},
        coefficients,
    )


def _adadelta_coefficients(h: PerTrial, step: int) -> PerTrial:
    # Both moments are sums of one scale, 1 - rho, which cancels but for what is added to each.
    return {"keep": h["rho"], "eps": h["eps"] / (1 - h["rho"]), "rate": h["learning_rate"]}


def _adadelta(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (square, moved), (x, y) = slots, spare
    torch.add(square.mul_(c["keep"]).addcmul_(g, g), c["eps"], out=x).sqrt_()
    torch.add(moved, c["eps"], out=y).sqrt_().div_(x).mul_(g)
    moved.mul_(c["keep"]).addcmul_(y, y)
    p.addcmul_(y, c["rate"], value=-1)


# Adam and its kin ----------------------------------------------------------------------------------------------------


def _adam_coefficients(h: PerTrial, step: int) -> PerTrial:
    # A trial without bias correction has a zero for its flag. The root of the corrected mean of squares
    # is `scale` times the root of the sum.
    corrected = h["bias_correction"]
    scale = np.sqrt((1 - h["beta2"]) / (1 - corrected * h["beta2"] ** step))
    return {
        "new1": 1 - h["beta1"],
        "keep2": h["beta2"],
        "eps": h["eps"] / scale,
        "rate": h["learning_rate"] / (1 - corrected * h["beta1"] ** step) / scale,
    }


def _moments(g: Tensor, mean: Tensor, square: Tensor, c: Coefficients, x: Tensor) -> None:
    """Take `g` into both moments and write the denominator, up to its scale, to `x`."""
    mean.lerp_(g, c["new1"])
    torch.sqrt(square.mul_(c["keep2"]).addcmul_(g, g), out=x)
    x.add_(c["eps"])


def _adam(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (mean, square), (x,) = slots, spare
    _moments(g, mean, square, c, x)
    p.addcmul_(torch.div(mean, x, out=x), c["rate"], value=-1)


def _adam_in_one_pass(
    p: list[Tensor], g: list[Tensor], slots: list[list[Tensor]], h: Mapping[str, float], step: int
) -> None:
    # At an infinite step both corrections are 1.
    corrected = torch.tensor(float(step) if h.get("bias_correction", 1.0) else math.inf)
    means, squares = (list(each) for each in zip(*slots, strict=True))
    fused = torch._fused_adamw_ if "weight_decay" in h else torch._fused_adam_
    fused(
        p,
        g,
        means,
        squares,
        [],
        [corrected] * len(p),
        lr=h["learning_rate"],
        beta1=h["beta1"],
        beta2=h["beta2"],
        weight_decay=h.get("weight_decay", 0.0),
        eps=h["eps"],
        amsgrad=False,
        maximize=False,
    )


def _build_adam(beta1: float, beta2: float, eps: float, bias_correction: bool) -> Optimizer:
    kept: dict[str, Any] = {"betas": (beta1, beta2), "eps": eps}
    return Optimizer(
        "adam",
        _adam,
        ("Adam" if bias_correction else "UncorrectedAdam", kept),
        (_zeros, _zeros),
        1,
        {"beta1": beta1, "beta2": beta2, "eps": eps, "bias_correction": float(bias_correction)},
        _adam_coefficients,
        _adam_in_one_pass,
    )


def _adamw_coefficients(h: PerTrial, step: int) -> PerTrial:
    adam = _adam_coefficients({**h, "bias_correction": np.ones_like(h["eps"])}, step)
    return {**adam, "shrink": 1 - h["learning_rate"] * h["weight_decay"]}


def _adamw(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    p.mul_(c["shrink"])
    _adam(p, g, slots, c, spare)


def _build_adamw(beta1: float, beta2: float, eps: float, weight_decay: float) -> Optimizer:
    return Optimizer(
        "adamw",
        _adamw,
        ("AdamW", {"betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}),
        (_zeros, _zeros),
        1,
        {"beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay},
        _adamw_coefficients,
        _adam_in_one_pass,
    )


def _nadam_momentum(
    beta1: NDArray[np.float64], momentum_decay: NDArray[np.float64], step: int | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the momentum mu of a step."""
    momentum: NDArray[np.float64] = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
    return momentum


_BLOCK = 512
"""Steps whose running products of NAdam's momenta are worked out, and kept, at once."""


@lru_cache(maxsize=64)
def _nadam_products(beta1: bytes, momentum_decay: bytes, block: int) -> NDArray[np.float64]:
    """Return mu_1 * ... * mu_t at the steps t = _BLOCK * block + 1 and on, (_BLOCK, trials).

    The hyper-parameters come as their arrays' bytes, which a cache can look up. A step costs a look-up,
    and once in _BLOCK steps the work of a block; a run that goes on from a later step works through the
    blocks before it once.
    """
    start: float | NDArray[np.float64] = 1.0
    for earlier in range(block):  # oldest first: each finds the one before it in the cache
        start = _nadam_products(beta1, momentum_decay, earlier)[-1]
    steps = np.arange(_BLOCK * block + 1, _BLOCK * (block + 1) + 1, dtype=np.float64)[:, None]
    momenta = _nadam_momentum(np.frombuffer(beta1), np.frombuffer(momentum_decay), steps)
    return start * momenta.cumprod(axis=0)


def _nadam_coefficients(h: PerTrial, step: int) -> PerTrial:
    beta1, momentum_decay = h["beta1"], h["momentum_decay"]
    block, row = divmod(step - 1, _BLOCK)
    product = _nadam_products(beta1.tobytes(), momentum_decay.tobytes(), block)[row]
    now, following = (_nadam_momentum(beta1, momentum_decay, at) for at in (step, step + 1))
    scale = np.sqrt((1 - h["beta2"]) / (1 - h["beta2"] ** step))
    rate = h["learning_rate"] / scale
    return {
        "new1": 1 - beta1,
        "keep2": h["beta2"],
        "eps": h["eps"] / scale,
        "gradient": rate * (1 - now) / (1 - product),
        "mean": rate * following / (1 - product * following),
    }


def _nadam(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (mean, square), (x, y) = slots, spare
    _moments(g, mean, square, c, x)
    torch.mul(g, c["gradient"], out=y).addcmul_(mean, c["mean"])
    p.addcdiv_(y, x, value=-1)


def _build_nadam(beta1: float, beta2: float, eps: float, momentum_decay: float) -> Optimizer:
    return Optimizer(
        "nadam",
        _nadam,
        ("NAdam", {"betas": (beta1, beta2), "eps": eps, "momentum_decay": momentum_decay}),
        (_zeros, _zeros),
        2,
        {"beta1": beta1, "beta2": beta2, "eps": eps, "momentum_decay": momentum_decay},
        _nadam_coefficients,
    )


def _radam_coefficients(h: PerTrial, step: int) -> PerTrial:
    beta2 = h["beta2"]
    gone = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * gone / (1 - gone)
    on = length > 5
    # Below a length of 5 the quotient may be negative or infinite; `where` throws it away.
    rectified = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    rate = h["learning_rate"] / (1 - h["beta1"] ** step)
    scale = np.sqrt(1 - beta2)  # torch adds eps to the root before its bias is corrected
    adapted = np.where(on, rate * rectified * np.sqrt(1 - gone) / scale, 0.0)
    coefficients = {"new1": 1 - h["beta1"], "keep2": beta2, "eps": h["eps"] / scale}
    if on.any():
        coefficients["adapted"] = adapted
    if not on.all():
        coefficients["unadapted"] = np.where(on, 0.0, rate)
    return coefficients


def _radam(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
    (mean, square), (x,) = slots, spare
    _moments(g, mean, square, c, x)
    if "unadapted" in c:
        p.addcmul_(mean, c["unadapted"], value=-1)
    if "adapted" in c:
        p.addcmul_(torch.div(mean, x, out=x), c["adapted"], value=-1)


def _build_radam(beta1: float, beta2: float, eps: float) -> Optimizer:
    return Optimizer(
        "radam",
        _radam,
        ("RAdam", {"betas": (beta1, beta2), "eps": eps}),
        (_zeros, _zeros),
        1,
        {"beta1": beta1, "beta2": beta2, "eps": eps},
        _radam_coefficients,
    )


# Lookahead -----------------------------------------------------------------------------------------------------------

Number = TypeVar("Number")

_INNER = "inner "
"""Sets the inner optimizer's hyper-parameters apart from lookahead's own, which may share a name."""


def _inner_numbers(h: Mapping[str, Number]) -> dict[str, Number]:
    inner = {key.removeprefix(_INNER): value for key, value in h.items() if key.startswith(_INNER)}
    return {"learning_rate": h["learning_rate"], **inner}


def _slow_start(slot: Tensor, parameter: Tensor, h: Coefficients) -> None:
    slot.copy_(parameter)


def _build_lookahead(inner: str, k: int, alpha: float) -> Optimizer:
    fast = described(inner)

    def inner_start(start: Start) -> Start:
        return lambda slot, parameter, h: start(slot, parameter, _inner_numbers(h))

    def coefficients(h: PerTrial, step: int) -> PerTrial:
        found = fast.coefficients(_inner_numbers(h), step)
        meets = (step % h["k"] == 0).astype(float)
        return {**found, "pull": meets * h["alpha"], "meets": meets} if meets.any() else found

    def update(p: Tensor, g: Tensor, slots: list[Tensor], c: Coefficients, spare: list[Tensor]) -> None:
        *kept, slow = slots
        fast.update(p, g, kept, c, spare)
        if "meets" in c:  # weights of 0, for trials whose turn it is not, and of 1 are exact in `lerp_`
            slow.lerp_(p, c["pull"])
            p.lerp_(slow, c["meets"])

    return Optimizer(
        f"lookahead of {fast.kind}",
        update,
        ("Lookahead", {"inner": fast.plain, "k": k, "alpha": alpha}),
        (*map(inner_start, fast.slots), _slow_start),
        fast.spare,
        {"k": k, "alpha": alpha, **{_INNER + key: value for key, value in fast.options.items()}},
        coefficients,
    )


# The table -----------------------------------------------------------------------------------------------------------

_EPS = Option(1e-8, 0.0, 1.0, "added to the root of the second moment", open_low=True)
_BETAS = {
    "beta1": Option(0.9, 0.0, 0.999999, "share of the first moment kept each step"),
    "beta2": Option(0.999, 0.0, 0.999999, "share of the second moment kept each step"),
    "eps": _EPS,
}

OPTIMIZERS: LevelTable = LevelTable(
    "optimizer",
    Level(
        "sgd",
        "p <- p - lr * g",
        "Robbins and Monro 1951",
        lambda: Optimizer("sgd", _sgd, ("SGD", {})),
    ),
    Level(
        "momentum",
        "v <- momentum * v + g; p <- p - lr * v",
        "Polyak 1964; Sutskever et al. 2013, eqs. 1 and 2, with the rate outside v",
        lambda momentum: Optimizer(
            "momentum", _momentum, ("SGD", {"momentum": momentum}), (_zeros,), 0, {"momentum": momentum}
        ),
        {"momentum": Option(0.9, 0.0, 0.9999, "share of the velocity kept each step")},
    ),
    Level(
        "nesterov",
        "v <- momentum * v + g; p <- p - lr * (g + momentum * v)",
        "Nesterov 1983; Sutskever et al. 2013, eqs. 3 and 4, at the point looked ahead to, with the rate outside v",
        lambda momentum: Optimizer(
            "nesterov",
            _nesterov,
            ("SGD", {"momentum": momentum, "nesterov": True}),
            (_zeros,),
            0,
            {"momentum": momentum},
            _nesterov_coefficients,
        ),
        {"momentum": Option(0.9, 0.0, 0.9999, "share of the velocity kept each step", open_low=True)},
    ),
    Level(
        "adagrad",
        "s <- s + g^2; p <- p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)",
        "Duchi, Hazan and Singer 2011, figure 1",
        lambda lr_decay, initial_accumulator_value, eps: Optimizer(
            "adagrad",
            _adagrad,
            (
                "Adagrad",
                {"lr_decay": lr_decay, "initial_accumulator_value": initial_accumulator_value, "eps": eps},
            ),
            (_adagrad_start,),
            1,
            {"lr_decay": lr_decay, "initial_accumulator_value": initial_accumulator_value, "eps": eps},
            _adagrad_coefficients,
        ),
        {
            "lr_decay": Option(0.0, 0.0, 1.0, "fall of the rate with the steps taken"),
            "initial_accumulator_value": Option(0.0, 0.0, 1000.0, "s before the first step"),
            "eps": Option(1e-10, 0.0, 1.0, "added to the root of the sum of squares", open_low=True),
        },
    ),
    Level(
        "rmsprop",
        "s <- alpha * s + (1 - alpha) * g^2; d = g / (sqrt(s) + eps); v <- momentum * v + d; p <- p - lr * v; "
        "centered: a <- alpha * a + (1 - alpha) * g, and s - a^2 under the root",
        "Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, eqs. 38 to 41, with eps outside the root",
        _build_rmsprop,
        {
            "alpha": Option(0.99, 0.0, 0.999999, "share of the second moment kept each step"),
            "eps": _EPS,
            "centered": Flag(False, "divide by the running standard deviation"),
            "momentum": Option(0.0, 0.0, 0.9999, "share of the velocity kept each step"),
        },
    ),
    Level(
        "adadelta",
        "s <- rho * s + (1 - rho) * g^2; d = sqrt(u + eps) / sqrt(s + eps) * g; u <- rho * u + (1 - rho) * d^2; "
        "p <- p - lr * d",
        "Zeiler 2012, algorithm 1, which has no rate: lr = 1",
        lambda rho, eps: Optimizer(
            "adadelta",
            _adadelta,
            ("Adadelta", {"rho": rho, "eps": eps}),
            (_zeros, _zeros),
            2,
            {"rho": rho, "eps": eps},
            _adadelta_coefficients,
        ),
        {
            "rho": Option(0.9, 0.0, 0.999999, "share of both second moments kept each step"),
            "eps": Option(1e-6, 0.0, 1.0, "added to both second moments, under the root", open_low=True),
        },
    ),
    Level(
        "adam",
        "m, s: running means of g and g^2, divided by 1 - beta^t unless bias_correction is off; "
        "p <- p - lr * m / (sqrt(s) + eps)",
        "Kingma and Ba 2015, algorithm 1",
        _build_adam,
        {**_BETAS, "bias_correction": Flag(True, "divide the moments by 1 - beta^t")},
    ),
    Level(
        "adamw",
        "p <- p - lr * weight_decay * p, every parameter; then a step of adam",
        "Loshchilov and Hutter 2019, algorithm 2",
        _build_adamw,
        {**_BETAS, "weight_decay": Option(0.01, 0.0, 10.0, "share of a parameter taken off, times the rate")},
    ),
    Level(
        "nadam",
        "m, s as in adam; mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2); "
        "n = mu_(t+1) * m / (1 - mu_1 ... mu_(t+1)) + (1 - mu_t) * g / (1 - mu_1 ... mu_t); "
        "p <- p - lr * n / (sqrt(s / (1 - beta2^t)) + eps)",
        "Dozat 2016, algorithm 2, with the mu of torch.optim.NAdam",
        _build_nadam,
        {**_BETAS, "momentum_decay": Option(4e-3, 0.0, 1.0, "how fast mu rises from beta1 / 2 to beta1")},
    ),
    Level(
        "radam",
        "m, s as in adam; r_t = 2 / (1 - beta2) - 1 - 2 * t * beta2^t / (1 - beta2^t); where r_t > 5 a step of adam "
        "times sqrt((r_t - 4) * (r_t - 2) * r / ((r - 4) * (r - 2) * r_t)), r being the limit of r_t; "
        "before, p <- p - lr * m",
        "Liu et al. 2020, algorithm 2, with torch's threshold of 5 for the paper's 4",
        _build_radam,
        dict(_BETAS),
    ),
    Level(
        "lookahead",
        "a step of inner on p; every k-th step: slow <- slow + alpha * (p - slow), p <- slow; slow starts at p",
        "Zhang et al. 2019, algorithm 1; the inner optimizer's state is kept",
        _build_lookahead,
        {
            "inner": Inner("adam", lambda: OPTIMIZERS, "optimizer of the fast weights", without=("lookahead",)),
            "k": Option(5, 1, 10000, "steps between two meetings of fast and slow weights"),
            "alpha": Option(0.5, 0.0, 1.0, "share of the way the slow weights go", open_low=True),
        },
    ),
)
"""Every optimizer by name."""


def kind(level: str) -> str:
    """Return the kind of the optimizer that `level`, in canonical form, names.

    Trials whose kinds are equal share an update where they stand side by side in a stack, whatever
    their numbers are: a key for sorting trials into stacks. The levels of one name have neighbouring keys.
    """
    return described(level).kind
