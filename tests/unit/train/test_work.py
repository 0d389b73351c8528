"""Work is counted from the network, and ceilings are measured where the network runs."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from trainatlas.model.architectures import build_network
from trainatlas.train.work import Ceilings, StepWork, kept_ceilings, layer_work, measure_ceilings, step_work


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


def test_a_network_without_layers_that_can_be_counted_has_its_traffic_alone() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    assert step_work(network, (1, 2, 2), batch_size=8, slots=0) == StepWork(0.0, 4.0 * (8 * 6 + 8 * 4))


@pytest.mark.parametrize(("operations", "bytes_", "seconds"), [(1e6, 1.0, 1e-3), (1.0, 1e6, 0.1)])
def test_the_scarcer_of_both_rates_sets_the_limit(operations: float, bytes_: float, seconds: float) -> None:
    assert Ceilings(1e9, 1e7).seconds(StepWork(operations, bytes_)) == pytest.approx(seconds)


def test_ceilings_are_measured_once_and_kept_by_host_and_device(tmp_path: Path) -> None:
    path, cpu = tmp_path / "ceilings.json", torch.device("cpu")
    measured = kept_ceilings(path, cpu)
    (name,) = json.loads(path.read_text(encoding="utf-8"))
    kept = {"elsewhere cpu": {"operations": 1.0, "bytes": 2.0}, name: {"operations": 3.0, "bytes": 4.0}}
    path.write_text(json.dumps(kept), encoding="utf-8")
    assert measured.operations > 1e8
    assert kept_ceilings(path, cpu) == Ceilings(3.0, 4.0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"elsewhere cpu": {"operations": 1.0, "bytes": 2.0}}'])
def test_a_file_that_does_not_say_is_measured_over(content: str, tmp_path: Path) -> None:
    path = tmp_path / "ceilings.json"
    path.write_text(content, encoding="utf-8")
    assert kept_ceilings(path, torch.device("cpu")).operations > 1e8


def test_where_ceilings_cannot_be_kept_they_are_measured_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert kept_ceilings(tmp_path / "file" / "ceilings.json", torch.device("cpu")).operations > 1e8


def test_ceilings_are_rates_of_this_machine() -> None:
    torch.set_num_threads(1)
    found = measure_ceilings(torch.device("cpu"), repeats=1)
    assert 1e8 < found.operations < 1e14
    assert 1e7 < found.bytes < 1e13
