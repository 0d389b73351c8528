"""What jobs ask of a scheduler follows from what their packs are predicted to take, and grows with every attempt."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainatlas.catalogue import structure
from trainatlas.cluster import Requests, estimate, predicted_mebibytes, read_profile
from trainatlas.costs import calibrated, mebibytes
from trainatlas.study.dealing import Labour
from trainatlas.study.errors import UserError
from trainatlas.study.planning import plan_round, read_pack
from trainatlas.study.rounds import plan_of_round

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/config.yaml"))
FOR_CLUSTERS = [name for name in PROFILES if name not in ("default", "gpu")]


@dataclass
class Tries:
    """How many tries the Snakemake that submits allows."""

    number: int

    def __call__(self) -> int:
        return self.number


@pytest.fixture
def requests() -> Callable[[int], Requests]:
    """Return a function that returns the requests of jobs that may be tried so often."""
    return lambda tries: Requests(4000, Tries(tries))


def test_time_and_memory_are_asked_for_with_a_margin_and_grow_with_each_attempt(
    requests: Callable[[int], Requests], tmp_path: Path
) -> None:
    (tmp_path / "plan-1.json").write_text(json.dumps({"pack_seconds": {"a": 1200.0}}), encoding="utf-8")
    asks = requests(4)
    first, second = asks.minutes(tmp_path, "a", 1), asks.minutes(tmp_path, "a", 2)
    assert 2 * 20 <= first <= 60 and second == 2 * first
    assert 0 < asks.minutes(tmp_path, "not planned", 1) < first
    known_nothing = [asks.mebibytes_of(tmp_path, "a", attempt) for attempt in (1, 2, 3)]
    assert known_nothing[0] > 4000 and known_nothing == [known_nothing[0] * attempt for attempt in (1, 2, 3)]


@pytest.fixture
def planned(tiny: dict[str, Any], study_of: Callable[..., Any], tmp_path: Path) -> tuple[Path, str]:
    """Return the results folder of a study that was planned, and one of its packs."""
    summary = plan_round(study_of(tiny), tmp_path, 1, structure)
    return tmp_path, summary["packs"][0]


def test_a_first_attempt_asks_for_the_memory_a_pack_is_predicted_to_take_and_further_ones_for_all_it_may(
    requests: Callable[[int], Requests], planned: tuple[Path, str]
) -> None:
    asks = requests(4)
    first, second, third = (asks.mebibytes_of(*planned, attempt) for attempt in (1, 2, 3))
    pack = read_pack(planned[0] / "packs" / f"{planned[1]}.json")
    estimated = max(mebibytes(stack) for stack in pack.stacks)
    assert 500 < estimated < 1000 and estimated * 1.3 + 500 <= first <= estimated * 1.3 + 600
    assert (second, third) == (4500, 9000)
    assert Requests(600, Tries(4)).mebibytes_of(*planned, 1) == 1100, "never more than training keeps to"


def test_memory_is_predicted_by_what_packs_of_the_study_took(
    requests: Callable[[int], Requests], planned: tuple[Path, str]
) -> None:
    results, pack = planned
    before = predicted_mebibytes(results, pack)
    for name, measured in ((pack, 2 * before), ("unknown", 1e6)):
        raw = results / "raw" / name
        raw.mkdir(parents=True)
        (raw / "pack.csv").write_text(f"pack,peak_memory_mib\n{name},{measured}\n", encoding="utf-8")
    assert predicted_mebibytes(results, pack) == pytest.approx(2 * before)
    assert requests(4).mebibytes_of(results, pack, 1) - 500 == pytest.approx(1.3 * 2 * before, abs=100)


def test_on_one_machine_there_is_no_limit_and_memory_is_what_training_keeps_to(
    requests: Callable[[int], Requests], tmp_path: Path
) -> None:
    asks = requests(0)
    assert (asks.minutes(tmp_path, "a", 1), asks.mebibytes_of(tmp_path, "a", 1), asks.tries_left(1)) == (0, 4000, 1)


@pytest.mark.parametrize(("tries", "left"), [(1, [1]), (2, [1, 1]), (3, [2, 1, 0]), (4, [3, 2, 1, 0])])
def test_the_last_of_several_tries_gives_the_pack_up(
    tries: int, left: list[int], requests: Callable[[int], Requests]
) -> None:
    assert [requests(tries).tries_left(attempt + 1) for attempt in range(tries)] == left


def test_an_estimate_counts_what_planning_would_make_and_leaves_no_file(
    tiny: dict[str, Any], study_of: Callable[..., Any], run_study: Callable[..., Any], tmp_path: Path
) -> None:
    study, folder = study_of(tiny), tmp_path / "results"

    def told(minutes: float, at_once: int = 100) -> Any:
        price = calibrated(folder, study.folder)
        return estimate(study, folder, structure, price, minutes * 60, at_once, measured=folder.exists())

    whole = told(0.0001)
    assert not folder.exists()
    assert (whole.trials, whole.kept, whole.jobs[0]) == (32 + 32 + 6, 0, 2)
    assert told(1000).jobs == (1, 1)
    assert "counted operations" in " ".join(whole.lines(gpus=False))
    assert "GPU-hours" in " ".join(whole.lines(gpus=True)) and "core-hours" in " ".join(whole.lines(gpus=False))
    run_study(study, folder)
    done = told(1000)
    assert (done.trials, done.kept, done.jobs, done.seconds) == (70, 70, (0, 0), (0.0, 0.0))
    grown = json.loads(json.dumps(tiny).replace('"seeds": [1, 2]', '"seeds": [1, 2, 3]'))
    study = study_of(grown)
    assert told(1000).trials == 32 + 48 + 6


def test_the_estimate_is_of_the_plan_that_is_then_made(
    tiny: dict[str, Any], study_of: Callable[..., Any], command: Callable[..., Any], tmp_path: Path
) -> None:
    study = study_of(tiny)
    file = study.folder / "tiny.yaml"
    words = ["plan", file, "--results", tmp_path, "--pack-minutes", "0.0001"]
    done = command(*words, "--estimate", "--cluster", ROOT / "profiles" / "slurm-gpu")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("tiny/plan*")) == []
    assert "jobs: 2 first, then " in done.stdout and "GPU-hours" in done.stdout and "64 jobs at a time" in done.stdout
    command(*words)
    assert len(json.loads((tmp_path / "tiny" / "plan-1.json").read_text())["packs"]) == 2


def test_prices_of_another_study_are_taken_where_they_are_named(
    tiny: dict[str, Any], study_of: Callable[..., Any], tmp_path: Path
) -> None:
    study, other = study_of(tiny), tmp_path / "other"
    (other / "raw" / "a").mkdir(parents=True)
    (other / "raw" / "a" / "stacks.csv").write_text(
        "structure,seconds,estimated_seconds,trial_steps,planned_trial_steps\nx,6,2,10,10\n", encoding="utf-8"
    )
    stack = [item.trial for item in plan_of_round(study, 1).planned[:8]]
    alone, with_other = (calibrated(tmp_path / "own", study.folder, others) for others in ((), (other,)))
    assert with_other(stack, "off") == pytest.approx(3 * alone(stack, "off"))


@pytest.mark.parametrize("name", FOR_CLUSTERS)
def test_profiles_say_how_many_jobs_and_whether_on_gpus(name: str) -> None:
    jobs, gpus = read_profile(ROOT / "profiles" / name)
    assert jobs >= 50 and gpus == (name == "slurm-gpu")


@pytest.mark.parametrize("name", FOR_CLUSTERS)
def test_profiles_try_often_enough_to_give_up_and_wait_for_slow_file_systems(name: str) -> None:
    content = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))
    assert content["retries"] >= 2 and content["latency-wait"] >= 30
    assert {"runtime", "mem_mb"} <= set(content["default-resources"])
    default = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text(encoding="utf-8"))
    assert not set(default) & set(content), "Snakemake lets the default profile prevail"


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_snakemake_takes_every_profile(name: str, tmp_path: Path) -> None:
    """Parsed with the options of the executor it names, and a plan of jobs made."""
    words = ["-m", "snakemake", "--profile", f"profiles/{name}", "--dry-run", "--config", f"results={tmp_path}"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "plan" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("jobs: many", "no profile"), ("- a", "no profile")]
)
def test_a_profile_that_is_none_is_named(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        read_profile(tmp_path)
    assert str(tmp_path / "config.yaml") in str(caught.value) and "\n" not in str(caught.value)


# Kubernetes, of which only what is handed to kubectl can be looked at here.

KUBECTL = """#!/bin/sh
echo "$@" >> "$RECORDED/words"
case $1 in
create) cat > "$RECORDED/manifest"; echo job.batch/trainatlas-x ;;
get) printf '%s' "$ANSWER" ;;
esac
"""


def kubernetes(script: str, *words: str, folder: Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin", "RECORDED": str(folder), "ANSWER": answer,
        "TRAINATLAS_IMAGE": "image:1", "TRAINATLAS_VOLUME": "claim", "TRAINATLAS_MOUNT": "/study",
    }  # fmt: skip
    path = ROOT / "profiles" / "kubernetes" / script
    return subprocess.run([path, *words], env=environment, capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_kubernetes_job_asks_for_what_it_is_given_and_runs_snakemakes_script(tmp_path: Path) -> None:
    done = kubernetes("submit.sh", "45", "4500", "1", "2", "/study/.snakemake/tmp/job.sh", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "job.batch/trainatlas-x\n"), done.stderr
    spec = yaml.safe_load((tmp_path / "manifest").read_text())["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (45 * 60, 0)
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][-1] == "/study/.snakemake/tmp/job.sh" and container["image"] == "image:1"
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "4500Mi"}
    assert container["resources"]["limits"] == {"memory": "4500Mi", "nvidia.com/gpu": "2"}


def test_the_first_process_of_a_pod_ends_as_its_job_does(tmp_path: Path) -> None:
    kubernetes("submit.sh", "45", "4500", "1", "0", "job.sh", folder=tmp_path)
    manifest = yaml.safe_load((tmp_path / "manifest").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    script = tmp_path / "job.sh"
    for status in (0, 3):
        script.write_text(f"exit {status}")
        command = [*container["command"][:-1], str(script)]
        assert subprocess.run(command, check=False).returncode == status


@pytest.mark.parametrize(
    ("answer", "said"), [("Job 1 ", "success"), ("Job  1", "failed"), ("Job  ", "running"), ("", "failed")]
)
def test_what_became_of_a_kubernetes_job_is_told(answer: str, said: str, tmp_path: Path) -> None:
    assert kubernetes("status.sh", "job.batch/x", folder=tmp_path, answer=answer).stdout == f"{said}\n"


# Containers, which no engine builds here: what they name is there, and is what the set-up would install.


@pytest.mark.parametrize("name", ["Dockerfile", "trainatlas.def"])
def test_containers_hold_what_is_there_and_install_what_the_set_up_would(name: str) -> None:
    text = (ROOT / "containers" / name).read_text(encoding="utf-8")
    copied = [line.split()[:-1] for line in text.splitlines() if " /opt/trainatlas/" in line and "setup.sh" not in line]
    sources = [word for words in copied for word in words if word != "COPY"]
    assert {"src", "workflow", "scripts", "Snakefile", "requirements.lock"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    setup = (ROOT / "scripts" / "setup.sh").read_text(encoding="utf-8")
    wanted = ["libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core", "fonts-nanum"]
    assert all(f'"{package}"' in setup and package in text for package in wanted)
    assert "/opt/trainatlas/scripts/setup.sh" in text


def test_plans_are_not_touched_by_packs_of_another_length(
    tiny: dict[str, Any], study_of: Callable[..., Any], tmp_path: Path
) -> None:
    """What is planned already keeps its pack when jobs of another length are asked for."""
    study = study_of(tiny)
    before = plan_round(study, tmp_path, 1, structure)["packs"]
    assert plan_round(study, tmp_path, 1, structure, labour=Labour(100, 0.001))["packs"] == before
