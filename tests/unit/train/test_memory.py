"""A job's memory is predicted before it trains, and kept to by smaller stacks."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainatlas.catalogue import structure
from trainatlas.study.errors import UserError
from trainatlas.study.planning import form_stacks
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.memory import predict
from trainatlas.train.pack import stacks_within

CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp(width=32)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.01, 64, 1, 0)

MEASURED = """
import json, re, sys, torch
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.memory import predict
from trainatlas.train.pack import prepare_process
from trainatlas.train.stacked import train_stack
changes, number = json.loads(sys.argv[1]), int(sys.argv[2])
# A small training part makes few steps; memory is at its fullest from the second on.
base = Trial("digits", "mlp(width=32)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.01, 64, 1, 0, 0.4, 0.4)
trials = [base._replace(seed=i % 2, **changes) for i in range(number)]
device = prepare_process()
store = ExampleStore(device)
needed = predict(trials, store).of(number)
train_stack(trials, store, device, "full")  # takes the most
used = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024  # not the parent's, as rusage may be
print(json.dumps([needed, used]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({}, 8),
        ({"network": "mlp(depth=4, width=128)", "optimizer": "adam"}, 100),
        ({"network": "mlp(depth=10, width=300)", "optimizer": "momentum", "normalisation": "batch"}, 24),
        ({"network": "cnn(depth=2, width=16)", "normalisation": "batch"}, 30),
        ({"network": "resnet(width=8)", "normalisation": "batch", "optimizer": "adam"}, 24),
        ({"activation": "soft_exponential", "network": "mlp(depth=3, width=256)", "regularisation": "dropout"}, 30),
    ],
)
def test_the_prediction_holds_what_is_used_and_not_much_more(
    changes: dict[str, Any], number: int, python: Callable[..., Any]
) -> None:
    done = python(MEASURED, json.dumps(changes), number)
    assert done.returncode == 0, done.stderr
    needed, used = json.loads(done.stdout)
    assert used <= needed * 1.02, (used / 2**20, needed / 2**20)
    assert used >= needed * 0.3, (used / 2**20, needed / 2**20)


def trials(number: int) -> list[Trial]:
    return [TRIAL._replace(seed=i % 3, preprocessing=("raw", "standardize")[i % 2], optimizer=("adam", "sgd")[i // 2 % 2])
            for i in range(number)]  # fmt: skip


def test_stacks_are_cut_until_they_fit_and_every_trial_stays() -> None:
    store = ExampleStore(CPU)
    stacks = form_stacks(
        [trial._replace(learning_rate=0.01 * (1 + i)) for i, trial in enumerate(trials(64))], structure
    )
    whole = predict(stacks[0], store).of(64)
    assert stacks_within(stacks, store, whole) == stacks
    one = predict(stacks[0][:1], store).of(1)
    limit = one + (whole - one) / 4
    cut = stacks_within(stacks, store, limit)
    assert len(cut) > 1
    assert sorted(trial.trial_id for stack in cut for trial in stack) == sorted(trial.trial_id for trial in stacks[0])
    for stack in cut:
        assert predict(stack, store).of(len(stack)) <= limit
        names = [trial.optimizer for trial in stack]
        assert names == sorted(names), "trials of one optimizer stand together"


def test_a_limit_that_not_even_one_trial_keeps_to_is_told_with_what_it_needs() -> None:
    with pytest.raises(
        UserError, match=r"--memory 100: a trial of mlp\(width=32\) on digits needs about \d+ MiB"
    ) as caught:
        stacks_within([[TRIAL]], ExampleStore(CPU), 100 * 2**20)
    assert len(str(caught.value).splitlines()) == 1


def test_no_limit_changes_nothing() -> None:
    stacks = [trials(3)]
    assert stacks_within(stacks, ExampleStore(CPU), None) is stacks
