"""Dead units against accuracy: the oracle is pandas' rank correlation, and associations that were planted."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.dead_units import dead_against_accuracy


def runs(activation: str, slope: float, seeds: int, cells: int = 40, noise: float = 0.0) -> pd.DataFrame:
    """Return runs whose accuracy falls by `slope` for each dead unit."""
    rng = np.random.default_rng(seeds)
    dead = np.tile(np.linspace(0, 0.6, cells), seeds)
    return pd.DataFrame(
        {
            "activation": activation,
            "seed": np.repeat(np.arange(seeds), cells),
            "final_dead_fraction": dead,
            "test_accuracy": 0.9 - slope * dead + noise * rng.standard_normal(len(dead)),
        }
    )


def test_planted_associations_come_back() -> None:
    final = pd.concat([runs("relu", 0.5, 4), runs("elu", -0.5, 4), runs("tanh", 0.0, 4, noise=0.1)])
    table = dead_against_accuracy(final).set_index("activation")
    assert table["correlation"][["relu", "elu"]].tolist() == pytest.approx([-1, 1])
    assert table["low"]["tanh"] < 0 < table["high"]["tanh"]
    assert table["dead_fraction"].tolist() == pytest.approx([0.3] * 3)
    assert table["most"].tolist() == pytest.approx([0.6] * 3)
    assert table[["runs", "seeds"]].to_numpy().tolist() == [[160, 4]] * 3


def test_it_is_the_mean_of_the_seeds_own_correlations() -> None:
    final = runs("relu", 0.3, 5, noise=0.1)
    of_seeds = [
        own["final_dead_fraction"].corr(own["test_accuracy"], method="spearman") for _, own in final.groupby("seed")
    ]
    row = dead_against_accuracy(final).iloc[0]
    ends = stats.t.interval(0.95, 4, np.mean(of_seeds), stats.sem(of_seeds))
    assert [row["correlation"], row["low"], row["high"]] == pytest.approx([np.mean(of_seeds), *ends])


def test_what_has_nothing_to_correlate_is_left_out() -> None:
    alive = runs("leaky_relu", 0.5, 3).assign(final_dead_fraction=0.0)
    unmeasured = runs("elu", 0.5, 3).assign(final_dead_fraction=np.nan)
    alone = runs("relu", 0.5, 1)
    table = dead_against_accuracy(pd.concat([alive, unmeasured, alone, runs("tanh", 0.5, 2, cells=2)]))
    assert table["activation"].tolist() == ["relu"]
    assert table[["low", "high"]].isna().all(axis=None), "one seed has no interval"
    assert dead_against_accuracy(alone.iloc[:0]).empty
