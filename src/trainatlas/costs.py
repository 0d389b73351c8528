"""What training a stack costs, predicted before anything is trained and without torch.

The built-in estimate counts operations: of steps, whose number of calls costs whatever the stack holds, and of the
arithmetic and the memory traffic of its trials. Its constants are one CPU core's. What stacks really took is kept in
`raw/<pack>/stacks.csv`, and `calibrated` corrects the estimate by it, structure by structure. Costs decide which pack a stack
is dealt to and nothing else: a trial's numbers must not depend on them.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trainatlas.catalogue import structure
from trainatlas.data.datasets import facts
from trainatlas.data.preprocessing import PREPROCESSINGS
from trainatlas.data.published import SOURCES
from trainatlas.model.activations import pieces
from trainatlas.model.architectures import NETWORKS, STAGES
from trainatlas.study.config import Probes
from trainatlas.study.dealing import START
from trainatlas.study.levels import name_of, split_level, split_parts
from trainatlas.study.planning import Price
from trainatlas.study.splits import PartSizes, part_sizes, probe_set_size
from trainatlas.study.trial import Trial

# Seconds of one core, fitted to 26 stacks of 8 to 200 trials (docs/performance.md).
_CALL = 300e-6  # of a module's forward and backward pass, whatever the stack holds
_FLOP = {"linear": 1 / 150e9, "convolution": 1 / 30e9}
_OUTPUT = 8e-9  # of a layer's output, forward and backward
_WEIGHT = 4e-9  # of a parameter's update
_PROBED_OUTPUT = 7e-9  # of a layer's output where units are looked at
_STACK = 0.3  # of a stack's start and end
_CHUNK = 128

# MiB of a process with its libraries, and how often numbers are held at once, fitted to 52 packs of 8 to 88 trials
# (docs/performance.md).
_PROCESS = 530.0
_LOADED_COPIES = 1.2  # of a data set as its files give it, one byte a number
_VARIANT_COPIES = 1.9  # of the examples of a seed and a preprocessing
_WEIGHT_COPIES = 7.6
_OUTPUT_COPIES = {"linear": 18.0, "convolution": 26.0}

# How much dearer a step is than with the plainest level of the factor: docs/performance.md, "What a level costs".
_STEP_FACTORS: dict[str, dict[str, float]] = {
    "activation": {
        "prelu": 1.5,
        "elu": 1.3,
        "selu": 1.2,
        "gelu": 1.3,
        "silu": 1.3,
        "mish": 1.6,
        "softplus": 1.2,
        "scaled_tanh": 1.3,
        "tanh": 1.25,
        "sigmoid": 1.1,
        "soft_exponential": 3.8,
        "cos": 1.2,
    },
    "normalisation": {"batch": 1.6, "layer": 1.4, "group": 2.8, "instance": 1.6, "weight": 1.3},
    "optimizer": {"adadelta": 1.2, "adam": 1.1, "adamw": 1.1, "nadam": 1.1, "radam": 1.1, "lookahead": 1.1},
    "regularisation": {"l1": 1.2, "dropout": 1.4, "label_smoothing": 1.2, "max_norm": 1.3},
    "augmentation": {
        "crop": 1.3,
        "scaling": 1.3,
        "translation": 1.3,
        "rotation": 1.3,
        "shear": 1.4,
        "stretch": 1.4,
        "contrast": 1.3,
        "gaussian_blur": 1.6,
        "gaussian_noise": 1.1,
        "cutout": 1.2,
        "random_erasing": 1.3,
        "mixup": 1.2,
        "cutmix": 1.3,
    },
}
_OF_THE_USERS_OWN = 1.5


@dataclass(frozen=True)
class _Work:
    """What one example's way through a network takes.

    Attributes
    ----------
    multiplications
        Multiply-adds, by kind of layer.
    outputs
        Numbers that layers put out.
    weights
        Parameters of the network.
    layers
        Layers with weights.
    """

    multiplications: Mapping[str, float]
    outputs: float
    weights: float
    layers: int


def steps_of(trial: Trial, folder: Path) -> int:
    """Return the optimizer steps of a trial's whole budget; `folder` is what paths of the user's data are relative to."""
    return trial.last_epoch * max(_sizes(trial, folder).train // trial.batch_size, 1)


def estimate(stack: Sequence[Trial], probes: Probes, folder: Path = Path()) -> float:
    """Return the seconds that training a stack takes on one core, by counted operations.

    Parameters
    ----------
    stack
        Trials of one structure.
    probes
        What is measured beside losses: see `trainatlas.study.planning.Pack`.
    folder
        What paths of the user's own data are relative to.
    """
    lead, trials = stack[0], len(stack)
    sizes, work = _sizes(lead, folder), _work(lead, folder)
    steps = steps_of(lead, folder)
    looks = {"off": 0, "light": 2}.get(probes, lead.last_epoch + 1)
    probed = looks * probe_set_size(sizes.train)
    evaluated = (lead.last_epoch + 1) * sizes.validation + sum(sizes)
    forward = sum(2 * number * _FLOP[kind] for kind, number in work.multiplications.items())
    example = 3 * forward + work.outputs * _OUTPUT
    step = lead.batch_size * example + work.weights * _WEIGHT
    shared = _factor("activation", lead.activation) * _factor("normalisation", lead.normalisation)
    own = sum(_own_factor(trial.optimizer, trial.regularisation, trial.augmentation) for trial in stack)
    looking = (evaluated + probed) * (forward + work.outputs * _OUTPUT / 3) + probed * work.outputs * _PROBED_OUTPUT
    calls = (3 * steps + (evaluated + probed) / _CHUNK) * work.layers * _CALL * shared
    if probes == "full":  # gradients too, before training and at the end
        looking += 2 * probe_set_size(sizes.train) * example
    return _STACK + calls + trials * looking + steps * step * shared * own


def mebibytes(stack: Sequence[Trial], folder: Path = Path()) -> float:
    """Return the MiB that a process takes that trains a stack on the CPU, by counted numbers; parameters as for `estimate`.

    What training keeps to is predicted with torch, and with more room (`trainatlas.train.memory`).
    """
    lead = stack[0]
    sizes, work, known = _sizes(lead, folder), _work(lead, folder), facts(lead.data, folder)
    example = math.prod(known.shape)
    published = SOURCES.get(name_of(lead.data))
    loaded = (sum(published.counts) if published else known.examples) * example
    variants = len({(trial.seed, trial.preprocessing) for trial in stack}) * sum(sizes) * example
    outputs = len(stack) * lead.batch_size * work.outputs
    copies = _OUTPUT_COPIES["convolution" if work.multiplications["convolution"] else "linear"]
    numbers = _VARIANT_COPIES * variants + _WEIGHT_COPIES * len(stack) * work.weights + copies * outputs
    return _PROCESS + (_LOADED_COPIES * loaded + 4 * numbers) / 2**20


def measured_mebibytes(raw: Path) -> float:
    """Return the largest resident memory of the job that trained a pack into `raw`, in MiB; 0 where no table says."""
    return max(_column_of(raw / "pack.csv", "peak_memory_mib"), default=0.0)


def structure_key(trial: Trial) -> str:
    """Return 12 hexadecimal digits that stacks of one structure share."""
    return hashlib.sha256(repr(structure(trial)).encode()).hexdigest()[:12]


def calibrated(results: Path, folder: Path, others: Sequence[Path] = ()) -> Price:
    """Return the prices of stacks as the packs trained in `results` tell, or as estimated where there are none.

    What those of other results folders tell counts where `results` tells nothing. A structure that has been trained costs
    its estimate times the median of what its stacks took over what was estimated for the part of their budget they ran;
    any other costs its estimate times the median over all structures.
    """
    ratios = {key: ratio for place in (*others, results) for key, ratio in measured_ratios(place).items()}
    typical = statistics.median(ratios.values()) if ratios else 1.0

    def price(stack: Sequence[Trial], probes: Probes) -> float:
        return estimate(stack, probes, folder) * ratios.get(structure_key(stack[0]), typical)

    return price


def start_seconds(results: Path) -> float:
    """Return what a job took to start, the median of the packs trained in `results`; START where there are none."""
    found = [
        seconds
        for path in sorted((results / "raw").glob("*/pack.csv"))
        for seconds in _column_of(path, "start_seconds")
    ]
    return statistics.median(found) if found else START


def _column_of(path: Path, name: str) -> list[float]:
    """Return the positive numbers of a column; none of a table that is not there, or broken."""
    with (
        contextlib.suppress(OSError, ValueError, KeyError, TypeError),
        path.open(encoding="utf-8", newline="") as file,
    ):
        return [_positive(float(row[name])) for row in csv.DictReader(file)]
    return []


def measured_ratios(results: Path) -> dict[str, float]:
    """Return for each structure trained in `results` the median of measured over estimated seconds, by its key.

    A table that cannot be read, or of another version, tells nothing: prices do without it.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for path in sorted((results / "raw").glob("*/stacks.csv")):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    share = int(row["trial_steps"]) / int(row["planned_trial_steps"])
                    if share > 0:
                        ratio = _positive(float(row["seconds"]) / (float(row["estimated_seconds"]) * share))
                        found[row["structure"]].append(ratio)
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
    return {key: statistics.median(values) for key, values in found.items()}


def _positive(value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(value)
    return value


def _sizes(trial: Trial, folder: Path) -> PartSizes:
    known = facts(trial.data, folder)
    return part_sizes(known.examples, trial.validation_share, trial.test_share, known.given)


@lru_cache(maxsize=4096)
def _factor(factor: str, text: str) -> float:
    table = _STEP_FACTORS[factor]
    names = [name_of(part) for part in split_parts(text)]
    return math.prod(_OF_THE_USERS_OWN if ":" in name else table.get(name, 1.0) for name in names)


@lru_cache(maxsize=4096)
def _own_factor(optimizer: str, regularisation: str, augmentation: str) -> float:
    """Return how much dearer a trial's steps are for what may differ along a stack."""
    named = {"optimizer": optimizer, "regularisation": regularisation, "augmentation": augmentation}
    return math.prod(_factor(factor, text) for factor, text in named.items())


def _work(trial: Trial, folder: Path) -> _Work:
    known = facts(trial.data, folder)
    shape = known.shape
    name, given = split_level(trial.preprocessing)
    components = int(PREPROCESSINGS.options(name, given).get("components") or 0)
    return _walk(trial.network, (components, 1, 1) if components else shape, known.classes, pieces(trial.activation))


@lru_cache(maxsize=1024)
def _walk(network: str, shape: tuple[int, int, int], classes: int, width_of_unit: int) -> _Work:
    """Count what an example's way through a network takes; a network of the user's own counts as the default mlp."""
    name, given = split_level(network)
    if name not in NETWORKS:
        name, given = "mlp", {}
    options = NETWORKS.options(name, given)
    depth, width = int(options["depth"]), int(options["width"])
    channels, height, breadth = shape
    linear = convolution = outputs = weights = 0.0
    if name == "mlp":
        inputs = math.prod(shape)
        for _ in range(depth):
            linear += inputs * width * width_of_unit
            outputs += width * width_of_unit
            inputs = width
    else:
        if name == "resnet":
            depth = 1 + (depth - 2) // (2 * STAGES) * 2 * STAGES
        pixels = float(height * breadth)
        for layer in range(depth):
            stage = layer if name == "cnn" else layer * STAGES // depth
            if name != "cnn" and stage > (layer - 1) * STAGES // depth and layer:
                pixels = max(pixels / 4, 1.0)
            units = width * 2**stage
            kernel = 9 * channels * units * width_of_unit
            convolution += kernel * pixels
            outputs += units * width_of_unit * pixels
            weights += kernel
            channels = units
            if name == "cnn":
                pixels = max(pixels / 4, 1.0)
        inputs = int(channels * pixels) if name == "cnn" else channels
    linear += inputs * classes
    return _Work({"linear": linear, "convolution": convolution}, outputs + classes, weights + linear, depth + 1)
