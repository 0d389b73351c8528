"""A study submitted to a SLURM without accounting, tuning on GPUs and final runs on CPUs, yields the tables of this machine."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def submitted(submission: Callable[..., Any]) -> Iterator[Any]:
    """The study, taken to its end in two runs of Snakemake."""
    with submission(accounting=False) as place:
        place.finish(place.start("slurm-gpu", "--nolock", str(place.results / "plan-2.json")))
        place.finish(place.start("slurm", "--nolock", str(place.results / "trials.csv")))
        yield place


def test_the_tables_are_those_of_this_machine(submitted: Any, local_tables: dict[str, bytes]) -> None:
    assert submitted.trained_once()
    assert len(submitted.packs("plan-1.json")) == 6 and len(submitted.packs("plan-2.json")) == 3
    assert submitted.tables() == local_tables


def test_each_pack_was_one_job_that_asked_for_what_it_was_predicted_to_take(submitted: Any) -> None:
    for pack in submitted.packs("plan-1.json") + submitted.packs("plan-2.json"):
        (attempt,) = submitted.attempts(pack)
        assert (attempt.scheduler, attempt.end) == ("slurm", "done")
        job = submitted.described(attempt.job)
        assert (job["JobState"], job["TimeLimit"]) == ("COMPLETED", "00:06:00")
        # 1.3 times the prediction for so small a pack, some 550 MiB, but at most the 1,000 it may take, and 500 for Snakemake.
        assert 1100 <= int(job["MinMemoryNode"].removesuffix("M")) <= 1500


def test_jobs_on_gpus_asked_for_one_and_saw_one(submitted: Any) -> None:
    for pack in submitted.packs("plan-1.json"):
        (attempt,) = submitted.attempts(pack)
        job = submitted.described(attempt.job)
        assert job["Partition"] == "gpu" and job["TresPerNode"] == "gres:gpu:1"
        assert (submitted.orders / f"devices-{pack}-{attempt.job}").read_text() in ("0", "1")
    for pack in submitted.packs("plan-2.json"):
        (attempt,) = submitted.attempts(pack)
        job = submitted.described(attempt.job)
        assert job["Partition"] == "main" and "TresPerNode" not in job
        assert (submitted.orders / f"devices-{pack}-{attempt.job}").read_text() == ""


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("slurm_partition=nowhere", "rule train: slurm_partition is 'nowhere'; allowed: gpu, main, urgent"),
        ("gres='fpga:1'", "rule train: gres is 'fpga:1', which the default partition lacks; allowed: gpu:2"),
    ],
)
def test_what_the_site_lacks_is_told_before_anything_is_submitted(asked: str, said: str, submitted: Any) -> None:
    """Snakemake takes the later of two values for one resource, so the profile's own is put aside."""
    tables = submitted.tables()
    driver = submitted.start("slurm", "--set-resources", f"train:{asked}", "--forceall")
    assert driver.wait(120) != 0
    assert f"trainatlas: {said}" in submitted.log(len(submitted.drivers) - 1).read_text().splitlines()
    assert submitted.tables() == tables


def test_status_leads_from_a_trial_to_its_job_and_log(submitted: Any) -> None:
    trial, pack = pd.read_csv(submitted.results / "plan-1.csv", dtype=str).iloc[0][["trial_id", "pack"]]
    words = ["status", submitted.study, "--results", submitted.results.parent, "--trial", trial]
    done = subprocess.run(
        [sys.executable, "-m", "trainatlas.cli", *map(str, words)], capture_output=True, text=True, check=True
    )
    log = submitted.results / "logs" / "train" / f"{pack}.log"
    assert pack in done.stdout and f"slurm {submitted.job(pack)} " in done.stdout and str(log) in done.stdout
    assert f"pack {pack}: stack 1 of 1" in log.read_text()
    assert (
        submitted.folder / "slurm-logs" / "rule_train" / f"submitted_{pack}" / f"{submitted.job(pack)}.log"
    ).exists()
