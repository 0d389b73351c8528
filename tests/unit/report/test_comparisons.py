"""What is said of pairs of levels is what the tables hold, and diagrams join exactly the levels that are not told apart."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from sections import words_of_its_own
from trainatlas.analysis.analyse import read_analysis
from trainatlas.analysis.comparisons import pairwise, tie_groups
from trainatlas.analysis.ranks import ranks
from trainatlas.analysis.robust import robust
from trainatlas.analysis.stability import stability
from trainatlas.report.blocks import Figure, Table
from trainatlas.report.comparisons import factor_in_words, pairwise_section, verdict
from trainatlas.report.language import speaking
from trainatlas.report.rank_diagrams import rank_diagram
from trainatlas.report.stability import SIGNS, UNTESTED, stability_section
from trainatlas.report.wording import level_name
from trainatlas.study.trial import DEFAULT_LEVELS, FACTORS

SVG = "{http://www.w3.org/2000/svg}"
LEVELS = {"activation": ("relu", "elu", "tanh", "sigmoid"), "normalisation": ("none", "batch")}


def made_up(gains, seeds=5, noise=0.002, factor="activation"):
    """Return final runs of one factor: accuracy 0.8 plus each level's gain, and noise."""
    random = np.random.default_rng(1)
    rows = [
        {name: DEFAULT_LEVELS.get(name, "x") for name in FACTORS}
        | {factor: level, "preprocessing": cell, "seed": seed, "test_accuracy": 0.8 + gain + random.normal(0, noise)}
        for level, gain in gains.items()
        for cell in ("raw", "standardize")
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def tables_of(runs, levels):
    pairs = pairwise(runs, levels, resamples=50)
    return {
        "pairwise": pairs,
        "tie_groups": tie_groups(pairs),
        "ranks": ranks(runs, levels),
        "robust": robust(runs, levels),
        "stability": stability(runs, levels),
    }


@pytest.fixture(scope="module")
def tables():
    gains = {"relu": 0.0, "elu": 0.0004, "tanh": -0.03, "sigmoid": -0.1}
    return tables_of(made_up(gains), {"activation": LEVELS["activation"]})


def blocks(section, kind):
    return {block.title: block for block in section.blocks if isinstance(block, kind)}


def marks(svg):
    """Return for each bar of a diagram the places of its dots along the axis."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        name = group.get("id", "")
        if name.startswith("tied-"):
            found[name.removeprefix("tied-")] = sorted(float(use.get("x")) for use in group.iter(f"{SVG}use"))
    return found


def diagram(ranked, grouped):
    """Return a diagram of made-up ranks and letters: {level: (rank, letters)}."""
    table = pd.DataFrame(
        [
            {"factor": "activation", "level": level, "rank": rank, "cell_rank": rank, "friedman_p": 0.01, "letters": "a",
             "critical_difference": 1.5, "seeds": 5}
            for level, rank in ranked.items()
        ]
    )  # fmt: skip
    groups = pd.DataFrame(
        [
            {
                "factor": "activation",
                "level": level,
                "place": i + 1,
                "advantage": 0.0,
                "letters": letters,
                "among_best": 1,
            }
            for i, (level, letters) in enumerate(grouped.items())
        ]
    )
    return rank_diagram("activation", table, groups)


def test_bars_join_exactly_the_groups_of_the_table():
    ranked = {"relu": 1.2, "elu": 2.0, "tanh": 2.8, "gelu": 4.0, "silu": 5.0}
    drawn = diagram(ranked, {"relu": "a", "elu": "b", "tanh": "ac", "gelu": "b", "silu": "cd"})
    found = marks(drawn.svg)
    assert set(found) == {"a", "b", "c"}  # d has one member: nothing to join
    members = {"a": ["relu", "tanh"], "b": ["elu", "gelu"], "c": ["tanh", "silu"]}
    places = np.concatenate([found[letter] for letter in members])
    ranks_of_members = np.concatenate([[ranked[level] for level in levels] for levels in members.values()])
    slope, start = np.polyfit(ranks_of_members, places, 1)
    assert slope > 0
    assert places == pytest.approx(slope * ranks_of_members + start, abs=0.01)
    assert "a: ReLU and tanh; b: ELU and GELU; c: tanh and SiLU" in drawn.alt


def test_a_diagram_names_every_level_with_its_rank_and_letters():
    drawn = diagram({"relu": 1.25, "elu": 1.75}, {"relu": "a", "elu": "b"})
    assert ">ReLU  1.25  a<" in drawn.svg and ">ELU  1.75  b<" in drawn.svg
    assert "ReLU ranks best, 1.25 on average. Every level is told apart from every other." in drawn.caption
    assert marks(drawn.svg) == {}


@pytest.mark.parametrize("number", [2, 20])
def test_labels_of_a_diagram_never_share_a_line(number):
    names = [f"soft_exponential(alpha=0.{number:02d})" for number in range(number)]
    drawn = diagram(dict.fromkeys(names, 1.0 + (number - 1) / 2), dict.fromkeys(names, "a"))
    texts = [text for text in ET.fromstring(drawn.svg).iter(f"{SVG}text") if "soft exponential" in (text.text or "")]
    shown = [re.search(r"rotate.*|translate\(([\d.]+) ([\d.]+)\)", text.get("transform", "")) for text in texts]
    heights = [(text.get("x") or place[1], text.get("y") or place[2]) for text, place in zip(texts, shown, strict=True)]
    assert len(heights) == number == len(set(heights))
    for side in {x for x, _ in heights}:
        ordered = sorted(float(y) for x, y in heights if x == side)
        assert all(after - before > 9 for before, after in itertools.pairwise(ordered))


def test_the_table_of_pairs_has_the_numbers_of_pairwise(tables):
    table = blocks(pairwise_section(tables), Table)["Activation: every pair"]
    pairs = tables["pairwise"]
    assert len(table.rows) == len(pairs) == 6
    for row, (_, pair) in zip(table.rows, pairs.iterrows(), strict=True):
        level, other, _, difference, interval, holm, equivalence, detectable, needed, counts = row
        assert (level, other) == (level_name(pair["level"]), level_name(pair["other"]))
        assert float(difference.replace("−", "-")) == pytest.approx(100 * pair["difference"], abs=0.0051)
        low, high = (float(end.replace("−", "-")) for end in interval.split(" to "))
        assert [low, high] == pytest.approx([100 * pair["low"], 100 * pair["high"]], abs=0.0051)
        assert holm == ("< 0.001" if pair["p_holm"] < 0.001 else f"{pair['p_holm']:.3f}")
        assert equivalence == ("< 0.001" if pair["p_equivalence"] < 0.001 else f"{pair['p_equivalence']:.3f}")
        assert float(detectable) == pytest.approx(100 * pair["smallest_detectable"], abs=0.0051)
        assert needed == f"{pair['seeds_needed']:.0f}"
        assert counts == f"{pair['seeds']} · {pair['pairs']}"


def test_sentences_divide_pairs_as_the_table_does(tables):
    (text,) = pairwise_section(tables).paragraphs[1:-1]
    pairs = tables["pairwise"]
    apart, same = (pairs["tied"] == 0).sum(), ((pairs["tied"] == 1) & (pairs["equivalent"] == 1)).sum()
    assert apart == 5 and same == 1
    assert "Of 6 pairs 5 are told apart and 1 is equivalent." in text
    best = tables["tie_groups"].iloc[0]
    other = {"relu": "ELU", "elu": "ReLU"}[best["level"]]
    assert text.startswith(f"Activation. {level_name(best['level'])} leads by ")
    assert f"not told apart from it: {other}." in text


def pair(**values):
    base = {"level": "elu", "other": "relu", "p": 0.01, "tied": 0, "equivalent": 0, "difference": 0.01, "low": 0.001}
    return pd.Series(base | {"high": 0.02, "seeds_needed": 4.0, "seeds": 4} | values)


def test_verdicts_have_signs_of_their_own():
    shown = [
        verdict(pair()),
        verdict(pair(equivalent=1)),
        verdict(pair(tied=1)),
        verdict(pair(tied=1, equivalent=1)),
        verdict(pair(p=math.nan, tied=1)),
    ]
    assert [text.replace("\u00a0", " ") for text in shown] == [
        "≠ told apart", "≠ told apart, under 0.5 points", "? open", "≈ equivalent", "? one seed",
    ]  # fmt: skip


def test_of_what_is_open_the_sentence_says_how_many_seeds_would_settle_it():
    pairs = pd.DataFrame(
        [pair(tied=1, seeds_needed=1000.0), pair(level="tanh", tied=1, seeds_needed=9.0, difference=0.004)]
    )
    groups = pd.DataFrame({"level": ["elu", "relu", "tanh"], "advantage": 0.01, "letters": "a", "among_best": 1})
    text = factor_in_words("activation", pairs, groups)
    assert (
        "tanh and ReLU (+0.40 points, +0.10 to +2.00) would be told apart with the fewest seeds: 9 in place of 4"
        in text
    )
    never = factor_in_words("activation", pairs.head(1), groups)
    assert "1,000 or more in place of 4" in never


def test_groups_and_robust_summaries_are_the_tables(tables):
    shown = blocks(pairwise_section(tables), Table)
    groups = shown["Groups of levels that are not told apart"].rows
    assert [(row[1], row[2]) for row in groups] == [
        (level_name(row["level"]), row["letters"]) for _, row in tables["tie_groups"].iterrows()
    ]
    ranked = tables["ranks"].set_index("level")["rank"]
    names = {level_name(level): level for level in ranked.index}
    assert all(row[5] == f"{ranked[names[row[1]]]:.2f}" for row in groups)
    for row, (_, own) in zip(shown["Robust summaries"].rows, tables["robust"].iterrows(), strict=True):
        assert row[2] == f"{100 * own['iqm']:.1f}%" and row[4] == f"{100 * own['optimality_gap']:.1f}%"
        if own["level"] == "relu":
            assert row[6:8] == ("–", "–")  # the first level, which the others are compared with
        else:
            assert row[6] == f"{100 * own['improvement']:.1f}%"
            assert row[7] == f"{100 * own['improvement_low']:.1f} to {100 * own['improvement_high']:.1f}%"


def test_with_one_seed_nothing_is_told_apart_and_the_report_says_why():
    found = tables_of(made_up({"relu": 0.0, "elu": -0.3}, seeds=1), {"activation": ("relu", "elu")})
    section = pairwise_section(found)
    assert "with one seed no test is possible" in section.paragraphs[1]
    shown = blocks(section, Table)
    assert [row[2] for row in shown["Activation: every pair"].rows] == ["?\u00a0one\u00a0seed"]
    assert "nan" not in str(section)
    assert "alike: not possible with one seed" in next(iter(blocks(section, Figure).values())).caption
    (table,) = stability_section(found["stability"]).blocks
    assert [row[4] for row in table.rows] == [UNTESTED]
    assert "none can be left out" in stability_section(found["stability"]).paragraphs[0]


def test_levels_without_a_rank_are_named(tables):
    fewer = tables["ranks"][tables["ranks"]["level"] != "tanh"]
    (drawn,) = blocks(pairwise_section(tables | {"ranks": fewer}), Figure).values()
    assert "Without a rank, for want of runs beside all others: tanh." in drawn.caption
    section = pairwise_section(tables | {"ranks": fewer.iloc[:0], "robust": tables["robust"].iloc[:0]})
    assert blocks(section, Figure) == {} and "Robust summaries" not in blocks(section, Table)


def conclusion(level, other, seeds=5, **values):
    base = {
        "factor": "activation",
        "level": level,
        "other": other,
        "difference": 0.01,
        "smallest": 0.002,
        "largest": 0.02,
    }
    return base | {"conclusion": "better", "unstable": 0, "seeds": seeds} | values


def test_conclusions_that_hang_on_a_seed_are_marked_in_words_and_come_first():
    stable, unstable = conclusion("elu", "relu"), conclusion("tanh", "relu", unstable=1, conclusion="not told apart")
    section = stability_section(pd.DataFrame([stable, unstable]))
    (table,) = section.blocks
    assert [(row[1], row[4]) for row in table.rows] == [("tanh", SIGNS[True]), ("ELU", SIGNS[False])]
    assert "unstable" in SIGNS[True] and "holds" in SIGNS[False]
    assert "Of 2, 1 would be another without some seed" in section.paragraphs[0]
    assert "tanh not told apart from ReLU" in section.paragraphs[0]
    assert table.rows[0][6] == "+0.20 to +2.00"
    calm = stability_section(pd.DataFrame([stable, stable]))
    assert "All 2 conclusions hold, whichever seed is left out." in calm.paragraphs[0]


def test_a_study_has_both_sections_where_levels_are_compared_and_neither_where_not(built_report):
    page = built_report.page.read_text(encoding="utf-8")
    found = read_analysis(built_report.results)
    assert 'id="pairwise"' in page and 'id="stability"' in page
    for factor in found["tie_groups"]["factor"].unique():
        assert (built_report.reports / "figures" / f"ranks_{factor}.svg").exists()


@pytest.fixture(scope="module")
def found_of_many():
    """Tables of a dozen levels that little tells apart, with one seed too few for two of them to be sure."""
    gains = {f"elu(alpha={number})": 0.0001 * number for number in range(1, 13)}
    return tables_of(made_up(gains, seeds=3, noise=0.03), {"activation": tuple(gains)})


def test_every_word_comes_from_the_catalogue(bracketed, tables, found_of_many):
    one_seed = tables_of(made_up({"relu": 0.0, "elu": -0.3}, seeds=1), {"activation": ("relu", "elu")})
    fewer = tables | {"ranks": tables["ranks"][tables["ranks"]["level"] != "tanh"]}
    for made in (tables, found_of_many, one_seed, fewer):
        levels = [level_name(level) for level in made["tie_groups"]["level"]]
        letters = set(made["tie_groups"]["letters"]) | set(made["ranks"]["letters"])
        assert words_of_its_own([pairwise_section(made)], [*levels, *letters, "alpha"]) == set()


def test_in_korean_every_paragraph_title_and_note_is(tables, found_of_many):
    for made in (tables, found_of_many):
        with speaking("ko"):
            section = pairwise_section(made)
        said = [section.title, *section.paragraphs, *(block.title for block in section.blocks)]
        said += [block.caption if isinstance(block, Figure) else block.note for block in section.blocks]
        assert [text for text in said if not re.search("[가-힣]", text)] == []
