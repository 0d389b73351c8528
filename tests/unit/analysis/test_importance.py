"""The functional analysis of variance agrees with brute force, with Optuna's, and with surfaces whose shares are known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from trainatlas.analysis.columns import IMPORTANCE_COLUMNS
from trainatlas.analysis.effects import MINIMUM_DRAWS, REMAINDER
from trainatlas.analysis.importance import empirical_law, encoded, importance, parameter_columns, tree_shares
from trainatlas.train.records import names


def uniform(at: np.ndarray) -> np.ndarray:
    return np.clip(at, 0.0, 1.0)


def fitted(features: int, seed: int, leaves: int = 25) -> tuple[DecisionTreeRegressor, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(150, features)).astype("float32")
    X[:, 0] = np.floor(X[:, 0] * 3)  # a factor of three levels
    y = X[:, 0] * X[:, 1] + np.sin(6 * X[:, -1]) + 0.1 * rng.normal(size=len(X))
    return DecisionTreeRegressor(max_leaf_nodes=leaves, random_state=0).fit(X, y), X


@pytest.mark.parametrize("seed", range(3))
def test_a_trees_shares_are_those_of_predicting_every_combination(seed: int) -> None:
    tree, X = fitted(3, seed)
    grids = [np.unique(X[:, i], return_counts=True) for i in range(3)]
    thinned = [(values[::7] if len(values) > 5 else values) for values, _ in grids]
    points = np.array(list(itertools.product(*thinned)))
    cube = tree.predict(points).reshape([len(values) for values in thinned])
    laws = [empirical_law(values) for values in thinned]
    found = tree_shares(tree.tree_, laws)
    for i in range(3):
        others = tuple(j for j in range(3) if j != i)
        assert found[i, i] == pytest.approx(cube.mean(axis=others).var() / cube.var(), abs=1e-10)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        (rest,) = {0, 1, 2} - {i, j}
        both = cube.mean(axis=rest).var() / cube.var()
        assert found[i, j] == pytest.approx(both - found[i, i] - found[j, j], abs=1e-10)
    assert found[np.tril_indices(3, -1)].tolist() == [0.0, 0.0, 0.0]


def test_a_trees_shares_are_optunas() -> None:
    optuna = pytest.importorskip("optuna.importance._fanova._tree")
    tree, _ = fitted(4, 5)
    tree.tree_.threshold[tree.tree_.feature == 0] /= 3.0  # into the unit interval, as the other features
    oracle = optuna._FanovaTree(tree.tree_, np.array([[0.0, 1.0]] * 4))
    found = tree_shares(tree.tree_, [uniform] * 4)
    for i in range(4):
        assert found[i, i] == pytest.approx(oracle.get_marginal_variance(np.array([i])) / oracle.variance)
    for i, j in itertools.combinations(range(4), 2):
        both = oracle.get_marginal_variance(np.array([i, j])) / oracle.variance
        assert found[i, i] + found[j, j] + found[i, j] == pytest.approx(both)


def test_a_tree_that_is_constant_has_no_shares() -> None:
    tree = DecisionTreeRegressor().fit(np.zeros((4, 2)), np.ones(4))
    assert tree_shares(tree.tree_, [uniform, uniform]).tolist() == [[0, 0], [0, 0]]


def two_levels(trials: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Three factors of two levels and a rate: 0.5 + 0.2 a + 0.1 b c, a, b and c +1 or -1: shares 0.8 and 0.2."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], size=(trials, 3))
    table = pd.DataFrame(np.where(signs > 0, "up", "down"), columns=["a", "b", "c"])
    accuracy = 0.5 + 0.2 * signs[:, 0] + 0.1 * signs[:, 1] * signs[:, 2]
    return table.assign(learning_rate=rng.uniform(size=trials)), accuracy


def test_planted_shares_of_a_parameter_and_of_a_pair_are_found() -> None:
    table = importance(*two_levels(1000, 0))
    assert list(table) == list(names(IMPORTANCE_COLUMNS))
    shares = table.set_index("term")
    assert table["term"].iloc[0] == "a" and table.loc[table["order"] == 2, "term"].iloc[0] == "b x c"
    for term, known in (("a", 0.8), ("b x c", 0.2)):
        row = shares.loc[term]
        assert row["share"] == pytest.approx(known, abs=0.05)
        assert row["low"] - 0.02 <= known <= row["high"] + 0.02
    assert shares.drop(["a", "b x c"])["share"].max() < 0.03
    assert shares["share"].sum() == pytest.approx(1.0)
    assert shares["explained"].iloc[0] > 0.9
    assert table["term"].iloc[-1] == REMAINDER


def test_the_shares_of_ishigamis_function_are_found_roughly() -> None:
    """Ishigami and Homma 1990 with a = 7, b = 0.1: S1 = 0.314, S2 = 0.442, S13 = 0.244, all others 0."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi, np.pi, size=(2000, 3))
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    shares = importance(pd.DataFrame(x, columns=["a", "b", "c"]), y).set_index("term")["share"]
    for term, known in (("a", 0.314), ("b", 0.442), ("c", 0.0), ("a x c", 0.244), ("a x b", 0.0), ("b x c", 0.0)):
        assert shares[term] == pytest.approx(known, abs=0.1), term


def test_the_same_seed_gives_the_same_table_whatever_levels_are_called() -> None:
    parameters, accuracy = two_levels(200, 1)
    first, again = importance(parameters, accuracy), importance(parameters, accuracy)
    pd.testing.assert_frame_equal(first, again)
    renamed = importance(parameters.replace({"down": "k", "up": "z"}), accuracy)
    pd.testing.assert_frame_equal(first, renamed)


def test_too_few_draws_or_nothing_that_changes_have_no_importance() -> None:
    parameters, accuracy = two_levels(MINIMUM_DRAWS - 1, 0)
    assert importance(parameters, accuracy).empty
    parameters, accuracy = two_levels(MINIMUM_DRAWS, 0)
    assert importance(parameters[["a"]].assign(a="up"), accuracy).empty
    assert importance(parameters, np.full(MINIMUM_DRAWS, 0.5)).empty
    assert not importance(parameters, accuracy).empty


def test_parameters_are_known_by_their_names() -> None:
    draws = pd.DataFrame(
        columns=["seed", "optimizer.momentum", "batch_size", "steps_to_validation_accuracy_0.9", "network.width"]
    )
    assert parameter_columns(draws) == ["batch_size", "optimizer.momentum", "network.width"]


def test_a_parameter_that_a_level_does_not_have_is_one_value_apart() -> None:
    parameters = pd.DataFrame({"optimizer": ["adam", "momentum", "momentum"], "optimizer.momentum": [np.nan, 0.9, 0.5]})
    codes = encoded(parameters.assign(init="only"))
    assert list(codes) == ["optimizer", "optimizer.momentum"]
    momentum = codes["optimizer.momentum"]
    assert momentum.iloc[0] < 0.5 and momentum.iloc[1:].tolist() == [0.9, 0.5]


def test_a_conditional_parameter_carries_what_it_does_where_it_exists() -> None:
    rng = np.random.default_rng(0)
    has = rng.random(600) < 0.5
    momentum = np.where(has, rng.random(600), np.nan)
    table = pd.DataFrame(
        {"optimizer": np.where(has, "momentum", "sgd"), "optimizer.momentum": momentum, "x": rng.random(600)}
    )
    shares = importance(table, np.nan_to_num(momentum, nan=0.5)).set_index("term")["share"]
    both = shares["optimizer.momentum"] + shares["optimizer"] + shares["optimizer x optimizer.momentum"]
    assert both > 0.9 and shares["optimizer.momentum"] > 2 * shares["optimizer"]
