"""What is timed is timed in turn, and ratios come from within a turn; how long anything takes is nobody's business here."""

import math
from collections.abc import Callable

import pytest
import torch

from trainatlas.claims.experiments import timing
from trainatlas.claims.experiments.timing import log_ratios, one_thread
from trainatlas.study.trial import Trial


def test_ratios_are_medians_over_turns_after_one_that_does_not_count() -> None:
    calls: list[str] = []
    paces = [100.0, 1.0, 5.0, 2.0]  # the machine's, turn by turn
    extra = [1.0, 2.0, 30.0, 2.0]

    def clock(name: str, factors: list[float]) -> Callable[[], float]:
        def run() -> float:
            turn = calls.count(name)
            calls.append(name)
            return paces[turn] * factors[turn]

        return run

    timed = {"relu": clock("relu", [1.0] * 4), "tanh": clock("tanh", extra), "elu": clock("elu", [3.0] * 4)}
    found = log_ratios(timed, "relu", 3)
    assert found == pytest.approx({"tanh": math.log(2), "elu": math.log(3)})
    assert calls == ["relu", "tanh", "elu"] * 4


def test_one_thread_within_and_as_before_behind() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="inside"), one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever it is asked: everything takes equally long."""
    time = iter(range(10**9))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(time)))


def test_activations_that_take_equally_long_cost_the_same(
    ticking: None, monkeypatch: pytest.MonkeyPatch, well_formed: Callable[..., None]
) -> None:
    monkeypatch.setattr(timing, "NUMBERS", {"cpu": 100, "cuda": 100})
    table = timing.activation_cost([1, 2], repeats=2)
    well_formed(table, [1, 2], ["sigmoid", "tanh", "elu"])
    assert (table["effect"] == 0).all()


@pytest.mark.parametrize(
    ("experiment", "cases", "pairs"),
    [
        (timing.activation_share, 1, ["sigmoid", "tanh", "elu"]),
        (timing.weight_norm_cost, 2, ["weight"]),
        (timing.layer_norm_cost, 2, ["layer"]),
    ],
)
def test_steps_that_take_equally_long_cost_the_same(
    experiment: Callable[..., object], cases: int, pairs: list[str], short: Trial, ticking: None,
    well_formed: Callable[..., None],
) -> None:  # fmt: skip
    table = experiment([3], short, repeats=1)
    well_formed(table, [3], pairs)
    assert table["case"].nunique() == cases
    assert (table["effect"] == 0).all()


def test_every_level_is_timed_under_its_own_name(
    short: Trial, monkeypatch: pytest.MonkeyPatch, well_formed: Callable[..., None]
) -> None:
    """With made-up seconds by level, the effects are the logarithms of their ratios."""
    seconds = {"weight": 3.0, "batch": 2.0, "layer": 5.0}
    monkeypatch.setattr(timing, "step_seconds", lambda trial, store, runs: [seconds[trial.normalisation]] * runs)
    assert timing.weight_norm_cost([1], short)["effect"].to_list() == pytest.approx([math.log(3 / 2)] * 2)
    assert timing.layer_norm_cost([1], short)["effect"].to_list() == pytest.approx([math.log(5 / 2)] * 2)
    seconds = {"relu": 2.0, "sigmoid": 4.0, "tanh": 1.0, "elu": 2.0}
    monkeypatch.setattr(timing, "step_seconds", lambda trial, store, runs: [seconds[trial.activation]] * runs)
    table = timing.activation_share([1], short._replace(epochs=1)).set_index("pair")["effect"]
    assert table.to_dict() == pytest.approx({"sigmoid": math.log(2), "tanh": -math.log(2), "elu": 0.0})


def test_activations_are_timed_on_their_own_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that goes on by a pass's own seconds, the effects are the logarithms of their ratios."""
    seconds = {"relu": 1.0, "sigmoid": 3.0, "tanh": 5.0, "elu": 0.5}
    monkeypatch.setattr(timing, "_passes", lambda name, x: lambda: seconds[name])
    monkeypatch.setattr(timing, "NUMBERS", {"cpu": 10, "cuda": 10})
    table = timing.activation_cost([1], repeats=3).drop_duplicates("pair").set_index("pair")["effect"]
    assert table.to_dict() == pytest.approx({name: math.log(seconds[name]) for name in timing.EXPONENTIAL})
