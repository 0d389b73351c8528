import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from trainatlas.analysis.analyse import read_analysis
from trainatlas.analysis.tables import read_table, trial_columns
from trainatlas.report import figures
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.content import LISTED_ROWS, build_content
from trainatlas.report.data import data_table
from trainatlas.report.figures import DRAWN_POINTS
from trainatlas.report.wording import factor_name, percent, seconds
from trainatlas.study.storage import read_json


@pytest.fixture
def undrawn(monkeypatch):
    """Leave figures without drawings, which take most of the time."""
    monkeypatch.setattr(Canvas, "savefig", lambda canvas, buffer, **options: buffer.write("<svg></svg>"))


@pytest.fixture(scope="module")
def parts(built_report):
    results = built_report.results
    trials = read_table(results / "trials.csv", trial_columns(built_report.study), "test")
    said = (read_json(results / f"{name}.json", "test") for name in ("provenance", "data"))
    return built_report.study, trials, read_analysis(results), *said


@pytest.fixture(scope="module")
def content(parts):
    return build_content(*parts)


def blocks(content, kind):
    return [block for section in content.sections for block in section.blocks if isinstance(block, kind)]


def test_every_difference_and_share_that_is_stated_has_its_interval(content):
    claims = [text for text in content.findings if "variance" in text or "difference" in text]
    assert claims
    for text in claims:
        assert re.search(r"\(.*(to|no interval).*\)", text), text


def test_a_scale_of_shares_that_does_not_begin_at_zero_says_so(parts, monkeypatch):
    canvases = []

    def save(canvas, buffer, **options):
        buffer.write(str(len(canvases)))
        canvases.append(canvas)

    monkeypatch.setattr(Canvas, "savefig", save)
    cut = []
    for figure in blocks(build_content(*parts), Figure):
        for axes in canvases[int(figure.svg)].axes:
            for which in (axes.xaxis, axes.yaxis):
                low = min(which.get_view_interval())
                if (
                    isinstance(which.get_major_formatter(), PercentFormatter)
                    and which.get_scale() == "linear"
                    and low > 0
                ):
                    cut.append(figure.name)
                    assert "does not begin at zero" in figure.caption, figure.name
    assert set(cut) <= {"accuracy_distribution", "accuracy_forest", "dead_units", "best_found"}


def test_there_are_three_to_five_findings(content):
    assert 3 <= len(content.findings) <= 5


def test_counts_of_trials_are_those_of_the_table(parts, content):
    trials = parts[1]
    counts = dict(content.counts)
    assert counts["trials"] == f"{len(trials):,}"
    assert counts["diverged"] == str((trials["status"] == "diverged").sum())
    assert int(counts["diverged"]) > 0


def test_trials_that_diverged_are_listed(parts, content):
    (listed,) = [table for table in blocks(content, Table) if table.title == "Trials that diverged or failed"]
    trials = parts[1]
    shown = {row[0] for row in listed.rows}
    assert shown <= set(trials.loc[trials["status"] == "diverged", "trial_id"])
    assert len(shown) == min(30, (trials["status"] == "diverged").sum())


def test_what_is_excluded_is_listed_with_its_reason(content):
    (table,) = [table for table in blocks(content, Table) if table.title == "Combinations not run"]
    assert list(table.rows) == [("a rule", "2")]


def test_a_target_that_nobody_reaches_reads_never(content):
    (table,) = [table for table in blocks(content, Table) if table.title == "Optimizer steps to each target"]
    assert any("never" in row for row in table.rows)


@pytest.mark.usefixtures("undrawn")
def test_seconds_to_targets_are_told_where_steps_were_timed(parts, content):
    study, trials, tables, *rest = parts
    (table,) = [table for table in blocks(content, Table) if table.title == "Seconds to each target"]
    median = tables["convergence"].set_index(["factor", "level", "target"])["median_seconds"]
    levels = [(factor, level) for factor in study.varied for level in study.factors[factor]]
    for row, (factor, level) in zip(table.rows, levels, strict=True):
        assert row[2:] == tuple(seconds(median[factor, level, target.column]) for target in study.targets)
    untimed = tables | {"convergence": tables["convergence"].assign(median_seconds=np.nan)}
    shown = build_content(study, trials, untimed, *rest)
    assert "Seconds to each target" not in {table.title for table in blocks(shown, Table)}


@pytest.mark.usefixtures("undrawn")
def test_a_grid_that_runs_a_fraction_says_which(parts):
    study, *rest, provenance, data = parts
    grid, *others = study.samples
    fractional = study.model_copy(update={"samples": (grid.model_copy(update={"resolution": 3}), *others)})
    shown = build_content(fractional, *rest, provenance | {"cells": 16}, data)
    (design,) = [section for section in shown.sections if section.anchor == "design"]
    # 4 factors of 2 levels in 8 runs; the study's rule leaves out two cells, one of which is among these
    assert re.search(
        r"The grid runs [78] of 16 combinations, a fraction of resolution III: any 2 factors", design.paragraphs[0]
    )


def test_every_row_is_as_wide_as_its_header(content):
    for table in blocks(content, Table):
        assert {len(row) for row in table.rows} <= {len(table.header)}, table.title


def test_figures_are_described_and_name_their_data(content, built_report):
    shown = blocks(content, Figure)
    assert len(shown) >= 8
    for figure in shown:
        assert len(figure.alt) > 20 and len(figure.caption) > 40
        assert (built_report.reports / "tables" / f"{figure.data}.csv").exists()
        assert "<text" in figure.svg  # letters stay letters: searchable, and small


@pytest.mark.usefixtures("undrawn")
def test_a_study_without_a_grid_still_has_a_report(parts):
    study, trials, tables, *said = parts
    draws = trials[trials["stage"] == "random"]
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    shown = build_content(study, draws, empty | {"coverage": tables["coverage"]}, *said)
    assert "random-sample" in [section.anchor for section in shown.sections]
    assert shown.findings


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("table", "anchor"),
    [
        ("pairwise", "pairwise"),
        ("stability", "stability"),
        ("survival", "time-to-target"),
        ("diagnoses", "diagnosis"),
    ],
)
def test_a_section_whose_table_is_empty_is_left_out(parts, content, table, anchor):
    study, trials, tables, *said = parts
    shown = build_content(study, trials, tables | {table: tables[table].iloc[:0]}, *said)
    assert [section.anchor for section in content.sections if section.anchor != anchor] == [
        section.anchor for section in shown.sections
    ]
    assert anchor in [section.anchor for section in content.sections]


def test_the_data_are_described_where_their_split_is(content):
    (section,) = [section for section in content.sections if section.anchor == "design"]
    table = section.blocks[0]
    facts = dict(table.rows)
    assert table.title == "The data"
    assert facts["name"] == "digits"
    assert facts["examples"] == "1,797: 1,079 for training, 359 for validation, 359 for test"
    assert facts["classes"].startswith("0: 178, 1: 182, ")
    assert facts["channel means"] == "0.3053" and facts["channel standard deviations"] == "0.376"
    assert re.fullmatch("[0-9a-f]{64}", facts["SHA-256 of the arrays"])


def test_many_classes_are_counted_together_and_the_users_files_have_their_digest(parts):
    described = parts[-1] | {
        "classes": [str(i) for i in range(50)],
        "class_counts": list(range(10, 60)),
        "digest": "abc",
    }
    facts = dict(data_table(described).rows)
    assert facts["classes"] == "50, of 10 to 59 examples each"
    assert facts["digest of the files"] == "abc"


@pytest.mark.usefixtures("undrawn")
def test_a_table_too_long_to_read_is_cut_and_says_so(parts):
    study, trials, tables, *said = parts
    levels = pd.concat([tables["levels"]] * 100, ignore_index=True)
    shown = build_content(study, trials, tables | {"levels": levels}, *said)
    (table,) = [table for table in blocks(shown, Table) if table.title == "Test accuracy by level"]
    assert len(table.rows) == LISTED_ROWS
    assert f"The first {LISTED_ROWS} of {len(levels):,} rows." in table.note


def test_figures_do_not_grow_with_the_number_of_trials(parts):
    study, trials, *_ = parts
    final = trials[trials["stage"] == "final"]
    many = pd.concat([final] * 50, ignore_index=True)
    sizes = [len(figures.time_to_target(runs, study, ["optimizer"]).svg) for runs in (final, many)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_of_very_many_draws_some_are_drawn_and_the_rest_counted(parts):
    study, trials, *_ = parts
    draws = trials[trials["stage"] == "random"].assign(test_accuracy=0.5)
    many = pd.concat([draws] * (2 * DRAWN_POINTS // len(draws)), ignore_index=True)
    shown = figures.random_sample(many, study)
    assert shown.svg.count("<use ") < DRAWN_POINTS + 100
    assert f"Shown: {DRAWN_POINTS:,} of them." in shown.caption
    assert "Shown" not in figures.random_sample(draws, study).caption


def test_more_optimizers_than_markers_can_be_drawn(parts):
    levels = [f"o{number}" for number in range(9)]
    draws = pd.DataFrame({"optimizer": levels, "learning_rate": 0.1, "test_accuracy": 0.5})
    shown = figures.random_sample(draws, SimpleNamespace(factors={"optimizer": levels}))
    assert all(f">{level}</text>" in shown.svg for level in levels)


def test_every_level_of_a_large_interaction_has_its_label():
    levels = {"activation": [f"a{number}" for number in range(21)], "optimizer": [f"o{number}" for number in range(11)]}
    cells = [("activation", a, "optimizer", o, 0.5) for a in levels["activation"] for o in levels["optimizer"]]
    means = pd.DataFrame(cells, columns=["factor_a", "level_a", "factor_b", "level_b", "mean"])
    effects = pd.DataFrame({"term": ["activation x optimizer"], "order": [2], "share": [0.5]})
    shown = figures.interactions(effects, means, SimpleNamespace(factors=levels))
    assert all(f">{level}</text>" in shown.svg for texts in levels.values() for level in texts)


def test_loss_curves_say_which_levels_end_farthest_apart(content, parts):
    curves = parts[2]["curves"].query("scope == 'level' and split == 'validation'")
    ends = curves[curves["step"] == curves["step"].max()].set_index(["factor", "level"])["median"]
    ratios = ends.groupby("factor").max() / ends.groupby("factor").min()
    lows, highs = (f"{value:.3g}" for value in (ends[ratios.idxmax()].min(), ends[ratios.idxmax()].max()))
    (figure,) = [figure for figure in blocks(content, Figure) if figure.name == "loss_level"]
    told = re.match(
        r"Levels end farthest apart for (.+): at a median loss of (\S+) with .+ and of (\S+) with .+\. ", figure.caption
    )
    assert told is not None
    assert told.groups() == (factor_name(ratios.idxmax()), lows, highs if highs != "inf" else "infinity")


def test_learning_rates_of_many_optimizers_take_several_figures(parts):
    study, table = parts[0], parts[2]["rates"]
    optimizers = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop")
    copies = [table[table["optimizer"] == study.factors["optimizer"][0]].assign(optimizer=name) for name in optimizers]
    many = study.model_copy(update={"factors": {**study.factors, "optimizer": optimizers}})
    first, second = figures.rate_sensitivity(pd.concat(copies), many)
    assert (first.name, second.name) == ("rates_1", "rates_2")
    assert "RMSprop" in second.alt and "RMSprop" not in first.alt
    for factor in study.varied:
        if factor != "optimizer":
            assert factor_name(factor) in first.svg
    assert first.caption == second.caption
    falls = many_falls(table[table["optimizer"] == study.factors["optimizer"][0]])
    assert re.search(
        rf"the median is {percent(falls[0])} at the best rate and {percent(falls[1])} at the worst", first.caption
    )


def many_falls(table):
    """Return the median at the best and at the worst rate of the level that falls farthest."""
    medians = table.groupby(["factor", "level"])["median"]
    worst = (medians.max() - medians.min()).idxmax()
    return medians.max()[worst], medians.min()[worst]


def test_without_tuning_runs_there_is_no_figure_of_rates(parts):
    assert figures.rate_sensitivity(parts[2]["rates"].head(0), parts[0]) == []
