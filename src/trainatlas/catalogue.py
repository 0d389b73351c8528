"""Every table of levels in one place: what a study may name."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from trainatlas.data.augmentation import AUGMENTATIONS, mixes_labels, unsuited
from trainatlas.data.datasets import DATA_SETS, data_set_level
from trainatlas.data.preprocessing import PREPROCESSINGS, changes_shape, flattens, size_depends_on_data
from trainatlas.model.activations import ACTIVATIONS, check_user_activation, pieces
from trainatlas.model.architectures import CONVOLUTIONAL, NETWORKS
from trainatlas.model.initialisation import INITIALISATIONS
from trainatlas.model.normalisation import NORMALISATIONS
from trainatlas.optim.optimizers import OPTIMIZERS
from trainatlas.optim.regularisation import REGULARISATIONS, regulariser_names
from trainatlas.optim.schedules import SCHEDULES
from trainatlas.study.config import Catalogue, Rule, Study
from trainatlas.study.levels import name_of, split_level
from trainatlas.study.trial import Trial
from trainatlas.study.user_code import is_user_level


def _setting_shape(setting: Mapping[str, Any]) -> tuple[int, int, int]:
    return data_set_level(setting["data"]).shape


def _widths(setting: Mapping[str, Any]) -> list[int]:
    """Return how many units or channels each hidden layer's normalisation sees."""
    options = NETWORKS.options(*split_level(setting["network"]))
    width = int(options["width"])
    layers = [width * 2**block for block in range(int(options["depth"]))] if _convolutional(setting) else [width]
    return [layer * pieces(setting["activation"]) for layer in layers]


def _convolutional(setting: Mapping[str, Any]) -> bool:
    return name_of(setting["network"]) in CONVOLUTIONAL


def _uneven_groups(setting: Mapping[str, Any]) -> bool:
    if name_of(setting["normalisation"]) != "group":
        return False
    groups = int(NORMALISATIONS.options(*split_level(setting["normalisation"]))["groups"])
    alone = not _convolutional(setting)  # a group of one unit, without pixels, has no variance
    return any(width % groups or (alone and width == groups) for width in _widths(setting))


RULES = (
    Rule(
        "principal components have no neighbours for a convolution to look at",
        lambda setting: _convolutional(setting) and flattens(setting["preprocessing"]),
    ),
    Rule(
        "instance normalisation averages over a channel's pixels, and a fully connected unit has none",
        lambda setting: name_of(setting["normalisation"]) == "instance" and not _convolutional(setting),
    ),
    Rule("group normalisation needs groups of one size, of two units or more each", _uneven_groups),
    Rule(
        "batch normalisation over a single example has no variance to divide by",
        lambda setting: (
            setting["batch_size"] == 1 and name_of(setting["normalisation"]) == "batch" and not _convolutional(setting)
        ),
    ),
    Rule(
        "weights that start at zero have no direction to normalise",
        lambda setting: setting["normalisation"] == "weight" and name_of(setting["init"]) == "zeros",
    ),
    Rule(
        "an augmentation that needs images, or colours, of data that have none",
        lambda setting: unsuited(setting["augmentation"], _setting_shape(setting)) is not None,
    ),
)
"""What makes no sense whatever the study; the report lists every combination left out, with its reason."""

TABLES = Catalogue(
    {
        table.factor: table
        for table in (
            DATA_SETS,
            NETWORKS,
            ACTIVATIONS,
            INITIALISATIONS,
            NORMALISATIONS,
            OPTIMIZERS,
            PREPROCESSINGS,
            SCHEDULES,
            REGULARISATIONS,
            AUGMENTATIONS,
        )
    },
    RULES,
)
"""Tables by factor, "data" and "network" among them, and the rules."""


def structure(trial: Trial) -> Hashable:
    """Return what trials must share to be trained in one stack: the same modules on the same shapes.

    Initialisation, optimizer, learning rate, schedule, seed, strengths of regularisation, augmentations, and
    preprocessings that keep the examples' shape may differ along a stack.
    """
    return (
        trial.data,
        trial.network,
        trial.activation,
        trial.normalisation,
        trial.preprocessing if changes_shape(trial.preprocessing) else "",
        trial.seed if size_depends_on_data(trial.preprocessing) else "",
        trial.batch_size,
        trial.epochs,
        trial.validation_share,
        trial.test_share,
        regulariser_names(trial.regularisation),
        mixes_labels(trial.augmentation),
        trial.user_code,
    )


def check_user_levels(study: Study) -> None:
    """Try the user's own levels out; raises UserError naming the file where one cannot be trained."""
    for level in study.factors["activation"]:
        if is_user_level(level):
            check_user_activation(level)
