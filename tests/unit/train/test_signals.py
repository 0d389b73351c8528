"""Histograms and gradients by layer are what ordinary autograd hooks and numpy find on one trial at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainatlas.model.architectures import build_network
from trainatlas.study import user_code
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, Variant, probe_rows
from trainatlas.train.records import BINS
from trainatlas.train.signals import Distribution
from trainatlas.train.stack import Stack

CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp(depth=3, width=12)", "tanh", "kaiming_normal", "none", "sgd", "standardize", 0.1, 64, 1, 0)
Found = dict[str, dict[str, np.ndarray]]

CASES = {
    "mlp": {},
    "mlp, batch norm": {"normalisation": "batch", "activation": "relu"},
    "mlp, batch norm after": {"normalisation": "batch(position=after)"},
    "mlp, weight norm": {"normalisation": "weight"},
    "mlp, maxout": {"activation": "maxout"},
    "cnn": {"network": "cnn(depth=2, width=4)", "activation": "relu"},
    "cnn, batch norm": {"network": "cnn(depth=2, width=4)", "normalisation": "batch"},
    "deep cnn": {"network": "cnn_deep(depth=4, width=4)", "activation": "relu"},
    "resnet": {"network": "resnet(width=4)", "activation": "relu", "normalisation": "batch"},
}


@pytest.fixture(scope="module")
def store() -> ExampleStore:
    return ExampleStore(CPU, torch.float64)


def probe_set(variant: Variant) -> tuple[Tensor, Tensor]:
    rows = probe_rows(len(variant.y["train"]))
    return variant.x["train"][rows], variant.y["train"][rows]


def plain_network(stack: Stack, position: int) -> nn.Module:
    lead = stack.trials[0]
    network = build_network(lead.network, lead.activation, lead.normalisation, stack.examples.shape, 10).double()
    network.load_state_dict({name: value[position] for name, value in (stack.parameters | stack.buffers).items()})
    return network.eval()


def looked_at(network: nn.Module, x: Tensor, y: Tensor) -> Found:
    """All examples at once through an ordinary module; hooks keep what enters and what leaves each activation."""
    entered: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}

    def keep(path: str, z: Tensor, output: Tensor) -> None:
        z.retain_grad()
        entered[path], left[path] = z, output

    for path, module in network.named_modules():
        if path.endswith("activation"):
            module.register_forward_hook(lambda _, inputs, output, path=path: keep(path, inputs[0], output))
    logits = network(x)
    keep("output", logits, logits)
    nn.functional.cross_entropy(logits, y, reduction="sum").backward()  # type: ignore[no-untyped-call]
    return {
        path: {"activation": left[path].detach().numpy(), "gradient": np.asarray(z.grad)} for path, z in entered.items()
    }


def assert_like_numpy(distribution: Distribution, trial: int, values: np.ndarray) -> None:
    counts, edges = np.histogram(values, bins=BINS)
    assert distribution.low[trial].item() == pytest.approx(values.min(), rel=1e-9)
    assert distribution.high[trial].item() == pytest.approx(values.max(), rel=1e-9)
    assert distribution.std[trial].item() == pytest.approx(values.std(), rel=1e-9)
    # A value that lies on an edge may fall to either side of it by the last bit.
    assert np.abs(distribution.shares[trial].numpy() * values.size - counts).sum() <= 4
    filled = np.flatnonzero(distribution.shares[trial].numpy())
    for (low, high, share), i in zip(distribution.bins(trial), filled, strict=True):
        assert (low, high) == pytest.approx((edges[i], edges[i + 1]), abs=1e-9 * np.abs(values).max())
        assert share == distribution.shares[trial][i].item()


@pytest.mark.parametrize("case", CASES)
def test_every_layer_is_what_hooks_and_numpy_find(case: str, store: ExampleStore) -> None:
    """On a trained network, from three starts side by side."""
    trial = TRIAL._replace(**CASES[case])
    starts = [("kaiming_normal", 0), ("normal(std=0.3)", 0), ("lecun_normal", 1)]
    trials = [trial._replace(init=init, seed=seed) for init, seed in starts]
    stack = Stack(trials, store, CPU, torch.float64)
    stack.train_epoch(1)
    found = stack.signals()
    for i, one in enumerate(trials):
        variant = store.variant(one)
        expected = looked_at(plain_network(stack, i), *probe_set(variant))
        assert len(expected) == len(found) > 2
        for path, quantities in expected.items():
            layer = next(each for each in stack.layers if path == (each.activation or each.name))
            for quantity, values in quantities.items():
                assert_like_numpy(found[layer.name][quantity], i, values)


def test_an_untrained_batch_normalisation_is_looked_at_with_the_statistics_of_the_probe_set(
    store: ExampleStore,
) -> None:
    trial = TRIAL._replace(normalisation="batch")
    stack = Stack([trial], store, CPU, torch.float64)
    network, variant = plain_network(stack, 0), store.variant(trial)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None  # torch's word for: the plain mean over all batches seen, here one
    network.train()(probe_set(variant)[0])
    expected = looked_at(network.eval(), *probe_set(variant))
    found = stack.signals(untrained=True)
    for i in range(3):
        for quantity, values in expected[f"hidden.{i}.activation"].items():
            assert_like_numpy(found[f"hidden.{i}"][quantity], 0, values)


def test_chosen_trials_are_looked_at_alone_and_nothing_changes(store: ExampleStore) -> None:
    trials = [TRIAL._replace(normalisation="batch", seed=seed) for seed in (0, 1, 2)]
    stack = Stack(trials, store, CPU, torch.float64)
    before = {name: value.clone() for name, value in (stack.parameters | stack.buffers).items()}
    everyone, some = stack.signals(), stack.signals(positions=[2, 0])
    for layer, quantities in everyone.items():
        for quantity, distribution in quantities.items():
            assert torch.equal(some[layer][quantity].shares, distribution.shares[[2, 0]])
            assert torch.allclose(some[layer][quantity].std, distribution.std[[2, 0]], rtol=1e-12)
    for name, value in (stack.parameters | stack.buffers).items():
        assert torch.equal(value, before[name]), "a look changes nothing"


def test_what_is_found_does_not_depend_on_the_size_of_the_pieces(store: ExampleStore) -> None:
    found = [Stack([TRIAL._replace(batch_size=size)], store, CPU, torch.float64).signals() for size in (7, 128)]
    for layer, quantities in found[0].items():
        for quantity, distribution in quantities.items():
            other = found[1][layer][quantity]
            assert torch.allclose(distribution.std, other.std, rtol=1e-10)
            assert torch.allclose(distribution.shares, other.shares, atol=2 / 1079 / 12)


def test_a_layer_that_puts_out_one_number_has_one_bin_without_width(store: ExampleStore) -> None:
    stack = Stack([TRIAL._replace(init="constant(value=0.0)")], store, CPU, torch.float64)
    found = stack.signals()["hidden.1"]
    assert found["activation"].bins(0) == found["gradient"].bins(0) == [(0.0, 0.0, 1.0)]
    assert found["gradient"].std.item() == 0.0


def test_what_is_not_finite_has_no_bins_and_leaves_its_neighbours_alone(store: ExampleStore) -> None:
    trials = [TRIAL._replace(activation="relu", seed=seed) for seed in (0, 1)]
    stack, alone = (Stack(trials, store, CPU, torch.float64) for _ in range(2))
    stack.parameters["hidden.1.linear.weight"][0] = 1e308
    found, undisturbed = stack.signals(), alone.signals()
    assert found["output"]["activation"].bins(0) == []
    assert not math.isfinite(found["output"]["activation"].std[0].item())
    for layer, quantities in undisturbed.items():
        for quantity, distribution in quantities.items():
            assert found[layer][quantity].bins(1) == distribution.bins(1)


TWICE = """
from torch import nn

class Twice(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.first = nn.Linear(inputs, inputs)
        self.unused = nn.Linear(inputs, 3)
        self.activation = nn.Tanh()
        self.output = nn.Linear(inputs, classes)

    def forward(self, x):
        x = x.flatten(1)
        return self.output(self.first(self.first(x)).relu())

def twice(shape, classes):
    return Twice(shape[1] * shape[2], classes)
"""


def test_a_layer_that_the_network_runs_twice_or_never_is_left_out(store: ExampleStore) -> None:
    user_code.register({"twice.py": TWICE})
    trial = TRIAL._replace(network="twice.py:twice")
    assert set(Stack([trial], store, CPU, torch.float64).signals()) == {"output"}


def test_vanishing_gradients_keep_their_digits() -> None:
    """In single precision too: squares of 1e-25 are below what it can hold."""
    changes: dict[str, Any] = {"network": "mlp(depth=12, width=12)", "init": "normal(std=0.001)"}
    trial = TRIAL._replace(**changes)
    single, double = (
        Stack([trial], ExampleStore(CPU, dtype), CPU, dtype).signals()["hidden.0"]["gradient"]
        for dtype in (torch.float32, torch.float64)
    )
    assert 0 < double.std.item() < 1e-20
    assert single.std.item() == pytest.approx(double.std.item(), rel=1e-4)
