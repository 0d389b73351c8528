"""Claims files: what is wrong with one is told in one line; the one that is shipped says what it must."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cases import naming
from trainatlas.catalogue import TABLES
from trainatlas.claims.config import ClaimSet, Part, load_claims
from trainatlas.claims.evidence import canonical
from trainatlas.claims.experiments import EXPERIMENTS
from trainatlas.claims.feed import Feed
from trainatlas.claims.judge import ALL_READINGS, refuse_unknown
from trainatlas.claims.metrics import metric
from trainatlas.study.config import Study, load_study
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level

Content = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
# The list of claims that the project set out to test: so many in each chapter.
LIST = {"A": 18, "P": 7, "I": 10, "B": 11, "T": 8, "H": 5, "O": 7, "R": 4}


def part(content: Content) -> Content:
    first: Content = content["claims"][0]["parts"][0]
    return first


def with_part(**keys: Any) -> Callable[[Content], object]:
    return lambda content: part(content).update(keys)


def measured_by(**keys: Any) -> Callable[[Content], object]:
    """Other sources in place of the metric."""
    return lambda content: (part(content).pop("metric"), part(content).pop("contrast"), part(content).update(keys))


def test_a_claims_file_says_which_editions_feed_it(claims: Content, claims_file: Callable[..., Path]) -> None:
    claims["studies"]["other"] = {"file": "../other.yaml", "profiles": {"quick": "small", "full": "large"}}
    path = claims_file(claims)
    for profile, expected in (
        ("quick", ("claims-quick", "tiny", "other-small")),
        ("full", ("claims", "tiny", "other-large")),
        (None, ("claims", "tiny", "other-large")),
    ):
        found = load_claims(path, profile)
        assert (found.name, found.studies["tiny"].name, found.studies["other"].name) == expected
        assert found.studies["tiny"].path == path.parent / "tiny.yaml"
    (claim,) = found.claims.claims
    assert (claim.chapter, claim.parts[0].contrast.against) == ("A", ("relu",))


MISTAKES: dict[str, tuple[Callable[[Content], object], list[str]]] = {
    "unknown key": (lambda c: c.update(claim=[]), ["'claim'", "did you mean 'claims'?", "allowed: title, "]),
    "unknown key of a part": (with_part(metrik="lost"), ["parts.0.metrik", "'metric'", "allowed: what, "]),
    "unknown key of a study": (lambda c: c["studies"]["tiny"].update(fil="a"), ["studies.tiny.fil", "file, profiles"]),
    "missing key": (lambda c: c.pop("chapters"), ["'chapters'", "is missing"]),
    "unknown study": (with_part(studies=["tinny"]), ["A1", "'tinny'", "allowed: tiny"]),
    "unknown chapter": (lambda c: c["claims"][0].update(id="Z1"), ["Z1", "'Z'", "allowed: A, B"]),
    "no id": (lambda c: c["claims"][0].update(id="a1"), ["claims.0.id", '"a1"', "allowed: "]),
    "id twice": (lambda c: c["claims"].append(c["claims"][0]), ["A1", "twice", "once"]),
    "unknown direction": (with_part(direction="more"), ["direction", '"more"', "'greater', 'less'"]),
    "two ends for greater": (with_part(margin=[0.0, 0.1]), ["margin", "(0.0, 0.1)", "one number for greater"]),
    "one end for between": (with_part(direction="between"), ["margin", "0.01", "two numbers for between"]),
    "three ends": (with_part(direction="between", margin=[0, 1, 2]), ["margin", "[0, 1, 2]", "two for between"]),
    "ends in the wrong order": (with_part(direction="between", margin=[2, 1]), ["margin", "2 to 1", "smaller first"]),
    "margin in words": (with_part(margin="small"), ["parts.0.margin", "'small'", "a number"]),
    "margin that is no number": (with_part(margin=math.nan), ["parts.0.margin", "nan", "a number"]),
    "ratio of nothing": (with_part(scale="ratio", margin=0), ["margin", "is 0;", "above 0 for a ratio"]),
    "negative ratio": (with_part(scale="ratio", direction="between", margin=[-1, 2]), ["margin", "-1", "above 0"]),
    "equal within nothing": (with_part(direction="equal", margin=0), ["margin", "is 0;", "above 0 for equal"]),
    "equal ratio below 1": (with_part(direction="equal", scale="ratio", margin=0.9), ["0.9", "above 1 for equal"]),
    "nothing to measure": (lambda c: part(c).pop("metric"), ["nothing to measure", "metric, reading, experiment"]),
    "two things to measure": (with_part(reading="spread"), ["metric and reading", "allowed: one of"]),
    "nothing settles it": (lambda c: c["claims"][0].update(parts=[]), ["A1", "exact: true, or at least one part"]),
    "no study": (with_part(studies=[]), ["studies", "[]", "a list of studies"]),
    "experiment with studies": (measured_by(experiment="updates"), ["['tiny']", "no studies beside an experiment"]),
    "unknown factor": (with_part(where={"activaton": "relu"}), ["where", "'activaton'", "allowed: activation, "]),
    "unknown contrast": (
        with_part(contrast={"factor": "rate", "level": "a", "against": "b"}),
        ["contrast.factor", "'rate'", "allowed: activation, "],
    ),
    "against nothing": (
        with_part(contrast={"factor": "init", "level": "a", "against": []}),
        ["contrast.against", "[]", "at least one"],
    ),
    "too few seeds": (lambda c: c.update(seeds=[1, 2]), ["seeds", "[1, 2]", "at least 3"]),
    "a seed twice": (lambda c: c.update(seeds=[1, 2, 2, 3]), ["seeds", "2", "each seed once"]),
    "unknown profile of the claims": (
        lambda c: c["studies"]["tiny"].update(profiles={"quik": "quick"}),
        ["tiny", "'quik'", "allowed: quick, full"],
    ),
    "no claim": (lambda c: c.update(claims=[]), ["claims", "[]", "at least one"]),
}
TEXTS = {
    "not YAML": ("a: [1,\nb: }", ["not YAML", "line 2"]),
    "empty file": ("", ["empty", "a mapping with the keys title, profiles, "]),
    "a list": ("- a\n", ["a list", "mapping"]),
    "a key twice": ("title: a\ntitle: b\n", ["'title'", "line 2", "once"]),
}


def refusal(path: Path, profile: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_claims(path, profile)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1
    assert "allowed: " in line or "not YAML" in line
    return line


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(mistake: str, claims: Content, claims_file: Callable[..., Path]) -> None:
    change, words = MISTAKES[mistake]
    change(claims)
    line = refusal(claims_file(claims))
    assert [word for word in words if word not in line] == [], line


@pytest.mark.parametrize("mistake", TEXTS)
def test_a_file_that_is_no_claims_file_is_told_in_one_line(mistake: str, claims_file: Callable[..., Path]) -> None:
    text, words = TEXTS[mistake]
    line = refusal(claims_file(text))
    assert [word for word in words if word not in line] == [], line


def test_a_missing_file_and_an_unknown_profile_are_told_in_one_line(
    claims: Content, claims_file: Callable[..., Path], tmp_path: Path
) -> None:
    assert "no such claims file; allowed: a YAML file such as" in refusal(tmp_path / "nowhere.yaml")
    line = refusal(claims_file(claims), "fast")
    assert "'fast'" in line and "allowed: quick, full" in line


def test_where_the_effect_is_expected(part_of: Callable[..., Part]) -> None:
    log = math.log
    for direction, scale, margin, expected in (
        ("greater", "difference", -0.5, (-0.5, math.inf)),
        ("less", "difference", -0.5, (-math.inf, -0.5)),
        ("equal", "difference", 0.5, (-0.5, 0.5)),
        ("differs", "difference", 0.5, (-0.5, 0.5)),
        ("between", "difference", [-1, 0.5], (-1, 0.5)),
        ("greater", "ratio", 0.5, (log(0.5), math.inf)),
        ("less", "ratio", 2, (-math.inf, log(2))),
        ("equal", "ratio", 1.25, (log(0.8), log(1.25))),
        ("differs", "ratio", 1.25, (log(0.8), log(1.25))),
        ("between", "ratio", [0.5, 3], (log(0.5), log(3))),
    ):
        with naming(direction, scale, margin):
            found = part_of(direction=direction, scale=scale, margin=margin).bounds
            assert found == pytest.approx(expected)


@pytest.fixture(scope="module", params=["quick", "full"])
def shipped(request: pytest.FixtureRequest) -> tuple[ClaimSet, dict[str, Study]]:
    """The claims that are shipped, at one of their profiles, and the studies that feed them there."""
    claim_set = load_claims(ROOT / "benchmarks" / "claims.yaml", request.param)
    return claim_set, {name: load_study(file.path, TABLES, file.profile) for name, file in claim_set.studies.items()}


Shipped = tuple[ClaimSet, dict[str, Study]]


def fed(shipped: Shipped) -> Iterator[tuple[str, Part, str, Study]]:
    """Every claim's id, each of its parts in canonical form, and a study that feeds it, with its name."""
    claim_set, studies = shipped
    for claim in claim_set.claims.claims:
        for each in claim.parts:
            for name in each.studies:
                yield claim.id, canonical(each), name, studies[name]


def named_levels(each: Part) -> Iterator[tuple[str, str]]:
    """The factors and levels that a part rests on, those in the options of readings too."""
    yield from ((factor, level) for factor, levels in each.where.items() for level in levels)
    if each.contrast:
        yield from ((each.contrast.factor, level) for level in (each.contrast.level, *each.contrast.against))
    arms = [each.options[arm].items() for arm in ("one", "other") if isinstance(each.options.get(arm), dict)]
    pairs = [pair for arm in arms for pair in arm]
    if each.reading == "interaction":
        pairs += [(each.options["factor"], each.options[key]) for key in ("level", "against")]
    yield from ((factor, parse_level(level, TABLES[factor])) for factor, level in pairs)


def test_the_shipped_claims_are_those_of_the_list_each_once(shipped: Shipped) -> None:
    ids = [claim.id for claim in shipped[0].claims.claims]
    assert ids == [f"{letter}{number + 1}" for letter, count in LIST.items() for number in range(count)]
    assert len(ids) == 70


def test_no_study_feeds_the_shipped_claims_under_two_names(shipped: Shipped) -> None:
    names = [study.name for study in shipped[1].values()]
    assert sorted(names) == sorted(set(names))


def test_every_study_has_the_levels_that_shipped_claims_name(shipped: Shipped) -> None:
    for claim, each, name, study in fed(shipped):
        for factor, level in named_levels(each):
            with naming(claim, each.what, name, factor):
                assert level in study.factors[factor]


def test_every_study_has_the_metrics_that_shipped_claims_name(
    shipped: Shipped, results_of: Callable[..., Feed]
) -> None:
    feeds = {name: results_of(study, [{}]) for name, study in shipped[1].items()}
    for claim, each, name, _ in fed(shipped):
        measured = each.metric or each.options.get("metric")
        if measured:
            with naming(claim, each.what, name, measured):
                assert len(metric(feeds[name], feeds[name].trials, measured)) == 1


def test_every_study_has_what_options_of_shipped_claims_name(shipped: Shipped) -> None:
    for claim, each, name, study in fed(shipped):
        with naming(claim, each.what, name):
            over = each.options.get("over", each.options.get("factor", "activation"))
            if each.reading in ("spread", "top_spread", "transfer"):
                assert len(study.factors[over]) >= each.options.get("place", 2)
            if each.reading == "transfer":
                assert each.options["other"] in shipped[1]
            if each.reading == "tuned_parameter":
                against = each.options["against"]
                named = {each.options["value"], *(against if isinstance(against, list) else [against])}
                assert named <= set(study.parameters[each.options["parameter"]].choices or ())


def test_the_readings_and_experiments_that_shipped_claims_name_exist(shipped: Shipped) -> None:
    refuse_unknown(shipped[0], EXPERIMENTS)
    named = {each.reading for claim in shipped[0].claims.claims for each in claim.parts} - {None}
    assert named == set(ALL_READINGS), "and no reading is there that nobody asks for"
    assert set(shipped[0].claims.experiments) <= set(EXPERIMENTS)
