"""Measurements that no study's tables hold: small experiments on digits, each in about a minute on one core.

`EXPERIMENTS` has them by the name that claims call them by. An experiment takes seeds and returns observations
(`trainatlas.claims.observations`); it trains by the plain loop or by stacks, at rates tuned on validation data where it compares
arms. All but those of time yield the same numbers whenever they are run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from trainatlas.claims.experiments.gradients import sign_agreement, sign_agreement_tanh
from trainatlas.claims.experiments.hidden_units import coadaptation, mean_activation
from trainatlas.claims.experiments.overfitting import tiny_overfit
from trainatlas.claims.experiments.robustness import noise_robustness, perturbation
from trainatlas.claims.experiments.timing import activation_cost, activation_share, layer_norm_cost, weight_norm_cost
from trainatlas.claims.experiments.updates import adagrad_step, bias_correction, momentum_oscillation, rmsprop_step
from trainatlas.claims.experiments.weights import weight_sparsity

EXPERIMENTS: dict[str, Callable[[Sequence[int]], pd.DataFrame]] = {
    experiment.__name__: experiment
    for experiment in (
        sign_agreement,
        sign_agreement_tanh,
        activation_cost,
        activation_share,
        noise_robustness,
        mean_activation,
        perturbation,
        weight_norm_cost,
        layer_norm_cost,
        tiny_overfit,
        adagrad_step,
        rmsprop_step,
        momentum_oscillation,
        bias_correction,
        weight_sparsity,
        coadaptation,
    )
}
"""By name: (seeds) -> observations."""
