"""Preprocessing: fitted on the training part, applied to every part.

Each level is a small class in scikit-learn's manner: `fit(x)` learns from training examples
alone, `transform(x)` may be given any. Arithmetic is in float64; the trainer casts the result.
With x_i the examples as rows, m their mean and C = U diag(s) U' their covariance (divisor n),
the formulas in the table `PREPROCESSINGS` read as written.

On grey images there is one channel, so `channel_mean` subtracts one number from every pixel
and `channel_standardize` divides by one number as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, split_level

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:
    np = LazyModule("numpy")


class Preprocessing(Protocol):
    """What every level offers."""

    retained_variance: float
    """Share of the training part's variance that the transformed features keep, 0 to 1."""

    def fit(self, x: Array) -> Preprocessing:
        """Learn from training examples, shape (examples, channels, height, width)."""
        ...

    def transform(self, x: Array) -> Array:
        """Return `x` transformed: the same shape, or (examples, k) where k components are kept."""
        ...


class Shift:
    """x -> (x - offset) / scale, offset and scale broadcast over the examples."""

    retained_variance = 1.0

    def __init__(self, statistics: Callable[[Array], tuple[Array, Array]]) -> None:
        self._statistics = statistics

    def fit(self, x: Array) -> Shift:
        """Learn offset and scale from training examples."""
        self._offset, scale = self._statistics(x)
        self._scale = np.where(scale > _SMALLEST_SPREAD, scale, 1.0)
        return self

    def transform(self, x: Array) -> Array:
        """Return `x` shifted and scaled."""
        return (x - self._offset) / self._scale


_SMALLEST_SPREAD = 1e-12
"""A feature whose standard deviation is below this is constant: it is centred, not scaled."""


def _raw(x: Array) -> tuple[Array, Array]:
    return np.zeros(()), np.ones(())


def _mean_image(x: Array) -> tuple[Array, Array]:
    return x.mean(0), np.ones(())


def _channel_mean(x: Array) -> tuple[Array, Array]:
    return x.mean((0, 2, 3), keepdims=True)[0], np.ones(())


def _channel_standardize(x: Array) -> tuple[Array, Array]:
    return x.mean((0, 2, 3), keepdims=True)[0], x.std((0, 2, 3), keepdims=True)[0]


def _standardize(x: Array) -> tuple[Array, Array]:
    return x.mean(0), x.std(0)


class Rotation:
    """x -> (x - m) U_k, scaled and turned back as asked: PCA, PCA whitening and ZCA whitening.

    Parameters
    ----------
    components
        k, the number of leading principal components kept; 0 keeps all.
    epsilon
        Added to each variance before whitening; None does not whiten.
    back
        Turn the whitened data back to the pixels' axes (ZCA).
    """

    def __init__(self, components: int = 0, epsilon: float | None = None, back: bool = False) -> None:
        self._components, self._epsilon, self._back = components, epsilon, back

    def fit(self, x: Array) -> Rotation:
        """Learn mean, axes and variances from training examples."""
        rows = x.reshape(len(x), -1)
        self._mean = rows.mean(0)
        centred = rows - self._mean
        variances, axes = np.linalg.eigh(centred.T @ centred / len(rows))
        variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
        largest = np.abs(axes).argmax(0)  # eigenvectors have no sign of their own: make the largest entry positive
        axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
        kept = min(self._components or len(variances), len(variances))
        self._axes = axes[:, :kept]
        total = variances.sum()
        self.retained_variance = float(variances[:kept].sum() / total) if total else 1.0
        self._matrix = self._axes
        if self._epsilon is not None:
            self._matrix = self._axes / np.sqrt(variances[:kept] + self._epsilon)
        if self._back:
            self._matrix = self._matrix @ self._axes.T
        return self

    def transform(self, x: Array) -> Array:
        """Return `x` rotated: in its own shape where every component is kept."""
        rows: Array = (x.reshape(len(x), -1) - self._mean) @ self._matrix
        return rows.reshape(x.shape) if rows[0].size == x[0].size else rows


_EPSILON = Option(1e-5, 0.0, 1.0, "added to each variance before dividing", open_low=True)
_COMPONENTS = Option(0, 0, 100_000, "principal components kept; 0 keeps all")

PREPROCESSINGS = LevelTable(
    "preprocessing",
    Level("raw", "x, in [0, 1]", "-", lambda: Shift(_raw)),
    Level("mean_image", "x - m", "Krizhevsky et al. 2012 (AlexNet)", lambda: Shift(_mean_image)),
    Level(
        "channel_mean",
        "x minus the mean of its channel",
        "Simonyan and Zisserman 2015 (VGG)",
        lambda: Shift(_channel_mean),
    ),
    Level(
        "channel_standardize",
        "x minus the mean of its channel, over its standard deviation",
        "He et al. 2016 (ResNet)",
        lambda: Shift(_channel_standardize),
    ),
    Level(
        "standardize",
        "(x - m) over the standard deviation of each feature",
        "LeCun et al. 1998, Efficient BackProp, 4.3",
        lambda: Shift(_standardize),
    ),
    Level(
        "pca",
        "(x - m) U_k",
        "Pearson 1901; Hotelling 1933",
        lambda components: Rotation(components),
        {"components": _COMPONENTS},
    ),
    Level(
        "pca_whitening",
        "(x - m) U_k diag(s + epsilon)^(-1/2)",
        "Kessy et al. 2018, eq. 5",
        lambda components, epsilon: Rotation(components, epsilon),
        {"components": _COMPONENTS, "epsilon": _EPSILON},
    ),
    Level(
        "zca_whitening",
        "(x - m) U diag(s + epsilon)^(-1/2) U'",
        "Bell and Sejnowski 1997; Kessy et al. 2018, eq. 3",
        lambda epsilon: Rotation(0, epsilon, back=True),
        {"epsilon": _EPSILON},
    ),
)
"""Every preprocessing by name."""


@lru_cache(maxsize=1024)
def changes_shape(text: str) -> bool:
    """Return whether the level that `text` names yields fewer features than it is given."""
    return bool(split_level(text)[1].get("components"))
