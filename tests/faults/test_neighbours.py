"""A trial that fails changes nothing for those beside it.

Not one bit on a CPU, where every trial's piece of a stacked weight begins at a whole cache line, as with layers of
16 units, and two sound trials or more remain in the stack. Elsewhere the kernels that torch takes may round otherwise
for a stack of one, or for matrices that came to lie elsewhere when a trial left, and the last digits may differ;
tests/unit/train/test_stacked.py holds those to 1e-5.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from trainatlas.study import user_code
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.stacked import train_stack

CPU = torch.device("cpu")
STORE = ExampleStore(CPU)
SOUND = Trial("digits", "mlp(depth=2, width=16)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.05, 64, 2, 0)


def measured(trials: list[Trial]) -> dict[Trial, tuple[Any, ...]]:
    return {
        result.trial: (result.status, result.steps_run, result.curve, result.layers, result.metrics)
        for result in train_stack(trials, STORE, CPU)
    }


@settings(max_examples=12, phases=[Phase.generate])
@given(
    bad=st.sets(st.integers(0, 7), min_size=1, max_size=6),
    activation=st.sampled_from(["relu", "tanh", "gelu"]),
    normalisation=st.sampled_from(["none", "layer"]),  # batch normalisation: see docs/decisions/0012
    optimizer=st.sampled_from(["sgd", "adam"]),
    blown_up=st.sampled_from([{"learning_rate": 1e30}, {"init": "normal(std=1e30)"}]),
)
def test_trials_that_diverge_change_no_bit_of_their_neighbours(
    bad: set[int], activation: str, normalisation: str, optimizer: str, blown_up: dict[str, Any]
) -> None:
    lead = SOUND._replace(activation=activation, normalisation=normalisation, optimizer=optimizer)
    sound = [lead._replace(seed=i // 2, learning_rate=(0.05, 0.01)[i % 2]) for i in range(8)]
    mixed = [trial._replace(**blown_up) if i in bad else trial for i, trial in enumerate(sound)]
    alone, beside = measured(sound), measured(mixed)
    for i, trial in enumerate(sound):
        if i not in bad:
            assert beside[trial] == alone[trial]
    if normalisation == "none" and activation != "tanh":  # whose outputs stay within 1
        assert all(beside[mixed[i]][0] == "diverged" for i in bad)


MINE = """
calls = 0

def never(x):
    raise ValueError("this function is of no use")

def once(x):
    global calls
    calls += 1
    if calls == 20:
        raise ValueError("this function fails now and then")
    return x.clamp(min=0)
"""


def of_the_users_own(function: str, **rest: Any) -> Trial:
    user_code.register({"mine.py": MINE})
    trial = SOUND._replace(activation=f"mine.py:{function}", **rest)
    return trial._replace(user_code=user_code.digests(trial.levels()))


def test_a_function_of_the_users_own_that_raises_changes_no_bit_of_other_trials(
    new_job: Callable[..., Any], tmp_path: Path
) -> None:
    sound = [SOUND._replace(seed=seed) for seed in range(3)]
    bad = [of_the_users_own("never", seed=seed) for seed in range(2)]
    alone, beside = new_job(tmp_path / "alone", sound), new_job(tmp_path / "beside", [*sound, *bad])
    assert alone.train() and beside.train()
    expected, found = alone.tables(), beside.tables()
    assert set(found["trials.csv"].splitlines()) > set(expected["trials.csv"].splitlines())
    assert (found["curves.csv"], found["layers.csv"]) == (expected["curves.csv"], expected["layers.csv"])
    table = pd.read_csv(tmp_path / "beside" / "raw" / "trials.csv", index_col="trial_id")
    for trial in bad:
        row = table.loc[trial.trial_id]
        assert (row["status"], row["error"]) == ("failed", "ValueError: this function is of no use")


def test_a_stack_that_raises_in_the_midst_is_trained_in_halves_to_the_same_bits(
    new_job: Callable[..., Any], tmp_path: Path
) -> None:
    trials = [of_the_users_own("once", seed=seed) for seed in range(6)]
    job = new_job(tmp_path, trials)
    assert job.train()
    assert sum("training its halves" in line for line in job.said) == 1
    first = job.tables()
    assert job.train(), "the function is past its twentieth call"
    assert sum("training its halves" in line for line in job.said) == 1
    assert job.tables() == first
