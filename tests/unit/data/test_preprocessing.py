"""Preprocessing agrees with scikit-learn and learns from the training part alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from trainatlas.data.datasets import DATA_SETS
from trainatlas.data.preprocessing import PREPROCESSINGS, changes_shape
from trainatlas.study.levels import split_level

Array = NDArray[np.float64]
X = DATA_SETS.build("digits").x.astype(np.float64)
TRAIN, OTHER = X[:1000], X[1000:]
LEVELS = [*PREPROCESSINGS, "pca(components=10)", "pca_whitening(components=10)", "pca_whitening(epsilon=0.1)",
          "zca_whitening(epsilon=0.1)"]  # fmt: skip


def colour_images(examples: int = 400, seed: int = 0) -> Array:
    """Images of three channels with unlike means and spreads, and neighbouring pixels alike."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(examples, 3, 4, 4)).cumsum(-1).cumsum(-2)
    return noise * np.array([1.0, 2.0, 0.5])[:, None, None] + np.array([0.0, 5.0, -3.0])[:, None, None]


def rows(x: Array) -> Array:
    return x.reshape(len(x), -1)


def up_to_sign(ours: Array, theirs: Array) -> Array:
    """Turn each of our components the way theirs points: a principal axis has no sign."""
    return ours * np.sign((ours * theirs).sum(0))


@pytest.mark.parametrize("level", LEVELS)
def test_another_test_set_does_not_change_what_was_learnt(level: str) -> None:
    fitted = PREPROCESSINGS.build(level).fit(TRAIN.copy())
    alone = fitted.transform(OTHER[:5])
    fitted.transform(OTHER * 100 + 7)
    np.testing.assert_array_equal(fitted.transform(OTHER[:5]), alone)
    shifted = np.concatenate([OTHER[:5], OTHER * 100 + 7])
    np.testing.assert_allclose(fitted.transform(shifted)[:5], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_the_given_examples_are_left_as_they_were(level: str) -> None:
    x = TRAIN.copy()
    PREPROCESSINGS.build(level).fit(x).transform(x)
    np.testing.assert_array_equal(x, TRAIN)


@pytest.mark.parametrize("level", LEVELS)
def test_the_shape_is_kept_unless_components_are_dropped(level: str) -> None:
    shape = PREPROCESSINGS.build(level).fit(TRAIN).transform(OTHER).shape
    if changes_shape(level):
        assert shape == (len(OTHER), split_level(level)[1]["components"])
    else:
        assert shape == OTHER.shape


@pytest.mark.parametrize("level", LEVELS)
def test_values_are_finite_even_where_features_are_constant(level: str) -> None:
    assert (TRAIN.std(0) == 0).any()
    assert np.isfinite(PREPROCESSINGS.build(level).fit(TRAIN).transform(OTHER)).all()
    constant = np.full((50, 1, 4, 4), 0.3)
    assert np.isfinite(PREPROCESSINGS.build(level).fit(constant).transform(constant)).all()


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "raw"])
def test_the_training_part_is_centred(level: str) -> None:
    for x in (TRAIN, colour_images()):
        assert abs(PREPROCESSINGS.build(level).fit(x).transform(x).mean()) < 1e-9


@pytest.mark.parametrize("level", LEVELS)
def test_every_shape_preserving_level_keeps_all_the_variance(level: str) -> None:
    retained = PREPROCESSINGS.build(level).fit(TRAIN).retained_variance
    assert 0.0 < retained <= 1.0
    if not changes_shape(level):
        assert retained == pytest.approx(1.0)


def test_raw_changes_nothing() -> None:
    np.testing.assert_array_equal(PREPROCESSINGS.build("raw").fit(TRAIN).transform(OTHER), OTHER)


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
