"""Stacked training is plain torch training for every network, those of the user's own among them."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from trainatlas.catalogue import structure
from trainatlas.study import user_code
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.reference import train_reference
from trainatlas.train.stacked import train_stack

CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp", "relu", "kaiming_normal", "none", "momentum", "standardize", 0.01, 100, 1, 0)
NETWORKS = [
    ("mlp(depth=1, width=50)", "none"),
    ("mlp(depth=10, width=20)", "batch"),
    ("mlp(depth=50, width=8)", "layer"),
    ("cnn(depth=3, width=4)", "batch"),
    ("cnn(depth=2, width=4, pooling=average)", "none"),
    ("cnn_deep(depth=7, width=4)", "batch"),
    ("cnn_deep(depth=5, width=4)", "group(groups=2)"),
    ("resnet(width=4)", "batch"),
    ("resnet(depth=14, width=4)", "weight"),
    ("mine.py:attention(heads=2)", "none"),
]

ATTENTION = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self, side, classes, heads):
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(torch.randn(side, side) / 10)
        self.norm = nn.LayerNorm(side)
        self.keys = nn.Linear(side, 3 * side)
        self.output = nn.Linear(side, classes)

    def forward(self, x):
        rows = self.norm(x[:, 0] + self.position)
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.keys(rows).chunk(3, -1))
        weights = torch.softmax(q @ k.transpose(-1, -2), -1)
        return self.output((weights @ v).transpose(1, 2).flatten(2).mean(1))

def attention(shape, classes, heads=1):
    return Attention(shape[1], classes, heads)
"""


@pytest.mark.parametrize(("network", "normalisation"), NETWORKS)
def test_every_network_trains_alike_stacked_and_alone(network: str, normalisation: str) -> None:
    user_code.register({"mine.py": ATTENTION})
    store = ExampleStore(CPU, torch.float64, folder=Path())
    trials = [
        TRIAL._replace(network=network, normalisation=normalisation, seed=seed, optimizer=optimizer)
        for seed, optimizer in ((0, "adam"), (0, "momentum"), (1, "momentum"))
    ]
    trials = [trial._replace(learning_rate=0.002) if trial.optimizer == "adam" else trial for trial in trials]
    assert len({structure(trial) for trial in trials}) == 1
    for trial, result in zip(trials, train_stack(trials, store, CPU, "standard", torch.float64), strict=True):
        reference = train_reference(trial, store, dtype=torch.float64)
        assert all(math.isfinite(loss) for loss in reference.losses)
        found = [row[2] for row in itertools.islice((row for row in result.curve if row[1] == "train_batch"), 20)]
        assert found == pytest.approx(reference.losses[: len(found)], rel=1e-6)
        assert result.parameters == sum(parameter.numel() for parameter in reference.network.parameters())
