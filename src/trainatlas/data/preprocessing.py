"""Preprocessing: fitted on the training part, applied to every part.

Each level is a small class in scikit-learn's manner: `fit(x)` learns from training examples
alone, `transform(x)` may be given any. What is learnt is computed and kept in float64. A transform
is written in the arithmetic that NumPy arrays and torch tensors share, so the same lines serve
examples on disk and minibatches on a device; `to` turns what was learnt into tensors.

With x_i the examples as rows, m their mean and C = U diag(s) U' their covariance (divisor n),
the formulas in the table `PREPROCESSINGS` read as written.

On grey images there is one channel, so `channel_mean` subtracts one number from every pixel
and `channel_standardize` divides by one number as well.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import Level, LevelTable, Option, name_of, split_level

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Examples = NDArray[np.float32 | np.float64]
    Learnt = Mapping[str, Array]
else:
    np = LazyModule("numpy")
    torch = LazyModule("torch")

Values = TypeVar("Values", "NDArray[np.float64]", "torch.Tensor")


class Preprocessing(ABC):
    """What every level offers.

    Fitting has two steps, so that what was learnt can be kept and shared between levels (see
    `trainatlas.data.fitted`): `learn` computes arrays from training examples, `take` sets a level up
    from them. A fitted level is never changed again, so that many may use it at once.
    """

    learns: str = ""
    """Name of what `learn` computes, the same for two levels that learn the same; empty for nothing."""

    retained_variance: float = 1.0
    """Share of the training part's variance that the kept components hold, 0 to 1.

    1 for each level that drops no component, `global_contrast` among them.
    """

    _constants: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that `to` turns into tensors."""

    def learn(self, x: Examples) -> Learnt:
        """Return what the level learns from training examples, by name: float64 arrays, none without `learns`.

        Parameters
        ----------
        x
            Training examples, shape (examples, channels, height, width), at least one; float64, or
            float32, which is read in float64.
        """
        return {}

    def accepts(self, learnt: Learnt) -> bool:
        """Return whether `learnt` has the names, types and shapes of what `learn` returns."""
        return not learnt

    def take(self, learnt: Learnt) -> Self:
        """Set the level up with what `learn` returned, and return it; the arrays are not copied."""
        return self

    def fit(self, x: Examples) -> Self:
        """Learn from training examples as `learn` describes them, and return the level itself."""
        return self.take(self.learn(x))

    @abstractmethod
    def transform(self, x: Values) -> Values:
        """Return `x` transformed.

        Parameters
        ----------
        x
            Examples, shape (..., channels, height, width) with the sizes of the training examples and any
            leading axes: an array of a level as fitted, a tensor of a level that `to` returned, of the
            same device and precision.

        Returns
        -------
        Values
            The same shape, or (..., k) where k components are kept that are fewer than the features.
        """

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return a copy that transforms tensors of a device and precision; this one still transforms arrays."""
        moved = copy.copy(self)
        for name in self._constants:
            # First the precision, then the device: some devices know no float64.
            setattr(moved, name, torch.as_tensor(getattr(self, name), dtype=dtype).to(device))
        return moved


def _as_rows(x: Values) -> Values:
    channels, height, width = x.shape[-3:]
    return x.reshape(*x.shape[:-3], channels * height * width)  # not -1, which fails where there are no examples


class Raw(Preprocessing):
    """x -> peak x, for x in [0, 1]; learns nothing."""

    def __init__(self, peak: float) -> None:
        self._peak = peak

    def transform(self, x: Values) -> Values:
        """Return `x` times the peak."""
        return x * self._peak


class GlobalContrast(Preprocessing):
    """Each example on its own: x -> s (x - mean) / max(epsilon, sqrt(bias + mean((x - mean)^2))).

    The means are over all values of the example, its channels together: Goodfellow et al. 2016, Deep
    Learning, eq. 12.3. It learns nothing. With a bias of 0 the mean square of a transformed example
    is s^2; an example of one value throughout becomes 0.

    Parameters
    ----------
    scale
        s, the root mean square that examples get.
    bias
        lambda of the equation, in the square of x's unit. Its book names two settings: 0 with
        epsilon = 1e-8 for whole images (Goodfellow et al. 2013 on CIFAR-10), the defaults here; and 10
        with epsilon = 0 for small patches (Coates et al. 2011), of pixels from 0 to 255. For pixels from
        0 to 1 that is 10 / 255^2 = 1.5e-4; 10 itself would make every image all but flat.
    epsilon
        Least divisor, in the unit of x.
    """

    def __init__(self, scale: float, bias: float, epsilon: float) -> None:
        self._scale, self._bias, self._epsilon = scale, bias, epsilon

    def transform(self, x: Values) -> Values:
        """Return each example of `x` centred and scaled by what it holds itself."""
        rows = _as_rows(x)
        centred = rows - rows.mean(-1)[..., None]
        contrast = ((centred * centred).mean(-1) + self._bias) ** 0.5
        normalised: Values = self._scale * centred / contrast.clip(min=self._epsilon)[..., None]
        return normalised.reshape(x.shape)


class Shift(Preprocessing):
    """x -> (x - offset) / scale, offset and scale broadcast over the examples.

    Parameters
    ----------
    statistics
        Yields offset and scale from training examples in float64, each a number, shape (), or of a shape
        that broadcasts to one example's. Its name, but for the underscore, is `learns`. Where the scale
        is no larger than 1e-12 the feature is constant: it is shifted, not scaled.
    """

    _constants = ("_offset", "_scale")

    def __init__(self, statistics: Callable[[Array], tuple[Array, Array]]) -> None:
        self._statistics = statistics
        self.learns = statistics.__name__.strip("_")

    def learn(self, x: Examples) -> Learnt:
        """Return `offset` and `scale`."""
        offset, scale = self._statistics(np.asarray(x, np.float64))
        return {"offset": np.asarray(offset), "scale": np.where(scale > _SMALLEST_SPREAD, scale, 1.0)}

    def accepts(self, learnt: Learnt) -> bool:
        """Return whether there is an offset for one example and a scale of its shape, or one number."""
        return (
            _are_float64(learnt, "offset", "scale")
            and learnt["offset"].ndim == 3
            and learnt["scale"].shape in ((), learnt["offset"].shape)
        )

    def take(self, learnt: Learnt) -> Self:
        """Use these offsets and scales."""
        self._offset: Any = learnt["offset"]
        self._scale: Any = learnt["scale"]
        return self

    def transform(self, x: Values) -> Values:
        """Return `x` shifted and scaled."""
        shifted: Values = (x - self._offset) / self._scale
        return shifted


_SMALLEST_SPREAD = 1e-12


def _are_float64(learnt: Learnt, *names: str) -> bool:
    return set(learnt) == set(names) and all(array.dtype == np.float64 for array in learnt.values())


def _min_max(x: Array) -> tuple[Array, Array]:
    return x.min(0), x.max(0) - x.min(0)


def _mean_image(x: Array) -> tuple[Array, Array]:
    return x.mean(0), np.ones(())


def _channel_mean(x: Array) -> tuple[Array, Array]:
    return x.mean((0, 2, 3), keepdims=True)[0], np.ones(())


def _channel_standardize(x: Array) -> tuple[Array, Array]:
    return x.mean((0, 2, 3), keepdims=True)[0], x.std((0, 2, 3), keepdims=True)[0]


def _standardize(x: Array) -> tuple[Array, Array]:
    return x.mean(0), x.std(0)


@dataclass(frozen=True)
class PrincipalAxes:
    """Eigendecomposition C = U diag(s) U' of the covariance of d features.

    Attributes
    ----------
    mean
        m, shape (d,).
    variances
        s, shape (d,), divisor n, from the largest to the smallest, none negative.
    axes
        U, shape (d, d), a principal axis a column, C-contiguous. An axis has no sign of its own: its
        entry of largest magnitude is positive.
    """

    mean: Array
    variances: Array
    axes: Array


_CHUNK_VALUES = 2**22
"""Values centred at a time, 32 MiB: enough rows for a fast product, few beside the examples themselves."""


def principal_axes(x: Examples) -> PrincipalAxes:
    """Return the principal axes of examples.

    Exact: the eigenvectors of the full covariance matrix, accumulated in float64 over chunks of rows.
    Besides `x` it takes memory for about six d x d matrices of float64, however many examples there are.
    Rounding, and so the axes of equal variances, may differ between BLAS libraries and their numbers of
    threads.

    Parameters
    ----------
    x
        Examples, shape (n, ...), n at least 1, of d values each, finite, in float64 or float32.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where the eigenvalues do not converge, as with values that are not finite.
    """
    rows = x.reshape(len(x), -1)
    mean = rows.mean(0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    step = max(1, _CHUNK_VALUES // len(mean))
    for start in range(0, len(rows), step):
        centred = rows[start : start + step] - mean
        covariance += centred.T @ centred
    covariance /= len(rows)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    largest = np.abs(axes).argmax(0)
    axes = axes * np.sign(axes[largest, np.arange(len(mean))])
    # One order in memory, or axes read back from a file would be multiplied in another, and round differently.
    return PrincipalAxes(mean, variances, np.ascontiguousarray(axes))


class Rotation(Preprocessing):
    """x -> (x - m) U_k, scaled and turned back as asked: PCA, PCA whitening and ZCA whitening.

    Parameters
    ----------
    components
        k, the number of leading principal components kept; 0 leaves it to `variance`.
    variance
        Share of the training part's variance, in (0, 1]: as few components are kept as hold at least
        that much, up to rounding. Only where `components` is 0; 0 keeps every component.
    epsilon
        Added to each variance before whitening, in the square of x's unit; None does not whiten.
    back
        Turn the whitened data back to the pixels' axes (ZCA).
    """

    learns = "principal_axes"
    _constants = ("_mean", "_matrix")

    def __init__(
        self, components: int = 0, variance: float = 0.0, epsilon: float | None = None, back: bool = False
    ) -> None:
        self._components, self._variance, self._epsilon, self._back = components, variance, epsilon, back

    def learn(self, x: Examples) -> Learnt:
        """Return the attributes of `PrincipalAxes` by name."""
        return vars(principal_axes(x))

    def accepts(self, learnt: Learnt) -> bool:
        """Return whether these are the attributes of a `PrincipalAxes`."""
        if not _are_float64(learnt, "mean", "variances", "axes"):
            return False
        size = learnt["mean"].size
        return [learnt[name].shape for name in ("mean", "variances", "axes")] == [(size,), (size,), (size, size)]

    def take(self, learnt: Learnt) -> Self:
        """Rotate to these axes."""
        return self.take_axes(PrincipalAxes(**learnt))

    def take_axes(self, principal: PrincipalAxes) -> Self:
        """Rotate to these axes."""
        kept, self.retained_variance = self._kept(principal.variances)
        axes = np.ascontiguousarray(principal.axes[:, :kept])
        matrix = axes if self._epsilon is None else axes / np.sqrt(principal.variances[:kept] + self._epsilon)
        self._mean: Any = principal.mean
        self._matrix: Any = matrix @ axes.T if self._back else matrix
        return self

    def _kept(self, variances: Array) -> tuple[int, float]:
        """Return how many components to keep, and the share of the variance that they hold."""
        held = variances.cumsum()
        # Without any variance the first component already holds all there is.
        shares = held / held[-1] if held[-1] > 0 else np.ones_like(held)
        kept = len(variances)
        if self._components:
            kept = min(self._components, kept)
        elif self._variance:
            kept = int(np.searchsorted(shares, self._variance)) + 1  # the first share that is not smaller
        return kept, float(shares[kept - 1])

    def transform(self, x: Values) -> Values:
        """Return `x` rotated: in its own shape where as many components are kept as there are features."""
        rows = _as_rows(x)
        rotated: Values = (rows - self._mean) @ self._matrix
        return rotated.reshape(x.shape) if rotated.shape == rows.shape else rotated


_COMPONENTS = Option(
    0, 0, 100_000, "principal components kept, all where there are fewer; 0 leaves their number to `variance`"
)
_VARIANCE = Option(
    0.0,
    0.0,
    1.0,
    "where `components` is 0: as few components are kept as hold at least this share of the training part's "
    "variance; 0 keeps all",
)
_EPSILON = Option(1e-5, 0.0, 1.0, "added to each variance before dividing", open_low=True)

PREPROCESSINGS = LevelTable(
    "preprocessing",
    Level(
        "raw",
        "peak x, in [0, peak]",
        "-",
        Raw,
        {"peak": Option(1.0, 0.0, 255.0, "largest value a pixel may have, 255 for 0 to 255", open_low=True)},
    ),
    Level(
        "min_max",
        "(x - min) / (max - min), each feature by its own least and largest value: [0, 1] in the training part",
        "Han, Kamber and Pei 2012, Data Mining, eq. 3.8",
        lambda: Shift(_min_max),
    ),
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
        "global_contrast",
        "scale (x - a) / max(epsilon, sqrt(bias + mean((x - a)^2))), a the mean of the example itself",
        "Goodfellow et al. 2016, Deep Learning, eq. 12.3",
        GlobalContrast,
        {
            "scale": Option(1.0, 0.0, 255.0, "root mean square of an example thereafter", open_low=True),
            "bias": Option(0.0, 0.0, 1.0, "lambda, added to the mean square before the root"),
            "epsilon": Option(1e-8, 0.0, 1.0, "least divisor", open_low=True),
        },
    ),
    Level(
        "pca",
        "(x - m) U_k",
        "Pearson 1901; Hotelling 1933",
        Rotation,
        {"components": _COMPONENTS, "variance": _VARIANCE},
    ),
    Level(
        "pca_whitening",
        "(x - m) U_k diag(s + epsilon)^(-1/2)",
        "Kessy et al. 2018, eq. 5",
        Rotation,
        {"components": _COMPONENTS, "variance": _VARIANCE, "epsilon": _EPSILON},
    ),
    Level(
        "zca_whitening",
        "(x - m) U diag(s + epsilon)^(-1/2) U'",
        "Bell and Sejnowski 1997; Kessy et al. 2018, eq. 3",
        lambda epsilon: Rotation(epsilon=epsilon, back=True),
        {"epsilon": _EPSILON},
    ),
)
"""Every preprocessing by name."""


@lru_cache(maxsize=1024)
def changes_shape(text: str) -> bool:
    """Return whether the level that `text` names is asked for fewer features than it is given."""
    options = split_level(text)[1]
    return bool(options.get("components") or options.get("variance"))


@lru_cache(maxsize=1024)
def size_depends_on_data(text: str) -> bool:
    """Return whether the number of features that the level yields follows from the training examples.

    Then trials that differ in their seed alone may have inputs of different sizes.
    """
    options = split_level(text)[1]
    return bool(options.get("variance")) and not options.get("components")


@lru_cache(maxsize=1024)
def flattens(text: str) -> bool:
    """Return whether what the level yields has no spatial arrangement, so that no convolution can follow.

    So it is with principal components, even where all are kept and the array has the shape of images.
    """
    return "components" in PREPROCESSINGS[name_of(text)].options
