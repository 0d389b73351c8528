"""Normalisations are torch's, with the options the level names; a folded network does what the unfolded one did."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from trainatlas.model.architectures import build_network
from trainatlas.model.initialisation import initial_parameters
from trainatlas.model.modules import norms
from trainatlas.model.normalisation import NORMALISATIONS, folded, follows_activation, needs_bias
from trainatlas.study.trial import Trial

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(64, 8, generator=GENERATOR, dtype=torch.float64) * 3 + 2
IMAGES = torch.randn(16, 8, 5, 5, generator=GENERATOR, dtype=torch.float64) * 3 + 2
FLAT = [level for level in NORMALISATIONS if level != "instance"]


def build(level: str, images: bool = False) -> nn.Module:
    layer = nn.Conv2d(3, 8, 3, padding=1) if images else nn.Linear(4, 8)
    return NORMALISATIONS.build(level, layer=layer, units=8).double()  # type: ignore[no-any-return]


@pytest.mark.parametrize("level", FLAT)
def test_the_shape_of_flat_outputs_is_kept(level: str) -> None:
    assert build("group(groups=4)" if level == "group" else level)(X).shape == X.shape


@pytest.mark.parametrize("level", NORMALISATIONS)
def test_the_shape_of_images_is_kept(level: str) -> None:
    assert build(level, images=True)(IMAGES).shape == IMAGES.shape


def test_none_changes_nothing() -> None:
    assert torch.equal(build("none")(X), X)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalises_by_the_batch_while_training(affine: bool) -> None:
    module = build(f"batch(affine={affine})").train()
    assert len(list(module.parameters())) == (2 if affine else 0)
    expected = (X - X.mean(0)) / (X.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(module(X), expected)
    images = build(f"batch(affine={affine})", images=True).train()
    mean, variance = IMAGES.mean((0, 2, 3), keepdim=True), IMAGES.var((0, 2, 3), keepdim=True, unbiased=False)
    torch.testing.assert_close(images(IMAGES), (IMAGES - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize(("level", "momentum"), [("batch", 0.1), ("batch(momentum=0.5)", 0.5)])
def test_batch_keeps_running_statistics_for_evaluation(level: str, momentum: float) -> None:
    module = build(level).train()
    module(X)
    mean = momentum * X.mean(0)
    variance = (1 - momentum) + momentum * X.var(0)
    torch.testing.assert_close(module.eval()(X), (X - mean) / (variance + 1e-5).sqrt())


def standard(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (x - x.mean(dims, keepdim=True)) / (x.var(dims, keepdim=True, unbiased=False) + 1e-5).sqrt()


def test_layer_instance_and_group_average_over_what_their_papers_say() -> None:
    torch.testing.assert_close(build("layer")(X), standard(X, (1,)))
    torch.testing.assert_close(build("layer", images=True)(IMAGES), standard(IMAGES, (1, 2, 3)))
    torch.testing.assert_close(build("instance", images=True)(IMAGES), standard(IMAGES, (2, 3)))
    grouped = standard(X.reshape(64, 4, 2), (2,)).reshape(64, 8)
    torch.testing.assert_close(build("group(groups=4)")(X), grouped)
    torch.testing.assert_close(build("group(groups=4)")(X), nn.GroupNorm(4, 8, dtype=torch.float64)(X))
    grouped = standard(IMAGES.reshape(16, 4, 2, 5, 5), (2, 3, 4)).reshape(IMAGES.shape)
    torch.testing.assert_close(build("group(groups=4)", images=True)(IMAGES), grouped)


@pytest.mark.parametrize("images", [False, True])
def test_weight_normalisation_is_torchs(images: bool) -> None:
    kind, sizes = (nn.Conv2d, (3, 8, 3)) if images else (nn.Linear, (4, 8))
    layer = kind(*sizes, bias=False, dtype=torch.float64)
    oracle = parametrizations.weight_norm(kind(*sizes, dtype=torch.float64))
    x = (torch.randn(5, 3, 6, 6, generator=GENERATOR) if images else torch.randn(5, 4, generator=GENERATOR)).double()
    module = NORMALISATIONS.build("weight", layer=layer, units=8).double()
    scale, direction = oracle.parametrizations.weight.original0, oracle.parametrizations.weight.original1
    with torch.no_grad():
        layer.weight.copy_(direction)
        module.weight.copy_(torch.rand(8, generator=GENERATOR))
        scale.copy_(module.weight.reshape(scale.shape))
        module.bias.copy_(oracle.bias)
    found, expected = module(layer(x)), oracle(x)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, direction.grad)
    torch.testing.assert_close(module.weight.grad, scale.grad.flatten())


def test_weight_normalisation_changes_nothing_at_first() -> None:
    trial = Trial("digits", "mlp", "relu", "kaiming_normal", "weight", "sgd", "raw", 0.1, 64, 1, 0)
    network = build_network("mlp(depth=2, width=6)", "relu", "weight", (1, 4, 4), 10)
    start = initial_parameters(network, trial, lambda: X)
    for name, value in start.items():
        if name.endswith("normalisation.weight"):
            torch.testing.assert_close(value, norms(start[name.replace("normalisation", "linear")]))
    plain = build_network("mlp(depth=2, width=6)", "relu", "none", (1, 4, 4), 10)
    x = torch.randn(3, 1, 4, 4, generator=GENERATOR)
    alike = initial_parameters(plain, trial, lambda: X)
    torch.testing.assert_close(
        torch.func.functional_call(network, start, (x,)), torch.func.functional_call(plain, alike, (x,))
    )


@pytest.mark.parametrize("level", [*NORMALISATIONS, "batch(position=after)", "batch(affine=False)"])
def test_a_bias_that_the_normalisation_takes_away_is_not_there(level: str) -> None:
    """Moving the layer's bias must move the output, wherever the layer is given one."""
    images = level == "instance"
    x = IMAGES if images else X
    shift = torch.arange(8, dtype=torch.float64).reshape(1, 8, *[1] * (x.dim() - 2))
    module = build("group(groups=4)" if level == "group" else level, images).train()
    moved = not torch.allclose(module(x + shift), module(x))
    if follows_activation(level) or level == "weight":
        assert needs_bias(level) == follows_activation(level)  # there it stands elsewhere
    else:
        assert needs_bias(level) == moved


@settings(max_examples=20)
@given(units=st.integers(1, 9), images=st.booleans(), affine=st.booleans(), bias=st.booleans(), seed=st.integers(0, 99))
def test_folding_agrees_with_torchs_and_with_the_unfolded_layers(
    units: int, images: bool, affine: bool, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, units, 3, bias=bias) if images else nn.Linear(5, units, bias=bias)
    norm = (nn.BatchNorm2d if images else nn.BatchNorm1d)(units, affine=affine)
    x = torch.randn(16, 3, 6, 6) if images else torch.randn(16, 5)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_()
        norm.train()(layer(x))
    norm.eval()
    one = folded(layer.double(), norm.double())
    torch.testing.assert_close(one(x.double()), norm(layer(x.double())))
    if affine:
        fuse = fuse_conv_bn_eval if images else fuse_linear_bn_eval
        oracle = fuse(layer.eval(), norm)  # type: ignore[arg-type]
        torch.testing.assert_close(one.weight, oracle.weight)
        torch.testing.assert_close(one.bias, oracle.bias)


def test_what_cannot_be_folded_is_refused() -> None:
    pairs = itertools.product(
        [nn.Linear(4, 8), nn.ReLU()], [nn.LayerNorm(8), nn.BatchNorm1d(8, track_running_stats=False)]
    )
    for layer, norm in pairs:
        with pytest.raises(TypeError):
            folded(layer, norm)


def test_scale_and_shift_can_undo_the_normalisation() -> None:
    """gamma = standard deviation and beta = mean give the input back (claim B6)."""
    module = build("batch").train()
    with torch.no_grad():
        module.weight.copy_((X.var(0, unbiased=False) + 1e-5).sqrt())
        module.bias.copy_(X.mean(0))
    torch.testing.assert_close(module(X), X)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_batch_normalisation_does_not_see_the_size_of_weights(scale: float) -> None:
    """BN(a W x) = BN(W x), and its gradient by a W is 1/a times that by W (claim B11), up to eps."""
    x, w = X[:, :4], torch.randn(8, 4, generator=GENERATOR, dtype=torch.float64)
    target = torch.randn(64, 8, generator=GENERATOR, dtype=torch.float64)
    module = nn.BatchNorm1d(8, eps=1e-12, dtype=torch.float64).train()
    found = []
    for factor in (1.0, scale):
        weight = (w * factor).requires_grad_()
        output = module(x @ weight.T)
        (gradient,) = torch.autograd.grad(((output - target) ** 2).sum(), weight)
        found.append((output, gradient))
    torch.testing.assert_close(found[1][0], found[0][0])
    torch.testing.assert_close(found[1][1] * scale, found[0][1])
