"""Claims under Snakemake: one command runs the studies and experiments that they ask for and ends in verdicts and a report."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from places import Place

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

PART = {"unit": "points", "direction": "greater", "margin": 0.01}
CONTRAST = {"factor": "activation", "level": "tanh", "against": "relu"}
CLAIMS = {
    "title": "Claims",
    "seeds": [1, 2, 3],
    "chapters": {"A": "Activations", "O": "Optimizers"},
    "studies": {"sgd": {"file": "tiny.yaml"}, "adam": {"file": "other.yaml"}},
    "claims": [
        {"id": "A12", "statement": "Maxout doubles the parameters.", "source": "S0", "exact": True},
        {
            "id": "A13", "statement": "Tanh beats ReLU.", "source": "S0",
            "parts": [PART | {"what": "accuracy, tanh against ReLU", "studies": ["sgd", "adam"], "contrast": CONTRAST,
                              "metric": "test_accuracy"}],
        },
        {
            "id": "O3", "statement": "Signs of a neuron's gradients do not agree after tanh.", "source": "S0",
            "parts": [{"what": "share of neurons", "experiment": "sign_agreement_tanh", "direction": "less", "margin": 0.5}],
        },
    ],
}  # fmt: skip


def test_claims_run_to_verdicts_and_an_edited_margin_judges_anew_and_trains_nothing(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    few = {"init": ["kaiming_normal"], "preprocessing": ["raw"]}
    grid = {"name": "grid", "strategy": "grid", "tune": {"learning_rate": 1}, "tuning_seeds": [0], "seeds": [1, 2, 3]}
    place, other, claims = Place(tmp_path), Place(tmp_path, "other"), tmp_path / "claims.yaml"
    for each, optimizer in ((place, "sgd"), (other, "adam")):
        factors = tiny["factors"] | few | {"optimizer": [optimizer]}
        each.write(tiny | {"factors": factors, "samples": [grid], "pack_trials": 8})
    claims.write_text(yaml.safe_dump(CLAIMS, sort_keys=False), encoding="utf-8")
    settings = (f"claims={claims}",)

    whole = claims.read_text(encoding="utf-8")
    claims.write_text(whole.replace("metric: test_accuracy", "metric: test_acuracy"), encoding="utf-8")
    refused = place.run("claims", settings=settings)
    assert refused.returncode != 0 and not list(tmp_path.glob("results/*/raw"))
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("trainatlas: ")]
    assert line.startswith(f"trainatlas: {claims}: claims: A13: metric is 'test_acuracy'; allowed: ")
    claims.write_text(whole, encoding="utf-8")

    place.finish("claims", settings=settings)
    folder, report = tmp_path / "results" / "claims", tmp_path / "reports" / "claims"
    verdicts = pd.read_csv(folder / "verdicts.csv", keep_default_na=False)
    assert verdicts[["claim", "study"]].values.tolist() == [["A13", "tiny"], ["A13", "other"], ["O3", ""]]
    assert set(verdicts["verdict"]) <= {"supported", "refuted", "inconclusive"} and (verdicts["seeds"] == 3).all()
    assert (report / "index.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (report / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert len(pd.read_csv(place.results / "trials.csv")) == len(pd.read_csv(other.results / "trials.csv")) == 8

    again = place.run("claims", "--dry-run", settings=settings)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr

    korean = place.run("claims", "--dry-run", settings=(*settings, "language=ko"))
    rules = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", korean.stdout, re.MULTILINE)
    assert set(rules) == {"claims_report", "claims"}, korean.stdout

    tables = sorted([*tmp_path.glob("results/*/raw/*/*.csv"), *tmp_path.glob("results/claims/measured/*.csv")])
    before = {path: path.stat().st_mtime_ns for path in tables}
    assert len(before) > 4
    claims.write_text(claims.read_text(encoding="utf-8").replace("margin: 0.01", "margin: 0.9"), encoding="utf-8")
    said = place.finish(str(folder / "verdicts.csv"), settings=settings)
    assert "rule judge" in said and "rule train" not in said and "rule measure" not in said
    anew = pd.read_csv(folder / "verdicts.csv", keep_default_na=False)
    assert anew["expected_low"].tolist()[:2] == [0.9, 0.9]
    assert {path: path.stat().st_mtime_ns for path in tables} == before
    pd.testing.assert_frame_equal(anew[["effect", "low", "high"]], verdicts[["effect", "low", "high"]])
