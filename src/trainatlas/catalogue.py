"""Every table of levels in one place: what a study may name."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from trainatlas.data.augmentation import AUGMENTATIONS, mixes_labels, unsuited
from trainatlas.data.datasets import DATA_SETS, facts, is_user_data
from trainatlas.data.preprocessing import PREPROCESSINGS, changes_shape, flattens, size_depends_on_data
from trainatlas.model.activations import ACTIVATIONS, check_user_activation, pieces
from trainatlas.model.architectures import CONVOLUTIONAL, NETWORKS, channels_of, check_user_network
from trainatlas.model.initialisation import INITIALISATIONS
from trainatlas.model.normalisation import NORMALISATIONS, follows_activation
from trainatlas.optim.optimizers import OPTIMIZERS
from trainatlas.optim.regularisation import REGULARISATIONS, regulariser_names
from trainatlas.optim.schedules import SCHEDULES
from trainatlas.study.config import Catalogue, Rule, Study
from trainatlas.study.levels import name_of, split_level
from trainatlas.study.trial import Trial
from trainatlas.study.user_code import is_user_level


def _convolutional(setting: Mapping[str, Any]) -> bool:
    return name_of(setting["network"]) in CONVOLUTIONAL


def _residual(setting: Mapping[str, Any]) -> bool:
    return name_of(setting["network"]) == "resnet"


def _uneven_groups(setting: Mapping[str, Any]) -> bool:
    if name_of(setting["normalisation"]) != "group":
        return False
    groups = int(NORMALISATIONS.options(*split_level(setting["normalisation"]))["groups"])
    alone = not _convolutional(setting)  # a group of one unit, without pixels, has no variance
    widths = [width * pieces(setting["activation"]) for width in channels_of(setting["network"])]
    return any(width % groups or (alone and width == groups) for width in widths)


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
        lambda setting: unsuited(setting["augmentation"], setting["shape"]) is not None,
    ),
    Rule(
        "a convolution needs pixels to look at, and these data have none",
        lambda setting: _convolutional(setting) and min(setting["shape"][1:]) == 1,
    ),
    Rule(
        "a residual block adds its input to the second convolution's output, which maxout makes a multiple of it",
        lambda setting: _residual(setting) and pieces(setting["activation"]) > 1,
    ),
    Rule(
        "a residual block has no place for a normalisation behind its second activation",
        lambda setting: _residual(setting) and follows_activation(setting["normalisation"]),
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
    facts,
    is_user_data,
)
"""Tables by factor, "data" and "network" among them, and the rules."""


def impossible(trial: Trial, folder: Path = Path()) -> str | None:
    """Return why a trial makes no sense, the first rule's reason; None where none applies.

    Parameters
    ----------
    folder
        What paths of the user's own data are relative to.
    """
    setting = {**trial.as_dict(), "shape": facts(trial.data, folder).shape}
    return next((rule.reason for rule in RULES if rule.applies(setting)), None)


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
        trial.data_digest,
        trial.stop_epoch,
    )


def check_user_levels(study: Study) -> None:
    """Try the user's own levels out; raises UserError naming the file where one cannot be trained."""
    for level in study.factors["activation"]:
        if is_user_level(level):
            check_user_activation(level)
    if is_user_level(study.network):
        check_user_network(study.network, study.facts.shape, study.facts.classes)
