"""`trainatlas compare`: two runs of a study side by side, and an exit status that tells whether the new one is worse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from trainatlas.command_options import LanguageOption
from trainatlas.study.errors import UserError

REGRESSION, BAD_INPUT = 1, 2
"""Exit statuses."""


def compare(
    old: Annotated[Path, typer.Argument(help="Results of the old run, such as results-before/digits-quick.")],
    new: Annotated[Path, typer.Argument(help="Results of the new run, such as results/digits-quick.")],
    margin: Annotated[
        float, typer.Option(help="By how much the new run may be worse; 0.01 is a point of accuracy.")
    ] = 0.01,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; else reports/compare-NAME.")] = None,
    metric: Annotated[str, typer.Option(help="What is compared: an accuracy of trials.csv.")] = "test_accuracy",
    language: LanguageOption = None,
) -> None:
    """Compare two runs of a study; exit status 1 where the new one is worse beyond the margin, 2 for bad input."""
    from trainatlas.analysis.runs import read_run
    from trainatlas.analysis.runs_compared import compare_runs
    from trainatlas.report.compared import summary
    from trainatlas.report.render import write_comparison
    from trainatlas.study.languages import language_asked

    try:
        before, after = read_run(old), read_run(new)
        comparison = compare_runs(before, after, metric, margin)
        folder = out or Path("reports") / f"compare-{new.resolve().name}"
        spoken = after.language if language is None else language_asked(language, "--language ")
        page, document = write_comparison(before, after, comparison, folder, spoken)
    except UserError as error:
        print(f"trainatlas: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    for line in summary(before, after, comparison):
        typer.echo(line)
    for path in (page, document, folder / "tables" / "compare.csv"):
        typer.echo(path)
    if len(comparison.regressions):
        raise typer.Exit(REGRESSION)
