"""What several tests share: a small study, ways to run it, and one thread for torch."""

import copy
import gc
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
import yaml
from xdist.scheduler import LoadScopeScheduling

from places import made_once
from trainatlas.analysis.aggregate import aggregate
from trainatlas.analysis.analyse import analyse, read_gathered, write_analysis
from trainatlas.analysis.selection import chosen_settings
from trainatlas.catalogue import TABLES, structure
from trainatlas.data.prepare import prepare
from trainatlas.report.render import write_report
from trainatlas.study.config import Study, load_study
from trainatlas.study.planning import known_outcomes, pack_path, plan_round, read_pack
from trainatlas.train.pack import train_pack
from trainatlas.train.timing import time_steps

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run, and no verdict that depends on how busy the machine is.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

TINY = {
    "title": "A tiny study",
    "question": "Does every stage work on a study that takes seconds?",
    "data": "digits",
    "network": "mlp(depth=2, width=8)",
    "epochs": 2,
    "batch_size": 64,
    "factors": {
        "activation": ["relu", "tanh"],
        "init": ["kaiming_normal", "normal(std=0.01)"],
        "normalisation": ["none"],
        "optimizer": ["sgd", "adam"],
        "preprocessing": ["raw", "standardize"],
    },
    "learning_rate": {"sgd": {"low": 0.03, "high": 0.3}, "adam": {"low": 0.001, "high": 0.01}},
    "samples": [
        {"name": "grid", "strategy": "grid", "tune": {"learning_rate": 2}, "tuning_seeds": [0], "seeds": [1, 2]},
        {"name": "random", "strategy": "random", "draws": 6, "seeds": [3, 4]},
    ],
    "targets": [{"metric": "validation_accuracy", "value": 0.2}, {"metric": "train_error", "value": 0.001}],
    "pack_trials": 16,
}


class ByFile(LoadScopeScheduling):
    """A file's tests go to one process; those of tests/cluster all to one, for a machine has room for one SLURM."""

    def _split_scope(self, nodeid: str) -> str:
        return "cluster" if "tests/cluster/" in nodeid else super()._split_scope(nodeid)


LONG_ONES = ("cluster", "pipeline", "faults", "equivalence")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put folders of long tests first, so that no process is left with one at the end."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return LONG_ONES.index(folder) if folder in LONG_ONES else len(LONG_ONES)

    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Tell pytest-xdist how to share the tests out."""
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _as_a_job_is_set_up() -> None:
    """Tests run side by side, a process a core; threads of their own would only quarrel."""
    torch.set_num_threads(1)
    gc.freeze()


@pytest.fixture
def tiny() -> dict[str, Any]:
    """What the YAML of a study of 32 tuning runs, 32 final runs and 6 random draws says; a copy of one's own."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def tiny_content_of_session() -> dict[str, Any]:
    """The same for fixtures that live as long as the session; not to be changed."""
    return copy.deepcopy(TINY)


@pytest.fixture
def digits() -> dict[str, Any]:
    """What the YAML of the default study says."""
    return yaml.safe_load((ROOT / "benchmarks" / "digits.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def study_of(tmp_path: Path) -> Callable[..., Study]:
    """Return a function that checks what a YAML says, as if it stood in a file, and returns the Study."""

    def study(content: dict[str, Any], name: str = "tiny") -> Study:
        path = tmp_path / "studies" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return load_study(path, TABLES)

    return study


@pytest.fixture(scope="session")
def run_study() -> Callable[[Study, Path], dict[str, Any]]:
    """Return a function that takes a study through every stage in this process, as the rules do."""

    return run_stages


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A results folder of one's own in which every trial of the tiny study is trained: `run_study` goes on from it."""

    def make(folder: Path) -> None:
        (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
        run_stages(load_study(folder / "tiny.yaml", TABLES), folder / "results")

    made = made_once(tmp_path_factory, "trained", make) / "results"
    for part in ("packs", "raw"):
        shutil.copytree(made / part, tmp_path / "trained" / part)
    return tmp_path / "trained"


def run_stages(study: Study, folder: Path) -> dict[str, Any]:
    """Take a study through every stage but the report; return the analysis."""
    for number in itertools.count(1):
        chosen = chosen_settings(study, folder) if number == 2 else []
        summary = plan_round(study, folder, number, structure, known_outcomes(study, folder, number), chosen)
        _train_all(folder, summary["packs"])
        if summary["last"]:
            break
    aggregate(study, folder)
    return analyse(study, read_gathered(study, folder))


def _train_all(folder: Path, packs: list[str]) -> None:
    for pack in packs:
        out = folder / "raw" / pack
        if not out.exists():
            train_pack(read_pack(pack_path(folder, pack)), out, torch.device("cpu"), 0.0, lambda line: None)


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `trainatlas` with arguments in a process of its own, as a user does."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "trainatlas.cli", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)

    return run


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a few lines of Python, with arguments, in a process of its own."""

    def run(lines: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", lines, *map(str, arguments)]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=os.environ | environment
        )

    return run


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


MARKUP = """<script>alert("x")</script> & 'quotes' — 한국어"""


@dataclass(frozen=True)
class BuiltReport:
    """A study taken through every stage and rendered."""

    study: Study
    results: Path
    reports: Path

    @property
    def page(self) -> Path:
        return self.reports / "index.html"

    @property
    def document(self) -> Path:
        return self.reports / "report.pdf"


@pytest.fixture(scope="session")
def built_report(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    """The tiny study's report, its title full of what must be escaped; one rule excludes two of its cells."""
    content = copy.deepcopy(TINY) | {"title": MARKUP}
    content["exclude"] = [
        {"when": {"activation": ["tanh"], "optimizer": ["sgd"], "init": ["normal(std=0.01)"]}, "reason": "a rule"}
    ]
    content["learning_rate"]["sgd"] = {"low": 0.03, "high": 1e30}  # its upper rate diverges

    def make(folder: Path) -> None:
        (folder / "tiny.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        study, results = load_study(folder / "tiny.yaml", TABLES), folder / "results"
        prepare(study, results)
        run_stages(study, results)
        time_steps(study, results, torch.device("cpu"))
        write_analysis(analyse(study, read_gathered(study, results)), results)
        write_report(study, results, folder / "reports")

    folder = made_once(tmp_path_factory, "built", make)
    return BuiltReport(load_study(folder / "tiny.yaml", TABLES), folder / "results", folder / "reports")
