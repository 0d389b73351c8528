"""From results on disk to verdicts: each kind, why there is none, and a lie that turns a verdict round."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainatlas.analysis.tables import write_table
from trainatlas.claims.columns import CLAIM_TABLES, MEASURED_COLUMNS
from trainatlas.claims.config import ClaimSet
from trainatlas.claims.judge import judge, refuse_unknown
from trainatlas.claims.tables import read_verdicts, write_verdicts
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError

Content = dict[str, Any]
Row = dict[str, Any]
SEEDS = range(1, 7)
CONTRAST = {"factor": "activation", "level": "tanh", "against": "relu"}


def part(**changes: Any) -> Content:
    """A part that says: tanh is more than a point better than ReLU."""
    said = {"what": "test accuracy, tanh against ReLU", "studies": ["tiny"], "contrast": CONTRAST}
    rest = {"metric": "test_accuracy", "unit": "points", "direction": "greater", "margin": 0.01}
    return {key: value for key, value in (said | rest | changes).items() if value is not None}


def claim(number: int, *parts: Content, **keys: Any) -> Content:
    return {"id": f"A{number}", "statement": "A statement.", "source": "S0", "parts": list(parts)} | keys


def final_runs(gain: float) -> list[Row]:
    """Six seeds at which tanh gains so much, give or take."""
    rng = np.random.default_rng(0)
    return [
        {"activation": level, "seed": seed, "test_accuracy": 0.6 + gain * (level == "tanh") + rng.normal(0, 0.005)}
        for seed in SEEDS
        for level in ("relu", "tanh")
    ]


@pytest.fixture
def judged(
    tmp_path: Path,
    tiny: Content,
    study_of: Callable[..., Study],
    claims: Content,
    claim_set_of: Callable[[Any], ClaimSet],
    write_results: Callable[..., None],
) -> Callable[..., dict[str, pd.DataFrame]]:
    """Return a function that judges claims by made-up final runs of the tiny study, None for a study that never ran."""

    def tables(
        listed: list[Content], rows: list[Row] | None, measured: dict[str, list[Row]] | None = None, **keys: Any
    ) -> dict[str, pd.DataFrame]:
        study = study_of(tiny)
        if rows is not None:
            write_results(tmp_path / "results" / "tiny", study, rows)
        for name, own in (measured or {}).items():
            table = pd.DataFrame(own, columns=[column.name for column in MEASURED_COLUMNS])
            (tmp_path / "measured").mkdir(exist_ok=True)
            write_table(table, tmp_path / "measured" / f"{name}.csv", MEASURED_COLUMNS)
        claim_set = claim_set_of(claims | {"claims": listed} | keys)
        return judge(claim_set, tmp_path / "results", tmp_path / "measured")

    return tables


Judged = Callable[..., dict[str, pd.DataFrame]]


def only(tables: dict[str, pd.DataFrame], name: str = "verdicts") -> Row:
    (row,) = tables[name].to_dict("records")
    return {str(key): value for key, value in row.items()}


@pytest.mark.parametrize(
    ("gain", "said"), [(0.05, "supported"), (-0.05, "refuted"), (0.01, "inconclusive"), (0.0, "refuted")]
)
def test_a_verdict_is_what_the_runs_say(gain: float, said: str, judged: Judged) -> None:
    rows = final_runs(gain)
    tables = judged([claim(1, part())], rows)
    row = only(tables)
    assert row["verdict"] == said
    accuracy = pd.DataFrame(rows).pivot(index="seed", columns="activation", values="test_accuracy")
    oracle = stats.ttest_rel(accuracy["tanh"], accuracy["relu"])
    ends = oracle.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((ends.low, ends.high))
    assert row["effect"] == pytest.approx((accuracy["tanh"] - accuracy["relu"]).mean())
    assert (row["study"], row["case"].split(",")[0]) == ("tiny", "digits")
    assert (row["seeds"], row["pairs"], row["trials"]) == (6, 6, 12)
    assert (row["expected_low"], row["expected_high"], row["reason"]) == (0.01, np.inf, "")
    assert only(tables, "summary")["verdict"] == said


def test_swapped_labels_turn_the_verdict_round(judged: Judged) -> None:
    """The study's runs, every name of an activation put in place of the other: what was supported is refuted."""
    rows = final_runs(0.05)
    lie = [row | {"activation": {"relu": "tanh", "tanh": "relu"}[row["activation"]]} for row in rows]
    honest, lied = (only(judged([claim(1, part())], each)) for each in (rows, lie))
    assert (honest["verdict"], lied["verdict"]) == ("supported", "refuted")
    assert honest["effect"] == pytest.approx(-lied["effect"])


def test_why_a_part_was_not_run(judged: Judged) -> None:
    rows = final_runs(0.05)
    few = [row for row in rows if row["seed"] < 3]
    for listed, runs, reason in (
        (part(), None, "the study has no results"),
        (part(), [row for row in rows if row["activation"] == "relu"], "no run at activation tanh"),
        (part(contrast=CONTRAST | {"level": "elu"}), rows, "no run at activation elu"),
        (part(), few, "2 seeds; at least 3 are needed"),
        (part(), rows[:-1], "unequal pairs: of 6 pairs of tanh and relu 1 lack one side"),
        (part(metric="retained_variance"), rows, "0 seeds; at least 3 are needed"),
        (
            part(metric=None, contrast=None, studies=[], experiment="perturbation"),
            rows,
            "perturbation was not measured",
        ),
    ):
        tables = judged([claim(1, listed)], runs)
        row = only(tables)
        assert (row["verdict"], row["reason"]) == ("not run", reason)
        assert np.isnan([row[name] for name in ("effect", "low", "high", "p", "p_holm")]).all()
        assert only(tables, "summary")["verdict"] == "not run"
        assert tables["evidence"].empty and tables["trials"].empty


def test_an_experiment_is_judged_case_by_case(judged: Judged) -> None:
    def rows(case: str, effect: float, seeds: int) -> list[Row]:
        return [{"case": case, "seed": s, "pair": "", "effect": effect + s / 1000} for s in range(seeds)]

    measured = {"perturbation": [*rows("digits", 0.2, 3), *rows("clothes", -0.2, 3), *rows("colours", 0.2, 2)]}
    listed = part(metric=None, contrast=None, studies=[], experiment="perturbation")
    tables = judged([claim(1, listed)], None, measured)
    found = tables["verdicts"].set_index("case")
    assert found["verdict"].to_dict() == {"digits": "supported", "clothes": "refuted", "colours": "not run"}
    assert found.loc["colours", "reason"] == "2 seeds; at least 3 are needed"
    told = only(tables, "summary")
    assert (told["verdict"], told["turned_by"]) == ("mixed", "digits; clothes"), "without either it is not mixed"


def test_a_chapter_is_corrected_for_its_rows_and_no_others(judged: Judged) -> None:
    """With an effect that is barely more than the margin, twenty rows beside it take the verdict back."""
    rows = final_runs(0.016)
    alone = only(judged([claim(1, part())], rows))
    assert alone["verdict"] == "supported" and alone["p_holm"] == pytest.approx(alone["p"])
    others = [claim(number, part(margin=0.016)) for number in range(2, 22)]
    many = judged([claim(1, part()), *others], rows)["verdicts"].iloc[0]
    assert many["p_holm"] == pytest.approx(min(1.0, 21 * alone["p"])) and many["verdict"] == "inconclusive"
    apart = [each | {"id": each["id"].replace("A", "B")} for each in others]
    assert judged([claim(1, part()), *apart], rows)["verdicts"].iloc[0]["p_holm"] == pytest.approx(alone["p"])


def test_mathematics_is_checked_and_counts_as_one_row(judged: Judged) -> None:
    tables = judged([claim(12, exact=True), claim(18, part(margin=0.5), exact=True)], final_runs(0.0))
    assert set(tables["checks"]["claim"]) == {"A12", "A18"} and tables["checks"]["holds"].all()
    told = tables["summary"].set_index("claim")
    assert told["verdict"].to_dict() == {"A12": "supported", "A18": "mixed"}
    assert told["kind"].to_dict() == {"A12": "mathematics", "A18": "both"}
    assert (told.loc["A18", "supported"], told.loc["A18", "refuted"]) == (1, 1)


def test_tables_are_as_declared_and_the_same_whenever_they_are_made(judged: Judged, tmp_path: Path) -> None:
    listed = [claim(1, part(), part(margin=0.9), part(contrast=CONTRAST | {"level": "elu"})), claim(12, exact=True)]
    for folder in ("one", "other"):
        write_verdicts(judged(listed, final_runs(0.05)), tmp_path / folder)
    for name in CLAIM_TABLES:
        one, other = ((tmp_path / folder / f"{name}.csv").read_bytes() for folder in ("one", "other"))
        assert one == other
    read = read_verdicts(tmp_path / "one")
    assert {name: tuple(table) for name, table in read.items()} == {
        name: tuple(column.name for column in columns) for name, columns in CLAIM_TABLES.items()
    }
    assert read["verdicts"]["verdict"].tolist() == ["supported", "refuted", "not run"]
    assert len(read["evidence"]) == 12 and len(read["trials"]) == 24
    assert read["trials"]["trial_id"].nunique() == 12


def test_tables_without_any_evidence_can_be_written_and_read(judged: Judged, tmp_path: Path) -> None:
    write_verdicts(judged([claim(1, part())], None), tmp_path / "none")
    read = read_verdicts(tmp_path / "none")
    assert read["verdicts"]["verdict"].tolist() == ["not run"] and read["evidence"].empty and read["checks"].empty


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("test_accuracy", "test_acuracy", "column 'test_accuracy' is missing; column 'test_acuracy' is unknown"),
        ("seed,", "seed,luck,", "column 'luck' is unknown"),
    ],
)
def test_columns_that_are_not_as_they_should_be_are_told(
    old: str,
    new: str,
    said: str,
    judged: Judged,
    tmp_path: Path,
    claim_set_of: Callable[[Any], ClaimSet],
    claims: Content,
) -> None:
    judged([claim(1, part())], final_runs(0.05))
    path = tmp_path / "results" / "tiny" / "trials.csv"
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    head = head.replace(old, new, 1)
    if "luck" in new:
        place = head.split(",").index("luck")
        lines = [",".join([*line.split(",")[:place], "0", *line.split(",")[place:]]) for line in lines]
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        judge(claim_set_of(claims), tmp_path / "results", tmp_path / "measured")
    line = str(caught.value)
    assert line.startswith(f"{path}: {said}; allowed: ") and len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (claim(1, part(contrast=CONTRAST | {"level": "tahn"})), ["contrast.level", "'tahn'", "relu, "]),
        (claim(1, part(where={"init": "he"})), ["where.init", "'he'", "allowed: "]),
        (claim(1, part(metric=None, contrast=None, reading="spreads")), ["reading is 'spreads'", "allowed: spread, "]),
        (
            claim(1, part(metric=None, contrast=None, studies=[], experiment="timing")),
            ["experiment is 'timing'", "allowed: noise"],
        ),
        (
            claim(1, part(metric="test_acuracy")),
            ["metric is 'test_acuracy'", "allowed: generalisation_gap, ", "test_accuracy"],
        ),
        (
            claim(1, part(metric="steps_to_batch_loss_low")),
            ["metric is 'steps_to_batch_loss_low'", "steps_to_batch_loss_0.8"],
        ),
        (
            claim(1, part(metric=None, contrast=None, reading="spread", options={"metric": "loss", "over": "init"})),
            ["metric is 'loss'", "allowed: "],
        ),
        (claim(2, part(), exact=True), ["exact is true", "allowed: only for A1, A3, "]),
    ],
)
def test_what_does_not_exist_is_refused_by_file_and_claim(
    changed: Content, words: list[str], claims: Content, claim_set_of: Callable[[Any], ClaimSet]
) -> None:
    claim_set = claim_set_of(claims | {"claims": [changed]})
    with pytest.raises(UserError) as caught:
        refuse_unknown(claim_set, {"noise": None})
    line = str(caught.value)
    assert line.startswith(f"{claim_set.path}: claims: {changed['id']}: ") and len(line.splitlines()) == 1
    assert [word for word in words if word not in line] == [], line


def test_an_option_that_is_missing_is_told_by_file_and_claim(judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        judged([claim(1, part(metric=None, contrast=None, reading="spread"))], final_runs(0.05))
    assert str(caught.value).startswith(f"{tmp_path / 'studies' / 'claims.yaml'}: claims: A1: ")
    assert "options: 'over' is missing" in str(caught.value)
