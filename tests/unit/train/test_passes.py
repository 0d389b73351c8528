"""Trials pass through their network side by side or one after the other: the numbers are the same."""

import pytest
import torch
from torch import Tensor, nn

from trainatlas.model.architectures import build_network
from trainatlas.study.trial import Trial
from trainatlas.train import stack as stack_module
from trainatlas.train.examples import ExampleStore
from trainatlas.train.passes import goes_apart, gradients_of
from trainatlas.train.stack import Stack

CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp(depth=2, width=16)", "relu", "kaiming_normal", "none", "adam", "raw", 0.01, 64, 2, 0)


def network(text: str, shape: tuple[int, ...] = (3, 32, 32)) -> nn.Module:
    return build_network(text, "relu", "none", shape, 10)


@pytest.mark.parametrize(
    ("text", "shape", "trials", "device", "apart"),
    [
        ("mlp(depth=2, width=32)", (1, 8, 8), 2, "cpu", False),
        ("mlp(depth=10, width=500)", (1, 8, 8), 2, "cpu", False),
        ("mlp(depth=2, width=32)", (1, 8, 8), 1, "cpu", True),
        ("cnn(depth=2, width=8)", (1, 8, 8), 2, "cpu", False),
        ("cnn(depth=3, width=8)", (3, 32, 32), 2, "cpu", True),
        ("cnn(depth=3, width=8)", (3, 32, 32), 2, "cuda", False),
        ("cnn(depth=3, width=8)", (3, 32, 32), 1, "cuda", True),
    ],
)
def test_one_alone_and_large_convolutions_on_the_cpu_go_apart(
    text: str, shape: tuple[int, ...], trials: int, device: str, apart: bool
) -> None:
    assert goes_apart(network(text, shape), shape, trials, 64, torch.device(device)) is apart


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalisation": "batch", "regularisation": "dropout"},
        {"network": "cnn(depth=2, width=4)", "normalisation": "batch"},
        {"network": "resnet(width=4)", "normalisation": "batch", "augmentation": "crop"},
        {"network": "cnn_deep(depth=3, width=4)", "activation": "maxout", "normalisation": "group"},
        {"activation": "soft_exponential", "augmentation": "mixup", "regularisation": "label_smoothing"},
    ],
)
def test_side_by_side_and_one_after_the_other_agree(changes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [TRIAL._replace(seed=seed, learning_rate=rate, **changes) for seed in (0, 1) for rate in (0.002, 0.004)]  # type: ignore[arg-type]
    store = ExampleStore(CPU, torch.float64)
    trained: list[Stack] = []
    found: list[list[Tensor]] = []
    for apart in (False, True):
        monkeypatch.setattr(stack_module, "goes_apart", lambda *given, apart=apart: apart)
        stack = Stack(trials, store, CPU, torch.float64)
        losses = [stack.train_epoch(epoch)[0] for epoch in (1, 2)]
        evaluation, layers = stack.probe()
        found.append(
            [*losses, evaluation.loss, stack.evaluate("test", [3, 1]).loss]
            + [column for statistics in layers.values() for column in statistics.values()]
        )
        trained.append(stack)
    for mapped, apart_ in zip(*found, strict=True):
        torch.testing.assert_close(apart_, mapped, rtol=1e-7, atol=1e-9)
    for kind in ("parameters", "buffers"):
        states = [getattr(stack, kind) for stack in trained]
        for name, values in states[0].items():
            torch.testing.assert_close(states[1][name], values, rtol=1e-7, atol=1e-9)


def test_a_parameter_that_the_loss_does_not_see_has_no_gradient() -> None:
    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return (parameters["seen"] * x).sum()

    parameters = {"seen": torch.ones(2, 3), "unseen": torch.ones(2, 4)}
    for apart in (False, True):
        gradients, losses = gradients_of(loss, apart)(parameters, {}, torch.arange(6.0).reshape(2, 3))
        assert losses.tolist() == [3.0, 12.0]
        assert gradients["seen"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        assert gradients["unseen"].tolist() == [[0.0] * 4] * 2
