"""Correlations between units are SciPy's, pair by pair; distances from zero mean are NumPy's."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from trainatlas.claims.experiments import hidden_units
from trainatlas.claims.experiments.hidden_units import coadaptation, mean_activation, mean_correlation
from trainatlas.claims.experiments.runs import examples, trained, tuned
from trainatlas.study.trial import Trial


def test_the_mean_correlation_is_that_of_all_pairs_of_units_that_vary() -> None:
    outputs = np.random.default_rng(0).normal(size=(50, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    outputs[:, 2] = 0.0
    varying = [0, 1, 3, 4, 5]
    expected = np.mean(
        [abs(pearsonr(outputs[:, i], outputs[:, j]).statistic) for i, j in itertools.combinations(varying, 2)]
    )
    assert mean_correlation(torch.from_numpy(outputs)) == pytest.approx(expected)


def test_units_that_do_the_same_or_the_opposite_are_wholly_correlated() -> None:
    x = torch.randn(30, 1, generator=torch.Generator().manual_seed(0))
    assert mean_correlation(torch.cat([x, -2 * x, x + 1], 1)) == pytest.approx(1.0)


def test_coadaptation_is_that_with_dropout_less_that_without(
    short: Trial, monkeypatch: pytest.MonkeyPatch, well_formed: Callable[..., None]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(hidden_units, "tuned", lambda trial: (seen.append(trial.regularisation), trial)[1])
    monkeypatch.setattr(hidden_units, "mean_correlation", lambda outputs: {"dropout": 0.2, "none": 0.5}[seen[-1]])
    table = coadaptation([1, 2], short)
    well_formed(table, [1, 2], ["last hidden layer"])
    assert table["effect"].to_list() == pytest.approx([-0.3, -0.3])


def test_mean_activation_is_the_distance_of_units_from_zero_mean(
    short: Trial, well_formed: Callable[..., None]
) -> None:
    table = mean_activation([1], short)
    well_formed(table, [1], ["layer 1", "layer 2"])
    first = {}
    for activation, function in (("elu", lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0)))),
                                 ("relu", lambda z: np.maximum(z, 0))):  # fmt: skip
        trial = tuned(short._replace(seed=1, activation=activation))
        values = {name: value.detach().numpy() for name, value in trained(trial).network.named_parameters()}
        x = examples(trial).x["train"].flatten(1).numpy()
        outputs = function(x @ values["hidden.0.linear.weight"].T + values["hidden.0.linear.bias"])
        first[activation] = np.abs(outputs.mean(0)).mean()
    assert table.set_index("pair").loc["layer 1", "effect"] == pytest.approx(first["elu"] - first["relu"], abs=1e-5)
