"""Searches on response surfaces that are known: each goes where it should, and its rounds follow from outcomes alone."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainatlas.catalogue import TABLES
from trainatlas.study.config import Study, load_study
from trainatlas.study.errors import UserError
from trainatlas.study.outcomes import Outcome
from trainatlas.study.rounds import plan_of_round, refuse_too_many, sizes
from trainatlas.study.samples import SuccessiveHalving
from trainatlas.study.sampling import Planned
from trainatlas.study.searches import Region
from trainatlas.study.trial import Trial

Content = dict[str, Any]
StudyOf = Callable[..., Study]
Surface = Callable[[Trial], float]

SEARCHES: dict[str, Content] = {
    "coarse_to_fine": {"draws": 40, "coarse_epochs": 2},
    "successive_halving": {"draws": 27, "first_epochs": 1, "reduction": 3},
    "bayesian": {"draws": 40, "batch": 10, "startup": 10},
}


def peak(trial: Trial) -> float:
    """Accuracy falls off around a rate of 0.03 and is a little better with tanh; more epochs bring it out more clearly."""
    distance = math.log10(trial.learning_rate / 0.03)
    return math.exp(-(distance**2)) * (0.9 if trial.activation == "tanh" else 0.8) * (1 - 0.3 / trial.last_epoch)


def searching(content: Content, strategy: str, **changes: Any) -> Content:
    sample = {"name": "search", "strategy": strategy, "seeds": [0], **SEARCHES[strategy], **changes}
    factors = {factor: levels[:1] for factor, levels in content["factors"].items()} | {"activation": ["relu", "tanh"]}
    rates = {"sgd": {"low": 1e-6, "high": 1.0}}
    return content | {"epochs": 9, "factors": factors, "learning_rate": rates, "samples": [sample], "targets": []}


def rounds_of(study: Study, surface: Surface = peak) -> list[tuple[list[Planned], list[Region]]]:
    """All rounds, as they come when a trial's validation accuracy is what `surface` says."""
    outcomes: dict[str, Outcome] = {}
    found = []
    for number in range(1, 100):
        planned, last, regions = plan_of_round(study, number, outcomes)
        found.append((planned, regions))
        for item in planned:
            accuracy = surface(item.trial)
            status = "ok" if math.isfinite(accuracy) else "diverged"
            outcomes[item.trial.trial_id] = Outcome(status, accuracy, accuracy, -accuracy)
        if last:
            return found
    raise AssertionError("the search has no end")


def rates(planned: Sequence[Planned]) -> list[float]:
    return [item.trial.learning_rate for item in planned]


# Coarse to fine.


def test_the_fine_stage_lies_around_the_optimum_and_trains_in_full(tiny: Content, study_of: StudyOf) -> None:
    (coarse, _), (fine, regions) = rounds_of(study_of(searching(tiny, "coarse_to_fine")))
    assert (len(coarse), len(fine)) == (40, 40)
    assert {item.trial.epochs for item in coarse} == {2} and {item.trial.epochs for item in fine} == {9}
    assert {item.stage for item in coarse} == {"coarse"} and {item.stage for item in fine} == {"fine"}
    (region,) = regions
    assert region.name == "learning_rate.sgd" and region.edge == ""
    assert 1e-4 < region.low < 0.03 < region.high <= 1.0
    assert math.log10(region.high / region.low) < 3, "half of the six decades that were searched"
    assert all(region.low <= rate <= region.high for rate in rates(fine))
    assert max(map(peak, (item.trial for item in fine))) > max(map(peak, (item.trial for item in coarse)))


def test_over_many_seeds_the_fine_stage_finds_the_optimum_better_than_as_many_coarse_draws(
    tiny: Content, study_of: StudyOf
) -> None:
    """Both with the budget of full training: what counts is where the draws fall."""
    better = 0
    for seed in range(20):
        content = searching(tiny, "coarse_to_fine", draw_seed=seed, draws=20)
        (coarse, _), (fine, _) = rounds_of(study_of(content))
        in_full = [item.trial._replace(epochs=9) for item in coarse]
        better += max(map(peak, (item.trial for item in fine))) > max(map(peak, in_full))
    assert better >= 16  # a fair coin gives 16 or more of 20 in 0.6 % of cases


@pytest.mark.parametrize(("optimum", "edge"), [(2.0, "high"), (1e-7, "low")])
def test_an_optimum_beyond_the_range_is_flagged_and_the_range_made_longer(
    optimum: float, edge: str, tiny: Content, study_of: StudyOf
) -> None:
    def beyond(trial: Trial) -> float:
        return math.exp(-(math.log10(trial.learning_rate / optimum) ** 2))

    stays = rounds_of(study_of(searching(tiny, "coarse_to_fine")), beyond)
    assert [region.edge for region in stays[-1][1]] == [edge]
    assert all(1e-6 <= rate <= 1.0 for planned, _ in stays for rate in rates(planned))
    goes = rounds_of(study_of(searching(tiny, "coarse_to_fine", extensions=2)), beyond)
    assert [len(planned) for planned, _ in goes] == [40, 40, 40]
    extended, fine = goes[1][1][0], goes[2][1][0]
    assert (extended.edge, extended.searched_low, extended.searched_high) == (edge, 1e-6, 1.0)
    assert extended.high == pytest.approx(1000.0 if edge == "high" else 1.0)
    assert fine.edge == "" and fine.low < optimum < fine.high


def test_a_range_is_made_longer_no_more_often_than_the_study_says(tiny: Content, study_of: StudyOf) -> None:
    study = study_of(searching(tiny, "coarse_to_fine", extensions=3, draws=150))
    found = rounds_of(study, lambda trial: math.log(trial.learning_rate))
    assert [planned[0].stage for planned, _ in found] == ["coarse"] * 4 + ["fine"]


def test_a_parameter_is_not_sought_where_its_level_allows_no_value(tiny: Content, study_of: StudyOf) -> None:
    content = searching(tiny, "coarse_to_fine", extensions=1, draws=60)
    content["factors"]["optimizer"] = ["momentum"]
    content["learning_rate"] = {"momentum": {"low": 0.03, "high": 0.03}}
    content["parameters"] = {"optimizer.momentum": {"low": 0.5, "high": 0.9}}
    study = study_of(content)

    def momentum(trial: Trial) -> float:
        return float(study.space.parted(trial.levels(), 64)[1]["optimizer.momentum"])

    found = rounds_of(study, momentum)
    highest = {region.name: region.high for region in found[1][1]}["optimizer.momentum"]
    assert 0.9 < highest < 1.0  # an option of momentum's own: below 1
    assert max(momentum(item.trial) for item in found[1][0]) > 0.9


# Successive halving.


def test_the_best_of_each_rung_go_on_and_name_whom_they_continue(tiny: Content, study_of: StudyOf) -> None:
    found = [planned for planned, _ in rounds_of(study_of(searching(tiny, "successive_halving")))]
    assert [len(planned) for planned in found] == [27, 9, 3]
    assert [{item.trial.last_epoch for item in planned} for planned in found] == [{1}, {3}, {9}]
    assert {item.trial.epochs for planned in found for item in planned} == {9}, "schedules are made for all epochs"
    for before, after in itertools.pairwise(found):
        best = sorted((item.trial for item in before), key=peak, reverse=True)[: len(after)]
        assert {item.parent for item in after} == set(best)
        assert all(item.parent == item.trial._replace(stop_epoch=item.parent.stop_epoch) for item in after)
    assert all(item.parent is None for item in found[0])
    assert found[-1][0].trial.stop_epoch == 0, "the last rung's trials are ordinary ones"


@given(draws=st.integers(1, 500), first=st.integers(1, 20), reduction=st.integers(2, 6), epochs=st.integers(2, 300))
def test_rungs_grow_by_the_reduction_and_end_at_the_studys_epochs(
    draws: int, first: int, reduction: int, epochs: int
) -> None:
    sample = SuccessiveHalving(
        name="s", strategy="successive_halving", seeds=(0,), draws=draws, first_epochs=first, reduction=reduction
    )
    if first >= epochs:
        return
    rungs = sample.rungs(epochs)
    assert rungs[0] == (draws, first) and rungs[-1][1] == epochs
    for (many, short), (few, long) in itertools.pairwise(rungs):
        assert few == many // reduction and short < long <= short * reduction


def test_trials_that_diverge_do_not_go_on(tiny: Content, study_of: StudyOf) -> None:
    def half(trial: Trial) -> float:
        return math.nan if trial.learning_rate > 1e-3 else trial.learning_rate

    found = [planned for planned, _ in rounds_of(study_of(searching(tiny, "successive_halving")), half)]
    assert all(item.trial.learning_rate <= 1e-3 for planned in found[1:] for item in planned)


# Bayesian search.


def test_later_batches_lie_nearer_the_optimum(tiny: Content, study_of: StudyOf) -> None:
    content = searching(tiny, "bayesian", draws=60)
    found = [planned for planned, _ in rounds_of(study_of(content))]
    assert [len(planned) for planned in found] == [10] * 6
    distances = [[abs(math.log10(rate / 0.03)) for rate in rates(planned)] for planned in found]
    assert np.median(distances[-1]) < np.median(distances[0]) / 2
    tanh = [sum(item.trial.activation == "tanh" for item in planned) for planned in found]
    assert tanh[-1] + tanh[-2] > tanh[0] + 2, "and take the better activation"


def test_combinations_that_the_study_leaves_out_are_not_proposed(tiny: Content, study_of: StudyOf) -> None:
    content = searching(tiny, "bayesian")
    content["factors"]["init"] = ["kaiming_normal", "normal(std=0.01)"]
    content["exclude"] = [{"when": {"activation": ["tanh"], "init": ["kaiming_normal"]}, "reason": "a rule"}]
    found = [item.trial for planned, _ in rounds_of(study_of(content)) for item in planned]
    assert len(found) == 40
    assert not any((trial.activation, trial.init) == ("tanh", "kaiming_normal") for trial in found)


# All of them.


@pytest.mark.parametrize("strategy", SEARCHES)
def test_a_search_is_the_same_from_the_same_seed_and_another_from_another(
    strategy: str, tiny: Content, study_of: StudyOf
) -> None:
    def ids(**changes: Any) -> list[list[str]]:
        found = rounds_of(study_of(searching(tiny, strategy, final_seeds=[7, 8], **changes)))
        return [[item.trial.trial_id for item in planned] for planned, _ in found]

    assert ids() == ids()
    assert not {i for planned in ids() for i in planned} & {i for planned in ids(draw_seed=1)[:-1] for i in planned}


@pytest.mark.parametrize("strategy", SEARCHES)
@pytest.mark.parametrize("winners", [1, 3])
def test_the_best_are_run_on_fresh_seeds_in_the_end(
    strategy: str, winners: int, tiny: Content, study_of: StudyOf
) -> None:
    *before, (last, _) = rounds_of(study_of(searching(tiny, strategy, final_seeds=[7, 8], winners=winners)))
    assert {item.stage for item in last} == {"winner"}
    assert len(last) == 2 * winners and {item.trial.seed for item in last} == {7, 8}
    candidates = [item.trial for planned, _ in before for item in planned if item.trial.last_epoch == 9]
    best = sorted(candidates, key=peak, reverse=True)[:winners]
    assert {item.trial._replace(seed=0) for item in last} == set(best)


@pytest.mark.parametrize("strategy", SEARCHES)
def test_what_is_foreseen_is_what_comes(strategy: str, tiny: Content, study_of: StudyOf) -> None:
    study = study_of(searching(tiny, strategy, final_seeds=[7, 8]))
    assert sizes(study) == [len(planned) for planned, _ in rounds_of(study)]


@pytest.mark.parametrize("metric", ["validation_loss", "best_validation_accuracy"])
def test_the_metric_decides(metric: str, tiny: Content, study_of: StudyOf) -> None:
    study = study_of(searching(tiny, "successive_halving", metric=metric))
    first = plan_of_round(study, 1).planned
    order = {item.trial.trial_id: i for i, item in enumerate(first)}
    outcomes = {
        trial_id: Outcome("ok", i / 100, (i * 7 % 27) / 100, float(i * 5 % 27)) for trial_id, i in order.items()
    }
    second = plan_of_round(study, 2, outcomes).planned
    went_on = {order[item.parent.trial_id] for item in second if item.parent}
    key = (lambda i: i * 5 % 27) if metric == "validation_loss" else (lambda i: -(i * 7 % 27))
    assert went_on == set(sorted(range(27), key=key)[:9])


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), strategy=st.sampled_from(["coarse_to_fine", "successive_halving"]))
def test_no_trial_is_planned_twice_and_every_rate_lies_in_its_range(
    tmp_path_factory: pytest.TempPathFactory, tiny_content_of_session: Content, seed: int, strategy: str
) -> None:
    generator = np.random.default_rng(seed)
    content = searching(dict(tiny_content_of_session), strategy, draw_seed=seed, final_seeds=[5])
    path = tmp_path_factory.mktemp("studies") / "search.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    found = rounds_of(load_study(path, TABLES), lambda trial: float(generator.uniform()))
    trials = [item.trial for planned, _ in found for item in planned]
    assert len({trial.trial_id for trial in trials}) == len(trials)
    assert all(1e-6 <= trial.learning_rate <= 1.0 for trial in trials)


BAD = {
    "coarse as long as fine": ("coarse_to_fine", {"coarse_epochs": 9}, "coarse_epochs is 9; allowed: fewer than epochs, 9"),
    "too few to span a region": (
        "coarse_to_fine", {"draws": 5}, "draws is 5, of which keep 0.2 leaves fewer than 2 .*allowed: at least 10",
    ),
    "nothing left for the last rung": (
        "successive_halving", {"draws": 8}, "draws is 8, of which none is left for the last of 3 rungs; allowed: at least 9",
    ),
    "one rung": ("successive_halving", {"first_epochs": 9}, "first_epochs is 9; allowed: fewer than epochs, 9"),
    "all at random": ("bayesian", {"startup": 40}, "draws is 40, all of them made at random .*allowed: more than startup"),
    "seeds shared": ("bayesian", {"final_seeds": [0, 1]}, r"seeds \[0\] also stand in seeds"),
    "unknown metric": ("bayesian", {"metric": "accuracy"}, "metric is \"accuracy\"; allowed: 'validation_accuracy'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_search_that_cannot_be_is_refused_in_one_line(case: str, tiny: Content, study_of: StudyOf) -> None:
    strategy, changes, said = BAD[case]
    with pytest.raises(UserError, match=said) as caught:
        study_of(searching(tiny, strategy, **changes))
    assert "\n" not in str(caught.value)


def test_more_trials_than_the_study_allows_are_refused_before_they_are_counted_out(
    tiny: Content, study_of: StudyOf
) -> None:
    refuse_too_many(study_of(tiny))
    assert sum(sizes(study_of(tiny))) == 70
    with pytest.raises(UserError, match=r"asks for 7[0-9] trials or more; allowed: 69, its max_trials.*--allow-large"):
        refuse_too_many(study_of(tiny | {"max_trials": 69}))
    tiny["exclude"] = [{"when": {"activation": ["relu"]}, "reason": "half of all"}]
    refuse_too_many(study_of(tiny | {"max_trials": 38}))
    with pytest.raises(UserError, match="allowed: 37, its max_trials"):
        refuse_too_many(study_of(tiny | {"max_trials": 37}))
    with pytest.raises(UserError, match="asks for 120 trials or more; allowed: 100"):
        refuse_too_many(study_of(searching(tiny, "coarse_to_fine", extensions=1) | {"max_trials": 100, "exclude": []}))


def test_an_unknown_strategy_is_refused_with_those_there_are(tiny: Content, study_of: StudyOf) -> None:
    tiny["samples"][0]["strategy"] = "annealing"
    with pytest.raises(
        UserError, match=r"samples.0.strategy is 'annealing'; allowed: grid, random, coarse_to_fine, succ"
    ):
        study_of(tiny)


def test_no_batch_larger_than_the_training_part_is_sought(tiny: Content, study_of: StudyOf) -> None:
    content = searching(tiny, "coarse_to_fine", extensions=2, draws=60)
    content["parameters"] = {"batch_size": {"low": 100, "high": 800, "whole": True}}
    study = study_of(content)
    found = rounds_of(study, lambda trial: trial.batch_size)
    tried = [item.trial.batch_size for planned, _ in found for item in planned]
    assert 800 < max(tried) <= study.parts.train
