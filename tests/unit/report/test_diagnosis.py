"""The section on diagnoses counts what the table counts, and says what labels mean in the rules' own words."""

import re

import pandas as pd
import pytest

from trainatlas.analysis.diagnosis import LABELS, RULES, diagnosis_counts
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.diagnosis import DRAWN, MEANINGS, diagnosis_figures, diagnosis_section

FOUND = ["healthy"] * 6 + ["overfitting"] * 3 + ["exploding"]


@pytest.fixture
def tables():
    final = pd.DataFrame(
        {"trial_id": [f"t{i}" for i in range(10)], "activation": ["relu"] * 5 + ["tanh"] * 5, "init": ["a", "b"] * 5}
    )
    diagnosed = pd.DataFrame({"trial_id": final["trial_id"], "diagnosis": FOUND})
    levels = {"activation": ("relu", "tanh"), "init": ("a", "b")}
    return {"diagnoses": diagnosed, "diagnosis_counts": diagnosis_counts(final, diagnosed, levels)}


def test_the_sentence_and_the_table_count_runs(tables):
    section = diagnosis_section(tables)
    assert section.paragraphs[0] == (
        "Of 10 final runs 6 (60.0%) are healthy; most frequent among the other diagnoses: overfitting 3 (30.0%) and "
        "exploding 1 (10.0%)."
    )
    assert "docs/diagnosis.md" in section.paragraphs[1]
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert {row[0]: row[2] for row in table.rows} == {"healthy": "6", "overfitting": "3", "exploding": "1"}
    meanings = {rule.name: rule.meaning for rule in RULES}
    assert all(row[1] == meanings[row[0]] for row in table.rows)


def test_every_label_has_a_meaning_and_a_place():
    assert set(MEANINGS) == set(DRAWN) == set(LABELS)


def test_bars_are_as_long_as_the_shares(tables):
    (drawn,) = diagnosis_figures(tables["diagnosis_counts"])
    assert "ReLU healthy 100.0%; tanh healthy 20.0%, overfitting 60.0%, exploding 20.0%" in drawn.alt
    assert "healthy are 20.0% of the runs with tanh and 100.0% with ReLU" in drawn.caption
    assert len(re.findall(r">(?:100|20|60)%</text>", drawn.svg)) >= 4
    for label in ("healthy", "overfitting", "exploding"):
        assert f">{label}</text>" in drawn.svg
    assert ">unclear</text>" not in drawn.svg


def test_where_no_run_is_healthy_it_is_said(tables):
    ill = tables["diagnosis_counts"].query("diagnosis != 'healthy'")
    (drawn,) = diagnosis_figures(ill)
    assert drawn.caption.startswith("No final run is healthy.")


def test_labels_that_share_a_hue_are_told_apart_by_hatching():
    levels = pd.DataFrame({"trial_id": [f"t{i}" for i in range(len(LABELS))], "activation": "relu"})
    diagnosed = pd.DataFrame({"trial_id": levels["trial_id"], "diagnosis": list(LABELS)})
    (drawn,) = diagnosis_figures(diagnosis_counts(levels, diagnosed, {"activation": ("relu",)}))
    assert drawn.svg.count("<pattern") == 5  # five hues, twice


def test_many_levels_go_on_in_another_figure():
    final = pd.DataFrame({"trial_id": [f"t{i}" for i in range(40)], "activation": [f"a{i}" for i in range(40)]})
    diagnosed = pd.DataFrame({"trial_id": final["trial_id"], "diagnosis": "healthy"})
    counts = diagnosis_counts(final, diagnosed, {"activation": tuple(final["activation"])})
    drawn = diagnosis_figures(counts)
    assert [figure.name for figure in drawn] == ["diagnoses_1", "diagnoses_2"]
    assert all(f">a{number}  (1)</text>" in "".join(figure.svg for figure in drawn) for number in range(40))


def test_a_study_in_which_nothing_varies_has_the_table_alone(tables):
    section = diagnosis_section(tables | {"diagnosis_counts": tables["diagnosis_counts"].iloc[:0]})
    assert not [block for block in section.blocks if isinstance(block, Figure)]
    assert len(section.blocks) == 1
