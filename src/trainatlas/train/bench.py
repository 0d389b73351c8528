"""How fast stacked training is on this machine: against plain loops in the same run, and against the machine's limit.

Machines are noisy, so everything is timed in turn, several times, and medians are compared.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from trainatlas.study.config import Probes
from trainatlas.study.levels import split_level
from trainatlas.study.storage import write_csv
from trainatlas.study.trial import Trial
from trainatlas.train.clock import turns
from trainatlas.train.examples import ExampleStore
from trainatlas.train.memory import predict
from trainatlas.train.reference import train_reference
from trainatlas.train.stack import Stack
from trainatlas.train.stacked import train_stack
from trainatlas.train.work import Ceilings, settle

SIZES = (1, 8, 32, 128, 512)
"""Trials to be trained, by row."""

PROCESS_STEPS = 200
"""Steps that a fresh process trains its one trial for: about what the default study gives a trial."""

_DIGITS = Trial(
    data="digits",
    network="mlp(depth=2, width=64)",
    activation="relu",
    init="kaiming_normal",
    normalisation="none",
    optimizer="adam",
    preprocessing="channel_standardize",
    learning_rate=0.001,
    batch_size=64,
    epochs=12,
    seed=0,
)
CASES = {
    "digits 2x64": _DIGITS,
    "Fashion-MNIST 5x128": _DIGITS._replace(
        data="fashion_mnist(examples=4000, test=1000)", network="mlp(depth=5, width=128)"
    ),
    "digits 10x500": _DIGITS._replace(network="mlp(depth=10, width=500)"),
    "CIFAR-10 cnn": _DIGITS._replace(data="cifar10(examples=2000, test=500)", network="cnn(depth=3, width=16)"),
}
"""What is timed: the first trial of each, the others having other seeds and rates."""


@dataclass(frozen=True)
class Throughput:
    """One row of the table.

    Attributes
    ----------
    trials, stack
        Trials to be trained, and how many of them the memory allows side by side.
    stacked, loop, process, scikit_learn
        Trial-steps per second, medians over the repeats: of the stack, of the plain loop, of a fresh process for
        each trial, and of scikit-learn's MLPClassifier where it can do the same work.
    limit
        Trial-steps per second that the machine's matrix products and copies would allow.
    """

    case: str
    trials: int
    stack: int
    stacked: float
    loop: float
    process: float
    scikit_learn: float | None
    limit: float

    @property
    def ratio(self) -> float:
        """Stacked throughput over the plain loop's."""
        return self.stacked / self.loop

    @property
    def share(self) -> float:
        """Stacked throughput over the limit."""
        return self.stacked / self.limit


def measure(
    device: torch.device,
    ceilings: Ceilings,
    memory: float,
    repeats: int = 3,
    seconds: float = 1.0,
    cases: Sequence[str] = tuple(CASES),
    sizes: Sequence[int] = SIZES,
) -> Iterator[Throughput]:
    """Time stacks of each case.

    Parameters
    ----------
    ceilings
        What the machine does at best, measured in the same run.
    memory
        Bytes that a stack may take; larger ones are cut.
    repeats, seconds
        How often, and for how long at least, each is timed; the plain loop is timed anew beside each.
    """
    store = ExampleStore(device)
    for case in cases:
        lead = CASES[case]
        process = statistics.median(_in_fresh_process(lead) for _ in range(repeats))
        scikit_learn = None
        if split_level(lead.network)[0] == "mlp":
            scikit_learn = statistics.median(_scikit_learn(lead, store, seconds) for _ in range(repeats))
        for size in sizes:
            trials = _company(lead, size)
            needed = predict(trials, store)
            stack = min(size, max(int((memory - needed.fixed) / needed.trial), 1))
            stacked, loop = _in_turn(
                lambda stack=stack, trials=trials: _stacked(trials[:stack], store, device, seconds),  # type: ignore[misc]
                lambda trials=trials: _loop(trials[0], store, device, seconds),  # type: ignore[misc]
                repeats=repeats,
            )
            yield Throughput(case, size, stack, stacked, loop, process, scikit_learn, _limit(lead, store, ceilings))


def write_rows(rows: Sequence[Throughput], path: Path) -> None:
    """Write the table as CSV."""
    names = [field.name for field in fields(Throughput)]
    write_csv(path, [*names, "ratio", "share"], [(*astuple(row), row.ratio, row.share) for row in rows])


def measure_probes(device: torch.device, repeats: int = 3, trials: int = 128) -> Iterator[tuple[Probes, float]]:
    """Time whole runs of the first case's trials with each preset; yield what it adds to that of "off", as a share of it."""
    store, company = ExampleStore(device), _company(_DIGITS, trials)
    presets: tuple[Probes, ...] = ("off", "light", "standard", "full")
    runs = [lambda probes=probes: _whole(company, store, device, probes) for probes in presets]
    bare, *others = _in_turn(*runs, repeats=repeats)
    for probes, seconds in zip(presets[1:], others, strict=True):
        yield probes, seconds / bare - 1


def _company(lead: Trial, size: int) -> list[Trial]:
    """Return `size` trials like `lead`, with four seeds as studies have them, each with a rate of its own."""
    return [lead._replace(seed=i % 4, learning_rate=lead.learning_rate * (1 + i / size)) for i in range(size)]


def _in_turn(*timed: Callable[[], float], repeats: int) -> list[float]:
    """Return the median of what each yields, after one run of each that does not count."""
    return [statistics.median(column) for column in zip(*itertools.islice(turns(timed), repeats), strict=True)]


def _stacked(trials: Sequence[Trial], store: ExampleStore, device: torch.device, seconds: float) -> float:
    stack = Stack(trials, store, device)
    steps, begun, epoch = -1, 0.0, 0
    while True:
        epoch += 1
        for _ in stack.steps(epoch):
            steps += 1  # the first one warms up
            settle(device)
            now = time.perf_counter()
            if steps == 0:
                begun = now
            elif now - begun >= seconds and steps >= 2:
                return len(trials) * steps / (now - begun)


def _loop(trial: Trial, store: ExampleStore, device: torch.device, seconds: float) -> float:
    """Return steps per second of the plain loop, its start-up left out by taking the difference of two runs."""
    few, many = 2, 12
    while True:
        times = []
        for steps in (few, many):
            begun = time.perf_counter()
            train_reference(trial._replace(epochs=10_000), store, steps)
            settle(device)
            times.append(time.perf_counter() - begun)
        if times[1] - times[0] >= seconds / 2:
            return (many - few) / (times[1] - times[0])
        many = few + 3 * (many - few)


def _whole(trials: Sequence[Trial], store: ExampleStore, device: torch.device, probes: Probes) -> float:
    begun = time.perf_counter()
    train_stack(trials, store, device, probes)
    return time.perf_counter() - begun


_FRESH = """
import json, sys
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.pack import prepare_process
from trainatlas.train.reference import train_reference
train_reference(Trial(**json.loads(sys.argv[1])), ExampleStore(prepare_process()), int(sys.argv[2]))
"""


def _in_fresh_process(trial: Trial) -> float:
    words = [sys.executable, "-c", _FRESH, json.dumps(trial._replace(epochs=10_000).as_dict()), str(PROCESS_STEPS)]
    begun = time.perf_counter()
    subprocess.run(words, check=True)
    return PROCESS_STEPS / (time.perf_counter() - begun)


def _scikit_learn(trial: Trial, store: ExampleStore, seconds: float) -> float:
    """Return steps per second of MLPClassifier on the same examples: same layers, optimizer and batches, no penalty."""
    variant = store.variant(trial)
    x, y = variant.x["train"].flatten(1).cpu().numpy(), variant.y["train"].cpu().numpy()
    options = split_level(trial.network)[1]
    model = MLPClassifier(
        hidden_layer_sizes=(int(options["width"]),) * int(options["depth"]),
        alpha=0.0,
        batch_size=trial.batch_size,
        learning_rate_init=trial.learning_rate,
        max_iter=1,
        warm_start=True,
        random_state=0,
    )
    steps = -(-len(x) // trial.batch_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
        epochs, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            model.fit(x, y)
            epochs += 1
    return epochs * steps / (time.perf_counter() - begun)


def _limit(trial: Trial, store: ExampleStore, ceilings: Ceilings) -> float:
    return 1 / ceilings.seconds(Stack([trial], store, store.device).step_work)
