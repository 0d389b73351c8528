"""What befalls jobs of a cluster, one thing after another, while a study is at work on it: its tables are those of this machine.

The study is submitted to a SLURM with accounting, first with profiles/slurm and, once Snakemake was interrupted and started
again, with profiles/slurm-gpu. Each test looks at what one fault did: in the notes of the attempts, in SLURM's accounting and in
what was said.
"""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@dataclass
class Disturbed:
    """A submitted study and what befell it: jobs and nodes by fault, as they were when it happened."""

    place: Any
    packs: dict[str, str]
    jobs: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)

    def strike(self, fault: str) -> str:
        """Note the job that trains the pack of a fault, and return it."""
        job = self.place.job(self.packs[fault])
        self.jobs[fault] = job
        self.nodes[fault] = self.place.described(job)["NodeList"]
        return job

    def release(self, fault: str) -> None:
        """Let the pack of a fault be trained at full speed from now on."""
        self.place.order(f"free-{self.packs[fault]}")

    def first(self, fault: str) -> Any:
        """The attempt that was struck; SLURM may have started the same job again since."""
        return next(each for each in self.place.attempts(self.packs[fault]) if each.job == self.jobs[fault])

    def ended_as(self, fault: str) -> str:
        """How the struck job ended, the first time, by SLURM's accounting."""
        job = self.jobs[fault]
        return self.place.slurm.run("sacct", "-X", "-D", "-n", "-P", "-j", job, "-o", "State").split("\n")[0]

    def went_on(self, fault: str) -> bool:
        """Whether a later attempt went on from the checkpoint of the struck one and trained the pack to its end."""
        last = self.place.attempts(self.packs[fault])[-1]
        log = (self.place.results / "logs" / "train" / f"{self.packs[fault]}.log").read_text()
        return last.end == "done" and last != self.first(fault) and "continues at epoch" in log


PER_NODE = 4  # jobs that a node has room for


@pytest.fixture(scope="module")
def disturbed(submission: Callable[..., Any]) -> Iterator[Disturbed]:
    with submission(accounting=True, nodes=3, cpus=PER_NODE) as place:
        place.order("hold")
        first = place.start("slurm", "--nolock", str(place.results / "trials.csv"))
        place.wait("the plan", lambda: len(place.packs("plan-1.json")) == 6)
        place.wait(
            "all packs in training", lambda: all(place.in_training(each, 1) for each in place.packs("plan-1.json"))
        )
        by_node: dict[str, list[str]] = {}
        for pack in place.packs("plan-1.json"):
            by_node.setdefault(place.described(place.job(pack))["NodeList"], []).append(pack)
        assert [len(by_node[node]) for node in sorted(by_node)] == [PER_NODE, 6 - PER_NODE], "n3 is still free"
        faults = ("cancelled", "killed", "over time", "node drained", "node crashed", "over memory")
        it = Disturbed(place, dict(zip(faults, by_node["n1"] + by_node["n2"], strict=True)))
        end_four_jobs(it)
        take_two_nodes_away(it)
        restart_the_controller(it)
        drain_a_node(it)
        interrupt_the_driver(it, first)
        place.finish(place.start("slurm-gpu", "--nolock", str(place.results / "trials.csv")))
        yield it


def end_four_jobs(it: Disturbed) -> None:
    place, slurm = it.place, it.place.slurm
    struck = ("cancelled", "killed", "over time", "over memory")
    for fault in struck:
        it.strike(fault)
    slurm.run("scancel", it.jobs["cancelled"])
    os.kill(it.first("killed").process, signal.SIGKILL)
    slurm.run("scontrol", "update", f"JobId={it.jobs['over time']}", "EndTime=now")
    place.order(f"fatten-{it.packs['over memory']}-{it.jobs['over memory']}")
    for fault in struck:
        place.wait(
            f"the job {fault} to end", lambda job=it.jobs[fault]: place.state(job) not in ("RUNNING", "COMPLETING")
        )
        it.release(fault)
    for fault in struck:
        place.wait(f"the pack {fault}", lambda pack=it.packs[fault]: place.is_done(pack))
        job = place.job(it.packs[fault])
        place.wait("its job's end", lambda job=job: place.state(job) == "COMPLETED")


def take_two_nodes_away(it: Disturbed) -> None:
    """One crashes; a job of a partition that goes before takes the other for a second."""
    place, slurm = it.place, it.place.slurm
    it.strike("node crashed")
    it.packs["preempted"] = it.packs["node drained"]
    it.strike("preempted")
    slurm.crash_node("n2")
    slurm.run("srun", "--partition=urgent", "--nodelist=n1", "--exclusive", "--time=1", "sleep", "1")
    for fault in ("node crashed", "preempted"):
        place.wait(f"the pack {fault}", lambda pack=it.packs[fault]: place.in_training(pack, 2))
    slurm.start_node("n2")


def restart_the_controller(it: Disturbed) -> None:
    place, job = it.place, it.place.job(it.packs["node crashed"])
    it.packs["controller"], it.jobs["controller"] = it.packs["node crashed"], job
    place.slurm.kill_controller()
    place.wait("the driver to miss it", lambda: "MinJobAge=None" in place.said())
    place.slurm.start_controller()
    place.wait("it to know its job", lambda: place.state(job) == "RUNNING")
    it.release("controller")
    place.wait("that job's pack", lambda: place.is_done(it.packs["controller"]))


def drain_a_node(it: Disturbed) -> None:
    place = it.place
    it.strike("node drained")
    place.slurm.run("scontrol", "update", f"NodeName={it.nodes['node drained']}", "State=DRAIN", "Reason=test")
    it.release("node drained")
    place.wait("the drained node's pack", lambda: place.is_done(it.packs["node drained"]))


def interrupt_the_driver(it: Disturbed, driver: Any) -> None:
    place = it.place
    place.wait("the second plan", lambda: len(place.packs("plan-2.json")) == 3)
    place.wait("final runs", lambda: all(place.in_training(pack, 1) for pack in place.packs("plan-2.json")))
    for number, pack in enumerate(place.packs("plan-2.json")):
        it.packs[f"interrupted {number}"] = pack
        it.strike(f"interrupted {number}")
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) != 0
    (place.orders / "hold").unlink()
    place.slurm.run("scontrol", "update", f"NodeName={it.nodes['node drained']}", "State=RESUME")


def test_every_trial_is_in_the_tables_once_and_they_are_those_of_this_machine(
    disturbed: Disturbed, local_tables: dict[str, bytes]
) -> None:
    assert disturbed.place.trained_once()
    assert disturbed.place.tables() == local_tables


def test_a_job_that_scancel_ends_is_submitted_again_and_goes_on(disturbed: Disturbed) -> None:
    assert disturbed.ended_as("cancelled").startswith("CANCELLED")
    assert disturbed.first("cancelled").end == "stopped", "it was asked, and kept where it stood"
    assert disturbed.went_on("cancelled")
    assert f"SLURM-job '{disturbed.jobs['cancelled']}' failed" in disturbed.place.said()


def test_a_job_whose_process_is_killed_is_submitted_again_and_goes_on(disturbed: Disturbed) -> None:
    assert disturbed.ended_as("killed") == "FAILED"
    assert disturbed.first("killed").end == "", "nothing was left to note it"
    assert disturbed.went_on("killed")
    assert f"SLURM-job '{disturbed.jobs['killed']}' failed" in disturbed.place.said()


def test_a_job_over_its_time_limit_stops_and_goes_on_with_twice_the_time(disturbed: Disturbed) -> None:
    assert disturbed.ended_as("over time") == "TIMEOUT"
    assert disturbed.first("over time").end == "stopped"
    assert disturbed.went_on("over time")
    assert disturbed.place.described(disturbed.place.job(disturbed.packs["over time"]))["TimeLimit"] == "00:12:00"
    assert f"SLURM-job '{disturbed.jobs['over time']}' failed" in disturbed.place.said()


def test_a_job_over_its_memory_is_submitted_again_with_all_that_it_may_take(disturbed: Disturbed) -> None:
    assert disturbed.ended_as("over memory") != "COMPLETED"
    assert disturbed.went_on("over memory")
    place = disturbed.place
    jobs = (disturbed.jobs["over memory"], place.job(disturbed.packs["over memory"]))
    asked = [int(place.described(job)["MinMemoryNode"].removesuffix("M")) for job in jobs]
    assert 1100 <= asked[0] < 1500 and asked[1] == 1500, (
        "what it was predicted to take; memory=1000 and 500 for Snakemake"
    )
    job_folder = f"{place.results.name}_{disturbed.packs['over memory']}"
    log = place.folder / "slurm-logs" / "rule_train" / job_folder / f"{jobs[0]}.log"
    assert "exceeded memory limit" in log.read_text().lower()


def test_the_jobs_of_a_node_that_crashes_go_on_elsewhere(disturbed: Disturbed) -> None:
    assert disturbed.ended_as("node crashed") == "NODE_FAIL"
    assert disturbed.first("node crashed").end == ""
    assert disturbed.went_on("node crashed")
    last = disturbed.place.job(disturbed.packs["node crashed"])
    assert disturbed.place.described(last)["NodeList"] != "n2"


def test_a_job_goes_on_while_slurmctld_is_restarted(disturbed: Disturbed) -> None:
    _, last = disturbed.place.attempts(disturbed.packs["controller"])
    assert (last.job, last.end) == (disturbed.jobs["controller"], "done")
    assert disturbed.place.state(last.job) == "COMPLETED"


def test_a_job_on_a_node_that_is_drained_ends_there_and_no_other_begins_there(disturbed: Disturbed) -> None:
    _, last = disturbed.place.attempts(disturbed.packs["node drained"])
    assert (last.job, last.end) == (disturbed.jobs["node drained"], "done")
    assert disturbed.place.described(last.job)["NodeList"] == disturbed.nodes["node drained"]
    later = {disturbed.nodes[f"interrupted {number}"] for number in range(3)}
    assert disturbed.nodes["node drained"] not in later


def test_a_job_that_is_preempted_stops_and_goes_on_when_slurm_starts_it_again(disturbed: Disturbed) -> None:
    assert disturbed.ended_as("preempted") == "PREEMPTED"
    assert disturbed.first("preempted").end == "stopped"
    assert disturbed.went_on("preempted")


@pytest.mark.parametrize("number", range(3))
def test_a_driver_that_was_interrupted_takes_its_jobs_with_it_and_the_next_one_goes_on(
    disturbed: Disturbed, number: int
) -> None:
    fault = f"interrupted {number}"
    assert disturbed.ended_as(fault).startswith("CANCELLED")
    assert disturbed.first(fault).end == "stopped"
    assert disturbed.went_on(fault)
    last = disturbed.place.job(disturbed.packs[fault])
    assert disturbed.place.described(last)["TresPerNode"] == "gres:gpu:1", "the second driver's profile asks for GPUs"
    assert (disturbed.place.orders / f"devices-{disturbed.packs[fault]}-{last}").read_text() in ("0", "1")
