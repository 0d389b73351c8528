"""Work is counted from the network, and ceilings are measured where the network runs."""

import pytest
import torch

from trainatlas.model.architectures import build_network
from trainatlas.train.work import Ceilings, StepWork, layer_work, measure_ceilings, step_work


def test_a_convolutions_work_is_its_outputs_times_its_fan_in() -> None:
    network = build_network("cnn(depth=2, width=8)", "relu", "none", (3, 32, 32), 10)
    found = [(work, outputs) for _, work, outputs in layer_work(network, (3, 32, 32))]
    first, second = 8 * 32 * 32, 16 * 16 * 16
    assert found == [(first * 27, first), (second * 72, second), (16 * 64 * 10, 10)]


def test_counting_leaves_running_statistics_and_mode_alone() -> None:
    network = build_network("cnn(depth=2, width=8)", "relu", "batch", (3, 32, 32), 10).train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    layer_work(network, (3, 32, 32))
    assert network.training
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_steps_work_follows_from_its_matrices() -> None:
    network = build_network("mlp(depth=1, width=32)", "relu", "none", (1, 8, 8), 10)
    work = step_work(network, (1, 8, 8), batch_size=64, slots=2)
    # Forward, and backward by weights, for both layers; backward by inputs for the second alone.
    assert work.operations == 2 * 64 * (2 * (64 * 32 + 32 * 10) + 32 * 10)
    parameters = 64 * 32 + 32 + 32 * 10 + 10
    assert work.bytes == 4 * (parameters * 10 + 64 * (64 + 4 * 42))


@pytest.mark.parametrize(("operations", "bytes_", "steps"), [(1e6, 1.0, 1000.0), (1.0, 1e6, 10.0)])
def test_the_scarcer_of_both_rates_sets_the_limit(operations: float, bytes_: float, steps: float) -> None:
    assert Ceilings(1e9, 1e7).steps(StepWork(operations, bytes_)) == pytest.approx(steps)


def test_ceilings_are_rates_of_this_machine() -> None:
    torch.set_num_threads(1)
    found = measure_ceilings(torch.device("cpu"), repeats=1)
    assert 1e8 < found.operations < 1e14
    assert 1e7 < found.bytes < 1e13
