"""The claims about mathematics hold for the code as it is, and their checks notice when it is not so.

The closed forms stand in trainatlas.claims.mathematics; what is broken here, one thing at a time, is what they check.
"""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainatlas.claims.mathematics import EXACT, activations, normalisation, optimizers
from trainatlas.claims.mathematics.activations import CLOSED_FORMS
from trainatlas.data.preprocessing import PREPROCESSINGS
from trainatlas.model import architectures, initialisation
from trainatlas.model.activations import ACTIVATIONS
from trainatlas.model.initialisation import INITIALISATIONS
from trainatlas.model.modules import Elementwise
from trainatlas.model.normalisation import NORMALISATIONS
from trainatlas.optim import regularisation, stacked
from trainatlas.optim.optimizers import described
from trainatlas.optim.regularisation import L2, Regulariser
from trainatlas.report.language import retold, speaking
from trainatlas.study.trial import Trial
from trainatlas.train import examples
from trainatlas.train.examples import ExampleStore, Variant

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("claim", EXACT)
def test_every_check_of_the_claim_holds(claim: str) -> None:
    checks = EXACT[claim]()
    assert checks
    assert [check for check in checks if not check.holds] == []
    assert len({check.what for check in checks}) == len(checks), "each says what it alone is about"
    with speaking("ko"):
        of_names_alone = re.compile(r"\w+\([-\d]+\)")  # such as relu(-10)
        assert all(re.search("[가-힣]", retold(each.what)) or of_names_alone.fullmatch(each.what) for each in checks)


def test_every_activation_of_one_number_has_a_closed_form() -> None:
    assert set(CLOSED_FORMS) == set(ACTIVATIONS) - {"maxout"}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_agree_with_numerical_differentiation(name: str) -> None:
    """Central differences of the values, and the largest of the slopes on a grid, beside what is written out by hand."""
    form = CLOSED_FORMS[name]
    for x in (-10.0, -2.2, -0.7, 0.4, 1.3, 2.9, 10.0):
        step = 1e-6
        difference = (form.value(x + step) - form.value(x - step)) / (2 * step)
        assert form.slope(x) == pytest.approx(difference, abs=1e-8), x
    grid = np.linspace(-4, 10, 7001)
    steepest = max(abs(form.slope(x)) for x in grid if x != 0)
    assert steepest <= form.largest + 1e-12
    assert steepest == pytest.approx(form.largest, abs=0.005)


def test_largest_slopes_at_roots_of_transcendental_equations_are_right_to_fifteen_digits() -> None:
    """The roots of f'' and the slopes there, once, by mpmath with 30 digits."""
    digits = {"gelu": 1.1289041451851549, "silu": 1.0998393201288669, "mish": 1.0884981612517279}
    for name, largest in digits.items():
        assert CLOSED_FORMS[name].largest == pytest.approx(largest, abs=1e-14), name


# What is broken, one thing at a time ---------------------------------------------------------------------------------


def elementwise(name: str, function: Callable[[Tensor], Tensor]) -> Callable[[Patch], None]:
    def patch(monkeypatch: Patch) -> None:
        monkeypatch.setitem(
            ACTIVATIONS, name, replace(ACTIVATIONS[name], build=lambda **options: Elementwise(function))
        )

    return patch


def scaled_draws(name: str, factor: float) -> Callable[[Patch], None]:
    level = INITIALISATIONS[name]

    def build(**options: object) -> initialisation.Initialiser:
        right = level.build(**options)
        return replace(right, draw=lambda weight: right.draw(weight) * factor)

    return lambda monkeypatch: monkeypatch.setitem(INITIALISATIONS, name, replace(level, build=build))


def random_draws(name: str) -> Callable[[Patch], None]:
    level = INITIALISATIONS[name]

    def build(bias: float, **options: object) -> initialisation.Initialiser:
        return initialisation.Initialiser(lambda weight: weight.normal(0.1), bias)

    return lambda monkeypatch: monkeypatch.setitem(INITIALISATIONS, name, replace(level, build=build))


def slope_of_the_table(monkeypatch: Patch) -> None:
    monkeypatch.setattr(activations, "maximum_slope", lambda name: 0.3)


def one_piece(monkeypatch: Patch) -> None:
    monkeypatch.setattr(architectures, "pieces", lambda text: 1)


def naive_softmax(monkeypatch: Patch) -> None:
    monkeypatch.setattr(F, "log_softmax", lambda z, dim: (z.exp() / z.exp().sum(dim, keepdim=True)).log())


def summed_loss(monkeypatch: Patch) -> None:
    right = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda z, y, **options: right(z, y, reduction="sum"))


def squares_not_halved(monkeypatch: Patch) -> None:
    wrong = Regulariser(strength=0.3, penalty=L2._replace(value=lambda w: w.square().sum()))
    monkeypatch.setattr(regularisation, "regularisers", lambda text: (wrong,))


def fit_on_everything(monkeypatch: Patch) -> None:
    def make(self: ExampleStore, trial: Trial) -> Variant:
        data, split = self._split(trial)
        level = PREPROCESSINGS.build(trial.preprocessing).fit(data.x.astype(np.float64))
        parts = {part: data.x[getattr(split, part)].astype(np.float64) for part in examples.PARTS}
        return Variant({part: torch.from_numpy(level.transform(x)) for part, x in parts.items()}, {}, level, 1.0)

    monkeypatch.setattr(ExampleStore, "_make", make)


def no_receptive_field(monkeypatch: Patch) -> None:
    monkeypatch.setattr(initialisation, "fans", lambda shape: (shape[1], shape[0]))


def fold_nothing(monkeypatch: Patch) -> None:
    monkeypatch.setattr(normalisation, "folded", lambda layer, norm: _with_bias(layer))


def _with_bias(layer: nn.Module) -> nn.Module:
    layer.bias = nn.Parameter(torch.zeros(len(layer.get_parameter("weight")), dtype=torch.float64))
    return layer


def batch_is(make: Callable[[nn.Module], nn.Module]) -> Callable[[Patch], None]:
    def build(layer: nn.Module, units: int, **options: object) -> nn.Module:
        return make(layer)

    level = NORMALISATIONS["batch"]
    return lambda monkeypatch: monkeypatch.setitem(NORMALISATIONS, "batch", replace(level, build=build))


def no_bias_correction(monkeypatch: Patch) -> None:
    for module in (stacked, optimizers):
        monkeypatch.setattr(module, "described", lambda level: described("adam(bias_correction=False)"))


BROKEN: list[tuple[str, Callable[[Patch], None], str]] = [
    ("A1", elementwise("sigmoid", lambda x: torch.sigmoid(1.0001 * x)), "slope of sigmoid at 0"),
    ("A1", elementwise("tanh", lambda x: 0.9999 * torch.tanh(x)), "largest slope of tanh"),
    ("A1", elementwise("relu", lambda x: x.clamp(min=-1e-6)), "relu(-10)"),
    ("A1", elementwise("prelu", lambda x: 1.25 * x), "at the kink"),
    ("A1", slope_of_the_table, "largest slope of sigmoid in the table"),
    ("A3", elementwise("sigmoid", torch.tanh), "sigmoid neurons"),
    ("A12", one_piece, "maxout"),
    ("A16", elementwise("identity", lambda x: F.leaky_relu(x, 0.999)), "linear network"),
    ("A16", elementwise("binary_step", lambda x: torch.sigmoid(50 * x)), "binary steps"),
    ("A18", naive_softmax, "at logits 1e4"),
    ("A18", summed_loss, "(p - y) / n"),
    ("P6", fit_on_everything, "standardize: change"),
    ("P6", fit_on_everything, "pca: largest mean"),
    ("I1", random_draws("zeros"), "all parameters but the last bias"),
    ("I1", random_draws("constant"), "between two units"),
    ("I5", scaled_draws("lecun_normal", 1.02), "variance of lecun_normal"),
    ("I5", scaled_draws("xavier_normal", 1.02), "variance of xavier_normal"),
    ("I5", scaled_draws("xavier_uniform", 1.02), "largest xavier_uniform"),
    ("I5", scaled_draws("lecun_normal", 1.02), "behind 10 linear layers"),
    ("I6", scaled_draws("xavier_normal", 1.05), "second moment behind a layer"),
    ("I6", scaled_draws("kaiming_uniform", 0.95), "second moment behind a layer"),
    ("I6", elementwise("relu", lambda x: F.leaky_relu(x, 0.01)), "E[relu(z)^2]"),
    ("I9", no_receptive_field, "xavier_uniform"),
    ("I9", no_receptive_field, "kaiming_normal(mode=fan_out)"),
    ("I9", scaled_draws("orthogonal", 1.001), "orthogonal"),
    ("B5", fold_nothing, "logits of the folded network"),
    ("B6", batch_is(lambda layer: nn.GroupNorm(2, 8)), "gamma = sigma"),
    ("B11", batch_is(lambda layer: nn.Identity()), "BN(a W x)"),
    ("T1", summed_loss, "equal logits"),
    ("T1", random_draws("zeros"), "starts at 0"),
    ("T1", squares_not_halved, "what l2"),
    ("O4", no_bias_correction, "stacked update"),
    ("O4", no_bias_correction, "plain update"),
]


@pytest.mark.parametrize(("claim", "breaking", "noticed"), BROKEN)
def test_a_check_of_the_claim_fails_where_the_code_is_wrong(
    claim: str, breaking: Callable[[Patch], None], noticed: str, monkeypatch: Patch
) -> None:
    breaking(monkeypatch)
    assert any(noticed in check.what for check in EXACT[claim]() if not check.holds)


def test_every_claim_is_seen_to_fail() -> None:
    assert {claim for claim, _, _ in BROKEN} == set(EXACT)
