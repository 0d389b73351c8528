"""The section on search says what its tables say, and in a line what a study cannot tell."""

import re

import numpy as np
import pandas as pd
import pytest

from sections import words_of_its_own
from trainatlas.analysis.columns import ANALYSIS_TABLES
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.language import speaking
from trainatlas.report.search import TABLES, can_be_fed, search_section
from trainatlas.train.records import names


def rows(table, *records):
    columns = names(ANALYSIS_TABLES[table])
    return pd.DataFrame([dict.fromkeys(columns, np.nan) | record for record in records], columns=columns)


@pytest.fixture
def tables():
    band = {"decile_1": 0.85, "median": 0.9, "decile_9": 0.95, "seeds": 2, "runs": 500, "test_accuracy": 0.9}
    halving = {"sample": "halving", "strategy": "successive_halving", "lost": 0, "setting": "relu"}
    halving |= {"validation_accuracy": 0.9, "test_accuracy": 0.92}
    return {
        "search_rounds": rows(
            "search_rounds",
            *(
                halving | {"round": i, "stage": "rung", "trials": 27 // 3**i, "epochs": 27 * i, "random_accuracy": 0.88}
                for i in (1, 2)
            ),
            halving | {"round": 3, "stage": "winner", "trials": 2, "epochs": 60, "test_low": 0.9, "test_high": 0.94},
        ),
        "search_regions": rows(
            "search_regions",
            {"sample": "halving", "round": 2, "name": "learning_rate.sgd", "best": 0.97, "edge": "high"}
            | {"searched_low": 0.1, "searched_high": 1.0, "low": 0.1, "high": 3.16},
        ),
        "search": rows(
            "search",
            *(
                {"of": of, "search": search, "budget": budget * cost, "accuracy": 0.9, **band}
                for of, cost, searches in (("tuning", 1, ("grid", "random")), ("final", 5, ("random",)))
                for search in searches
                for budget in (1, 2, 4, 8, 16, 32)
            ),
        ).astype({"budget": "int64"}),
        "search_differences": rows(
            "search_differences",
            *(
                {"of": of, "budget": budget, "difference": gain, "low": low, "high": gain + 0.01, "share_better": 0.64,
                 "test_difference": 0.002, "seeds": 2, "other_seeds": 0}
                for of, gain, low in (("tuning", 0.0123, 0.0023), ("random", 0.0045, -0.0055))
                for budget in (4, 16, 64)
            ),
        ).astype({"budget": "int64"}),
        "rate_laws": rows(
            "rate_laws",
            *(
                {"budget": budget, "log": 0.9, "linear": 0.88, "difference": 0.02, "low": 0.01, "high": 0.03,
                 "effective_draws": 12.5, "draws": 100, "seeds": 4}
                for budget in (1, 8)
            ),
        ),
        "range_edges": rows(
            "range_edges",
            *(
                {"where": where, "settings": 100, "improved": count, "share": count / 100, "share_low": 0.01,
                 "share_high": 0.5, "gain": 0.025, "low": 0.01, "high": 0.04}
                for where, count in (("edge", 31), ("inside", 4))
            ),
        ),
        "importance": rows(
            "importance",
            *(
                {"term": term, "order": order, "share": share, "low": share / 2, "high": share * 1.5, "explained": 0.42,
                 "trials": 300}
                for term, order, share in (
                    ("learning_rate", 1, 0.31), ("optimizer.momentum", 1, 0.11), ("learning_rate x optimizer", 2, 0.2),
                    ("remainder", 0, 0.38),
                )
            ),
        ),
        "screening": rows(
            "screening",
            *(
                {"stage": stage, "epoch": epoch, "epochs": 12, "spearman": 0.6 + epoch / 100, "spearman_low": 0.5,
                 "spearman_high": 0.8, "searched": 32, "regret_third": 0.0123, "regret_third_worst": 0.0456, "seeds": 1,
                 "trials": 100}
                for stage in ("tuning", "random")
                for epoch in (1, 2, 3, 6)
            ),
        ),
        "abort_rule": rows(
            "abort_rule",
            *(
                {"stage": stage, "rise": rise, "runs": 900, "stopped": 40, "seen": 30, "bad": 80, "recall": 0.3,
                 "recall_low": 0.2, "recall_high": 0.4, "recovered": 16, "recovered_share": 0.4, "recovered_low": 0.26,
                 "recovered_high": 0.55, "near": 4, "near_share": 0.1, "near_low": 0.04, "near_high": 0.23}
                for stage in ("tuning", "all")
                for rise in (1.5, 3.0, 10.0)
            ),
        ),
    }  # fmt: skip


def text_of(section, beginning):
    (text,) = [text for text in section.paragraphs if text.startswith(beginning)]
    return text


def test_every_lead_sentence_has_its_effect_and_interval(built_report, tables):
    section = search_section(built_report.study, tables)
    said = {
        "Search halving (successive halving).": [
            "12 trials, 54 epochs in all: validation accuracy 90.0% with relu",
            "random draws for as many epochs are expected to find 88.0%",
            "On fresh seeds the best reaches a test accuracy of 92.0% (90.0 to 94.0%)",
            "at the edge of its range: learning_rate.sgd (best 0.97)",
        ],
        "Random or grid.": ["+1.23 (+0.23 to +2.23) with 64 runs", "64% of searches", "+0.45 (−0.55 to +1.45)"],
        "Log or linear.": ["+2.00 (+1.00 to +3.00) with 8 runs, +2.00", "with 1 run."],
        "Edges of ranges.": ["31.0% (1.0 to 50.0%)", "4.0% (1.0 to 50.0%)", "+2.50 (+1.00 to +4.00)"],
        "Importance.": ["learning rate carries most by itself: 31.0% (15.5 to 46.5%)", "20.0% (10.0 to 30.0%)", "42%"],
        "Screening.": ["After 3 of 12 epochs", "0.63 (0.50 to 0.80)", "takes 50% of the epochs", "loses 1.23", "4.56"],
        "Stopping.": [
            "Of 900 runs",
            "40 would have been",
            "16 (40.0%, 26.0 to 55.0%)",
            "30.0% (20.0 to 40.0%) of 80 runs",
        ],
    }
    for beginning, parts in said.items():
        text = text_of(section, beginning)
        assert all(part in text for part in parts), text


def test_only_an_interval_that_holds_zero_is_called_not_told_apart(built_report, tables):
    text = text_of(search_section(built_report.study, tables), "Random or grid.")
    tuning, random = text.split(";")
    assert "not told apart" not in tuning and "not told apart" in random


def test_blocks_are_drawn_from_tables_that_exist_and_are_described(built_report, tables):
    blocks = search_section(built_report.study, tables).blocks
    assert {block.data for block in blocks} == set(TABLES)
    for block in blocks:
        if isinstance(block, Figure):
            assert "<text" in block.svg and len(block.alt) > 40
            assert re.search(r"\d", block.caption)
        else:
            assert {len(row) for row in block.rows} == {len(block.header)}


def first_figure(section):
    return next(block for block in section.blocks if isinstance(block, Figure))


def test_a_drawing_shows_every_kind_of_search_there_is(built_report, tables):
    figure = first_figure(search_section(built_report.study, tables))
    assert "every run at one rate" in figure.svg and "every setting with its tuned rate" in figure.svg
    alone = tables | {"search": tables["search"].query("of == 'tuning' and search == 'random'")}
    figure = first_figure(search_section(built_report.study, alone))
    assert "every setting with its tuned rate" not in figure.svg and ">grid<" not in figure.svg


def test_what_a_study_cannot_tell_takes_a_line_each(built_report, tables):
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    assert can_be_fed(tables) and not can_be_fed(empty)
    section = search_section(built_report.study, empty)
    assert section.blocks == []
    assert all(re.search(r"Not (compared|looked at|told):", text) for text in section.paragraphs[1:])


def test_too_few_draws_are_said_to_be_too_few(built_report, tables):
    laws = rows("rate_laws", {"budget": 0, "effective_draws": 2.5, "draws": 12, "seeds": 2})
    section = search_section(built_report.study, tables | {"rate_laws": laws})
    assert "Too few draws" in text_of(section, "Log or linear.") and "2.5" in text_of(section, "Log or linear.")
    assert "rate_laws" not in {block.data for block in section.blocks}


def test_a_rule_that_stops_no_run_says_so(built_report, tables):
    calm = tables["abort_rule"].assign(stopped=0, recovered=0, near=0, recovered_share=np.nan, near_share=np.nan)
    section = search_section(built_report.study, tables | {"abort_rule": calm})
    assert "none had a loss above 3 times its first value" in text_of(section, "Stopping.")
    (table,) = [block for block in section.blocks if isinstance(block, Table) and block.data == "abort_rule"]
    assert all(row[4] == "–" for row in table.rows)


def test_one_seed_has_no_interval(built_report, tables):
    alone = tables["search_differences"].assign(low=np.nan, high=np.nan)
    text = text_of(search_section(built_report.study, tables | {"search_differences": alone}), "Random or grid.")
    assert text.count("one seed: no interval") == 2 and "not told apart" not in text


def test_the_report_of_a_study_has_the_section(built_report):
    html = built_report.page.read_text(encoding="utf-8")
    assert 'id="search"' in html and "Random or grid." in html and "tables/abort_rule.csv" in html
    for name in TABLES:
        assert (built_report.reports / "tables" / f"{name}.csv").exists()


NAMES = ["halving", "relu", "learning_rate.sgd", "optimizer.momentum"]  # of a sample, a setting and parameters


def test_every_word_comes_from_the_catalogue(bracketed, built_report, tables):
    coarse = tables["search_rounds"].assign(stage=["coarse", "fine", "winner"], strategy="coarse_to_fine")
    few = rows("rate_laws", {"budget": 0, "effective_draws": 2.5, "draws": 12, "seeds": 2})
    calm = tables["abort_rule"].assign(stopped=0, recovered_share=np.nan, near_share=np.nan)
    fair = tables["abort_rule"].assign(bad=0)
    alone = tables["search_differences"].assign(low=np.nan, high=np.nan)
    for made in (
        tables,
        tables | {"search_rounds": coarse, "abort_rule": calm},
        tables | {"rate_laws": few, "abort_rule": fair, "search_differences": alone},
        {name: table.iloc[:0] for name, table in tables.items()},
    ):
        assert words_of_its_own([search_section(built_report.study, made)], NAMES) == set()


def test_in_korean_every_paragraph_title_and_note_is(built_report, tables):
    with speaking("ko"):
        section = search_section(built_report.study, tables)
    said = [section.title, *section.paragraphs, *(block.title for block in section.blocks)]
    said += [block.caption if isinstance(block, Figure) else block.note for block in section.blocks]
    assert [text for text in said if not re.search("[가-힣]", text)] == []
    assert "조율 실행" in text_of(section, "선별.") and "찾은 최고 실행" in text_of(section, "무작위인가 격자인가.")
