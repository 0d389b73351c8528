"""What the hidden units of trained networks do: how far their outputs are from zero mean (A10), and how alike they are (R2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from trainatlas.claims.experiments.runs import DIGITS, Row, case_of, hidden_outputs, observations, trained, tuned
from trainatlas.study.trial import Trial


def mean_activation(seeds: Sequence[int], base: Trial = DIGITS) -> pd.DataFrame:
    """Return how far from zero mean the units of each hidden layer are with ELU, less that with ReLU (A10).

    A layer's distance is the mean over its units of |mean output over the training part|, at the end of training at the tuned
    rate (Clevert et al. 2016, section 4.1). Negative where ELU's outputs are the closer.
    """
    rows: list[Row] = []
    for seed in seeds:
        distances = {}
        for activation in ("elu", "relu"):
            trial = tuned(base._replace(seed=seed, activation=activation))
            outputs = hidden_outputs(trial, trained(trial).network, "train")
            distances[activation] = [layer.mean(0).abs().mean().item() for layer in outputs]
        for number, (elu, relu) in enumerate(zip(distances["elu"], distances["relu"], strict=True), 1):
            rows.append((case_of(base), seed, f"layer {number}", elu - relu))
    return observations(rows)


_LONGER = DIGITS._replace(epochs=24)


def coadaptation(seeds: Sequence[int], base: Trial = _LONGER) -> pd.DataFrame:
    """Return how alike the units of the last hidden layer are with dropout of half of them, less without (R2).

    Their mean absolute correlation over the validation part, before dropout, at the tuned rates.
    """
    rows: list[Row] = []
    for seed in seeds:
        alike = {}
        for regularisation in ("dropout", "none"):
            trial = tuned(base._replace(seed=seed, regularisation=regularisation))
            alike[regularisation] = mean_correlation(hidden_outputs(trial, trained(trial).network, "validation")[-1])
        rows.append((case_of(base), seed, "last hidden layer", alike["dropout"] - alike["none"]))
    return observations(rows)


def mean_correlation(outputs: Tensor) -> float:
    """Return the mean absolute correlation of two units, (examples, units), over all pairs of units whose outputs vary."""
    values = outputs.double().numpy()
    varying = values[:, values.std(0) > 0]
    pairs = np.triu_indices(varying.shape[1], 1)
    return float(np.abs(np.corrcoef(varying, rowvar=False)[pairs]).mean())
