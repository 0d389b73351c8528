"""Jobs that share a machine never share a GPU, and a job that dies frees its own.

GPUs are faked by telling torch how many there are: the locks are real, and so are the processes.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from trainatlas.study.errors import UserError
from trainatlas.train import devices
from trainatlas.train.devices import Wanted, hold_device

JOB = """
import sys, time
from pathlib import Path
import torch
from trainatlas.train import devices
torch.cuda.device_count = lambda: int(sys.argv[2])
folder, name = Path(sys.argv[1]), sys.argv[3]
devices._POLL = 0.01
with devices.hold_device("cuda", folder / "slots", lambda line: print(line, flush=True)) as device:
    mark = folder / f"in-use-{device.index}"
    mark.touch(exist_ok=False)      # raises where another job uses the device
    print(f"on {device}", flush=True)
    if name == "holder":
        sys.stdin.read()
    else:
        for _ in range(20):
            time.sleep(0.01)
            assert mark.exists()
    mark.unlink()
"""


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_POLL", 0.001)


@pytest.fixture
def jobs() -> Iterator[list[subprocess.Popen[str]]]:
    """The processes a test starts; none outlives it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for job in started:
        job.kill()
        job.communicate()


def start(folder: Path, gpus: int, name: str = "worker") -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder), str(gpus), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def hold(wanted: Wanted, folder: Path, stack: ExitStack) -> torch.device:
    return stack.enter_context(hold_device(wanted, folder, lambda line: None))


@pytest.mark.slow
def test_six_jobs_on_two_gpus_never_share_one(tmp_path: Path, jobs: list[subprocess.Popen[str]]) -> None:
    jobs += [start(tmp_path, gpus=2) for _ in range(6)]
    outputs = [job.communicate(timeout=240) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 6, outputs
    used = {output.splitlines()[-1] for output, _ in outputs}
    assert used <= {"on cuda:0", "on cuda:1"}
    assert not list(tmp_path.glob("in-use-*"))


@pytest.mark.slow
def test_a_job_that_is_killed_frees_its_gpu(tmp_path: Path, jobs: list[subprocess.Popen[str]]) -> None:
    jobs.append(start(tmp_path, gpus=1, name="holder"))
    assert jobs[0].stdout is not None
    assert jobs[0].stdout.readline() == "on cuda:0\n"
    jobs.append(start(tmp_path, gpus=1))
    assert jobs[1].stdout is not None
    assert jobs[1].stdout.readline() == "waiting for one of 1 GPUs, all in use by other jobs\n"
    (tmp_path / "in-use-0").unlink()  # what the killed job cannot do; before the other can have its GPU
    jobs[0].kill()
    jobs[0].wait()
    assert jobs[1].stdout.readline() == "on cuda:0\n"


def test_each_gpu_is_given_once_and_again_when_free(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert {str(hold("auto", tmp_path, stack)) for _ in range(2)} == {"cuda:0", "cuda:1"}
    with ExitStack() as stack:
        assert str(hold("cuda", tmp_path, stack)) == "cuda:0"


def test_a_gpu_has_one_lock_whatever_number_it_goes_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
        assert hold("cuda", tmp_path, stack) == torch.device("cuda", 0)  # the machine's second
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        assert hold("cuda", tmp_path, stack) == torch.device("cuda", 1)
        assert {path.name for path in tmp_path.iterdir()} == {"gpu-1.lock", "gpu-0.lock"}


def test_a_job_for_the_cpu_takes_none_and_waits_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        assert str(hold("cpu", tmp_path, stack)) == "cpu"
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        assert str(hold("auto", tmp_path, stack)) == "cpu"
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_wanted_and_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with (
        pytest.raises(UserError, match=r"^--device cuda: torch finds no GPU here; allowed: auto or cpu$"),
        ExitStack() as stack,
    ):
        hold("cuda", tmp_path, stack)


def test_locks_that_cannot_be_written_are_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"gpu-0\.lock: cannot be written: .*; allowed: "), ExitStack() as stack:
        hold("cuda", tmp_path / "file", stack)


# In SLURM's jobs.


def test_jobs_of_slurm_that_were_given_gpus_of_one_name_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where control groups hide the other GPUs of a node, each job's is called 0."""
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with ExitStack() as stack:
        for job in ("7", "8"):
            monkeypatch.setenv("SLURM_JOB_ID", job)
            device = stack.enter_context(hold_device("cuda", devices.slots_folder(), waited))
            assert device == torch.device("cuda", 0)


def waited(line: str) -> None:
    raise AssertionError(line)


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_job_that_slurm_gave_no_gpu_uses_none_of_those_that_the_node_shows(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(name, raising=False)
    if wanted == "auto":
        with hold_device("auto", tmp_path, waited) as device:
            assert device.type == "cpu"
    else:
        with (
            pytest.raises(UserError, match=r"^--device cuda: SLURM gave this job no GPU"),
            hold_device("cuda", tmp_path, waited),
        ):
            pass
