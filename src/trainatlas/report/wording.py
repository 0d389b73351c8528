"""Names and numbers as readers see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from trainatlas.report.language import mark, tr
from trainatlas.study.config import Target
from trainatlas.study.levels import split_parts

_FACTORS = {
    "activation": mark("activation"),
    "init": mark("initialisation"),
    "normalisation": mark("normalisation"),
    "optimizer": mark("optimizer"),
    "preprocessing": mark("preprocessing"),
    "learning_rate": mark("learning rate"),
    "schedule": mark("schedule"),
    "regularisation": mark("regularisation"),
    "augmentation": mark("augmentation"),
    "remainder": mark("higher orders and chance"),
}
_LEVELS = {
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "scaled_tanh": mark("scaled tanh"),
    "soft_exponential": mark("soft exponential"),
    "binary_step": mark("binary step"),
    "xavier_normal": "Xavier normal",
    "xavier_uniform": "Xavier uniform",
    "kaiming_normal": "He normal",
    "kaiming_uniform": "He uniform",
    "lecun_normal": "LeCun normal",
    "normal": "normal 0.01",
    "lsuv": "LSUV",
    "batch": "BatchNorm",
    "layer": "LayerNorm",
    "instance": "InstanceNorm",
    "group": "GroupNorm",
    "weight": mark("weight norm"),
    "none": mark("none"),
    "sgd": "SGD",
    "nesterov": "Nesterov",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "radam": "RAdam",
    "lookahead": "Lookahead",
    "mean_image": mark("mean image"),
    "min_max": mark("min-max"),
    "channel_mean": mark("channel mean"),
    "channel_standardize": mark("channel mean and std"),
    "global_contrast": mark("global contrast"),
    "pca_whitening": mark("PCA-whitened"),
    "zca_whitening": mark("ZCA-whitened"),
    "standardize": mark("standardised"),
    "reduce_on_plateau": mark("reduce on plateau"),
    "l1": "L1",
    "l2": "L2",
    "decoupled_decay": mark("decoupled decay"),
    "label_smoothing": mark("label smoothing"),
    "max_norm": mark("max-norm"),
    "gradient_clipping": mark("gradient clipping"),
    "early_stopping": mark("early stopping"),
    "cutmix": "CutMix",
    "momentum": mark("momentum"),
    "raw": mark("raw"),
    "constant": mark("constant"),
    "orthogonal": mark("orthogonal"),
    "identity": mark("identity"),
    "exponential": mark("exponential"),
    "cosine": mark("cosine"),
    "linear": mark("linear"),
    "dropout": mark("dropout"),
    "abort": mark("abort"),
    "horizontal_flip": mark("horizontal flip"),
    "vertical_flip": mark("vertical flip"),
    "crop": mark("crop"),
    "scaling": mark("scaling"),
    "translation": mark("translation"),
    "rotation": mark("rotation"),
    "shear": mark("shear"),
    "stretch": mark("stretch"),
    "brightness": mark("brightness"),
    "contrast": mark("contrast"),
    "saturation": mark("saturation"),
    "hue": mark("hue"),
    "color_jitter": mark("color jitter"),
    "gaussian_blur": mark("gaussian blur"),
    "gaussian_noise": mark("gaussian noise"),
    "random_erasing": mark("random erasing"),
}
STAGE_WORDS = (
    mark("tuning"),
    mark("coarse"),
    mark("fine"),
    mark("rung"),
    mark("batch"),
    mark("final"),
    mark("winner"),
    mark("random"),
)
"""Stages of every kind of sample, as tables have them: `tr` finds them in the catalogue."""


def factor_name(factor: str) -> str:
    """Return a factor's name in words."""
    return tr(_FACTORS.get(factor, factor))


def word(name: str) -> str:
    """Return a name that tables have, such as a stage or a status, in words."""
    plain = name.replace("_", " ")
    return tr(plain)


def level_name(level: str) -> str:
    """Return a level's name as the field writes it; options stay as given, joined levels joined."""
    return " + ".join(map(_part_name, split_parts(level)))


def _part_name(level: str) -> str:
    name, bracket, options = level.partition("(")
    if name == "normal" and options.startswith("std="):
        return f"normal {options.removeprefix('std=').removesuffix(')').removesuffix('.0')}"
    if name == "pca" and options.startswith("components="):
        return f"PCA {options.removeprefix('components=').removesuffix(')')}"
    shown = tr(_LEVELS.get(name, name.replace("_", " ") if ".py:" not in name else name))
    return shown + (bracket + options if bracket else "")


def joined(parts: Sequence[str]) -> str:
    """Return a list as a sentence has it: `a, b and c`."""
    *head, last = parts
    return tr("{first} and {last}", first=", ".join(head), last=last) if head else last


def capital(text: str) -> str:
    """Return a text with its first letter as a sentence begins."""
    return text[:1].upper() + text[1:]


def term_name(term: str) -> str:
    """Return a term of the analysis of variance in words."""
    return " × ".join(factor_name(part) for part in term.split(" x "))


def percent(value: float, decimals: int = 1) -> str:
    """Return a share as per cent; a dash where it is missing."""
    return "–" if math.isnan(value) else f"{value * 100:.{decimals}f}%"


def points(value: float, decimals: int = 1) -> str:
    """Return a difference of shares in percentage points, signed; what rounds to nothing is never below zero."""
    if math.isnan(value):
        return "–"
    shown = f"{value * 100:+.{decimals}f}"
    return shown.replace("-", "−") if float(shown) else shown.lstrip("-")


def percent_interval(low: float, high: float) -> str:
    """Return an interval of shares, or why there is none."""
    if math.isnan(low):
        return tr("one seed: no interval")
    return tr("{low} to {high}", low=f"{max(low, 0) * 100:.1f}", high=percent(min(high, 1)))


def points_interval(low: float, high: float, decimals: int = 1) -> str:
    """Return an interval of differences in percentage points."""
    if math.isnan(low):
        return tr("one seed: no interval")
    return tr("{low} to {high}", low=points(low, decimals), high=points(high, decimals))


def p_value(value: float) -> str:
    """Return a p-value; a dash where there is no test."""
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def steps(value: float) -> str:
    """Return a number of steps; infinitely many is `never`."""
    if math.isnan(value):
        return "–"
    return tr("never") if math.isinf(value) else f"{value:,.0f}"


def target_name(target: Target) -> str:
    """Return a target in words."""
    if target.metric == "train_error":
        return tr("training error at most {value:.0%}", value=target.value)
    return tr("validation accuracy at least {value:.0%}", value=target.value)


def target_mark(target: Target) -> str:
    """Return a target as the head of a column has it."""
    mark_of = tr("train err. ≤") if target.metric == "train_error" else tr("val. acc. ≥")
    return f"{mark_of} {target.value:.0%}"


def duration(seconds: float) -> str:
    """Return a time span in the unit that suits it."""
    if seconds < 120:
        return tr("{number} s", number=f"{seconds:.0f}")
    if seconds < 7200:
        return tr("{number} min", number=f"{seconds / 60:.1f}")
    return tr("{number} h", number=f"{seconds / 3600:.1f}")


def seconds(value: float) -> str:
    """Return a number of seconds to two digits; infinitely many is `never`."""
    if not 0 < value < 100:
        return steps(value)
    return f"{value:.{max(1 - math.floor(math.log10(value)), 0)}f}"


def from_here(path: Path) -> str:
    """Return a path as it is written in the folder that the report is made in."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
