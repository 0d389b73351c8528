"""The job that trains one pack and writes its tables."""

from __future__ import annotations

import ctypes
import gc
import math
import platform
import time
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from trainatlas.catalogue import structure
from trainatlas.costs import estimate, steps_of, structure_key
from trainatlas.study.checksums import remove_checksums, write_checksums
from trainatlas.study.config import Probes
from trainatlas.study.errors import UserError
from trainatlas.study.peak_memory import peak_mib
from trainatlas.study.planning import Pack, form_stacks
from trainatlas.study.progress import Watch, unwatched
from trainatlas.study.storage import write_csv
from trainatlas.study.trial import TRAINING_VERSION, Trial
from trainatlas.train.checkpoints import Checkpoints, Interrupted, Keeping, Say
from trainatlas.train.devices import device_name
from trainatlas.train.examples import ExampleStore
from trainatlas.train.memory import predict
from trainatlas.train.records import (
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    LAYER_COLUMNS,
    PACK_COLUMNS,
    STACK_COLUMNS,
    TRIAL_COLUMNS,
    names,
    number,
)
from trainatlas.train.stacked import TrialResult, train_stack
from trainatlas.train.work import Ceilings

RAW_TABLES = ("curves", "layers", "histograms", "trials", "pack")
"""Tables of a pack, in the order in which they are written."""


def prepare_process() -> torch.device:
    """Set this process up for training and return the device to train on.

    One thread: the pipeline runs a job per core, and two busy threads make small matrices up to ten
    times slower. Denormals count as zero, or networks that saturate would slow their neighbours. On
    Linux freed memory is kept: giving it back to the system between operations costs a stack about
    a tenth of its speed (docs/performance.md). What libraries made on loading is left out of garbage collections,
    which take a quarter of a second otherwise.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    gc.freeze()
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_pack(
    pack: Pack,
    out: Path,
    device: torch.device,
    started: float,
    say: Say,
    fitted: Path | None = None,
    memory: float | None = None,
    keeping: Keeping | None = None,
    progress: Watch = unwatched,
    ceilings: Ceilings | None = None,
) -> None:
    """Train every trial of `pack` and write its tables and checksums.json into `out`.

    Tables are written when all is trained, each whole or not at all. The same pack yields the same bytes on one machine,
    stacks.csv and pack.csv apart, which hold the times.

    Parameters
    ----------
    started
        `time.perf_counter()` of the process's start, for pack.csv.
    say
        Takes one line of progress at a time.
    fitted
        Folder in which the study's jobs share fitted preprocessings.
    memory
        Bytes that the job may take; stacks are made small enough to keep to it. None: no limit.
    keeping
        Where checkpoints are kept, how often, and who may ask to stop. None: no checkpoints.
    progress
        Told of a stack's trials at the end of every epoch, and when the stack is done.
    ceilings
        What the device does at best, to tell the share of it that training reaches. None: not told.

    Raises
    ------
    Interrupted
        Where training was asked to stop; the same call goes on from the checkpoint.
    """
    begun, clock = time.perf_counter(), _now()
    store = ExampleStore(device, fitted=fitted, folder=pack.folder)
    checkpoints = Checkpoints(pack, device.type, keeping or Keeping(), say)
    checkpoints.form(lambda: [list(stack) for stack in pack.stacks] or form_stacks(pack.trials, structure))
    checkpoints.recut(lambda stacks: stacks_within(stacks, store, memory))
    results = checkpoints.results
    progress(results)
    costs: list[tuple[object, ...]] = []
    while checkpoints.waiting:
        whole, since = not checkpoints.resumes, time.perf_counter()
        trained = train_or_halve(checkpoints, store, device, pack.probes, say, progress, ceilings)
        progress(trained)
        if whole:
            costs.append(_stack_row(pack, trained, time.perf_counter() - since, device_name(device)))
        checkpoints.end_stack(trained)
        store.drop_variants()
        steps = sum(result.steps_run for result in results)
        done, waiting = checkpoints.counts
        say(
            f"pack {pack.pack_id}: stack {done} of {done + waiting}, {len(results)} of {len(pack.trials)} trials, "
            f"{steps / checkpoints.seconds:,.0f} trial-steps/s"
        )
    _write_tables(pack, out, device, results, costs, checkpoints.seconds, started, begun, clock)
    checkpoints.discard()


def give_up(pack: Pack, out: Path, device: torch.device, started: float, say: Say, keeping: Keeping, why: str) -> None:
    """Write the tables of a pack that cannot be trained: its trials are `failed`, but for those that a checkpoint has as done.

    The checkpoint stays, so that training can go on once what was wrong is mended.

    Parameters
    ----------
    started, say, keeping
        As for `train_pack`.
    why
        The error of the trials that were not trained.
    """
    begun, clock = time.perf_counter(), _now()
    checkpoints = Checkpoints(pack, device.type, keeping, say)
    checkpoints.form(lambda: [list(pack.trials)])
    lost = [TrialResult(trial, status="failed", error=why) for stack in checkpoints.waiting for trial in stack]
    say(f"pack {pack.pack_id}: given up, {len(lost)} of {len(pack.trials)} trials are not trained: {why}")
    results = checkpoints.results + lost
    _write_tables(pack, out, device, results, [], checkpoints.seconds, started, begun, clock)


def _write_tables(
    pack: Pack,
    out: Path,
    device: torch.device,
    results: list[TrialResult],
    costs: Sequence[tuple[object, ...]],
    seconds: float,
    started: float,
    begun: float,
    clock: str,
) -> None:
    remove_checksums(out)
    results.sort(key=lambda result: result.trial.trial_id)
    write_csv(out / "curves.csv", names(CURVE_COLUMNS), _curve_rows(results))
    write_csv(out / "layers.csv", names(LAYER_COLUMNS), _layer_rows(results))
    write_csv(out / "histograms.csv", names(HISTOGRAM_COLUMNS), _histogram_rows(results))
    write_csv(out / "trials.csv", names(TRIAL_COLUMNS), (_trial_row(result, device) for result in results))
    write_csv(out / "stacks.csv", names(STACK_COLUMNS), costs)
    steps = sum(result.steps_run for result in results)
    write_csv(
        out / "pack.csv",
        names(PACK_COLUMNS),
        [
            (
                pack.pack_id,
                len(results),
                steps,
                f"{seconds:.2f}",
                f"{begun - started:.2f}",
                clock,
                _now(),
                f"{peak_mib():.0f}",
                device_name(device),
                torch.__version__,
            )
        ],
    )
    write_checksums(out, [f"{table}.csv" for table in RAW_TABLES])


def stacks_within(stacks: list[list[Trial]], store: ExampleStore, memory: float | None) -> list[list[Trial]]:
    """Cut stacks until each is predicted to keep to `memory` bytes.

    Raises UserError naming the limit where a trial needs more by itself.
    """
    if memory is None:
        return stacks
    kept: list[list[Trial]] = []
    waiting = stacks[::-1]
    while waiting:
        stack = waiting.pop()
        needed = predict(stack, store).of(len(stack))
        if needed <= memory:
            kept.append(stack)
        elif len(stack) > 1:  # cut anew, so that each half holds fewer variants of the examples
            waiting += form_stacks(stack, structure, math.ceil(len(stack) / 2))[::-1]
        else:
            raise UserError(
                f"--memory {memory / 2**20:,.0f}: a trial of {stack[0].network} on {stack[0].data} needs about "
                f"{needed / 2**20:,.0f} MiB; allowed: at least that"
            )
    store.drop_variants()
    return kept


def _stack_row(pack: Pack, results: Sequence[TrialResult], seconds: float, device: str) -> tuple[object, ...]:
    """Return a row of stacks.csv: what a stack took, beside what it was estimated to take."""
    stack = [result.trial for result in results]
    lead = stack[0]
    steps = sum(result.steps_run for result in results)
    planned = len(stack) * steps_of(lead, pack.folder)
    times = (f"{seconds:.3f}", f"{estimate(stack, pack.probes, pack.folder):.3f}")
    return pack.pack_id, structure_key(lead), len(stack), lead.last_epoch, steps, planned, *times, device


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def train_or_halve(
    checkpoints: Checkpoints,
    store: ExampleStore,
    device: torch.device,
    probes: Probes,
    say: Say,
    progress: Watch = unwatched,
    ceilings: Ceilings | None = None,
) -> list[TrialResult]:
    """Train the first waiting stack; where that raises, its first half in its place, down to a trial that fails alone.

    A stack that is too large for memory thus shrinks until it fits, and one bad trial ends alone, with
    status "failed" and its error, while its neighbours are trained.
    """
    while True:
        trials = checkpoints.waiting[0]
        try:
            return train_stack(trials, store, device, probes, store.dtype, checkpoints, progress, ceilings)
        except (UserError, Interrupted):
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            if len(trials) == 1:
                say(f"trial {trials[0].trial_id} failed:\n{traceback.format_exc()}")
            else:
                say(f"a stack of {len(trials)} trials failed ({text}); training its halves")
        gc.collect()  # a stack refers to itself: its memory, of which there may be none left, is free only now
        if len(trials) == 1:
            return [TrialResult(trials[0], status="failed", error=text)]
        checkpoints.halve()


def _trial_row(result: TrialResult, device: torch.device) -> list[object]:
    cells: dict[str, object] = {
        "trial_id": result.trial.trial_id,
        "status": result.status,
        "error": result.error,
        "steps_run": result.steps_run,
        "epochs_run": result.epochs_run,
        "parameters": result.parameters,
        "device": device.type,
        "dtype": "float32",
        "training_version": TRAINING_VERSION,
        **result.trial.as_dict(),
    }
    return [cells[name] if name in cells else number(result.metrics.get(name)) for name in names(TRIAL_COLUMNS)]


def _curve_rows(results: Iterable[TrialResult]) -> Iterable[tuple[object, ...]]:
    for result in results:
        trial_id, per_epoch = result.trial.trial_id, result.steps_per_epoch
        for step, split, loss, accuracy, rate in result.curve:
            yield trial_id, step, number(step / per_epoch), split, number(loss), number(accuracy), number(rate)


def _layer_rows(results: Iterable[TrialResult]) -> Iterable[tuple[object, ...]]:
    statistics = names(LAYER_COLUMNS)[4:]
    for result in results:
        for step, layer, depth, cells in result.layers:
            values = (number(cells.get(name)) for name in statistics)
            yield result.trial.trial_id, step, layer, depth, *values


def _histogram_rows(results: Iterable[TrialResult]) -> Iterable[tuple[object, ...]]:
    for result in results:
        for *place, low, high, share in result.histograms:
            yield result.trial.trial_id, *place, number(low), number(high), number(share)
