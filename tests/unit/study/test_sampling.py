"""Random draws are what the study says they are, and a study that grows keeps the trials it has."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

from trainatlas.study.config import Study
from trainatlas.study.rounds import plan_of_round
from trainatlas.study.sampling import Planned, Setting, grid_cells
from trainatlas.study.trial import FACTORS, Trial

StudyOf = Callable[..., Study]
Content = dict[str, Any]
DRAWS = 10_000
ONE_IN_A_THOUSAND = 1e-3


@pytest.fixture
def large(digits: Content, study_of: StudyOf) -> tuple[Study, list[Trial]]:
    """The default study with many draws, and these draws."""
    digits["samples"] = [{"name": "random", "strategy": "random", "draws": DRAWS, "seeds": [6, 7, 8, 9]}]
    study = study_of(digits)
    return study, trials(study, "random")


def all_planned(study: Study) -> list[Planned]:
    """Everything that both rounds plan, with one rate for every cell."""
    first = plan_of_round(study, 1)
    return first.planned if first.last else first.planned + second_round(study, settings_of(study))


def trials(study: Study, stage: str) -> list[Trial]:
    return [planned.trial for planned in all_planned(study) if planned.stage == stage]


def settings_of(study: Study) -> list[Setting]:
    return [Setting(cell, {"learning_rate": 0.1}) for cell in study.cells()]


def first_round(study: Study) -> list[Planned]:
    return plan_of_round(study, 1).planned


def second_round(study: Study, chosen: list[Setting]) -> list[Planned]:
    found = plan_of_round(study, 2, None, chosen)
    assert found.last
    return found.planned


def test_every_drawn_rate_lies_in_the_range_of_its_optimizer(large: tuple[Study, list[Trial]]) -> None:
    study, drawn = large
    assert len(drawn) == DRAWS
    for trial in drawn:
        allowed = study.rate_range(trial.optimizer)
        assert allowed.low <= trial.learning_rate <= allowed.high


def test_rates_are_drawn_log_uniformly(large: tuple[Study, list[Trial]]) -> None:
    study, drawn = large
    for optimizer in study.factors["optimizer"]:
        allowed = study.rate_range(optimizer)
        rates = [trial.learning_rate for trial in drawn if trial.optimizer == optimizer]
        law = stats.loguniform(allowed.low, allowed.high)
        assert stats.kstest(rates, law.cdf).pvalue > ONE_IN_A_THOUSAND
    shares = [
        (stats.loguniform(study.rate_range(trial.optimizer).low, study.rate_range(trial.optimizer).high)).cdf(
            trial.learning_rate
        )
        for trial in drawn[:1000]
    ]
    assert stats.kstest(shares, "uniform").pvalue > ONE_IN_A_THOUSAND


@pytest.mark.parametrize("factor", FACTORS)
def test_levels_are_drawn_equally_often(factor: str, large: tuple[Study, list[Trial]]) -> None:
    study, drawn = large
    counts = Counter(getattr(trial, factor) for trial in drawn)
    assert set(counts) == set(study.factors[factor])
    assert len(counts) == 1 or stats.chisquare(list(counts.values())).pvalue > ONE_IN_A_THOUSAND


@pytest.mark.parametrize(("a", "b"), [("activation", "init"), ("optimizer", "preprocessing"), ("init", "optimizer")])
def test_factors_are_drawn_independently(a: str, b: str, large: tuple[Study, list[Trial]]) -> None:
    study, drawn = large
    counts = Counter((getattr(trial, a), getattr(trial, b)) for trial in drawn)
    table = [[counts[x, y] for y in study.factors[b]] for x in study.factors[a]]
    assert stats.chi2_contingency(table).pvalue > ONE_IN_A_THOUSAND


def test_seeds_are_used_equally_often(large: tuple[Study, list[Trial]]) -> None:
    _, drawn = large
    assert set(Counter(trial.seed for trial in drawn).values()) == {DRAWS // 4}


def test_more_draws_keep_the_earlier_ones(tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][1]["draws"] = 50
    few = trials(study_of(tiny), "random")
    tiny["samples"][1]["draws"] = 80
    many = trials(study_of(tiny), "random")
    assert many[:50] == few
    assert len(many) == 80


def test_the_order_of_levels_changes_no_draw(tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][1]["draws"] = 50
    before = trials(study_of(tiny), "random")
    for levels in tiny["factors"].values():
        levels.reverse()
    assert trials(study_of(tiny), "random") == before


def test_a_new_level_takes_over_some_draws_and_leaves_the_others(tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][1]["draws"] = 90
    before = trials(study_of(tiny), "random")
    tiny["factors"]["activation"].append("sigmoid")
    after = trials(study_of(tiny), "random")
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert {trial.activation for trial in changed} == {"sigmoid"}
    assert 15 <= len(changed) <= 45


@pytest.mark.parametrize("design", ["independent", "sobol", "latin_hypercube"])
def test_another_draw_seed_draws_otherwise(design: str, tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][1]["design"] = design
    before = set(trials(study_of(tiny), "random"))
    tiny["samples"][1]["draw_seed"] = 1
    assert before.isdisjoint(trials(study_of(tiny), "random"))


# Designs that spread evenly ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sobol", "latin_hypercube"])
def spread(request: pytest.FixtureRequest, digits: Content) -> Content:
    """The default study with a power of two of draws of such a design."""
    sample = {"name": "random", "strategy": "random", "draws": 8192, "seeds": [6, 7], "design": request.param}
    return digits | {"samples": [sample]}


def places(study: Study) -> list[float]:
    """Where each draw's rate lies in its range, on a log scale."""
    found = []
    for trial in trials(study, "random"):
        allowed = study.rate_range(trial.optimizer)
        found.append(math.log(trial.learning_rate / allowed.low) / math.log(allowed.high / allowed.low))
    return found


def test_spread_draws_follow_the_laws_more_closely_than_chance(spread: Content, study_of: StudyOf) -> None:
    study = study_of(spread)
    drawn = trials(study, "random")
    assert len(drawn) == len(set(drawn)) == 8192
    assert all(0 <= place <= 1 for place in places(study))
    assert stats.kstest(places(study), "uniform").statistic < 1e-3  # chance alone: about 1e-2
    for factor in study.varied:
        counts = Counter(getattr(trial, factor) for trial in drawn)
        expected = 8192 / len(study.factors[factor])
        assert set(counts) == set(study.factors[factor])
        assert all(abs(count - expected) <= 2 for count in counts.values())


def test_a_sobol_sequence_is_spread_in_pairs_of_factors_too(digits: Content, study_of: StudyOf) -> None:
    sample = {"name": "random", "strategy": "random", "draws": 8192, "seeds": [6], "design": "sobol"}
    drawn = trials(study_of(digits | {"samples": [sample]}), "random")
    counts = Counter((trial.optimizer, trial.init) for trial in drawn)  # four levels each
    assert set(counts.values()) == {8192 // 16}


@pytest.mark.parametrize("factor", ["activation", "init", "normalisation", "optimizer", "preprocessing"])
def test_seeds_of_spread_draws_go_with_no_factor(factor: str, spread: Content, study_of: StudyOf) -> None:
    study = study_of(spread)
    counts = Counter((trial.seed, getattr(trial, factor)) for trial in trials(study, "random"))
    table = [[counts[seed, level] for level in study.factors[factor]] for seed in (6, 7)]
    assert stats.chi2_contingency(table).pvalue > ONE_IN_A_THOUSAND


@pytest.mark.parametrize("draws", [1, 2, 100, 129])
def test_a_sobol_sequence_that_is_made_longer_keeps_its_draws(draws: int, tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][1] |= {"design": "sobol", "draws": draws}
    few = trials(study_of(tiny), "random")
    tiny["samples"][1]["draws"] = 300
    assert trials(study_of(tiny), "random")[:draws] == few
    assert len(few) == draws


def test_the_order_of_levels_changes_no_spread_draw(spread: Content, study_of: StudyOf) -> None:
    before = trials(study_of(spread), "random")
    for levels in spread["factors"].values():
        levels.reverse()
    assert trials(study_of(spread), "random") == before


def test_excluded_cells_are_neither_drawn_nor_tuned(tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][1]["draws"] = 50
    everything = all_planned(study_of(tiny))
    tiny["exclude"] = [{"when": {"activation": ["tanh"], "optimizer": ["sgd"]}, "reason": "for the test"}]
    kept = all_planned(study_of(tiny))
    assert kept == [item for item in everything if (item.trial.activation, item.trial.optimizer) != ("tanh", "sgd")]


def test_tuning_tries_every_rate_of_every_cell_on_every_tuning_seed(tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][0]["tuning_seeds"] = [0, 9]
    study = study_of(tiny)
    tried = {(trial.cell, trial.learning_rate, trial.seed) for trial in trials(study, "tuning")}
    assert tried == {
        (tuple(cell.values()), rate, seed)
        for cell in study.cells()
        for rate in study.rate_range(cell["optimizer"]).grid(2)
        for seed in (0, 9)
    }


def test_every_trial_is_planned_once(tiny: Content, study_of: StudyOf) -> None:
    tiny["learning_rate"]["sgd"] = {"low": 0.1, "high": 0.1}
    planned = all_planned(study_of(tiny))
    assert len({item.trial.trial_id for item in planned}) == len(planned)


def test_final_runs_take_the_chosen_rates_to_every_final_seed(tiny: Content, study_of: StudyOf) -> None:
    study = study_of(tiny)
    rates = [(cell, 0.01 * (1 + i)) for i, cell in enumerate(study.cells())]
    chosen = [Setting(cell, {"learning_rate": rate}) for cell, rate in rates]
    planned = [item for item in second_round(study, chosen) if item.stage == "final"]
    assert {(item.trial.cell, item.trial.learning_rate, item.trial.seed) for item in planned} == {
        (tuple(cell.values()), rate, seed) for cell, rate in rates for seed in (1, 2)
    }


def test_final_seeds_differ_from_tuning_seeds(digits: Content, study_of: StudyOf) -> None:
    study = study_of(digits)
    tuned = {trial.seed for trial in trials(study, "tuning")}
    final = {planned.trial.seed for planned in second_round(study, settings_of(study))}
    assert tuned and final and tuned.isdisjoint(final)


def test_the_study_decides_all_the_rest(tiny: Content, study_of: StudyOf) -> None:
    tiny |= {"validation_share": 0.25, "test_share": 0.15}
    for planned in first_round(study_of(tiny)):
        trial = planned.trial
        assert (trial.data, trial.network, trial.epochs, trial.batch_size) == ("digits", "mlp(width=8)", 2, 64)
        assert (trial.validation_share, trial.test_share) == (0.25, 0.15)


def ids(planned: list[Planned]) -> set[str]:
    return {item.trial.trial_id for item in planned}


def test_identities_survive_another_name_order_and_growth(tiny: Content, study_of: StudyOf) -> None:
    before = first_round(study_of(tiny))
    assert ids(first_round(study_of(tiny, "renamed"))) == ids(before)
    reordered = tiny | {"factors": {key: tiny["factors"][key][::-1] for key in reversed(tiny["factors"])}}
    assert ids(first_round(study_of(reordered))) == ids(before)
    tiny["factors"]["activation"].append("sigmoid")
    tiny["samples"][1]["draws"] = 12
    grown = first_round(study_of(tiny))
    tuned = [item for item in before if item.stage == "tuning"]
    assert ids(tuned) < ids(grown)


def test_a_grid_of_a_resolution_runs_a_balanced_fraction_whatever_the_order_of_levels(
    digits: Content, study_of: StudyOf
) -> None:
    digits.pop("exclude", None)
    digits["samples"] = [digits["samples"][0] | {"resolution": 3}]
    study = study_of(digits)
    cells = [tuple(cell.values()) for cell in grid_cells(study, study.samples[0])]
    assert (len(cells), len(set(cells)), sum(1 for _ in study.cells())) == (240, 240, 960)
    varied = [i for i, factor in enumerate(FACTORS) if len(study.factors[factor]) > 1]
    for a, b in itertools.combinations(varied, 2):
        assert set(Counter((cell[a], cell[b]) for cell in cells).values()) == {
            240 // (len(study.factors[FACTORS[a]]) * len(study.factors[FACTORS[b]]))
        }
    digits["factors"] = {factor: levels[::-1] for factor, levels in digits["factors"].items()}
    turned = study_of(digits)
    assert {tuple(cell.values()) for cell in grid_cells(turned, turned.samples[0])} == set(cells)
    assert len(plan_of_round(study, 1).planned) == 240 * 5
