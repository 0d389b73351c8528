"""Augmentations do what their formulas say, pixel by pixel, and draw from nobody's stream but their own."""

import colorsys
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import ndimage, stats
from torch import Tensor

from trainatlas.data.augmentation import (
    AUGMENTATIONS,
    Affine,
    Augmented,
    Draws,
    augment,
    mixes_labels,
    unsuited,
)
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level

Array = NDArray[Any]

NAMES = [name for name in AUGMENTATIONS if name != "none"]
SHAPES = {
    "anything": [(3, 8, 9), (1, 7, 6), (5, 1, 1)],
    "image": [(3, 8, 9), (1, 7, 6), (2, 2, 2)],
    "colour": [(3, 8, 9), (3, 2, 2)],
}
AFFINE = ["scaling", "translation", "rotation", "shear", "stretch"]
NEUTRAL = {
    "horizontal_flip": "p=0",
    "vertical_flip": "p=0",
    "crop": "padding=0",
    "scaling": "low=1, high=1",
    "translation": "share=0",
    "rotation": "degrees=0",
    "shear": "degrees=0",
    "stretch": "share=0",
    "brightness": "strength=0",
    "contrast": "strength=0",
    "saturation": "strength=0",
    "hue": "strength=0",
    "color_jitter": "brightness=0, contrast=0, saturation=0, hue=0",
    "gaussian_blur": "sigma=0",
    "gaussian_noise": "std=0",
    "cutout": "size=0",
    "random_erasing": "p=0",
    "mixup": "alpha=0",
    "cutmix": "alpha=0",
}


class Given(Draws):
    """Draws that are uniform numbers of the test's choice, the same for every example, or one for each number drawn."""

    def __init__(self, *u: float) -> None:
        super().__init__(0, 1, "cpu", torch.float64)
        self.u = torch.tensor(u, dtype=torch.float64)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        u = self.u if len(self.u) == 1 else self.u[:, None]
        return u.expand(shape)


def draws(seed: int = 0, epoch: int = 1, dtype: torch.dtype = torch.float64) -> Draws:
    return Draws(seed, epoch, "cpu", dtype)


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random values in [0.1, 0.9): no pixel is black, so that blackened ones are told."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 0.8 + 0.1


def run(text: str, x: Tensor, numbers: Draws | None = None) -> Augmented:
    return augment(AUGMENTATIONS.build_parts(text), x, numbers or draws(dtype=x.dtype))


def same(left: Augmented, right: Augmented) -> bool:
    pairs = [(left.x, right.x), (left.partner, right.partner), (left.share, right.share)]
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def at_ends(name: str) -> list[str]:
    """A level with its options at their defaults, all at their lowest, all at their highest."""
    options = AUGMENTATIONS[name].options
    spelt = [", ".join(f"{key}={getattr(option, end)!r}" for key, option in options.items()) for end in ("low", "high")]
    return [name, *(f"{name}({text})" for text in spelt)] if options else [name]


EVERY_LEVEL = list(AUGMENTATIONS)
EVERY_END = [text for name in AUGMENTATIONS for text in at_ends(name)]


def shapes_for(text: str) -> list[tuple[int, int, int]]:
    return SHAPES[AUGMENTATIONS[text.partition("(")[0]].needs]


# What holds for every level


@pytest.mark.parametrize("text", EVERY_END)
def test_shape_and_type_are_kept_and_values_finite(text: str) -> None:
    for batch, dtype, shape in itertools.product((1, 5), (torch.float32, torch.float64), shapes_for(text)):
        x = images(batch, *shape, dtype=dtype)
        made = run(text, x)
        assert (made.x.shape, made.x.dtype) == (x.shape, dtype)
        assert made.x.isfinite().all(), (batch, dtype, shape)


@pytest.mark.parametrize("text", EVERY_END)
def test_the_given_batch_is_left_as_it_was(text: str) -> None:
    for shape in shapes_for(text):
        x = images(5, *shape)
        before = x.clone()
        run(text, x)
        assert torch.equal(x, before)


@pytest.mark.parametrize("text", EVERY_END)
def test_values_stay_in_their_range_unless_noise_is_added(text: str) -> None:
    x = torch.cat([images(20, 3, 8, 9), torch.zeros(1, 3, 8, 9), torch.ones(1, 3, 8, 9)]).to(torch.float64)
    made = run(text, x).x
    inside = bool((made >= -1e-12).all() and (made <= 1 + 1e-12).all())
    assert inside == (text.partition("(")[0] != "gaussian_noise" or "std=0.0" in text)


@pytest.mark.parametrize("name", EVERY_LEVEL)
def test_the_same_draws_give_the_same_result(name: str) -> None:
    x = images(16, 3, 8, 9)
    assert same(run(name, x, draws(3, 2)), run(name, x, draws(3, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_epoch_or_step_gives_another_result(name: str) -> None:
    x = images(16, 3, 8, 9)
    one = draws(3, 2)
    results = [run(name, x, numbers) for numbers in (one, one, draws(4, 2), draws(3, 3))]
    for left, right in itertools.combinations(results, 2):
        assert not same(left, right)


@pytest.mark.parametrize("name", EVERY_LEVEL)
def test_both_types_see_the_same_augmentation(name: str) -> None:
    x = images(16, 3, 8, 9, dtype=torch.float32)
    single, double = run(name, x), run(name, x.double())
    torch.testing.assert_close(single.x.double(), double.x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", EVERY_LEVEL)
def test_a_level_draws_from_the_stream_of_its_name_alone(name: str) -> None:
    asked = []

    class Recorded(Draws):
        def _key(self, stream: str) -> int:
            asked.append(stream)
            return super()._key(stream)

    run(name, images(4, 3, 8, 9), Recorded(0, 1, "cpu", torch.float64))
    assert set(asked) == ({name} if name != "none" else set())


@pytest.mark.parametrize("name", NAMES)
def test_other_levels_beside_it_change_none_of_its_draws(name: str) -> None:
    x = images(16, 3, 8, 9)
    crowded = draws()
    for other in NAMES:
        if other != name:
            run(other, x, crowded)
    assert same(run(name, x, crowded), run(name, x, draws()))


@pytest.mark.parametrize("text", [text for name in NAMES for text in at_ends(name)[1:]])
def test_options_change_nothing_about_how_many_numbers_are_drawn(text: str) -> None:
    name, x = text.partition("(")[0], images(16, 3, 8, 9)
    with_options, without = draws(), draws()
    run(text, x, with_options)
    run(name, x, without)
    assert same(run(name, x, with_options), run(name, x, without))


@pytest.mark.parametrize("name", NAMES)
def test_at_zero_strength_nothing_changes(name: str) -> None:
    x = images(16, 3, 8, 9)
    made = run(f"{name}({NEUTRAL[name]})", x)
    torch.testing.assert_close(made.x, x, rtol=0, atol=1e-12)
    assert made.share is None or bool((made.share == 1).all())


@pytest.mark.parametrize("text", EVERY_END)
def test_no_value_is_read_back_to_the_host(text: str) -> None:
    """A tensor on the meta device has no values: reading one raises."""
    x = torch.empty(4, 3, 8, 9, device="meta")
    made = run(text, x, Draws(0, 1, "meta", torch.float32))
    assert made.x.device.type == "meta" and made.x.shape == x.shape


@pytest.mark.parametrize("name", EVERY_LEVEL)
def test_labels_are_mixed_where_the_entry_says_so(name: str) -> None:
    made = run(name, images(6, 3, 8, 9))
    assert (made.partner is not None) == (made.share is not None) == mixes_labels(name)
    if made.partner is not None and made.share is not None:
        assert made.partner.dtype == torch.int64
        assert sorted(made.partner.tolist()) == list(range(6))
        assert made.share.shape == (6,) and made.share.dtype == torch.float64
        assert bool(((made.share >= 0) & (made.share <= 1)).all())


@pytest.mark.parametrize("name", [name for name in NAMES if not mixes_labels(name)])
def test_examples_of_a_batch_are_augmented_unlike_one_another(name: str) -> None:
    x = images(1, 3, 8, 9).expand(16, -1, -1, -1)
    assert len({tuple(example.flatten().tolist()) for example in run(name, x).x}) > 1


@pytest.mark.parametrize("name", EVERY_LEVEL)
def test_a_level_called_by_itself_does_what_augment_does(name: str) -> None:
    x = images(4, 3, 8, 9)
    assert same(AUGMENTATIONS.build(name)(x, draws()), run(name, x))


# Draws


def test_streams_are_apart_and_in_step() -> None:
    mixed, alone = draws(), draws()
    first = mixed.uniform("a", 3)
    mixed.normal("b", 100), mixed.permutation("c", 50), mixed.beta("a", 0.5)
    assert torch.equal(first, alone.uniform("a", 3))
    assert torch.equal(mixed.uniform("a", 3), alone.uniform("a", 3))
    assert not torch.equal(mixed.uniform("d", 3), draws().uniform("a", 3))


def test_numbers_are_drawn_in_single_precision_whatever_they_become() -> None:
    single, double = draws(dtype=torch.float32), draws()
    for draw in (lambda d: d.uniform("a", 2, 50), lambda d: d.normal("a", 2, 50)):
        assert torch.equal(draw(single).double(), draw(double))
    assert double.uniform("a", 1).dtype == torch.float64
    assert double.permutation("a", 4).dtype == torch.int64


def test_draws_have_their_distributions() -> None:
    numbers = draws()
    uniform = numbers.uniform("a", 5000).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(numbers.normal("a", 5000).numpy(), "norm").pvalue > 1e-3
    firsts = [int(numbers.permutation("a", 5)[0]) for _ in range(1000)]
    assert stats.chisquare(np.bincount(firsts, minlength=5)).pvalue > 1e-3


@pytest.mark.parametrize("a", [0.2, 1.0, 4.0])
def test_beta_is_beta(a: float) -> None:
    numbers = draws()
    drawn = [numbers.beta("a", a) for _ in range(2000)]
    assert stats.kstest(drawn, stats.beta(a, a).cdf).pvalue > 1e-3


@given(a=st.floats(0, 1e6), seed=st.integers(0, 100))
def test_beta_is_a_share_for_every_parameter(a: float, seed: int) -> None:
    assert 0 <= draws(seed).beta("a", a) <= 1


def test_beta_keeps_its_order_and_its_step_whatever_its_parameter() -> None:
    narrow, wide = draws(), draws()
    left, right = ([numbers.beta("a", a) for _ in range(50)] for numbers, a in ((narrow, 50.0), (wide, 0.3)))
    assert np.array_equal(np.argsort(left), np.argsort(right))


# Flips and crops


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", -1), ("vertical_flip", -2)])
def test_a_flip_is_numpys_flip_of_some_examples(name: str, axis: int) -> None:
    x = images(2000, 1, 3, 4)
    for p in (0.0, 0.25, 0.5, 1.0):
        made = run(f"{name}(p={p})", x).x.numpy()
        flipped = (made != x.numpy()).any((1, 2, 3))
        np.testing.assert_array_equal(made[flipped], np.flip(x.numpy()[flipped], axis))
        assert abs(flipped.mean() - p) <= 4 * math.sqrt(p * (1 - p) / 2000)
    np.testing.assert_array_equal(run(f"{name}(p=1)", x).x.numpy(), np.flip(x.numpy(), axis))


@pytest.mark.parametrize("padding", [1, 3, 10])
def test_a_crop_is_a_window_of_the_padded_image(padding: int) -> None:
    x = images(400, 3, 5, 6)
    made = run(f"crop(padding={padding})", x).x.numpy()
    places = 2 * padding + 1
    top, left = np.floor(draws().uniform("crop", 2, 400).numpy() * places).astype(int)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for i in range(400):
        np.testing.assert_array_equal(made[i], padded[i, :, top[i] : top[i] + 5, left[i] : left[i] + 6])
    for offsets in (top, left):
        assert stats.chisquare(np.bincount(offsets, minlength=places)).pvalue > 1e-3


def test_a_number_just_below_one_stays_inside_the_padded_image() -> None:
    x, u = images(2, 1, 4, 4, dtype=torch.float32), float(np.nextafter(np.float32(1), np.float32(0)))
    for padding in range(65):
        numbers = Given(u)
        numbers.u = numbers.u.float()
        expected = torch.zeros_like(x)
        if padding < 4:
            expected[:, :, : 4 - padding, : 4 - padding] = x[:, :, padding:, padding:]
        assert torch.equal(run(f"crop(padding={padding})", x, numbers).x, expected)


# Affine maps: what they do to a point of the image, x to the right, y downwards, from the centre


def scaled(u: float, x: Tensor, low: float, high: float) -> Array:
    size = low * (high / low) ** u
    return np.diag([size, size, 1.0])


def moved(u: float, x: Tensor, share: float) -> Array:
    distance = share * (2 * u - 1)
    return np.array([[1, 0, distance * x.shape[3]], [0, 1, distance * x.shape[2]], [0, 0, 1.0]])


def turned(u: float, x: Tensor, degrees: float) -> Array:
    """Counter-clockwise as seen: with y downwards, (1, 0) goes to (cos, -sin)."""
    a = np.deg2rad(degrees * (2 * u - 1))
    return np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1.0]])


def leaning(u: float, x: Tensor, degrees: float) -> Array:
    """What is above the centre (y < 0) goes to the right."""
    return np.array([[1, -np.tan(np.deg2rad(degrees * (2 * u - 1))), 0], [0, 1, 0], [0, 0, 1.0]])


def stretched(u: float, x: Tensor, share: float) -> Array:
    ratio = (1 + share) ** (2 * u - 1)
    return np.diag([np.sqrt(ratio), 1 / np.sqrt(ratio), 1.0])


FORWARD: dict[str, Callable[..., Array]] = {
    "scaling": scaled,
    "translation": moved,
    "rotation": turned,
    "shear": leaning,
    "stretch": stretched,
}


def scipys(x: Tensor, forward: Array) -> Array:
    """Move a batch by scipy: its matrices take places in the result, (row, column), to places in the original."""
    backward = np.linalg.inv(forward)
    matrix = backward[:2, :2][::-1, ::-1]
    centre = (np.array(x.shape[2:]) - 1) / 2
    offset = centre - matrix @ centre + backward[:2, 2][::-1]
    planes = [
        ndimage.affine_transform(plane, matrix, offset, order=1, mode="grid-constant")
        for plane in x.numpy().reshape(-1, *x.shape[2:])
    ]
    return np.stack(planes).reshape(x.shape)


@pytest.mark.parametrize("name", AFFINE)
@settings(max_examples=40)
@given(u=st.floats(0, 1, exclude_max=True), data=st.data())
def test_an_affine_level_is_scipys_with_the_documented_map(name: str, u: float, data: st.DataObject) -> None:
    level = AUGMENTATIONS[name]
    options = {
        key: data.draw(st.floats(option.low, option.high), label=key)  # type: ignore[union-attr]
        for key, option in level.options.items()
    }
    x = images(2, 3, 9, 14)
    made = AUGMENTATIONS[name].build(**options)(x, Given(u)).x.numpy()
    np.testing.assert_allclose(made, scipys(x, FORWARD[name](u, x, **options)), atol=1e-9)


@pytest.mark.parametrize(
    "text", [" + ".join(pair) for pair in itertools.combinations(AFFINE, 2)] + [" + ".join(AFFINE)]
)
@pytest.mark.parametrize("u", [0.1, 0.9])
def test_joined_affine_levels_are_one_resampling_with_one_matrix(text: str, u: float) -> None:
    x = images(2, 3, 9, 14)
    forward = np.eye(3)
    for name in text.split(" + "):  # in the table's order: the first is applied first
        forward = FORWARD[name](u, x, **AUGMENTATIONS.options(name, {})) @ forward
    np.testing.assert_allclose(run(text, x, Given(u)).x.numpy(), scipys(x, forward), atol=1e-9)
    one_by_one = x
    for name in text.split(" + "):
        one_by_one = run(name, one_by_one, Given(u)).x
    assert (one_by_one - run(text, x, Given(u)).x).abs().max() > 0.01


def test_the_affine_levels_are_all_there_are() -> None:
    assert [name for name in AUGMENTATIONS if isinstance(AUGMENTATIONS.build(name), Affine)] == AFFINE


def test_affine_levels_apart_are_resampled_apart() -> None:
    x = images(2, 3, 9, 14)
    parts = [AUGMENTATIONS.build(name) for name in ("rotation", "brightness", "shear")]
    by_hand = x
    for part in parts:
        by_hand = part(by_hand, Given(0.8)).x
    assert torch.equal(augment(parts, x, Given(0.8)).x, by_hand)


def test_positive_angles_turn_counter_clockwise_as_seen() -> None:
    x = images(2, 3, 7, 7)
    made = run("rotation(degrees=90)", x, Given(1.0)).x.numpy()
    np.testing.assert_allclose(made, np.rot90(x.numpy(), axes=(2, 3)), atol=1e-12)


def test_positive_moves_go_right_and_down_by_a_share_of_the_side() -> None:
    x = images(1, 1, 10, 20)
    made = run("translation(share=0.1)", x, Given(1.0)).x
    expected = torch.zeros_like(x)
    expected[:, :, 1:, 2:] = x[:, :, :-1, :-2]
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)


def test_the_moves_across_and_down_are_drawn_apart() -> None:
    x = images(1, 1, 10, 20)
    made = run("translation(share=0.1)", x, Given(1.0, 0.5)).x
    torch.testing.assert_close(made[..., 2:], x[..., :-2], rtol=0, atol=1e-12)
    assert (run("translation(share=0.1)", x, Given(0.5, 1.0)).x[:, :, 1:] - x[:, :, :-1]).abs().max() < 1e-12


def test_a_positive_shear_moves_the_top_to_the_right() -> None:
    x = images(1, 1, 3, 6)
    made = run("shear(degrees=45)", x, Given(1.0)).x
    torch.testing.assert_close(made[0, 0, 0, 1:], x[0, 0, 0, :-1], rtol=0, atol=1e-12)
    torch.testing.assert_close(made[0, 0, 1], x[0, 0, 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(made[0, 0, 2, :-1], x[0, 0, 2, 1:], rtol=0, atol=1e-12)


def angles(text: str) -> Array:
    matrix = AUGMENTATIONS.build(text).matrix(images(2000, 1, 4, 4), draws()).numpy()
    return np.rad2deg(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))


def test_rotations_differ_by_their_scale_alone_and_keep_within_their_range() -> None:
    narrow, wide = angles("rotation(degrees=10)"), angles("rotation(degrees=30)")
    np.testing.assert_allclose(wide, 3 * narrow, rtol=1e-9)
    assert stats.kstest(narrow, stats.uniform(-10, 20).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("text", "quantity", "low", "high"),
    [
        ("scaling(low=0.5, high=4)", lambda m: -np.log(m[:, 0, 0]), math.log(0.5), math.log(4)),
        ("translation(share=0.2)", lambda m: -m[:, 0, 2] / 4, -0.2, 0.2),
        ("translation(share=0.2)", lambda m: -m[:, 1, 2] / 4, -0.2, 0.2),
        ("shear(degrees=20)", lambda m: np.rad2deg(np.arctan(m[:, 0, 1])), -20, 20),
        ("stretch(share=0.5)", lambda m: np.log(m[:, 1, 1] / m[:, 0, 0]), -math.log(1.5), math.log(1.5)),
    ],
)
def test_affine_quantities_are_uniform_over_their_range(
    text: str, quantity: Callable[[Array], Array], low: float, high: float
) -> None:
    drawn = quantity(AUGMENTATIONS.build(text).matrix(images(2000, 1, 4, 4), draws()).numpy())
    assert drawn.min() >= low - 1e-12 and drawn.max() <= high + 1e-12
    assert stats.kstest(drawn, stats.uniform(low, high - low).cdf).pvalue > 1e-3


# Colour


def by_pixel(name: str, image: Array, change: float) -> Array:
    """Transcribe a colour operation for one image (3, height, width): `change` is the factor, or the turn of hue."""
    made = np.empty_like(image)
    grey = np.array([0.299, 0.587, 0.114])
    mean = np.mean([grey @ image[:, i, j] for i in range(image.shape[1]) for j in range(image.shape[2])])
    for i, j in itertools.product(range(image.shape[1]), range(image.shape[2])):
        pixel = image[:, i, j]
        if name == "hue":
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            made[:, i, j] = colorsys.hsv_to_rgb((hue + change) % 1, saturation, value)
        else:
            other = {"brightness": 0.0, "contrast": mean, "saturation": grey @ pixel}[name]
            made[:, i, j] = np.clip(change * pixel + (1 - change) * other, 0, 1)
    return made


def colours() -> Tensor:
    """Images that hold grey, black, white and pure colours beside random ones."""
    x = images(2, 3, 5, 6)
    corners = torch.tensor([*itertools.product([0.0, 1.0], repeat=3), (0.5, 0.5, 0.5), (0.2, 0.7, 0.7)])
    x[0, :, 0] = corners[:6].T
    x[1, :, 0, :4] = corners[6:].T
    return x


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
@settings(max_examples=40)
@given(u=st.floats(0, 1, exclude_max=True), share=st.floats(0, 1))
def test_a_colour_level_is_its_formula_pixel_by_pixel(name: str, u: float, share: float) -> None:
    x, strength = colours(), share * (0.5 if name == "hue" else 1.0)
    made = AUGMENTATIONS[name].build(strength=strength)(x, Given(u)).x.numpy()
    change = strength * (2 * u - 1) + (name != "hue")
    np.testing.assert_allclose(made, np.stack([by_pixel(name, image, change) for image in x.numpy()]), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "pillows"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("u", [0.0, 0.3, 0.5, 0.9])
def test_a_colour_level_is_pillows_up_to_its_rounding(name: str, pillows: Any, u: float) -> None:
    bytes_ = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    expected = np.asarray(pillows(Image.fromarray(bytes_)).enhance(1 + 0.8 * (2 * u - 1)))
    x = torch.tensor(bytes_.transpose(2, 0, 1)[None] / 255)
    made = run(f"{name}(strength=0.8)", x, Given(u)).x[0].numpy().transpose(1, 2, 0) * 255
    np.testing.assert_allclose(made, expected, atol=2)


def test_colour_jitter_is_its_four_parts_in_order() -> None:
    x, u = colours(), (0.1, 0.8, 0.3, 0.9)
    expected = x
    for name, strength, one in zip(
        ("brightness", "contrast", "saturation", "hue"), (0.3, 0.4, 0.5, 0.1), u, strict=True
    ):
        expected = run(f"{name}(strength={strength})", expected, Given(one)).x
    made = run("color_jitter(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)", x, Given(*u)).x
    assert torch.equal(made, expected)


def test_grey_images_are_blended_with_their_own_mean() -> None:
    x = images(3, 1, 4, 5)
    made = run("contrast(strength=0.5)", x, Given(0.0)).x
    torch.testing.assert_close(made, 0.5 * x + 0.5 * x.mean((1, 2, 3), keepdim=True))


def test_factors_are_uniform_over_their_range() -> None:
    x = torch.full((2000, 1, 2, 2), 0.5, dtype=torch.float64)
    factors = run("brightness(strength=0.4)", x).x[:, 0, 0, 0].numpy() / 0.5
    assert factors.min() >= 0.6 and factors.max() <= 1.4
    assert stats.kstest(factors, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_turns_of_hue_are_uniform_over_their_range() -> None:
    x = torch.tensor([0.2, 0.8, 0.3], dtype=torch.float64)[:, None, None].expand(1000, 3, 2, 2)
    before = colorsys.rgb_to_hsv(0.2, 0.8, 0.3)[0]
    made = run("hue(strength=0.1)", x).x[:, :, 0, 0].numpy()
    turns = [colorsys.rgb_to_hsv(*pixel)[0] - before for pixel in made]
    assert stats.kstest(turns, stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3


# Blur and noise


@pytest.mark.parametrize("shape", [(3, 9, 14), (1, 3, 3)])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.5, 5.0])
@pytest.mark.parametrize("u", [0.0, 0.4, 0.95])
def test_blur_is_scipys_with_edges_repeated(shape: tuple[int, int, int], sigma: float, u: float) -> None:
    x = images(2, *shape)
    made = run(f"gaussian_blur(sigma={sigma})", x, Given(u)).x.numpy()
    own, radius = sigma * (1 - u), int(4 * sigma + 0.5)
    expected = ndimage.gaussian_filter(x.numpy(), own, mode="nearest", radius=radius, axes=(2, 3))
    np.testing.assert_allclose(made, expected, atol=1e-12)
    if u == 0:
        np.testing.assert_allclose(made, ndimage.gaussian_filter(x.numpy(), sigma, mode="nearest", axes=(2, 3)))


def test_noise_has_the_moments_of_its_distribution_and_is_not_clamped() -> None:
    x = torch.ones(100, 3, 10, 10, dtype=torch.float64)
    noise = (run("gaussian_noise(std=0.2)", x).x - x).numpy().ravel()
    n = len(noise)
    assert abs(noise.mean()) < 4 * 0.2 / math.sqrt(n)
    assert noise.std() == pytest.approx(0.2, rel=4 / math.sqrt(2 * n))
    assert stats.kstest(noise[:5000] / 0.2, "norm").pvalue > 1e-3
    assert noise.max() > 0.5
    half = (run("gaussian_noise(std=0.1)", x).x - x).numpy().ravel()
    np.testing.assert_allclose(noise, 2 * half, atol=1e-12)


# Erasing


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 14)])
@pytest.mark.parametrize("size", [0.05, 0.25, 0.4, 1.0, 2.0])
def test_cutout_blackens_a_square_and_nothing_else(shape: tuple[int, int, int], size: float) -> None:
    x = images(200, *shape)
    made = run(f"cutout(size={size})", x).x.numpy()
    height, width = shape[1:]
    side = round(size * min(height, width))
    rows, columns = np.floor(draws().uniform("cutout", 2, 200).numpy() * np.array([[height], [width]])).astype(int)
    for i in range(200):
        black = np.zeros((height, width), dtype=bool)
        top, left = rows[i] - side // 2, columns[i] - side // 2
        black[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
        assert black.sum() <= side**2
        np.testing.assert_array_equal(made[i], np.where(black, 0.0, x[i].numpy()))
    if 0 < side < min(height, width) / 2:
        assert ((made == 0).all(1).sum((1, 2)) == side**2).any()
    assert len(set(zip(rows, columns, strict=True))) > 0.8 * height * width


def rectangle(black: Array) -> tuple[int, int]:
    """Return height and width of the one rectangle of black pixels."""
    rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert black.sum() == height * width
    return height, width


def test_random_erasing_blackens_one_rectangle_inside_and_nothing_else() -> None:
    x = images(1000, 3, 30, 40)
    made = run("random_erasing(p=0.6, low=0.05, high=0.3)", x).x.numpy()
    black = (made == 0).all(1)
    np.testing.assert_array_equal(made, np.where(black[:, None], 0.0, x.numpy()))
    erased = black.any((1, 2))
    assert abs(erased.mean() - 0.6) <= 4 * math.sqrt(0.24 / 1000)
    sides = np.array([rectangle(each) for each in black[erased]])
    chance, size, shape, row, column = draws().uniform("random_erasing", 5, 1000).numpy()
    np.testing.assert_array_equal(erased, chance < 0.6)
    area, ratio = 1200 * (0.05 + 0.25 * size[erased]), 0.3 ** (1 - 2 * shape[erased])
    np.testing.assert_array_equal(sides[:, 0], np.minimum(np.round(np.sqrt(area * ratio)), 30))
    np.testing.assert_array_equal(sides[:, 1], np.minimum(np.round(np.sqrt(area / ratio)), 40))
    top, left = black[erased].any(2).argmax(1), black[erased].any(1).argmax(1)
    np.testing.assert_array_equal(top, np.floor(row[erased] * (31 - sides[:, 0])))
    np.testing.assert_array_equal(left, np.floor(column[erased] * (41 - sides[:, 1])))


def test_erased_areas_lie_in_their_range() -> None:
    black = (run("random_erasing(p=1, low=0.1, high=0.2)", images(500, 1, 60, 60)).x == 0).numpy()
    shares = black.mean((1, 2, 3))
    assert shares.min() > 0.1 - 0.02 and shares.max() < 0.2 + 0.02
    assert stats.kstest(shares, stats.uniform(0.1, 0.1).cdf).statistic < 0.1


# Mixing


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_mixes_pixels_and_labels_by_one_share(alpha: float) -> None:
    x = images(6, 3, 4, 5)
    for seed in range(20):
        made = run(f"mixup(alpha={alpha})", x, draws(seed))
        assert made.partner is not None and made.share is not None
        share = draws(seed).beta("mixup", alpha)
        assert made.share.tolist() == [share] * 6
        assert torch.equal(made.partner, draws(seed).permutation("mixup", 6))
        for i, j in enumerate(made.partner.tolist()):
            np.testing.assert_allclose(made.x[i].numpy(), share * x[i].numpy() + (1 - share) * x[j].numpy())


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9)])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_cutmix_mixes_labels_by_the_area_of_its_box(alpha: float, shape: tuple[int, int, int]) -> None:
    x = torch.arange(7.0, dtype=torch.float64)[:, None, None, None].expand(7, *shape)  # each its own number
    height, width = shape[1:]
    for seed in range(40):
        made = run(f"cutmix(alpha={alpha})", x, draws(seed))
        assert made.partner is not None and made.share is not None
        numbers = draws(seed)
        side = math.sqrt(1 - numbers.beta("cutmix", alpha))
        assert torch.equal(made.partner, numbers.permutation("cutmix", 7))
        row, column = (int(u * n) for u, n in zip(numbers.uniform("cutmix", 2, 1)[:, 0], (height, width), strict=True))
        rows, columns = int(height * side), int(width * side)
        inside = np.zeros((height, width), dtype=bool)
        top, left = row - rows // 2, column - columns // 2
        inside[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)] = True
        for i, j in enumerate(made.partner.tolist()):
            np.testing.assert_array_equal(made.x[i].numpy(), np.broadcast_to(np.where(inside, j, i), shape))
            assert float(made.share[i]) == pytest.approx(1 - inside.sum() / inside.size, abs=1e-12)


def test_a_mixed_label_is_the_mean_of_the_pixels_labels() -> None:
    """Where every pixel of an example is its label, the mean pixel of a mixed one must be its mixed label."""
    labels = torch.arange(8.0, dtype=torch.float64)
    x = labels[:, None, None, None].expand(8, 1, 6, 6)
    for name in filter(mixes_labels, NAMES):
        for seed in range(20):
            made = run(f"{name}(alpha=1)", x, draws(seed))
            assert made.partner is not None and made.share is not None
            mixed = made.share * labels + (1 - made.share) * labels[made.partner]
            torch.testing.assert_close(made.x.mean((1, 2, 3)), mixed)


def test_mixing_comes_last() -> None:
    x = images(6, 3, 8, 9)
    text = parse_level("mixup + rotation + gaussian_noise", AUGMENTATIONS)
    before = run("rotation + gaussian_noise", x).x
    assert same(run(text, x), run("mixup", before))


def test_two_that_mix_labels_are_not_applied_in_turn() -> None:
    parts = [AUGMENTATIONS.build(name) for name in ("mixup", "cutmix")]
    with pytest.raises(ValueError, match="allowed: one"):
        augment(parts, images(4, 3, 8, 9), draws())


def test_no_augmentation_gives_the_batch_back() -> None:
    x = images(4, 3, 8, 9)
    assert augment([], x, draws()).x is x
    assert same(run("none", x), Augmented(x))


def test_all_that_agree_can_be_joined() -> None:
    x = images(5, 3, 8, 9)
    text = " + ".join(name for name in NAMES if name != "cutmix")
    made = run(parse_level(text, AUGMENTATIONS), x)
    assert made.x.shape == x.shape and made.x.isfinite().all()
    assert made.partner is not None


# What planning asks


def test_conflicts_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match="mixup and cutmix both mix labels; allowed: one of them"):
        parse_level("mixup(alpha=0.4) + cutmix", AUGMENTATIONS)
    for text in ("none", "mixup", "cutmix", "rotation + mixup", " + ".join(n for n in NAMES if not mixes_labels(n))):
        assert parse_level(text, AUGMENTATIONS)


def test_mixing_of_labels_is_seen_in_joined_levels() -> None:
    assert mixes_labels("rotation(degrees=5) + mixup(alpha=0.4)")
    assert not mixes_labels("rotation + cutout")
    assert not mixes_labels("none")


@pytest.mark.parametrize("name", EVERY_LEVEL)
@pytest.mark.parametrize(
    ("shape", "suited"),
    [
        ((3, 8, 8), {"anything", "image", "colour"}),
        ((1, 8, 8), {"anything", "image"}),
        ((2, 8, 8), {"anything", "image"}),
        ((3, 1, 1), {"anything"}),
        ((3, 1, 8), {"anything"}),
        ((1, 8, 1), {"anything"}),
        ((3,), {"anything"}),
    ],
)
def test_a_level_suits_the_examples_it_says_it_needs(name: str, shape: tuple[int, ...], suited: set[str]) -> None:
    reason = unsuited(name, shape)
    assert (reason is None) == (AUGMENTATIONS[name].needs in suited)
    if reason is not None:
        assert reason.startswith(f"{name} needs ") and len(reason.splitlines()) == 1


def test_the_first_part_that_does_not_suit_is_named() -> None:
    assert (
        unsuited("rotation + hue(strength=0.1) + mixup", (1, 8, 8))
        == "hue needs colour images, of 3 channels; the examples are 1 x 8 x 8"
    )
    assert (
        unsuited("gaussian_noise + cutmix", (30, 1, 1))
        == "cutmix needs images, of a height and a width above 1; the examples are 30 x 1 x 1"
    )
    assert unsuited("rotation + mixup", (1, 8, 8)) is None


def test_planning_imports_neither_torch_nor_numpy(python: Callable[..., Any]) -> None:
    done = python(
        "import sys\n"
        "from trainatlas.data.augmentation import mixes_labels, unsuited\n"
        "mixes_labels('mixup'), unsuited('hue', (1, 8, 8))\n"
        "sys.exit(bool({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr
