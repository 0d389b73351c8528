"""Steps are timed from end to end, and what is compared runs in turn; how long anything takes is nobody's business here."""

import itertools
from collections.abc import Callable

import pytest
import torch

from trainatlas.study.trial import Trial
from trainatlas.train import clock
from trainatlas.train.clock import step_seconds, turns
from trainatlas.train.examples import ExampleStore

TRIAL = Trial("digits", "mlp(depth=1, width=4)", "relu", "xavier_normal", "none", "sgd", "raw", 0.1, 64, 100, 0)
STORE = ExampleStore(torch.device("cpu"))


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A clock that goes on by a second whenever it is asked; returns a function that returns how often it was."""
    time = itertools.count()
    monkeypatch.setattr(clock.time, "perf_counter", lambda: float(next(time)))
    return lambda: next(time)


@pytest.mark.parametrize("optimizer", ["sgd", "lookahead(inner=sgd)"])
def test_the_clock_is_looked_at_once_a_run(optimizer: str, ticking: Callable[[], int]) -> None:
    """Runs of five steps that take a second together; an optimizer within another one takes no step of its own."""
    assert step_seconds(TRIAL._replace(optimizer=optimizer), STORE, 5, 4) == [0.2] * 4
    assert ticking() == 5


def test_steps_are_timed_across_epochs() -> None:
    seconds = step_seconds(TRIAL._replace(batch_size=1000), STORE, 1, 6)  # an epoch is one step
    assert len(seconds) == 6
    assert all(each > 0 for each in seconds)


def test_turns_follow_one_that_does_not_count() -> None:
    calls: list[str] = []

    def timed(name: str) -> Callable[[], float]:
        return lambda: calls.append(name) or len(calls)

    found = list(itertools.islice(turns([timed("a"), timed("b")]), 2))
    assert found == [[3, 4], [5, 6]]
    assert calls == ["a", "b"] * 3
