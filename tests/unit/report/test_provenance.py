"""Provenance and threats to validity say what the tables hold."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from trainatlas.analysis.analyse import read_analysis
from trainatlas.analysis.tables import read_table, trial_columns
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.provenance import Origin, checksums_of, provenance_section
from trainatlas.report.validity import validity_section
from trainatlas.report.wording import duration
from trainatlas.study.stage_times import StageTime
from trainatlas.study.storage import read_json

STAGES = [StageTime("prepare", 2.0, 150), StageTime("plan-1", 0.8, 90), StageTime("aggregate", 4.2, 210)]


@pytest.fixture(scope="module")
def said(built_report: Any) -> dict[str, Any]:
    found: dict[str, Any] = read_json(built_report.results / "provenance.json", "test")
    return found


def test_every_step_is_drawn_with_what_it_took(built_report: Any, said: dict[str, Any]) -> None:
    assert [each["trials"] for each in said["rounds"]] == [
        len(pd.read_csv(built_report.results / f"plan-{number}.csv")) for number in (1, 2)
    ]
    section = provenance_section(built_report.study, said, Origin(STAGES))
    (figure,) = [block for block in section.blocks if isinstance(block, Figure)]
    trials = said["rounds"][0]["trials"]
    for text in ("plan, round 1", "plan, round 2", f"{trials:,} trials", "report", f"{duration(4.2)}, 210 MiB"):
        assert f">{text}<" in figure.svg
    assert figure.svg.count(">train<") == 2
    assert f"plan, round 1 ({trials:,} trials); train (" in figure.alt


def test_where_nothing_was_timed_nothing_is_drawn(built_report: Any, said: dict[str, Any]) -> None:
    section = provenance_section(built_report.study, said, Origin())
    assert [type(block) for block in section.blocks] == [Table]


def test_the_command_and_the_citation_name_the_study(built_report: Any, said: dict[str, Any]) -> None:
    text = " ".join(provenance_section(built_report.study, said, Origin()).paragraphs)
    assert f"snakemake --cores all --config study={built_report.study.named[0]}" in text
    assert built_report.study.digest() in text and said["source"]["commit"][:12] in text


def test_checksums_are_those_of_the_bytes(tmp_path: Path, built_report: Any, said: dict[str, Any]) -> None:
    (tmp_path / "levels.csv").write_bytes(b"a,b\n1,2\n")
    (found,) = checksums_of([tmp_path / "levels.csv"])
    assert found == ("levels.csv", 8, hashlib.sha256(b"a,b\n1,2\n").hexdigest())
    section = provenance_section(built_report.study, said, Origin(checksums=[found]))
    table = section.blocks[-1]
    assert isinstance(table, Table) and list(table.rows) == [("levels.csv", "8", found.sha256)]


def test_threats_are_told_with_their_numbers(built_report: Any) -> None:
    study, tables = built_report.study, read_analysis(built_report.results)
    trials = read_table(built_report.results / "trials.csv", trial_columns(study), "test")

    def seen(**changed: pd.DataFrame) -> dict[str, str]:
        (table,) = validity_section(study, trials, tables | changed).blocks
        assert isinstance(table, Table)
        return {row[0]: row[1] for row in table.rows}

    rows = seen()
    diverged = int((trials["status"] == "diverged").sum())
    assert rows["Runs that were lost"].startswith(f"{diverged:,} of {len(trials):,} trials diverged")
    assert rows["Too few seeds"].startswith("2 seeds of final runs. Half of the pairs")
    assert rows["Many comparisons"] == f"{len(tables['pairwise']):,} pairs of levels are compared."
    assert f"of {len(tables['cells']):,} cells" in rows["Rates at the end of their range"]
    labels = tables["diagnoses"].assign(diagnosis=["still_improving", "healthy"] * (len(tables["diagnoses"]) // 2))
    assert seen(diagnoses=labels)["The budget ends the race"].startswith("50% of the final runs")
    held = tables["stability"].assign(unstable=0)
    held.loc[held.index[0], "unstable"] = 1
    assert seen(stability=held)["A single seed decides"].startswith(f"1 of {len(held):,} conclusions")
    empty = {name: tables[name].iloc[:0] for name in ("cells", "diagnoses", "stability", "pairwise")}
    assert list(seen(**empty)) == ["It holds here alone", "Too few seeds", "Runs that were lost"]
