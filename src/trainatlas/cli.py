"""The command line: one command for each stage of the pipeline.

Every Snakemake rule is one call of these. Heavy imports stand inside the commands, so that `plan`
answers at once and only `train` pays for torch.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainatlas import claims_commands, data_commands, training_commands
from trainatlas.command_options import RESULTS, STARTED, LanguageOption, Profile, Results, StudyFile
from trainatlas.compare_command import compare
from trainatlas.scheduler import refuse_other_release
from trainatlas.study.errors import UserError
from trainatlas.study.stage_times import note_stage

if TYPE_CHECKING:
    from trainatlas.study.config import Study

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An atlas of neural-network training choices: plan, train, gather, analyse and report a study.",
)

app.add_typer(data_commands.app, name="data")
app.add_typer(claims_commands.app, name="claims")


Workers = Annotated[
    int,
    typer.Option(
        min=1, envvar="TRAINATLAS_WORKERS", help="Jobs that run side by side; packs are made for them to end together."
    ),
]
PackMinutes = Annotated[
    float,
    typer.Option(
        min=0,
        envvar="TRAINATLAS_PACK_MINUTES",
        help="Predicted minutes of a pack for a scheduler; 0: packs for this machine's workers.",
    ),
]


@app.command()
def plan(
    study: StudyFile,
    results: Results = RESULTS,
    profile: Profile = None,
    number: Annotated[
        int,
        typer.Option("--round", min=1, help="The first needs nothing; others need the rounds before to be trained."),
    ] = 1,
    workers: Workers = 1,
    pack_minutes: PackMinutes = 0.0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only say what is kept, new and retired, and why; write nothing.")
    ] = False,
    allow_large: Annotated[
        bool,
        typer.Option(
            "--allow-large", envvar="TRAINATLAS_ALLOW_LARGE", help="Plan more trials than the study's max_trials."
        ),
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what training would cost a cluster; write nothing.")
    ] = False,
    cluster: Annotated[
        Path, typer.Option(help="For --estimate: the Snakemake profile that would submit, such as profiles/slurm-gpu.")
    ] = Path("profiles/slurm"),
    prices: Annotated[
        list[Path] | None,
        typer.Option(help="For --estimate: results of another study on that cluster, such as results/digits-quick."),
    ] = None,
) -> None:
    """Turn a study into trials and packs, round by round: tuning runs and first draws, then what these lead to."""
    from trainatlas.catalogue import TABLES, check_user_levels, structure
    from trainatlas.costs import calibrated, start_seconds
    from trainatlas.study.config import load_study
    from trainatlas.study.dealing import Labour
    from trainatlas.study.growth import growth
    from trainatlas.study.merging import merge as merge_folders
    from trainatlas.study.merging import renamed_from
    from trainatlas.study.planning import known_outcomes, plan_round
    from trainatlas.study.rounds import refuse_too_many

    gc.set_threshold(100_000)  # plans are many objects without cycles
    checked = load_study(study, TABLES, profile)
    check_user_levels(checked)
    if not allow_large:
        refuse_too_many(checked)
    folder = results / checked.name
    price, labour = calibrated(folder, checked.folder), Labour(workers, pack_minutes * 60, start_seconds(folder))
    if explain:
        for line in growth(checked, folder, structure, price).lines:
            typer.echo(f"{checked.name}: {line}")
        return
    if estimate:
        _say_estimate(checked, folder, cluster, tuple(prices or ()), pack_minutes)
        return
    if number == 1:
        if (before := renamed_from(checked, folder)) is not None:
            taken = merge_folders([before], folder)
            typer.echo(
                f"{checked.name}: is {before} under another name; {taken.trials:,} trained trials taken over", err=True
            )
        summary = plan_round(checked, folder, 1, structure, price=price, labour=labour)
    else:
        from trainatlas.analysis.selection import chosen_settings

        chosen = chosen_settings(checked, folder) if number == 2 else []
        outcomes = known_outcomes(checked, folder, number)
        summary = plan_round(checked, folder, number, structure, outcomes, chosen, price, labour)
    stages = ", ".join(f"{trials:,} {stage}" for stage, trials in summary["trials_by_stage"].items()) or "no trials"
    later = "" if summary["last"] else f"; then about {summary['later_trials']:,} more"
    typer.echo(f"{checked.name}, round {number}: {stages} in {len(summary['packs'])} packs{later}")
    _note(folder, f"plan-{number}")


def _note(folder: Path, stage: str) -> None:
    note_stage(folder, stage, time.perf_counter() - STARTED)


def _say_estimate(study: Study, folder: Path, cluster: Path, prices: tuple[Path, ...], pack_minutes: float) -> None:
    from trainatlas.catalogue import structure
    from trainatlas.cluster import estimate, read_profile
    from trainatlas.costs import calibrated, measured_ratios
    from trainatlas.workflow import DEFAULTS

    for place in prices:
        if not measured_ratios(place):
            raise UserError(
                f"--prices {place}: holds no trained packs; allowed: a study's folder, such as results/digits"
            )
    jobs, gpus = read_profile(cluster)
    measured = any(measured_ratios(place) for place in (folder, *prices))
    price = calibrated(folder, study.folder, prices)
    seconds = (pack_minutes or float(DEFAULTS["pack_minutes"])) * 60
    for line in estimate(study, folder, structure, price, seconds, jobs, measured).lines(gpus):
        typer.echo(f"{study.name}: {line}")


@app.command()
def merge(
    study: StudyFile,
    sources: Annotated[
        list[Path], typer.Argument(help="Results folders of other machines, such as there/results/digits.")
    ],
    results: Results = RESULTS,
    profile: Profile = None,
) -> None:
    """Take over trials that other machines have trained; Snakemake then trains what is left."""
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study
    from trainatlas.study.merging import merge as take_over
    from trainatlas.workflow import hold_results

    checked = load_study(study, TABLES, profile)
    hold_results(results / checked.name, on_error=sys.exit)
    merged = take_over(sources, results / checked.name)
    typer.echo(
        f"{checked.name}: {merged.trials:,} trials in {merged.packs} packs taken over; left out: {merged.known} packs that are "
        f"here already, {merged.untrained} not trained"
    )


@app.command()
def prepare(study: StudyFile, results: Results = RESULTS, profile: Profile = None) -> None:
    """Fetch and check a study's data and fit its preprocessings, once for all jobs."""
    from trainatlas.catalogue import TABLES
    from trainatlas.data.prepare import prepare as make_ready
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES, profile)
    described = make_ready(checked, results / checked.name)
    sizes = ", ".join(f"{described[f'{part}_examples']:,} {part}" for part in ("train", "validation", "test"))
    typer.echo(f"{checked.name}: {described['data']}, {sizes} examples of {len(described['classes'])} classes")
    _note(results / checked.name, "prepare")


app.command()(training_commands.train)
app.command()(training_commands.rerun)


@app.command()
def status(
    study: StudyFile,
    results: Results = RESULTS,
    profile: Profile = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until all trials are done.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks when watching.")] = 2.0,
    jobs: Annotated[bool, typer.Option("--jobs", help="Every pack with the jobs that have tried to train it.")] = False,
    trial: Annotated[
        str | None, typer.Option(help="Id of a trial, or how it begins: its pack, that pack's jobs and log.")
    ] = None,
) -> None:
    """Tell how far a study is: trials and packs done and at work, their speed, the time left, and what went wrong."""
    from rich.console import Console

    from trainatlas import watching
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES, profile)
    folder = results / checked.name
    if jobs or trial is not None:
        watching.show_jobs(folder, Console(), trial)
    elif watch:
        watching.watch(checked.name, folder, Console(), every)
    else:
        watching.show(checked.name, folder, Console())


@app.command()
def aggregate(study: StudyFile, results: Results = RESULTS, profile: Profile = None) -> None:
    """Gather the tables of all packs into the study's tables."""
    from trainatlas.analysis.aggregate import aggregate as gather
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES, profile)
    gather(checked, results / checked.name)
    _note(results / checked.name, "aggregate")


app.command("time")(training_commands.time_study)


@app.command()
def analyse(study: StudyFile, results: Results = RESULTS, profile: Profile = None) -> None:
    """Work out effects, intervals and summaries from the study's tables."""
    from trainatlas.analysis.analyse import analyse as work_out
    from trainatlas.analysis.analyse import read_gathered, write_analysis
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES, profile)
    folder = results / checked.name
    write_analysis(work_out(checked, read_gathered(checked, folder)), folder)
    _note(folder, "analyse")


@app.command()
def report(
    study: StudyFile,
    results: Results = RESULTS,
    reports: Annotated[Path, typer.Option(help="Folder under which each study's report lies.")] = Path("reports"),
    profile: Profile = None,
    language: LanguageOption = None,
) -> None:
    """Write the study's report: one HTML file and one PDF."""
    from trainatlas.catalogue import TABLES
    from trainatlas.report.render import write_report
    from trainatlas.study.config import load_study
    from trainatlas.study.languages import language_asked

    checked = load_study(study, TABLES, profile)
    if language is not None:
        checked = checked.model_copy(update={"language": language_asked(language, "--language ")})
    for path in write_report(checked, results / checked.name, reports / checked.name):
        typer.echo(path)


app.command()(compare)
app.command()(training_commands.bench)


@app.command()
def schema(
    root: Annotated[Path, typer.Option(help="The repository's root.")] = Path(),
) -> None:
    """Write the pages that follow from the code anew: schemas of studies, claims and reports, data dictionary, catalogue."""
    from trainatlas.analysis.compared_columns import COMPARED_PAGES
    from trainatlas.analysis.dictionary import data_dictionary
    from trainatlas.catalogue_page import catalogue_page
    from trainatlas.claims.columns import CLAIM_PAGES
    from trainatlas.claims.config import Claims
    from trainatlas.report.report_file import StoredReport
    from trainatlas.study.config import Study
    from trainatlas.study.storage import write_json, write_text

    given = Study.model_json_schema()
    given["properties"].pop("name")  # a study is named by its file
    given["required"].remove("name")
    write_json(root / "workflow" / "schemas" / "study.schema.json", given)
    write_json(root / "workflow" / "schemas" / "claims.schema.json", Claims.model_json_schema())
    write_json(root / "workflow" / "schemas" / "report.schema.json", StoredReport.model_json_schema())
    write_text(root / "docs" / "data-dictionary.md", data_dictionary({**CLAIM_PAGES, **COMPARED_PAGES}))
    write_text(root / "docs" / "catalogue.md", catalogue_page())


def main() -> None:
    """Run the command line; a user's mistake ends with one line and exit status 1."""
    try:
        refuse_other_release()
        app()
    except UserError as error:
        print(f"trainatlas: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
