"""Augmentation of training examples: batch by batch, on the device, before preprocessing.

An augmentation takes a batch x of shape (batch, channels, height, width), values in [0, 1], and a `Draws`,
and returns an `Augmented`. Every example has random numbers of its own unless the formula says "a batch".
In the formulas u is uniform in [0, 1). Black is 0: what comes into view from outside an image, or is
erased, is black.

Geometry. Positions are in pixels from the image's centre, x to the right and y downwards as on the screen.
An affine augmentation is a matrix that takes a pixel of the result to the place in the original whose value
it gets, as in scipy.ndimage.affine_transform. Neighbouring affine augmentations are multiplied into one
matrix and the image is resampled once, so that naming three of them blurs no more than naming one.

Random numbers. Each augmentation draws from the stream that bears its name, and as many numbers a batch
whatever its options are: a rotation by at most 30 degrees turns every example three times as far as one by
at most 10 degrees, and naming a second augmentation changes nothing about the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import NOTHING, AnyOption, Level, LevelTable, Option, name_of, split_parts
from trainatlas.study.streams import stream_key

if TYPE_CHECKING:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from scipy import special
    from torch import Tensor
else:
    np = LazyModule("numpy")
    torch = LazyModule("torch")
    F = LazyModule("torch.nn.functional")
    special = LazyModule("scipy.special")


class Draws:
    """The random numbers of one seed and one epoch.

    Each stream has a generator of its own, made on first use and consumed in the order of steps. Numbers
    are drawn on the CPU in float32 and then moved, so that they are the same on every device.

    Parameters
    ----------
    seed, epoch
        What the generators are keyed by, beside the stream's name.
    device, dtype
        Where numbers are moved to, and what type those that are not whole become there.
    """

    def __init__(self, seed: int, epoch: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self._seed, self._epoch, self._device, self._dtype = seed, epoch, torch.device(device), dtype
        self._generators: dict[str, torch.Generator] = {}
        self._host_generators: dict[str, np.random.Generator] = {}

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Return numbers uniform in [0, 1)."""
        return self._moved(torch.rand(shape, generator=self._generator(stream), dtype=torch.float32), self._dtype)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Return numbers from the standard normal distribution."""
        return self._moved(torch.randn(shape, generator=self._generator(stream), dtype=torch.float32), self._dtype)

    def permutation(self, stream: str, n: int) -> Tensor:
        """Return the numbers 0 to n - 1 in random order, int64."""
        return self._moved(torch.randperm(n, generator=self._generator(stream)), torch.int64)

    def beta(self, stream: str, a: float) -> float:
        """Return a number from Beta(a, a), on the host; 1 where a is 0.

        It is the quantile at one uniform number, so that the stream stays in step whatever `a` is, which
        numpy's own beta, a method of rejection, does not.
        """
        if stream not in self._host_generators:
            self._host_generators[stream] = np.random.default_rng(self._key(stream))
        u = self._host_generators[stream].random()
        return float(special.betaincinv(a, a, u)) if a else 1.0

    def _key(self, stream: str) -> int:
        return stream_key(self._seed, f"augmentation/{stream}/{self._epoch}")

    def _generator(self, stream: str) -> torch.Generator:
        if stream not in self._generators:
            self._generators[stream] = torch.Generator().manual_seed(self._key(stream))
        return self._generators[stream]

    def _moved(self, numbers: Tensor, dtype: torch.dtype) -> Tensor:
        # On CUDA a blocking copy would wait for all work queued before it.
        return numbers.to(dtype).to(self._device, non_blocking=self._device.type == "cuda")


@dataclass(frozen=True)
class Augmented:
    """A batch after augmentation.

    Attributes
    ----------
    x
        The examples, in the shape and type they were given.
    partner
        int64 (batch,): the row whose label is mixed into a row's own; None where labels are not mixed.
    share
        (batch,) in [0, 1]: the weight of a row's own label, the partner's being 1 - share.
    """

    x: Tensor
    partner: Tensor | None = None
    share: Tensor | None = None


class Augmentation(Protocol):
    """What every level builds."""

    def __call__(self, x: Tensor, draws: Draws) -> Augmented:
        """Return the batch `x` augmented; `x` itself stays as it was."""
        ...


@dataclass(frozen=True)
class Pixels:
    """An augmentation that changes the examples and leaves the labels alone."""

    change: Callable[[Tensor, Draws], Tensor]

    def __call__(self, x: Tensor, draws: Draws) -> Augmented:
        """Return the batch `x` changed."""
        return Augmented(self.change(x, draws))


@dataclass(frozen=True)
class Affine:
    """An augmentation that moves pixels by an affine map.

    Attributes
    ----------
    matrix
        Gives one matrix per example, (batch, 3, 3), from positions in the result to positions in the original.
    """

    matrix: Callable[[Tensor, Draws], Tensor]

    def __call__(self, x: Tensor, draws: Draws) -> Augmented:
        """Return the batch `x` resampled."""
        return Augmented(_resampled(x, self.matrix(x, draws)))


def augment(parts: Sequence[Augmentation], x: Tensor, draws: Draws) -> Augmented:
    """Apply augmentations in order, neighbouring affine ones in one resampling.

    Without any, the result's `x` is the tensor given. Raises ValueError where two mix labels.
    """
    partner = share = None
    for affine, group in groupby(parts, lambda part: isinstance(part, Affine)):
        if affine:
            # The result of a later map is looked up in that of an earlier one: A1 (A2 p).
            matrices = [part.matrix(x, draws) for part in group if isinstance(part, Affine)]
            x = _resampled(x, reduce(torch.matmul, matrices))
            continue
        for part in group:
            made = part(x, draws)
            x = made.x
            if made.partner is not None:
                if partner is not None:
                    raise ValueError("two augmentations mix labels; allowed: one")
                partner, share = made.partner, made.share
    return Augmented(x, partner, share)


# Geometry


def _horizontal_flip(p: float) -> Pixels:
    return Pixels(lambda x, draws: torch.where(_chosen(x, draws, "horizontal_flip", p), x.flip(-1), x))


def _vertical_flip(p: float) -> Pixels:
    return Pixels(lambda x, draws: torch.where(_chosen(x, draws, "vertical_flip", p), x.flip(-2), x))


def _chosen(x: Tensor, draws: Draws, stream: str, p: float) -> Tensor:
    return _per_example(draws.uniform(stream, len(x)) < p)


def _crop(padding: int) -> Pixels:
    def change(x: Tensor, draws: Draws) -> Tensor:
        n, channels, height, width = x.shape
        top, left = _below(2 * padding + 1, draws.uniform("crop", 2, n))
        rows = top[:, None] + torch.arange(height, device=x.device)
        columns = left[:, None] + torch.arange(width, device=x.device)
        example = torch.arange(n, device=x.device)[:, None, None, None]
        channel = torch.arange(channels, device=x.device)[:, None, None]
        return F.pad(x, (padding,) * 4)[example, channel, rows[:, None, :, None], columns[:, None, None, :]]

    return Pixels(change)


def _scaling(low: float, high: float) -> Affine:
    def matrix(x: Tensor, draws: Draws) -> Tensor:
        inverse = (1 / low) * (low / high) ** draws.uniform("scaling", len(x))
        return _matrix(x, xx=inverse, yy=inverse)

    return Affine(matrix)


def _translation(share: float) -> Affine:
    def matrix(x: Tensor, draws: Draws) -> Tensor:
        across, down = share * _signed(draws.uniform("translation", 2, len(x)))
        return _matrix(x, x1=-across * x.shape[3], y1=-down * x.shape[2])

    return Affine(matrix)


def _rotation(degrees: float) -> Affine:
    def matrix(x: Tensor, draws: Draws) -> Tensor:
        angle = math.radians(degrees) * _signed(draws.uniform("rotation", len(x)))
        cosine, sine = angle.cos(), angle.sin()
        return _matrix(x, xx=cosine, xy=-sine, yx=sine, yy=cosine)

    return Affine(matrix)


def _shear(degrees: float) -> Affine:
    def matrix(x: Tensor, draws: Draws) -> Tensor:
        angle = math.radians(degrees) * _signed(draws.uniform("shear", len(x)))
        return _matrix(x, xy=angle.tan())

    return Affine(matrix)


def _stretch(share: float) -> Affine:
    def matrix(x: Tensor, draws: Draws) -> Tensor:
        root = (1 + share) ** (_signed(draws.uniform("stretch", len(x))) / 2)
        return _matrix(x, xx=1 / root, yy=root)

    return Affine(matrix)


def _matrix(x: Tensor, **entries: Tensor) -> Tensor:
    """Return (batch, 3, 3) matrices: the identity but for the entries given, "xy" from y to x, "x1" a shift of x."""
    zero, one = x.new_zeros(len(x)), x.new_ones(len(x))
    identity = {"xx": one, "xy": zero, "x1": zero, "yx": zero, "yy": one, "y1": zero}
    return torch.stack([*(identity | entries).values(), zero, zero, one], -1).view(-1, 3, 3)


def _resampled(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the image whose pixel at p is that of `x` at `matrix` p, bilinear, black outside."""
    height, width = x.shape[2:]
    (xx, xy, x1), (yx, yy, y1) = (row.unbind(-1) for row in matrix[:, :2].unbind(-2))
    # torch measures in half widths and half heights, in which a turn of an oblong image would be no turn.
    entries = [xx, xy * height / width, x1 * 2 / width, yx * width / height, yy, y1 * 2 / height]
    grid = F.affine_grid(torch.stack(entries, -1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


# Colour


def _brightness(strength: float) -> Pixels:
    return Pixels(lambda x, draws: _brightened(x, _factor(strength, draws.uniform("brightness", len(x)))))


def _contrast(strength: float) -> Pixels:
    return Pixels(lambda x, draws: _contrasted(x, _factor(strength, draws.uniform("contrast", len(x)))))


def _saturation(strength: float) -> Pixels:
    return Pixels(lambda x, draws: _saturated(x, _factor(strength, draws.uniform("saturation", len(x)))))


def _hue(strength: float) -> Pixels:
    return Pixels(lambda x, draws: _hue_turned(x, strength * _signed(draws.uniform("hue", len(x)))))


def _color_jitter(brightness: float, contrast: float, saturation: float, hue: float) -> Pixels:
    def change(x: Tensor, draws: Draws) -> Tensor:
        u = draws.uniform("color_jitter", 4, len(x))
        x = _brightened(x, _factor(brightness, u[0]))
        x = _contrasted(x, _factor(contrast, u[1]))
        x = _saturated(x, _factor(saturation, u[2]))
        return _hue_turned(x, hue * _signed(u[3]))

    return Pixels(change)


def _factor(strength: float, u: Tensor) -> Tensor:
    return _per_example(1 + strength * _signed(u))


def _brightened(x: Tensor, factor: Tensor) -> Tensor:
    return (factor * x).clamp(0, 1)


def _contrasted(x: Tensor, factor: Tensor) -> Tensor:
    return _blended(x, _grey(x).mean((2, 3), keepdim=True), factor)


def _saturated(x: Tensor, factor: Tensor) -> Tensor:
    return _blended(x, _grey(x), factor)


def _blended(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * x + (1 - factor) * other).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    """Return (batch, 1, height, width): ITU-R BT.601 luma of three channels, the mean of any other number."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = x.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def _hue_turned(x: Tensor, turn: Tensor) -> Tensor:
    """Return colour images whose hue has moved by `turn` (batch,) of the colour circle.

    A turn keeps HSV's value, the largest channel, and its chroma, the largest less the smallest; only the
    hue is ever computed.
    """
    red, green, blue = x.unbind(1)
    largest, smallest = x.amax(1), x.amin(1)
    chroma = largest - smallest
    divisor = torch.where(chroma > 0, chroma, 1.0)  # a grey pixel has no hue, and none is needed
    sixths = torch.where(
        largest == red,
        (green - blue) / divisor,
        torch.where(largest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = sixths + 6 * turn[:, None, None]
    # A channel falls from the largest value to the smallest and rises again as the hue passes its opposite.
    distances = [torch.remainder(sixths + offset, 6) for offset in (5, 3, 1)]
    return torch.stack([largest - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in distances], 1)


# Blur, noise, erasing


def _gaussian_blur(sigma: float) -> Pixels:
    radius = int(4 * sigma + 0.5)  # that of the widest kernel, for all: the shape may not depend on a draw

    def change(x: Tensor, draws: Draws) -> Tensor:
        own = sigma * (1 - draws.uniform("gaussian_blur", len(x)))
        distance = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
        # Below the bound the kernel is one pixel anyway; without it a sigma of 0 would divide 0 by 0.
        kernel = torch.exp(-0.5 * (distance / own.clamp(min=1e-6)[:, None]) ** 2)
        kernel = kernel / kernel.sum(1, keepdim=True)
        padded = F.pad(x, (radius,) * 4, mode="replicate")
        for axis in (2, 3):
            padded = torch.einsum("nchwk,nk->nchw", padded.unfold(axis, 2 * radius + 1, 1), kernel)
        return padded

    return Pixels(change)


def _gaussian_noise(std: float) -> Pixels:
    return Pixels(lambda x, draws: x + std * draws.normal("gaussian_noise", *x.shape))


def _cutout(size: float) -> Pixels:
    def change(x: Tensor, draws: Draws) -> Tensor:
        height, width = x.shape[2:]
        side = round(size * min(height, width))
        row, column = draws.uniform("cutout", 2, len(x))
        top, left = _below(height, row) - side // 2, _below(width, column) - side // 2
        return x.masked_fill(_box(x, top, left, top + side, left + side), 0)

    return Pixels(change)


_LONGEST = 1 / 0.3
"""Largest ratio of an erased rectangle's height to its width, or its width to its height."""


def _random_erasing(p: float, low: float, high: float) -> Pixels:
    def change(x: Tensor, draws: Draws) -> Tensor:
        height, width = x.shape[2:]
        chance, size, shape, row, column = draws.uniform("random_erasing", 5, len(x))
        area = height * width * (low + (high - low) * size)
        ratio = _LONGEST ** _signed(shape)
        rows = (area * ratio).sqrt().round().clamp(max=height)
        columns = (area / ratio).sqrt().round().clamp(max=width)
        top, left = _below(height + 1 - rows, row), _below(width + 1 - columns, column)
        box = _box(x, top, left, top + rows, left + columns)
        return x.masked_fill(box & _per_example(chance < p), 0)

    return Pixels(change)


def _box(x: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """Return (n, 1, height, width): whether a pixel is inside the n boxes, `bottom` and `right` being outside."""
    row = torch.arange(x.shape[2], device=x.device)[:, None]
    column = torch.arange(x.shape[3], device=x.device)
    top, left, bottom, right = (_per_example(edge) for edge in (top, left, bottom, right))
    return (row >= top) & (row < bottom) & (column >= left) & (column < right)


# Mixing


def _mixup(alpha: float) -> Augmentation:
    def mix(x: Tensor, draws: Draws) -> Augmented:
        share = draws.beta("mixup", alpha)
        partner = draws.permutation("mixup", len(x))
        return Augmented(share * x + (1 - share) * x[partner], partner, x.new_full((len(x),), share))

    return mix


def _cutmix(alpha: float) -> Augmentation:
    def mix(x: Tensor, draws: Draws) -> Augmented:
        height, width = x.shape[2:]
        side = math.sqrt(1 - draws.beta("cutmix", alpha))
        rows, columns = int(height * side), int(width * side)
        partner = draws.permutation("cutmix", len(x))
        row, column = draws.uniform("cutmix", 2, 1)
        top, left = _below(height, row) - rows // 2, _below(width, column) - columns // 2
        box = _box(x, top, left, top + rows, left + columns)
        share = 1 - box.to(x.dtype).mean()
        return Augmented(torch.where(box, x[partner], x), partner, share.expand(len(x)))

    return mix


def _per_example(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _signed(u: Tensor) -> Tensor:
    return 2 * u - 1


def _below(n: int | Tensor, u: Tensor) -> Tensor:
    """Return whole numbers 0 to n - 1, uniform as u is in [0, 1).

    The product never rounds up to n: `u` is at most 1 - 2^-24, and n 2^-24 is more than half the step from n to
    the float32 below it.
    """
    return (u * n).floor().long()


# The table

Needs = Literal["anything", "image", "colour"]


@dataclass(frozen=True, kw_only=True)
class AugmentationLevel(Level):
    """An augmentation's entry.

    Attributes
    ----------
    needs
        Examples it can be applied to: "image" those of a height and a width above 1, "colour" those of three
        channels besides.
    mixes_labels
        Whether what it builds gives each example a share of another's label.
    """

    needs: Needs
    mixes_labels: bool = False


def _entry(
    needs: Needs,
    name: str,
    formula: str,
    source: str,
    build: Callable[..., Any],
    options: Mapping[str, AnyOption],
    mixes_labels: bool = False,
) -> AugmentationLevel:
    return AugmentationLevel(name, formula, source, build, options, needs=needs, mixes_labels=mixes_labels)


_P_FLIP = Option(0.5, 0.0, 1.0, "probability of a flip")
_FACTOR = Option(0.2, 0.0, 1.0, "largest distance of the factor from 1")
_TURN = Option(0.05, 0.0, 0.5, "largest change of hue, as a share of the colour circle")
_SIMARD = "Simard et al. 2003, section 2"
_LECUN = "LeCun et al. 1998, Gradient-based learning, III.B"
_COLOUR = "Howard 2013; torchvision ColorJitter"


def _conflict(text: str) -> str | None:
    """Return in one line why the augmentations that `text` joins cannot be, or None where they can."""
    mixing = [level.name for level in _levels(text) if level.mixes_labels]
    return f"{' and '.join(mixing)} both mix labels" if len(mixing) > 1 else None


AUGMENTATIONS = LevelTable(
    "augmentation",
    _entry("anything", NOTHING, "x", "-", lambda: Pixels(lambda x, draws: x), {}),
    _entry(
        "image",
        "horizontal_flip",
        "with probability p, left and right exchanged",
        "Krizhevsky et al. 2012 (AlexNet), 4.1; torchvision RandomHorizontalFlip",
        _horizontal_flip,
        {"p": _P_FLIP},
    ),
    _entry(
        "image",
        "vertical_flip",
        "with probability p, top and bottom exchanged",
        "torchvision RandomVerticalFlip",
        _vertical_flip,
        {"p": _P_FLIP},
    ),
    _entry(
        "image",
        "crop",
        "padded by black pixels on every side, then cut to its former size at a place drawn uniformly",
        "He et al. 2016 (ResNet), 4.2; torchvision RandomCrop",
        _crop,
        {"padding": Option(4, 0, 64, "pixels added on each side")},
    ),
    _entry(
        "image",
        "scaling",
        "size times low (high / low)^u about the centre; bilinear, black outside",
        f"{_LECUN}; Ciresan et al. 2012",
        _scaling,
        {
            "low": Option(0.8, 0.1, 1.0, "smallest factor on the size"),
            "high": Option(1.25, 1.0, 10.0, "largest factor on the size"),
        },
    ),
    _entry(
        "image",
        "translation",
        "moved by share (2u - 1) of the width and as much of the height, u drawn twice; bilinear, black outside",
        f"{_SIMARD}; torchvision RandomAffine",
        _translation,
        {"share": Option(0.1, 0.0, 1.0, "farthest move, as a share of the side")},
    ),
    _entry(
        "image",
        "rotation",
        "turned about the centre by degrees (2u - 1), counter-clockwise as seen where positive; bilinear, black outside",
        f"{_SIMARD}; torchvision RandomRotation",
        _rotation,
        {"degrees": Option(15.0, 0.0, 180.0, "largest angle either way")},
    ),
    _entry(
        "image",
        "shear",
        "rows moved along themselves, verticals leaning by degrees (2u - 1), to the right where positive; bilinear, "
        "black outside",
        f"{_LECUN}; torchvision RandomAffine",
        _shear,
        {"degrees": Option(10.0, 0.0, 80.0, "largest angle either way")},
    ),
    _entry(
        "image",
        "stretch",
        "with r = (1 + share)^(2u - 1), width times sqrt(r) and height over sqrt(r); bilinear, black outside",
        f"{_LECUN} (squeezing)",
        _stretch,
        {"share": Option(0.2, 0.0, 3.0, "largest growth of width over height, or of height over width")},
    ),
    _entry(
        "image",
        "brightness",
        "f x, f = 1 + strength (2u - 1); clamped to [0, 1]",
        _COLOUR,
        _brightness,
        {"strength": _FACTOR},
    ),
    _entry(
        "image",
        "contrast",
        "f x + (1 - f) m, f = 1 + strength (2u - 1), m the mean of the grey image; clamped to [0, 1]",
        _COLOUR,
        _contrast,
        {"strength": _FACTOR},
    ),
    _entry(
        "colour",
        "saturation",
        "f x + (1 - f) g, f = 1 + strength (2u - 1), g = 0.299 R + 0.587 G + 0.114 B; clamped to [0, 1]",
        _COLOUR,
        _saturation,
        {"strength": _FACTOR},
    ),
    _entry(
        "colour",
        "hue",
        "hue in HSV moved by strength (2u - 1) of the circle",
        "Smith 1978 (HSV); torchvision ColorJitter",
        _hue,
        {"strength": _TURN},
    ),
    _entry(
        "colour",
        "color_jitter",
        "brightness, contrast, saturation and hue, in this order, each as on its own",
        _COLOUR,
        _color_jitter,
        {"brightness": _FACTOR, "contrast": _FACTOR, "saturation": _FACTOR, "hue": _TURN},
    ),
    _entry(
        "image",
        "gaussian_blur",
        "convolved with a Gaussian of standard deviation sigma (1 - u) pixels, cut at int(4 sigma + 0.5) pixels; the "
        "edge pixels repeat outside",
        "Chen et al. 2020 (SimCLR), appendix A",
        _gaussian_blur,
        {"sigma": Option(0.5, 0.0, 5.0, "largest standard deviation in pixels")},
    ),
    _entry(
        "anything",
        "gaussian_noise",
        "x + std e, e from N(0, 1) for each value; not clamped",
        "Sietsma and Dow 1991; Bishop 1995",
        _gaussian_noise,
        {"std": Option(0.05, 0.0, 10.0, "standard deviation of the noise")},
    ),
    _entry(
        "image",
        "cutout",
        "a square of side round(size min(height, width)) black, its centre a pixel drawn uniformly, what lies outside "
        "the image cut off",
        "DeVries and Taylor 2017",
        _cutout,
        {"size": Option(0.25, 0.0, 2.0, "side of the square, as a share of the image's shorter side")},
    ),
    _entry(
        "image",
        "random_erasing",
        "with probability p, a rectangle black: area uniform in [low, high] of the image's, height over width "
        "0.3^(1 - 2u), sides rounded and at most the image's, anywhere inside",
        "Zhong et al. 2020, algorithm 1, with black pixels and the ratio's logarithm uniform as in torchvision",
        _random_erasing,
        {
            "p": Option(0.5, 0.0, 1.0, "probability of erasing"),
            "low": Option(0.02, 0.0, 0.2, "smallest area, as a share of the image's"),
            "high": Option(0.33, 0.2, 1.0, "largest area, as a share of the image's"),
        },
    ),
    _entry(
        "anything",
        "mixup",
        "s x_i + (1 - s) x_j, labels alike; j from a permutation of the batch, s from Beta(alpha, alpha) for a batch, "
        "1 where alpha is 0",
        "Zhang et al. 2018, figure 1a",
        _mixup,
        {"alpha": Option(0.2, 0.0, 100.0, "of the Beta distribution: 0 mixes nothing, large halves")},
        mixes_labels=True,
    ),
    _entry(
        "image",
        "cutmix",
        "x_j inside a box, x_i outside, labels mixed by the box's area; j from a permutation of the batch, for a batch "
        "a box of sides int(sqrt(1 - s)) of the image's, s from Beta(alpha, alpha), 1 where alpha is 0, its centre a "
        "pixel drawn uniformly, what lies outside the image cut off",
        "Yun et al. 2019, eq. 1 and 2",
        _cutmix,
        {"alpha": Option(1.0, 0.0, 100.0, "of the Beta distribution: 0 mixes nothing, large halves")},
        mixes_labels=True,
    ),
    combine=True,
    conflict=_conflict,
)
"""Every augmentation by name, in the order they are applied in."""


def _levels(text: str) -> list[AugmentationLevel]:
    levels = [AUGMENTATIONS[name_of(part)] for part in split_parts(text)]
    return [level for level in levels if isinstance(level, AugmentationLevel)]


@lru_cache(maxsize=1024)
def mixes_labels(text: str) -> bool:
    """Return whether an augmentation that `text` names gives examples a share of another's label."""
    return any(level.mixes_labels for level in _levels(text))


@lru_cache(maxsize=1024)
def unsuited(text: str, shape: tuple[int, ...]) -> str | None:
    """Return in one line why `text` cannot be applied to examples of `shape`, or None where it can."""
    channels, height, width = shape if len(shape) == 3 else (0, 0, 0)
    image = height > 1 and width > 1
    suited = {"anything": True, "image": image, "colour": image and channels == 3}
    needed = {"image": "images, of a height and a width above 1", "colour": "colour images, of 3 channels"}
    for level in _levels(text):
        if not suited[level.needs]:
            return f"{level.name} needs {needed[level.needs]}; the examples are {' x '.join(map(str, shape))}"
    return None
