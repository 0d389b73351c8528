"""The section on depth: what it says are the table's numbers, whatever a study's levels."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from trainatlas.analysis.tables import read_table, trial_columns
from trainatlas.data.prepare import prepare
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.content import build_content
from trainatlas.report.depth import depth_finding, layer_section
from trainatlas.report.wording import level_name
from trainatlas.study.storage import read_json


@pytest.fixture
def analysed(
    tiny: dict[str, Any], study_of: Callable[..., Any], run_study: Callable[..., Any], tmp_path
) -> Callable[..., Any]:
    """Return a function that runs the tiny study with full probes, levels changed, and returns study and analysis."""

    def run(**factors: list[str]) -> Any:
        content = copy.deepcopy(tiny) | {"probes": "full", "epochs": 1, "network": "mlp(depth=3, width=8)"}
        one = {"preprocessing": ["standardize"], "optimizer": ["sgd"]}
        content["factors"] |= one | factors
        content["samples"] = [content["samples"][0] | {"tune": {"learning_rate": 1}}]
        study = study_of(content)
        return study, run_study(study, tmp_path / "results")

    return run


def blocks(section: Section, kind: type) -> dict[str, Any]:
    return {block.title: block for block in section.blocks if isinstance(block, kind)}


def test_the_section_states_what_the_tables_hold(analysed) -> None:
    study, tables = analysed(normalisation=["none", "batch"])
    section = layer_section(study, tables)
    figures, shown = blocks(section, Figure), blocks(section, Table)
    assert list(figures) == [
        "Spread of activations by layer",
        "Spread of gradients by layer",
        "Histograms of activations by layer",
        "Histograms of gradients by layer",
    ]
    gains = tables["layer_gains"]
    (table,) = shown.values()
    assert len(gains) == 8 and len(table.rows) == 4
    found = {(row.activation, row.init, row.normalisation): row for row in gains.itertuples()}
    inits = {level_name(level): level for level in study.factors["init"]}
    for activation, init, *cells in table.rows:
        for i, normalisation in enumerate(("none", "batch")):
            row = found[{"ReLU": "relu", "tanh": "tanh"}[activation], inits[init], normalisation]
            for cell, value in zip(cells[2 * i : 2 * i + 2], (row.forward, row.backward), strict=True):
                assert float(cell[1:].split()[0]) == pytest.approx(value, rel=0.06)
    plain = gains[(gains["normalisation"] == "none") & (gains["activation"] == "relu")].set_index("init")["forward"]
    assert plain["kaiming_normal"] > 0.5 > plain["normal"]
    caption = figures["Spread of activations by layer"].caption
    assert f"ReLU is nearest to level with He normal (×{plain['kaiming_normal']:.2f} a layer)" in caption
    assert "With BatchNorm all arms lie between" in caption
    finding = depth_finding(study, gains)
    assert "ReLU with He normal, forward ×" in finding
    assert len(re.findall(r"ward ×[\d.e-]+ \([\d.e-]+ to [\d.e-]+\)", finding)) == 6


@pytest.mark.parametrize(
    "factors",
    [
        {"init": ["kaiming_normal"]},
        {"activation": ["relu"], "init": ["zeros", "kaiming_normal", "normal(std=100.0)"]},
        {"activation": ["relu", "tanh", "elu", "selu", "gelu", "silu", "mish"], "init": ["kaiming_normal"]},
        {"activation": ["tanh"], "init": ["kaiming_normal"], "normalisation": ["batch"]},
    ],
    ids=["one init", "nothing passes, or too much", "more activations than panels", "one arm"],
)
def test_every_kind_of_study_has_its_section(factors: dict[str, list[str]], analysed) -> None:
    study, tables = analysed(**factors)
    section = layer_section(study, tables)
    assert len(section.blocks) == 5
    for block in section.blocks:
        if isinstance(block, Figure):
            assert "nan" not in block.caption and len(block.alt) > 20
        else:
            assert {len(row) for row in block.rows} == {len(block.header)}
    if len(study.factors["activation"]) > 6:
        assert "Not drawn: 1 more levels of activation." in section.blocks[0].caption


def test_the_report_has_the_section_where_probes_are_full_and_not_elsewhere(built_report, analysed, tmp_path) -> None:
    study, tables = analysed()
    trials = read_table(tmp_path / "results" / "trials.csv", trial_columns(study), "test")
    said = read_json(tmp_path / "results" / "provenance.json", "test"), prepare(study, tmp_path / "results")
    content = build_content(study, trials, tables, *said)
    assert "layers" in [section.anchor for section in content.sections]
    assert content.findings[0].startswith("Before training and without normalisation")
    page = built_report.page.read_text(encoding="utf-8")
    assert 'id="layers"' not in page and 'id="units"' in page


def test_a_study_without_probes_has_a_report_without_units_and_layers(tiny, study_of, run_study, tmp_path) -> None:
    study = study_of(tiny | {"probes": "off"})
    tables = run_study(study, tmp_path)
    trials = read_table(tmp_path / "trials.csv", trial_columns(study), "test")
    content = build_content(
        study, trials, tables, read_json(tmp_path / "provenance.json", "test"), prepare(study, tmp_path)
    )
    anchors = [section.anchor for section in content.sections]
    assert not {"units", "layers"} & set(anchors)
    assert {"accuracy", "loss-curves"} <= set(anchors)
