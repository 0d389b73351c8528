"""`trainatlas claims`: measure what no study does, give verdicts, and write their report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainatlas.command_options import LanguageOption
from trainatlas.study.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Verdicts on the statements of the lecture notes.")

ClaimsFile = Annotated[Path, typer.Argument(help="The claims' YAML file, such as benchmarks/claims.yaml.")]
Results = Annotated[Path, typer.Option(help="Folder under which results lie, those of the studies too.")]
Profile = Annotated[str | None, typer.Option(help="One of the claims' profiles, such as quick.")]
_RESULTS = Path("results")


@app.command()
def check(claims: ClaimsFile, profile: Profile = None) -> None:
    """Refuse claims that name what does not exist, and studies that cannot be read, before anything is trained."""
    from trainatlas.catalogue import TABLES
    from trainatlas.claims.config import load_claims
    from trainatlas.claims.experiments import EXPERIMENTS
    from trainatlas.claims.judge import refuse_unknown
    from trainatlas.study.config import load_study

    claim_set = load_claims(claims, profile)
    refuse_unknown(claim_set, EXPERIMENTS)
    for file in claim_set.studies.values():
        load_study(file.path, TABLES, file.profile)
    parts = sum(len(claim.parts) for claim in claim_set.claims.claims)
    typer.echo(
        f"{claims}: {len(claim_set.claims.claims)} claims, {parts} parts and {len(claim_set.studies)} studies are well formed"
    )


@app.command()
def measure(
    claims: ClaimsFile,
    experiment: Annotated[str, typer.Argument(help="Name of the experiment, as claims name it.")],
    results: Results = _RESULTS,
    profile: Profile = None,
) -> None:
    """Run one experiment that needs no study, and write its table."""
    import pandas as pd

    from trainatlas.analysis.tables import write_table
    from trainatlas.claims.columns import MEASURED_COLUMNS
    from trainatlas.claims.config import load_claims
    from trainatlas.claims.experiments import EXPERIMENTS
    from trainatlas.train.pack import prepare_process

    claim_set = load_claims(claims, profile)
    if experiment not in EXPERIMENTS:
        raise UserError(f"experiment '{experiment}' is unknown; allowed: {', '.join(EXPERIMENTS)}")
    prepare_process()
    table: pd.DataFrame = EXPERIMENTS[experiment](claim_set.claims.seeds)
    write_table(
        table.astype({"case": "str", "seed": "int64", "pair": "str", "effect": "float64"}),
        measured_folder(results, claim_set.name) / f"{experiment}.csv",
        MEASURED_COLUMNS,
    )


@app.command()
def judge(claims: ClaimsFile, results: Results = _RESULTS, profile: Profile = None) -> None:
    """Hold every claim against the results of the studies that feed it, and write the verdicts."""
    from trainatlas.claims.config import load_claims
    from trainatlas.claims.experiments import EXPERIMENTS
    from trainatlas.claims.judge import judge as give_verdicts
    from trainatlas.claims.judge import refuse_unknown
    from trainatlas.claims.tables import write_verdicts
    from trainatlas.train.pack import prepare_process

    claim_set = load_claims(claims, profile)
    refuse_unknown(claim_set, EXPERIMENTS)
    prepare_process()
    folder = results / claim_set.name
    tables = give_verdicts(claim_set, results, measured_folder(results, claim_set.name))
    write_verdicts(tables, folder)
    counts = tables["summary"]["verdict"].value_counts()
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    typer.echo(f"{claim_set.name}: {len(tables['summary'])} claims: {said}")


@app.command()
def report(
    claims: ClaimsFile,
    results: Results = _RESULTS,
    reports: Annotated[Path, typer.Option(help="Folder under which reports lie.")] = Path("reports"),
    profile: Profile = None,
    language: LanguageOption = None,
) -> None:
    """Write the report on claims: one HTML file and one PDF."""
    from trainatlas.claims.config import load_claims
    from trainatlas.report.render import write_claims_report
    from trainatlas.study.languages import language_asked

    claim_set = load_claims(claims, profile)
    if language is not None:
        claim_set = claim_set.in_language(language_asked(language, "--language "))
    for path in write_claims_report(claim_set, results / claim_set.name, reports / claim_set.name):
        typer.echo(path)


def measured_folder(results: Path, name: str) -> Path:
    """Return the folder of the tables of experiments of the claims of this name."""
    return results / name / "measured"
