"""Pages that are made from code are the ones that the code makes now."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from trainatlas.catalogue import TABLES
from trainatlas.study.config import load_study
from trainatlas.study.rounds import plan_of_round

ROOT = Path(__file__).resolve().parents[2]


PAGES = (
    "workflow/schemas/study.schema.json",
    "workflow/schemas/claims.schema.json",
    "workflow/schemas/report.schema.json",
    "docs/data-dictionary.md",
    "docs/catalogue.md",
)
CLAIMS = ROOT / "benchmarks" / "claims.yaml"
STUDIES = sorted(path for path in (ROOT / "benchmarks").glob("*.yaml") if path != CLAIMS)


@pytest.mark.parametrize("page", PAGES)
def test_generated_pages_are_up_to_date(page, command, tmp_path):
    done = command("schema", "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    made = (tmp_path / page).read_text(encoding="utf-8")
    assert (ROOT / page).read_text(encoding="utf-8") == made, "run `make schemas`"


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_satisfy_the_schema_that_editors_use(study):
    schema = yaml.safe_load((ROOT / "workflow/schemas/study.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(study.read_text(encoding="utf-8")), schema)


def test_shipped_claims_satisfy_the_schema_that_editors_use():
    schema = yaml.safe_load((ROOT / "workflow/schemas/claims.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(CLAIMS.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_have_a_quick_edition_and_say_what_both_take(study):
    whole, quick = load_study(study, TABLES), load_study(study, TABLES, "quick")
    assert len(plan_of_round(quick, 1).planned) * quick.epochs < len(plan_of_round(whole, 1).planned) * whole.epochs
    head = [line for line in study.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    runs = [line for line in head if f"study=benchmarks/{study.name}" in line]
    assert len(runs) == 1 + len(whole.profiles)
    assert all(re.search(r" \d+ (s|min|h)\b", line) for line in runs)


def test_the_default_study_is_as_large_as_promised(digits):
    factors = digits["factors"]
    assert {"relu", "leaky_relu", "tanh", "sigmoid", "elu"} <= set(factors["activation"])
    assert {"sgd", "momentum", "rmsprop", "adam"} <= set(factors["optimizer"])
    assert {"none", "batch"} <= set(factors["normalisation"])
    assert {sample["strategy"] for sample in digits["samples"]} == {"grid", "random"}
