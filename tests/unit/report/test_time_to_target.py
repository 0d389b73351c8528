"""Curves, ratios and profiles of time to target: the numbers are the tables', and what is open or missing is said to be."""

import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from trainatlas.analysis.performance_profiles import profiles
from trainatlas.analysis.survival import median_ratios, survival
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.median_ratios import ratio_figures, ratio_interval, ratio_limits
from trainatlas.report.step_panels import PANEL_LEVELS, PANELS
from trainatlas.report.time_to_target import at_risk, profile_figures, survival_figures, survival_ticks, time_section
from trainatlas.study.config import Target
from trainatlas.study.trial import DEFAULT_LEVELS, FACTORS

TARGET = Target(metric="validation_accuracy", value=0.9)
SVG = "{http://www.w3.org/2000/svg}"
STEPS = {"relu": (20, 20, 40, 60), "elu": (40, 60, 80, np.inf), "tanh": (np.inf,) * 4}


def runs(steps=STEPS, budget=80):
    rows = [
        {name: DEFAULT_LEVELS.get(name, "x") for name in FACTORS}
        | {"activation": level, "init": f"i{cell}", "seed": seed, "status": "ok", "steps_run": budget}
        | {TARGET.column: float(own[cell])}
        for level, own in steps.items()
        for cell in range(4)
        for seed in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def tables_of(final, budget=80):
    final = final.assign(step_seconds=0.001)
    levels = {"activation": tuple(dict.fromkeys(final["activation"]))}
    return {
        "survival": survival(final, [TARGET], levels, budget),
        "median_ratios": median_ratios(final, [TARGET], levels, budget),
        "profiles": profiles(final, [TARGET], levels),
    }


@pytest.fixture(scope="module")
def tables():
    return tables_of(runs())


STUDY = SimpleNamespace(targets=(TARGET,))


def texts(svg):
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_counts_at_risk_under_the_axis_are_those_of_the_table_and_of_the_runs(tables):
    (drawn,) = survival_figures(tables["survival"], TARGET.text)
    ticks = survival_ticks(tables["survival"]["step"])
    assert ticks == [0, 20, 40, 60, 80]
    shown = texts(drawn.svg)
    steps = runs().assign(step=lambda t: t[TARGET.column].replace(np.inf, 80))
    for level, name in (("relu", "ReLU"), ("elu", "ELU"), ("tanh", "tanh")):
        own = steps.loc[steps["activation"] == level, "step"]
        counts = [int((own >= tick).sum()) for tick in ticks]
        curve = tables["survival"][tables["survival"]["level"] == level]
        assert [at_risk(curve, tick) for tick in ticks] == counts
        start = shown.index(name)
        assert shown[start + 1 : start + 6] == [str(count) for count in counts]


def test_captions_and_descriptions_say_how_levels_end(tables):
    (drawn,) = survival_figures(tables["survival"], TARGET.text)
    assert "not there at the end are 0.0% of the runs with ReLU and 100.0% with tanh" in drawn.caption
    assert "activation: ReLU 0.0%, ELU 25.0%, tanh 100.0%" in drawn.alt


def test_where_no_run_gets_there_the_report_says_that_levels_do_not_differ():
    never = tables_of(runs(dict.fromkeys(STEPS, (np.inf,) * 4)))
    (drawn,) = survival_figures(never["survival"], TARGET.text)
    assert "Levels do not differ: not there at the end are 100.0% of the runs with each." in drawn.caption
    section = time_section(STUDY, never)
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert {row[3] for row in table.rows} == {"–"} and {row[4] for row in table.rows} == {"not defined"}
    assert "nan" not in str(section.blocks)


@pytest.mark.parametrize(("number", "panels"), [(2, 1), (PANEL_LEVELS, 1), (PANEL_LEVELS + 1, 2), (20, 4)])
def test_levels_are_divided_among_panels_and_each_has_its_row(number, panels):
    names = [f"maxout(pieces={place})" for place in range(number)]
    final = runs(dict.fromkeys(names, (20, 40, 60, 80)))
    (drawn,) = survival_figures(tables_of(final)["survival"], TARGET.text)
    shown = texts(drawn.svg)
    assert shown.count("runs at risk") == panels
    assert [shown.count(name) for name in names] == [panels] + [1] * (number - 1)  # the first is in every panel


def test_more_panels_than_a_page_holds_go_on_in_another_figure():
    table = tables_of(runs())["survival"]
    many = pd.concat([table.assign(factor=f"f{number}") for number in range(PANELS + 1)])
    drawn = survival_figures(many, TARGET.text)
    assert [figure.name for figure in drawn] == ["survival_1", "survival_2"]
    assert [figure.svg.count(">runs at risk<") for figure in drawn] == [PANELS, 1]


def ratio(level, value, low, high, factor="activation"):
    return {
        "factor": factor, "level": level, "reference": "relu", "target": TARGET.column, "ratio": value, "low": low, "high": high,
        "reached_fraction": 0.5, "reference_reached_fraction": 0.75, "p": 0.01, "seeds": 4, "trials": 40,
    }  # fmt: skip


RATIOS = pd.DataFrame(
    [
        ratio("elu", 0.5, 0.4, 0.6),
        ratio("tanh", 1.1, 0.7, 1.7),
        ratio("sigmoid", np.inf, np.nan, np.inf),
        ratio("gelu", 0.0, 0.0, np.nan),
        ratio("silu", np.nan, np.nan, np.nan),
        ratio("mish", 2.0, np.nan, np.nan),
        ratio("selu", 2.0, 1e-6, 4e12),
    ]
)


def test_every_kind_of_ratio_has_its_words():
    said = [ratio_interval(row) for _, row in RATIOS.iterrows()]
    assert said == [
        "×0.40 to ×0.60", "×0.70 to ×1.70", "open", "open", "not defined", "one seed: no interval", "×1e-06 to ×4e+12",
    ]  # fmt: skip
    (drawn,) = ratio_figures(RATIOS, TARGET.text)
    assert "ELU against ReLU ×0.50 (×0.40 to ×0.60)" in drawn.alt
    assert "sigmoid against ReLU ×∞ (open); GELU against ReLU ×0 (open)" in drawn.alt
    assert "1 of 7 levels take another number of steps" in drawn.caption
    assert "ELU saves most against ReLU: ×0.50 (×0.40 to ×0.60)" in drawn.caption


def test_an_interval_that_is_too_wide_does_not_squeeze_the_others():
    left, right = ratio_limits(RATIOS)
    assert 0.04 < left < 0.4 and 2.0 < right < 25  # eight times the smallest and the largest ratio, and a margin
    assert ratio_limits(RATIOS.iloc[[4]]) == pytest.approx((1 / 1.03, 1.03))


def test_a_forest_longer_than_a_page_goes_on_in_another_figure():
    drawn = ratio_figures(pd.DataFrame([ratio(f"l{number}", 0.5, 0.4, 0.6) for number in range(40)]), TARGET.text)
    assert [figure.name for figure in drawn] == ["median_ratios_1", "median_ratios_2"]
    assert sum(figure.svg.count(" vs  ReLU") for figure in drawn) == 40


def test_the_table_of_ratios_has_every_row(tables):
    table = next(block for block in time_section(STUDY, tables).blocks if isinstance(block, Table))
    ratios = tables["median_ratios"].set_index("level")
    assert [row[1] for row in table.rows] == ["ELU vs ReLU", "tanh vs ReLU"]
    assert table.rows[0][3] == f"×{ratios.loc['elu', 'ratio']:.2f}" == "×3.00"
    assert table.rows[1][3] == "×∞"
    assert table.rows[1][5] == "0%, 100%"


def test_profiles_show_shares_of_problems_and_misses_keep_them_from_all(tables):
    (drawn,) = profile_figures(tables["profiles"], TARGET.text)
    shown = texts(drawn.svg)
    row = shown.index("ELU (0.42)")
    # elu is 2, 3 and 2 times as slow on three problems and never gets there on the fourth: (2 + 1 + 2 + 0) / 3 / 4 = 0.42
    assert shown[row + 1 : row + 5] == ["0%", "50%", "75%", "75%"]
    assert "Most often the fastest, or as fast: ReLU (activation, 100% of problems)" in drawn.caption
    assert "Within 4 times: activation: ReLU 100.0%, ELU 75.0%, tanh 0.0%" in drawn.alt


def test_the_section_draws_the_first_target_and_leaves_out_what_has_no_rows(tables):
    section = time_section(STUDY, tables | {name: tables[name].iloc[:0] for name in ("median_ratios", "profiles")})
    assert [block.name for block in section.blocks if isinstance(block, Figure)] == ["survival"]
    assert len(section.blocks) == 1


def test_the_report_of_a_study_with_targets_has_the_section(built_report):
    page = built_report.page.read_text(encoding="utf-8")
    assert 'id="time-to-target"' in page
    for name in ("survival", "median_ratios", "profiles"):
        assert (built_report.reports / "figures" / f"{name}.svg").exists() and f"tables/{name}.csv" in page
