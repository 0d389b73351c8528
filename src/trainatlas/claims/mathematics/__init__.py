"""Claims about mathematics: the code that trains, held in double precision against closed forms written out beside it.

`EXACT` says by claim what is checked; each file holds the claims of one subject. A claim holds when all its checks do. What runs
is what trials run: the tables' levels, the networks they build, the plain loop, the stacked optimizers.
"""

from __future__ import annotations

from collections.abc import Callable

from trainatlas.claims.mathematics.activations import slopes
from trainatlas.claims.mathematics.initialisation import (
    convolutional_fans,
    identical_units,
    second_moments,
    weight_variances,
)
from trainatlas.claims.mathematics.losses import first_loss, softmax_gradient
from trainatlas.claims.mathematics.networks import gradient_signs, linear_networks, maxout_parameters
from trainatlas.claims.mathematics.normalisation import folding, scale_invariance, undone_normalisation
from trainatlas.claims.mathematics.optimizers import first_adam_step
from trainatlas.claims.mathematics.preprocessing import training_statistics
from trainatlas.claims.observations import Check

EXACT: dict[str, Callable[[], list[Check]]] = {
    "A1": slopes,
    "A3": gradient_signs,
    "A12": maxout_parameters,
    "A16": linear_networks,
    "A18": softmax_gradient,
    "P6": training_statistics,
    "I1": identical_units,
    "I5": weight_variances,
    "I6": second_moments,
    "I9": convolutional_fans,
    "B5": folding,
    "B6": undone_normalisation,
    "B11": scale_invariance,
    "T1": first_loss,
    "O4": first_adam_step,
}
"""By the claim's id: what checks it."""
