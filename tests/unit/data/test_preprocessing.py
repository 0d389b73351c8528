"""Preprocessing agrees with scikit-learn and learns from the training part alone."""

import math
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from trainatlas.data.datasets import DATA_SETS
from trainatlas.data.preprocessing import (
    PREPROCESSINGS,
    Preprocessing,
    PrincipalAxes,
    Rotation,
    changes_shape,
    flattens,
    principal_axes,
    size_depends_on_data,
)
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level, split_level

Array = NDArray[np.float64]
X = DATA_SETS.build("digits").x.astype(np.float64)
TRAIN, OTHER = X[:1000], X[1000:]
AXES = principal_axes(TRAIN)
LEVELS = [
    *PREPROCESSINGS,
    "raw(peak=255.0)",
    "global_contrast(scale=2.0, bias=0.01, epsilon=0.1)",
    "pca(components=10)",
    "pca(variance=0.9)",
    "pca(components=10, variance=0.5)",
    "pca_whitening(components=10)",
    "pca_whitening(variance=0.5)",
    "pca_whitening(epsilon=0.1)",
    "zca_whitening(epsilon=0.1)",
]


def colour_images(examples: int = 400, seed: int = 0) -> Array:
    """Images of three channels with unlike means and spreads, and neighbouring pixels alike."""
    generator = np.random.default_rng(seed)
    noise: Array = generator.normal(size=(examples, 3, 4, 4)).cumsum(-1).cumsum(-2)
    images: Array = noise * np.array([1.0, 2.0, 0.5])[:, None, None] + np.array([0.0, 5.0, -3.0])[:, None, None]
    return images


def fitted(level: str, x: Array = TRAIN) -> Preprocessing:
    built: Preprocessing = PREPROCESSINGS.build(level)
    return built.fit(x)


def rows(x: Array) -> Array:
    return x.reshape(len(x), -1)


def up_to_sign(ours: Array, theirs: Array) -> Array:
    """Turn each of our components the way theirs points: a principal axis has no sign."""
    turned: Array = ours * np.sign((ours * theirs).sum(0))
    return turned


@pytest.mark.parametrize("level", LEVELS)
def test_another_test_set_does_not_change_what_was_learnt(level: str) -> None:
    preprocessing = fitted(level, TRAIN.copy())
    alone = preprocessing.transform(OTHER[:5])
    preprocessing.transform(OTHER * 100 + 7)
    np.testing.assert_array_equal(preprocessing.transform(OTHER[:5]), alone)
    shifted = np.concatenate([OTHER[:5], OTHER * 100 + 7])
    np.testing.assert_allclose(preprocessing.transform(shifted)[:5], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_the_given_examples_are_left_as_they_were(level: str) -> None:
    x = TRAIN.copy()
    fitted(level, x).transform(x)
    np.testing.assert_array_equal(x, TRAIN)


@pytest.mark.parametrize("level", LEVELS)
def test_the_shape_is_kept_unless_components_are_dropped(level: str) -> None:
    shape = fitted(level).transform(OTHER).shape
    if not changes_shape(level):
        assert shape == OTHER.shape
    else:
        assert shape[0] == len(OTHER) and len(shape) == 2 and 0 < shape[1] < 64
        if not size_depends_on_data(level):
            assert shape[1] == split_level(level)[1]["components"]


@pytest.mark.parametrize("level", LEVELS)
def test_examples_may_have_any_leading_axes_and_none(level: str) -> None:
    preprocessing, x = fitted(level), OTHER[:6]
    expected = preprocessing.transform(x)
    np.testing.assert_allclose(preprocessing.transform(x[0]), expected[0], rtol=1e-9, atol=1e-12)
    stacked = preprocessing.transform(x.reshape(2, 3, *x.shape[1:]))
    np.testing.assert_allclose(stacked, expected.reshape(2, 3, *expected.shape[1:]), rtol=1e-9, atol=1e-12)
    assert preprocessing.transform(x[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("level", LEVELS)
def test_values_are_finite_even_where_features_are_constant(level: str) -> None:
    assert (TRAIN.std(0) == 0).any()
    assert np.isfinite(fitted(level).transform(OTHER)).all()
    for constant in (np.full((50, 1, 4, 4), 0.3), np.zeros((50, 1, 4, 4))):  # the mean of the first one is rounded
        assert np.isfinite(fitted(level, constant).transform(constant)).all()
        assert fitted(level, constant).retained_variance == pytest.approx(1.0)


# min_max moves the least value to 0, not the mean: its oracle is MinMaxScaler below.
@pytest.mark.parametrize("level", [level for level in LEVELS if split_level(level)[0] not in ("raw", "min_max")])
def test_the_training_part_is_centred(level: str) -> None:
    for x in (TRAIN, colour_images()):
        assert abs(fitted(level, x).transform(x).mean()) < 1e-9


# Here global_contrast is left out as well: it centres each example, so that no single feature need be centred.
@pytest.mark.parametrize("level", [level for level in LEVELS if PREPROCESSINGS.build(level).learns and
                                   split_level(level)[0] not in ("min_max", "channel_mean", "channel_standardize")])  # fmt: skip
def test_each_feature_of_the_training_part_is_centred(level: str) -> None:
    for x in (TRAIN, colour_images()):
        np.testing.assert_allclose(fitted(level, x).transform(x).mean(0), 0, atol=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_every_shape_preserving_level_keeps_all_the_variance(level: str) -> None:
    retained = fitted(level).retained_variance
    if changes_shape(level):
        assert 0.0 < retained < 1.0
    else:
        assert retained == 1.0


@pytest.mark.parametrize("level", LEVELS)
def test_tensors_are_transformed_as_arrays_are(level: str) -> None:
    for train, other in ((TRAIN, OTHER), (colour_images(), colour_images(seed=1))):
        preprocessing = fitted(level, train)
        expected = preprocessing.transform(other)
        x = torch.from_numpy(other)
        ours = preprocessing.to("cpu", torch.float64).transform(x)
        assert ours.dtype == torch.float64
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
        single = preprocessing.to(torch.device("cpu"), torch.float32).transform(x.float())
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.numpy(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        # The one that was moved still takes arrays, and a moved one may be moved on.
        np.testing.assert_array_equal(preprocessing.transform(other), expected)
        again = preprocessing.to("cpu", torch.float64).to("cpu", torch.float64).transform(x)
        assert torch.equal(again, ours)


@pytest.mark.parametrize("level", LEVELS)
def test_everything_learnt_moves_to_the_device(level: str) -> None:
    x = torch.from_numpy(OTHER).to("meta", torch.float32)
    moved = fitted(level).to("meta", torch.float32).transform(x)  # fails where any constant stayed behind
    assert (moved.device.type, moved.dtype) == ("meta", torch.float32)
    assert moved.shape == fitted(level).transform(OTHER).shape


@pytest.mark.parametrize("level", LEVELS)
def test_examples_in_single_precision_are_read_in_double(level: str) -> None:
    single = TRAIN.astype(np.float32)
    assert (single == TRAIN).all()  # digits are sixteenths
    preprocessing = PREPROCESSINGS.build(level).fit(single)
    np.testing.assert_array_equal(preprocessing.transform(OTHER), fitted(level).transform(OTHER))


@pytest.mark.parametrize("level", LEVELS)
def test_what_one_instance_learnt_sets_up_another(level: str) -> None:
    learnt = PREPROCESSINGS.build(level).learn(TRAIN)
    other = PREPROCESSINGS.build(level)
    assert other.accepts(learnt) and bool(learnt) == bool(other.learns)
    np.testing.assert_array_equal(other.take(learnt).transform(OTHER), fitted(level).transform(OTHER))
    for name in learnt:
        assert not other.accepts({key: array for key, array in learnt.items() if key != name})
        assert not other.accepts(learnt | {name: learnt[name].astype(np.float32)})
        assert not other.accepts(learnt | {name: learnt[name][None, None]})
    assert not other.accepts(learnt | {"more": np.zeros(3)})


def test_what_a_level_does_to_shapes_is_known_without_fitting() -> None:
    shapes = {level: (changes_shape(level), size_depends_on_data(level), flattens(level)) for level in LEVELS}
    for name in ("pca", "pca_whitening"):
        assert shapes[name] == (False, False, True)
        assert shapes[f"{name}(components=10)"] == (True, False, True)
    assert shapes["pca(variance=0.9)"] == shapes["pca_whitening(variance=0.5)"] == (True, True, True)
    assert shapes["pca(components=10, variance=0.5)"] == (True, False, True)
    assert shapes["pca_whitening(epsilon=0.1)"] == (False, False, True)
    rest = {values for level, values in shapes.items() if not level.startswith("pca")}
    assert rest == {(False, False, False)}


def test_reading_the_table_loads_neither_numpy_nor_torch(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = python(
        "import sys\n"
        "from trainatlas.data.preprocessing import PREPROCESSINGS, changes_shape, flattens, size_depends_on_data\n"
        "from trainatlas.study.levels import parse_level\n"
        "text = parse_level('pca( variance = 0.9 )', PREPROCESSINGS)\n"
        "print(text, changes_shape(text), flattens(text), size_depends_on_data(text))\n"
        "print(sorted({'numpy', 'torch', 'sklearn'} & set(sys.modules)))\n"
    )
    assert (done.returncode, done.stdout) == (0, "pca(variance=0.9) True True True\n[]\n"), done.stderr


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_written_in_canonical_form(level: str) -> None:
    assert parse_level(level, PREPROCESSINGS) == level


@pytest.mark.parametrize("level", ["raw(peak=0)", "raw(peak=256)", "pca(variance=1.1)", "pca(variance=-0.1)",
                                   "global_contrast(scale=0)", "global_contrast(epsilon=0)", "zca_whitening(epsilon=0)",
                                   "global_contrast(bias=-1)", "min_max(peak=1)"])  # fmt: skip
def test_options_out_of_range_are_refused(level: str) -> None:
    with pytest.raises(UserError, match="allowed: "):
        parse_level(level, PREPROCESSINGS)


def test_raw_changes_nothing() -> None:
    np.testing.assert_array_equal(PREPROCESSINGS.build("raw").fit(TRAIN).transform(OTHER), OTHER)


def test_raw_reaches_its_peak() -> None:
    np.testing.assert_array_equal(fitted("raw(peak=255)").transform(OTHER), OTHER * 255)
    assert fitted("raw(peak=255)").transform(OTHER).max() == 255


@pytest.mark.parametrize(("train", "other"), [(TRAIN, OTHER), (colour_images(), colour_images(seed=1))])
def test_min_max_is_scikit_learns(train: Array, other: Array) -> None:
    oracle, ours = MinMaxScaler().fit(rows(train)), fitted("min_max", train)
    np.testing.assert_allclose(rows(ours.transform(other)), oracle.transform(rows(other)), rtol=1e-10, atol=1e-12)
    inside, outside = ours.transform(train), ours.transform(other)
    constant = rows(train).std(0) == 0
    assert inside.min() == 0 and inside.max() == 1
    assert (rows(inside)[:, constant] == 0).all()
    assert (rows(inside)[:, ~constant].max(0) == 1).all() and (rows(inside)[:, ~constant].min(0) == 0).all()
    assert outside.max() > 1


def test_mean_image_is_scikit_learns_scaler_without_scaling() -> None:
    expected = StandardScaler(with_std=False).fit(rows(TRAIN)).transform(rows(OTHER))
    ours = PREPROCESSINGS.build("mean_image").fit(TRAIN).transform(OTHER)
    np.testing.assert_allclose(rows(ours), expected, rtol=1e-10, atol=1e-12)


def test_standardize_is_scikit_learns_scaler() -> None:
    expected = StandardScaler().fit(rows(TRAIN)).transform(rows(OTHER))
    ours = PREPROCESSINGS.build("standardize").fit(TRAIN).transform(OTHER)
    np.testing.assert_allclose(rows(ours), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("level", ["channel_mean", "channel_standardize"])
def test_channel_levels_are_scikit_learns_scaler_on_each_channel(level: str) -> None:
    train, other = colour_images(), colour_images(seed=1)
    ours = PREPROCESSINGS.build(level).fit(train).transform(other)
    for channel in range(3):
        scaler = StandardScaler(with_std=level == "channel_standardize").fit(train[:, channel].reshape(-1, 1))
        expected = scaler.transform(other[:, channel].reshape(-1, 1)).reshape(ours[:, channel].shape)
        np.testing.assert_allclose(ours[:, channel], expected, rtol=1e-9, atol=1e-12)


def test_on_grey_images_channel_levels_use_one_number_for_all_pixels() -> None:
    mean, std = TRAIN.mean(), TRAIN.std()
    channel_mean = PREPROCESSINGS.build("channel_mean").fit(TRAIN).transform(OTHER)
    np.testing.assert_allclose(channel_mean, OTHER - mean, rtol=1e-12)
    channel_standardize = PREPROCESSINGS.build("channel_standardize").fit(TRAIN).transform(OTHER)
    np.testing.assert_allclose(channel_standardize, (OTHER - mean) / std, rtol=1e-10)


@given(scale=st.floats(0.01, 255), bias=st.floats(0, 1), epsilon=st.floats(1e-8, 1))
def test_global_contrast_is_its_equation_value_by_value(scale: float, bias: float, epsilon: float) -> None:
    level = f"global_contrast(scale={scale!r}, bias={bias!r}, epsilon={epsilon!r})"
    for images in (OTHER[:4], colour_images(3)):
        for image, result in zip(images, fitted(level).transform(images), strict=True):
            values = image.ravel().tolist()
            mean = math.fsum(values) / len(values)
            contrast = math.sqrt(bias + math.fsum((value - mean) ** 2 for value in values) / len(values))
            expected = [scale * (value - mean) / max(epsilon, contrast) for value in values]
            np.testing.assert_allclose(result.ravel(), expected, rtol=1e-9, atol=1e-9 * scale)


@given(scale=st.floats(0.01, 255))
def test_global_contrast_gives_every_example_mean_0_and_its_mean_square(scale: float) -> None:
    for x in (OTHER, colour_images()):
        ours = rows(fitted(f"global_contrast(scale={scale!r})", x).transform(x))
        np.testing.assert_allclose(ours.mean(1), 0, atol=1e-12 * scale)
        np.testing.assert_allclose((ours**2).mean(1), scale**2, rtol=1e-12)


def test_global_contrast_does_not_see_brightness_and_contrast() -> None:
    ours = fitted("global_contrast")
    np.testing.assert_allclose(ours.transform(OTHER * 3 + 2), ours.transform(OTHER), rtol=1e-9, atol=1e-12)


def test_global_contrast_makes_a_flat_example_zero() -> None:
    flat = np.full((2, 3, 4, 4), 0.5)
    assert not fitted("global_contrast").transform(flat).any()


def test_global_contrast_learns_nothing_from_the_training_part() -> None:
    first, second = fitted("global_contrast", TRAIN), fitted("global_contrast", TRAIN[:10] * 9 - 4)
    np.testing.assert_array_equal(first.transform(OTHER), second.transform(OTHER))


@pytest.mark.parametrize("components", [1, 10, 32])
def test_pca_is_scikit_learns_up_to_signs(components: int) -> None:
    oracle = PCA(components, svd_solver="full").fit(rows(TRAIN))
    ours = PREPROCESSINGS.build(f"pca(components={components})").fit(TRAIN)
    expected = oracle.transform(rows(OTHER))
    np.testing.assert_allclose(up_to_sign(ours.transform(OTHER), expected), expected, rtol=1e-7, atol=1e-9)
    assert ours.retained_variance == pytest.approx(oracle.explained_variance_ratio_.sum(), rel=1e-9)


@pytest.mark.parametrize("components", [1, 10, 32])
def test_pca_whitening_is_scikit_learns_up_to_signs_and_divisor(components: int) -> None:
    oracle = PCA(components, whiten=True, svd_solver="full").fit(rows(TRAIN))
    ours = PREPROCESSINGS.build(f"pca_whitening(components={components}, epsilon=1e-12)").fit(TRAIN)
    bessel = np.sqrt(len(TRAIN) / (len(TRAIN) - 1))  # scikit-learn divides variances by n - 1
    expected = oracle.transform(rows(OTHER)) * bessel
    np.testing.assert_allclose(up_to_sign(ours.transform(OTHER), expected), expected, rtol=1e-6, atol=1e-8)


SHARES = [0.01, 0.3, 0.5, 0.9, 0.95, 0.999]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("train", [TRAIN, colour_images()])
def test_a_share_of_the_variance_is_kept_as_by_scikit_learn(share: float, train: Array) -> None:
    oracle = PCA(share, svd_solver="full").fit(rows(train))
    ours = fitted(f"pca(variance={share})", train)
    expected = oracle.transform(rows(train))
    np.testing.assert_allclose(up_to_sign(ours.transform(train), expected), expected, rtol=1e-7, atol=1e-8)
    assert ours.retained_variance == pytest.approx(oracle.explained_variance_ratio_.sum(), rel=1e-9)


@given(share=st.floats(1e-6, 1.0))
def test_no_fewer_components_would_hold_the_share(share: float) -> None:
    variances = np.linalg.eigvalsh(np.cov(rows(TRAIN).T, bias=True))[::-1]
    ours = Rotation(variance=share).take_axes(AXES)
    kept = ours.transform(OTHER[0]).size
    assert ours.retained_variance >= share
    assert kept == 1 or variances[: kept - 1].sum() / variances.sum() < share


def test_a_share_that_is_exactly_reached_is_enough() -> None:
    """Scikit-learn would keep one more: it asks for more than the share."""
    axes = PrincipalAxes(np.zeros(4), np.array([2.0, 1.0, 1.0, 0.0]), np.eye(4))
    for share, kept in ((0.5, 1), (0.5 + 1e-9, 2), (0.75, 2), (1.0, 3)):
        ours = Rotation(variance=share).take_axes(axes)
        assert ours.transform(np.zeros((1, 2, 2))).size == kept
        assert ours.retained_variance == [0.5, 0.75, 1.0][kept - 1]


def test_components_count_where_both_are_given() -> None:
    both, alone = fitted("pca(components=10, variance=0.5)"), fitted("pca(components=10)")
    np.testing.assert_array_equal(both.transform(OTHER), alone.transform(OTHER))
    assert both.retained_variance == alone.retained_variance


@pytest.mark.parametrize("x", [TRAIN, colour_images(), colour_images(20), TRAIN[:1]])
def test_principal_axes_turn_the_covariance_into_a_diagonal(x: Array) -> None:
    found = principal_axes(x)
    size = rows(x).shape[1]
    covariance = np.cov(rows(x).T, bias=True)
    np.testing.assert_allclose(found.mean, rows(x).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(size), atol=1e-10)
    np.testing.assert_allclose((found.axes * found.variances) @ found.axes.T, covariance, atol=1e-9)
    assert (np.diff(found.variances) <= 0).all() and found.variances[-1] >= 0
    assert (found.axes[np.abs(found.axes).argmax(0), np.arange(size)] > 0).all()


@pytest.mark.parametrize("values", [1, 64 * 7, 64 * 333])
def test_the_covariance_may_be_summed_in_chunks(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainatlas.data.preprocessing._CHUNK_VALUES", values)
    chunked = principal_axes(TRAIN)
    np.testing.assert_allclose(chunked.variances, AXES.variances, rtol=1e-9, atol=1e-12)
    for axes in (chunked, AXES):
        kept = Rotation(components=32).take_axes(axes).transform(OTHER)
        np.testing.assert_allclose(kept, fitted("pca(components=32)").transform(OTHER), atol=1e-8)


def test_pca_of_all_components_keeps_distances() -> None:
    ours = rows(PREPROCESSINGS.build("pca").fit(TRAIN).transform(OTHER[:50]))
    distances = np.linalg.norm(ours[:, None] - ours[None], axis=-1)
    expected = np.linalg.norm(rows(OTHER[:50])[:, None] - rows(OTHER[:50])[None], axis=-1)
    np.testing.assert_allclose(distances, expected, atol=1e-10)


def test_more_components_than_features_keep_all() -> None:
    few = colour_images()
    np.testing.assert_array_equal(
        PREPROCESSINGS.build("pca(components=1000)").fit(few).transform(few),
        PREPROCESSINGS.build("pca").fit(few).transform(few),
    )


@pytest.mark.parametrize("name", ["pca_whitening", "zca_whitening"])
@given(epsilon=st.floats(1e-8, 1.0))
def test_whitened_training_covariance_is_the_identity_up_to_epsilon(name: str, epsilon: float) -> None:
    whitened = rows(PREPROCESSINGS.build(f"{name}(epsilon={epsilon!r})").fit(TRAIN).transform(TRAIN))
    spectrum = np.linalg.eigvalsh(np.cov(whitened.T, bias=True))
    variances = np.clip(np.linalg.eigvalsh(np.cov(rows(TRAIN).T, bias=True)), 0, None)
    np.testing.assert_allclose(spectrum, variances / (variances + epsilon), atol=1e-6)


def test_whitening_without_constant_features_yields_the_identity() -> None:
    x = colour_images()
    for name in ("pca_whitening", "zca_whitening"):
        whitened = rows(PREPROCESSINGS.build(f"{name}(epsilon=1e-12)").fit(x).transform(x))
        np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(48), atol=1e-7)


def test_zca_is_the_whitening_nearest_to_the_data() -> None:
    """Its matrix is symmetric, C^(-1/2): Kessy et al. 2018, the criterion of section 3."""
    x = colour_images()
    variances, axes = np.linalg.eigh(np.cov(rows(x).T, bias=True))
    expected = (rows(x) - rows(x).mean(0)) @ (axes / np.sqrt(variances + 1e-5)) @ axes.T
    ours = PREPROCESSINGS.build("zca_whitening").fit(x).transform(x)
    np.testing.assert_allclose(rows(ours), expected, rtol=1e-6, atol=1e-8)


def test_signs_of_components_do_not_depend_on_chance() -> None:
    order = np.random.default_rng(0).permutation(len(TRAIN))
    first = PREPROCESSINGS.build("pca(components=10)").fit(TRAIN).transform(OTHER)
    again = PREPROCESSINGS.build("pca(components=10)").fit(TRAIN[order]).transform(OTHER)
    np.testing.assert_allclose(first, again, atol=1e-9)
