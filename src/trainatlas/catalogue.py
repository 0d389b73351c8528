"""Every table of levels in one place: what a study may name."""

from __future__ import annotations

from collections.abc import Hashable

from trainatlas.data.datasets import DATA_SETS
from trainatlas.data.preprocessing import PREPROCESSINGS, changes_shape
from trainatlas.model.activations import ACTIVATIONS
from trainatlas.model.architectures import NETWORKS
from trainatlas.model.initialisation import INITIALISATIONS
from trainatlas.model.normalisation import NORMALISATIONS
from trainatlas.optim.optimizers import OPTIMIZERS
from trainatlas.study.trial import Trial

TABLES = {
    table.factor: table
    for table in (
        DATA_SETS,
        NETWORKS,
        ACTIVATIONS,
        INITIALISATIONS,
        NORMALISATIONS,
        OPTIMIZERS,
        PREPROCESSINGS,
    )
}
"""Tables by factor, "data" and "network" among them."""


def structure(trial: Trial) -> Hashable:
    """Return what trials must share to be trained in one stack: the same modules on the same shapes.

    Initialisation, optimizer, learning rate, seed, and preprocessings that keep the examples' shape
    may differ along a stack.
    """
    return (
        trial.data,
        trial.network,
        trial.activation,
        trial.normalisation,
        trial.preprocessing if changes_shape(trial.preprocessing) else "",
        trial.batch_size,
        trial.epochs,
        trial.validation_share,
        trial.test_share,
    )
