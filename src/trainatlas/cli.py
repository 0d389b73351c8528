"""The command line: one command for each stage of the pipeline.

Every Snakemake rule is one call of these. Heavy imports stand inside the commands, so that `plan`
answers at once and only `train` pays for torch.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from trainatlas.study.errors import UserError

_STARTED = time.perf_counter()

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An atlas of neural-network training choices: plan, train, gather, analyse and report a study.",
)

StudyFile = Annotated[Path, typer.Argument(help="The study's YAML file, such as benchmarks/digits.yaml.")]
Results = Annotated[Path, typer.Option(help="Folder under which each study's results lie.")]
_RESULTS = Path("results")


@app.command()
def plan(study: StudyFile, results: Results = _RESULTS) -> None:
    """Turn a study into trials and packs: its tuning runs and its random draws."""
    from trainatlas.catalogue import TABLES, structure
    from trainatlas.study.config import load_study
    from trainatlas.study.planning import write_first_plan

    checked = load_study(study, TABLES)
    summary = write_first_plan(checked, results / checked.name, structure)
    stages = ", ".join(f"{number:,} {stage}" for stage, number in sorted(summary["trials_by_stage"].items()))
    typer.echo(
        f"{checked.name}: {summary['trials']:,} trials now ({stages}) in {len(summary['packs'])} packs, "
        f"{summary['final_trials']:,} more when rates are chosen"
    )


@app.command()
def train(
    pack: Annotated[Path, typer.Argument(help="A pack's file, results/STUDY/packs/PACK.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the pack's tables.")],
) -> None:
    """Train the trials of one pack side by side and write its tables."""
    from trainatlas.study.planning import read_pack

    content = read_pack(pack)
    from trainatlas.train.pack import prepare_process, train_pack

    train_pack(content, out, prepare_process(), _STARTED, say=lambda line: typer.echo(line, err=True))


@app.command()
def select(study: StudyFile, results: Results = _RESULTS) -> None:
    """Choose each arm's learning rate on validation data and plan the final runs."""
    from trainatlas.analysis.selection import select as choose
    from trainatlas.catalogue import TABLES, structure
    from trainatlas.study.config import load_study
    from trainatlas.study.planning import write_plan
    from trainatlas.study.sampling import final_stage

    checked = load_study(study, TABLES)
    folder = results / checked.name
    summary = write_plan(checked, folder, "final", final_stage(checked, choose(checked, folder)), structure)
    typer.echo(f"{checked.name}: {summary['trials']:,} final trials in {len(summary['packs'])} packs")


@app.command()
def aggregate(study: StudyFile, results: Results = _RESULTS) -> None:
    """Gather the tables of all packs into the study's tables."""
    from trainatlas.analysis.aggregate import aggregate as gather
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES)
    gather(checked, results / checked.name)


@app.command()
def analyse(study: StudyFile, results: Results = _RESULTS) -> None:
    """Work out effects, intervals and summaries from the study's tables."""
    from trainatlas.analysis.analyse import analyse as work_out
    from trainatlas.analysis.analyse import read_gathered, write_analysis
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES)
    folder = results / checked.name
    write_analysis(work_out(checked, read_gathered(checked, folder)), folder)


def main() -> None:
    """Run the command line; a user's mistake ends with one line and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"trainatlas: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
