"""Runs are paired by seed and by everything but the factor: the oracle is a pivot table by pandas."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from trainatlas.analysis.pairing import by_cell, by_seed, pairing
from trainatlas.study.trial import FACTORS

Runs = Callable[..., pd.DataFrame]

LEVELS = {"activation": ("relu", "tanh", "elu"), "init": ("normal", "orthogonal"), "optimizer": ("sgd", "adam", "lion")}


@pytest.fixture
def runs(grid_runs: Runs) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    whole = grid_runs(LEVELS, range(3), lambda cell, seed: generator.uniform())
    return whole.drop(generator.choice(whole.index, 9, replace=False)).sample(frac=1, random_state=0)


@pytest.mark.parametrize("factor", LEVELS)
def test_pairs_are_those_of_a_pivot_table(factor: str, runs: pd.DataFrame) -> None:
    rest = [name for name in FACTORS if name != factor]
    wide = runs.pivot_table(index=["seed", *rest], columns=factor, values="test_accuracy")
    found = list(pairing(runs, factor, LEVELS[factor]).pairs())
    texts = LEVELS[factor]
    assert [(level, other) for level, other, _ in found] == [
        (level, other) for place, other in enumerate(texts) for level in texts[place + 1 :]
    ]
    for level, other, differences in found:
        expected = (wide[level] - wide[other]).dropna()
        assert (~np.isnan(differences)).sum() == len(expected)
        assert by_seed(differences) == pytest.approx(expected.groupby("seed").mean().to_numpy())
        assert by_cell(differences) == pytest.approx(expected.groupby(rest).mean().to_numpy())


def test_several_runs_of_one_cell_and_seed_count_with_their_mean(runs: pd.DataFrame) -> None:
    twice = pd.concat([runs, runs.assign(test_accuracy=runs["test_accuracy"] + 0.2)])
    once, both = (pairing(table, "activation", LEVELS["activation"]).values for table in (runs, twice))
    np.testing.assert_allclose(both, once + 0.1)


def test_levels_that_were_not_run_or_share_no_pair_are_left_out(grid_runs: Runs) -> None:
    runs = grid_runs(LEVELS, range(2), lambda cell, seed: 0.5)
    paired = pairing(runs[runs["activation"] != "tanh"], "activation", LEVELS["activation"])
    assert paired.levels == ("relu", "elu")
    split = runs[(runs["activation"] == "relu") == (runs["init"] == "normal")]
    assert [pair[:2] for pair in pairing(split, "activation", LEVELS["activation"]).pairs()] == [("elu", "tanh")]
    assert list(pairing(runs.iloc[:0], "activation", LEVELS["activation"]).pairs()) == []


def test_differences_that_cancel_leave_nothing_behind() -> None:
    assert by_seed(np.array([[0.1, 0.2, -0.3], [np.nan] * 3])).tolist() == [0.0]
