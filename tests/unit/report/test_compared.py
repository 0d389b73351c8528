"""The report on two runs in the study's language: no word of it stands outside the catalogue."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sections import words_of_its_own
from trainatlas.analysis.runs import Run, read_run
from trainatlas.analysis.runs_compared import compare_runs
from trainatlas.report.compared import compared_content, summary
from trainatlas.report.language import speaking

Change = Callable[[Run], Run]


def worse(level: str = "", by: float = 0.3, seeds: tuple[int, ...] = ()) -> Change:
    """Return a change of a run: every trial, or those of an activation, worse; of these seeds alone, where some are named."""

    def change(run: Run) -> Run:
        trials = run.trials.copy()
        hit = trials["activation"].isin([level] if level else trials["activation"])
        trials.loc[hit, "test_accuracy"] -= by
        return Run(Path("new"), trials[trials["seed"].isin(seeds or trials["seed"])], run.provenance)

    return change


def edited(run: Run) -> Run:
    """Return a run of a study with another budget and other levels, by other packages, of which little else is known."""
    provenance = json.loads(json.dumps(run.provenance)) | {"packages": {"torch": "0"}, "study_digest": None}
    provenance["study"] |= {"epochs": 3, "factors": run.study["factors"] | {"init": ["kaiming_normal"]}}
    trials = run.trials.assign(data_digest="0" * 16, status="stopped_early")
    return Run(Path("new"), trials, provenance)


CHANGES: dict[str, Change] = {
    "the same": lambda run: run,
    "worse": worse(),
    "better": worse(by=-0.3),
    "worse levels": worse("tanh"),
    "better levels": worse("relu", -0.3),
    "one seed": worse(seeds=(1,)),
    "edited": edited,
}
NAMES = ["ReLU", "tanh", "He normal", "normal 0.01", "SGD", "Adam", "raw"]


@pytest.fixture
def runs(built_report: Any) -> Callable[[str], tuple[Run, Run]]:
    def make(change: str) -> tuple[Run, Run]:
        run = read_run(built_report.results)
        old = Run(Path("old"), run.trials, run.provenance)
        return old, CHANGES[change](old)

    return make


@pytest.mark.parametrize("change", CHANGES)
def test_every_word_comes_from_the_catalogue(
    change: str, bracketed: None, runs: Callable[[str], tuple[Run, Run]]
) -> None:
    old, new = runs(change)
    content = compared_content(old, new, compare_runs(old, new))
    sections = [section for section in content.sections if section.anchor not in ("configuration", "environment")]
    assert words_of_its_own(sections, NAMES) == set()
    for section in content.sections:
        said = [section.title, *section.paragraphs]
        for block in section.blocks:
            said.append(block.title)
            said += getattr(block, "header", ())
        assert [text for text in said if not text.startswith("⟦")] == []
    assert all(text.startswith("⟦") for text in (content.question, *content.findings, *dict(content.counts)))


@pytest.mark.parametrize("change", CHANGES)
def test_the_report_is_in_korean_and_the_terminal_in_english(
    change: str, runs: Callable[[str], tuple[Run, Run]]
) -> None:
    old, new = runs(change)
    comparison = compare_runs(old, new)
    with speaking("ko"):
        content = compared_content(old, new, comparison)
    said = [content.question, *content.findings, *(name for name, _ in content.counts)]
    for section in content.sections:
        said += [section.title, *section.paragraphs, *(block.title for block in section.blocks)]
    assert [text for text in said if not re.search("[가-힣]", text)] == []
    assert not any(re.search("[가-힣]", line) for line in summary(old, new, comparison))
