"""Parameters: there where a level has them, absent where they mean nothing, drawn by their laws."""

import copy
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.parameters import parted
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.rounds import plan_of_round
from trainatlas.study.trial import FACTORS, Trial

Content = dict[str, Any]
StudyOf = Callable[..., Study]

PARAMETERS = {
    "optimizer.momentum": {"low": 0.5, "high": 0.99},
    "regularisation.l2.strength": {"low": 1e-6, "high": 0.1, "scale": "log"},
    "preprocessing.components": {"low": 4, "high": 60, "whole": True},
    "batch_size": {"choices": [32, 64]},
    "optimizer.adam.beta1": {"choices": [0.8, 0.9], "when": {"batch_size": [32]}},
}


@pytest.fixture
def content(tiny: Content) -> Content:
    tiny["factors"] |= {
        "optimizer": ["sgd", "momentum", "adam"],
        "preprocessing": ["raw", "pca(components=32)"],
        "regularisation": ["none", "l2", "l1 + dropout"],
    }
    tiny["learning_rate"]["momentum"] = {"low": 0.001, "high": 0.1}
    tiny["parameters"] = copy.deepcopy(PARAMETERS)
    tiny["samples"] = [{"name": "random", "strategy": "random", "draws": 300, "seeds": [3, 4]}]
    return tiny


def draws(study: Study) -> list[Trial]:
    return [item.trial for item in plan_of_round(study, 1).planned]


def table(study: Study, trials: list[Trial]) -> pd.DataFrame:
    return parted(pd.DataFrame([trial.as_dict() for trial in trials]), study)


@pytest.mark.parametrize("design", ["independent", "sobol", "latin_hypercube"])
def test_a_parameter_is_there_where_it_has_a_meaning_and_nowhere_else(
    content: Content, study_of: StudyOf, design: str
) -> None:
    content["samples"][0]["design"] = design
    study = study_of(content)
    drawn = table(study, draws(study))
    there = {
        "optimizer.momentum": drawn["optimizer"] == "momentum",
        "regularisation.l2.strength": drawn["regularisation"] == "l2",
        "preprocessing.components": drawn["preprocessing"] == "pca(components=32)",
        "optimizer.adam.beta1": (drawn["optimizer"] == "adam") & (drawn["batch_size"] == 32),
    }
    for name, expected in there.items():
        assert 20 < expected.sum() < 280
        assert (drawn[name].notna() == expected).all(), name
    for factor in FACTORS:  # what the study writes, whatever parameters made of it
        assert set(drawn[factor]) == set(study.factors[factor])


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("design", ["independent", "sobol", "latin_hypercube"])
def test_values_follow_their_law(content: Content, study_of: StudyOf, design: str, scale: str) -> None:
    """Kolmogorov-Smirnov on 10,000 draws; those of an evenly spread design lie closer to the law than chance."""
    content["factors"] |= {"optimizer": ["momentum"], "regularisation": ["l2"], "preprocessing": ["pca(components=32)"]}
    content["parameters"].pop("optimizer.adam.beta1")
    content["parameters"]["optimizer.momentum"]["scale"] = scale
    content["learning_rate"]["momentum"]["scale"] = scale
    content["samples"][0] |= {"draws": 10_000, "design": design}
    study = study_of(content)
    drawn = table(study, draws(study))
    laws = {
        "learning_rate": (stats.loguniform(0.001, 0.1), stats.uniform(0.001, 0.099)),
        "optimizer.momentum": (stats.loguniform(0.5, 0.99), stats.uniform(0.5, 0.49)),
        "regularisation.l2.strength": (stats.loguniform(1e-6, 0.1), stats.loguniform(1e-6, 0.1)),
    }
    assert len(drawn) == 10_000
    for name, (log, linear) in laws.items():
        law = log if scale == "log" else linear
        low, high = law.support()
        assert drawn[name].between(low * (1 - 1e-5), high * (1 + 1e-5)).all()
        assert stats.kstest(drawn[name], law.cdf).pvalue > 0.001, name
    whole = drawn["preprocessing.components"].value_counts().reindex(range(4, 61), fill_value=0)
    assert whole.sum() == 10_000
    assert stats.chisquare(whole).pvalue > 0.001
    assert stats.chisquare(drawn["batch_size"].value_counts()).pvalue > 0.001


def test_what_a_trial_was_given_is_found_again(content: Content, study_of: StudyOf) -> None:
    study = study_of(content)
    for trial in draws(study):
        levels = dict(zip(FACTORS, trial.cell, strict=True))
        cell, values = study.space.parted(levels, trial.batch_size)
        given = {name: value for name, value in values.items() if name != "batch_size"}
        assert study.space.applied(cell, given) == levels


def test_identities_survive_reordering_and_more_draws(content: Content, study_of: StudyOf) -> None:
    before = [trial.trial_id for trial in draws(study_of(content))]
    turned = content | {
        "parameters": dict(reversed(content["parameters"].items())),
        "factors": {factor: levels[::-1] for factor, levels in reversed(content["factors"].items())},
    }
    assert [trial.trial_id for trial in draws(study_of(turned))] == before
    content["samples"][0]["draws"] = 400
    assert [trial.trial_id for trial in draws(study_of(content))][: len(before)] == before


def test_a_grid_tunes_what_it_names_and_leaves_the_rest_as_levels_say(content: Content, study_of: StudyOf) -> None:
    content["samples"] = [
        {
            "name": "grid",
            "strategy": "grid",
            "tune": {"learning_rate": 2, "optimizer.momentum": 3},
            "tuning_seeds": [0],
            "seeds": [1],
        }
    ]
    study = study_of(content)
    tuned = table(study, draws(study))
    cells = tuned.groupby(["activation", "init", "optimizer", "preprocessing", "regularisation"], observed=True)
    assert {(cell[2], len(rows)) for cell, rows in cells} == {("sgd", 2), ("momentum", 6), ("adam", 2)}
    momentum = tuned[tuned["optimizer"] == "momentum"]
    assert set(momentum["optimizer.momentum"]) == {0.5, 0.745, 0.99}
    assert set(tuned.loc[tuned["regularisation"] == "l2", "regularisation.l2.strength"]) == {1e-4}
    assert set(tuned["batch_size"]) == {64}


BAD = {
    "no such factor": (
        {"optimiser.momentum": {"low": 0, "high": 1}},
        "unknown parameter 'optimiser.momentum'; allowed: batch_size, FACTOR",
    ),
    "no such option": (
        {"optimizer.speed": {"low": 0, "high": 1}},
        "'optimizer.speed': no level of optimizer in this study has it; allowed: beta1",
    ),
    "of no level here": (
        {"optimizer.rmsprop.alpha": {"low": 0, "high": 0.9}},
        "no level of optimizer in this study has it",
    ),
    "beyond the option": (
        {"optimizer.momentum": {"low": 0.5, "high": 1.5}},
        "optimizer.momentum: 1.5 is no value of momentum's; allowed: a number in",
    ),
    "not whole": (
        {"preprocessing.components": {"low": 2, "high": 9}},
        "pca takes whole numbers; allowed: whole: true",
    ),
    "whole without whole ends": (
        {"preprocessing.components": {"low": 2.5, "high": 9, "whole": True}},
        "2.5 or high 9 is no whole number",
    ),
    "no law": ({"optimizer.momentum": {"low": 0.5}}, "has no law; allowed: low and high, or choices"),
    "two laws": (
        {"optimizer.momentum": {"low": 0.5, "high": 0.9, "choices": [0.5]}},
        "has choices and a range; allowed: either",
    ),
    "a choice twice": (
        {"optimizer.momentum": {"choices": [0.5, 0.5]}},
        r"choices is \[0.5, 0.5\]; allowed: at least one, each once",
    ),
    "reversed": (
        {"optimizer.momentum": {"low": 0.9, "high": 0.5}},
        "low 0.9 is above high 0.5; allowed: low <= high",
    ),
    "log through zero": (
        {"optimizer.momentum": {"low": 0, "high": 0.5, "scale": "log"}},
        "low is 0; allowed: above 0",
    ),
    "unknown condition": (
        {"optimizer.momentum": {"low": 0.5, "high": 0.9, "when": {"optimiser": ["sgd"]}}},
        "when: unknown factor 'optimiser'; allowed: activation, init",
    ),
    "condition never met": (
        {"optimizer.momentum": {"low": 0.5, "high": 0.9, "when": {"activation": ["gelu"]}}},
        "when: activation is never gelu; allowed: relu, tanh",
    ),
    "circle": (
        {
            "batch_size": {"choices": [32, 64], "when": {"optimizer.momentum": [0.5]}},
            "optimizer.momentum": {"choices": [0.5, 0.9], "when": {"batch_size": [32]}},
        },
        "when: .* waits for .*; allowed: no circle",
    ),
    "half a batch": (
        {"batch_size": {"low": 16, "high": 64}},
        "batch_size: has a range of numbers that are not whole; allowed: whole: true",
    ),
    "a batch too large": (
        {"batch_size": {"choices": [32, 99999]}},
        "parameters: batch_size is 99999; allowed: 1 to 1079",
    ),
    "misspelt key": (
        {"optimizer.momentum": {"low": 0.5, "hihg": 0.9}},
        "unknown key 'parameters.optimizer.momentum.hihg'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_parameter_that_cannot_be_is_refused_in_one_line(content: Content, study_of: StudyOf, case: str) -> None:
    parameters, said = BAD[case]
    with pytest.raises(UserError, match=said) as caught:
        study_of(content | {"parameters": parameters})
    assert "\n" not in str(caught.value) and "tiny.yaml: " in str(caught.value)


def test_two_levels_that_a_parameter_makes_alike_are_refused(content: Content, study_of: StudyOf) -> None:
    content["factors"]["preprocessing"] = ["pca(components=16)", "pca(components=32)"]
    with pytest.raises(UserError, match=r"'pca\(components=16\)' and 'pca\(components=32\)' differ only in an option"):
        study_of(content)


def test_a_grid_cannot_tune_what_is_no_parameter(content: Content, study_of: StudyOf) -> None:
    content["samples"] = [
        {
            "name": "grid",
            "strategy": "grid",
            "tune": {"learning_rate": 2, "optimizer.beta2": 3},
            "tuning_seeds": [0],
            "seeds": [1],
        }
    ]
    with pytest.raises(
        UserError, match=r"samples: 'grid': tune: unknown parameter 'optimizer.beta2'; allowed: learning_rate, "
    ):
        study_of(content)
