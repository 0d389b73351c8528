"""`trainatlas train`, `rerun`, `time` and `bench`: the commands that run networks.

Heavy imports stand inside, after what can be refused without them.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from trainatlas.command_options import RESULTS, STARTED, Device, DeviceOption, Profile, Results, StudyFile
from trainatlas.study.stage_times import note_stage


def train(
    pack: Annotated[Path, typer.Argument(help="A pack's file, results/STUDY/packs/PACK.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the pack's tables.")],
    memory: Annotated[float | None, typer.Option(min=1, help="MiB that the job may take; otherwise no limit.")] = None,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="TRAINATLAS_CHECKPOINT_SECONDS",
            help="Least seconds between two checkpoints; 0: one at every epoch.",
        ),
    ] = 30.0,
    grace_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="TRAINATLAS_GRACE_SECONDS",
            help="Seconds in which an epoch may still be ended after SIGTERM or SIGINT.",
        ),
    ] = 20.0,
    device: DeviceOption = Device.auto,
    limit_minutes: Annotated[
        float, typer.Option(min=0, help="A scheduler's time limit, near which training stops by itself; 0: none.")
    ] = 0.0,
    tries_left: Annotated[
        int, typer.Option(min=0, help="Tries that are left, this one included; 0: give the pack up, its trials failed.")
    ] = 1,
    scratch: Annotated[
        str,
        typer.Option(
            envvar="TRAINATLAS_SCRATCH", help="The node's own folder to read data sets from, such as '$TMPDIR'."
        ),
    ] = "",
) -> None:
    """Train the trials of one pack side by side and write its tables.

    Asked to stop by SIGTERM or SIGINT, or near its time limit, it keeps where it stands and ends with status 128 + the
    signal's number; started again it goes on from there, and after a kill from its last checkpoint.
    """
    from trainatlas.costs import steps_of
    from trainatlas.study import attempts
    from trainatlas.study.planning import read_pack
    from trainatlas.study.progress import Reporter

    content = read_pack(pack)
    results = pack.parent.parent
    before = attempts.attempts_at(results, content.pack_id)
    noting = attempts.Noting(results, content.pack_id, results / "logs" / "train" / f"{content.pack_id}.log")
    steps = {trial: steps_of(trial, content.folder) for trial in content.trials}
    progress = Reporter(results / "progress" / pack.name, content.pack_id, steps)
    from trainatlas.train.checkpoints import Interrupted, Keeping, StopRequest
    from trainatlas.train.devices import hold_device, slots_folder
    from trainatlas.train.pack import give_up, prepare_process, train_pack
    from trainatlas.train.work import kept_ceilings

    def say(line: str) -> None:
        typer.echo(line, err=True)

    prepare_process()
    folder = results / "checkpoints" / content.pack_id
    keeping = Keeping(folder, checkpoint_seconds, grace_seconds, weights=results / "weights")
    if not tries_left:
        from trainatlas.train.devices import any_device

        why = before[-1].ending() if before else "its jobs ended before they began to train"
        give_up(content, out, any_device(device.value), STARTED, say, keeping, why)
        noting.end(attempts.GIVEN_UP, why)
        progress.finish()
        return
    stopping = StopRequest(_deadline(limit_minutes), patient=bool(attempts.job_of()[1]))
    with (
        noting.failures(),
        hold_device(device.value, slots_folder(), say) as place,
        stopping.listening() as stop,
    ):
        try:
            if scratch:
                from trainatlas.data.scratch import read_from_scratch

                read_from_scratch(scratch, {trial.data for trial in content.trials}, say)
            train_pack(
                content,
                out,
                place,
                STARTED,
                say,
                fitted=results / "fitted",
                memory=None if memory is None else memory * 2**20,
                keeping=replace(keeping, stop=stop),
                progress=progress,
                ceilings=kept_ceilings(results / "ceilings.json", place),
            )
        except Interrupted as interrupted:
            typer.echo(interrupted, err=True)
            noting.end(attempts.STOPPED, str(interrupted))
            raise typer.Exit(128 + interrupted.number) from None
    noting.end(attempts.DONE)
    progress.finish()


def rerun(
    study: StudyFile,
    trial: Annotated[str, typer.Argument(help="The trial's id, or how it begins.")],
    results: Results = RESULTS,
    profile: Profile = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for its tables; otherwise reruns/TRIAL under the study's results.")
    ] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Train one trial of a study again, by itself, and say whether it comes to the same."""
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study
    from trainatlas.study.planning import find_trial

    checked = load_study(study, TABLES, profile)
    folder = results / checked.name
    found, pack = find_trial(folder, trial)
    place = out or folder / "reruns" / found.trial_id
    from trainatlas.train.devices import hold_device, slots_folder
    from trainatlas.train.pack import prepare_process
    from trainatlas.train.rerun import rerun as train_again

    def say(line: str) -> None:
        typer.echo(line, err=True)

    prepare_process()
    with hold_device(device.value, slots_folder(), say) as held:
        told = train_again(found, pack, folder, place, held, STARTED, say)
    typer.echo(f"{checked.name}: trial {found.trial_id} is in {place}; it {told}")


LIMIT_RESERVE = 120.0
"""Seconds before a time limit at which training stops; a quarter of the limit, where that is less."""


def _deadline(limit_minutes: float) -> float:
    """Return when training stops by itself, by `time.monotonic()`."""
    if not limit_minutes:
        return math.inf
    since_start = time.perf_counter() - STARTED
    return time.monotonic() - since_start + limit_minutes * 60 - min(LIMIT_RESERVE, limit_minutes * 15)


def time_study(
    study: StudyFile, results: Results = RESULTS, profile: Profile = None, device: DeviceOption = Device.auto
) -> None:
    """Time an optimizer step of every kind of network, each trained alone: what seconds to targets rest on."""
    from trainatlas.catalogue import TABLES
    from trainatlas.study.config import load_study

    checked = load_study(study, TABLES, profile)
    from trainatlas.train.devices import hold_device, slots_folder
    from trainatlas.train.pack import prepare_process
    from trainatlas.train.timing import time_steps

    prepare_process()
    with hold_device(device.value, slots_folder(), lambda line: typer.echo(line, err=True)) as place:
        timed = time_steps(checked, results / checked.name, place)
    typer.echo(f"{checked.name}: steps of {timed.kinds:,} kinds, {timed.measured:,} of them measured")
    note_stage(results / checked.name, "time", time.perf_counter() - STARTED)


def bench(
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each kind; medians are shown.")] = 3,
    memory: Annotated[float, typer.Option(min=1000, help="MiB that a stack may take.")] = 8000,
    out: Annotated[Path, typer.Option(help="The table as CSV.")] = Path("results/bench.csv"),
    levels: Annotated[bool, typer.Option("--levels", help="Time every level of the catalogue instead.")] = False,
) -> None:
    """Time stacked training against plain loops and the machine's limit, in one process, with one thread."""
    from trainatlas.train.bench import PROCESS_STEPS, measure, measure_probes, write_rows
    from trainatlas.train.bench_levels import LEVEL_STACK, measure_levels
    from trainatlas.train.pack import prepare_process
    from trainatlas.train.work import measure_ceilings

    device = prepare_process()
    if levels:
        typer.echo(f"every level against the plainest of its factor, stacks of {LEVEL_STACK}, median of {repeats}")
        typer.echo(f"{'network':28} {'level':60} {'time a step':>12}")
        for cost in measure_levels(device, repeats):
            typer.echo(f"{cost.network:28} {f'{cost.factor}: {cost.level}':60} {cost.ratio:11.2f}x")
        return
    ceilings = measure_ceilings(device)
    typer.echo(
        f"{device.type}, one thread, median of {repeats}; matrix products {ceilings.operations / 1e9:,.0f} GFLOP/s, "
        f"copies {ceilings.bytes / 1e9:,.1f} GB/s"
    )
    typer.echo(f"trial-steps/s; process: a fresh one for every {PROCESS_STEPS} steps; limit: by those two rates")
    columns = ("stacked", "loop", "process", "sklearn", "limit", "x loop", "x process", "x sklearn", "of limit")
    typer.echo(f"{'case':20} {'trials':>6} {'stack':>6} " + " ".join(f"{name:>9}" for name in columns))
    rows = []
    for row in measure(device, ceilings, memory * 2**20, repeats):
        rows.append(row)
        speeds = [row.stacked, row.loop, row.process, row.scikit_learn, row.limit]
        ratios = [row.ratio, row.stacked / row.process, row.scikit_learn and row.stacked / row.scikit_learn]
        cells = [f"{speed:9,.0f}" if speed else f"{'-':>9}" for speed in speeds]
        cells += [f"{ratio:9.2f}" if ratio else f"{'-':>9}" for ratio in ratios]
        typer.echo(f"{row.case:20} {row.trials:6} {row.stack:6} {' '.join(cells)} {row.share:9.0%}")
    write_rows(rows, out)
    typer.echo(f"{out}\n\nwhat probes add to a run of 12 epochs of digits 2x64, 128 trials, against none")
    for probes, share in measure_probes(device, repeats):
        typer.echo(f"{probes:20} {share:+9.0%}")
