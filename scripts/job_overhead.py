"""What a job of a cluster costs beside training, measured on a SLURM that runs on this machine's loopback.

    python scripts/job_overhead.py [EPOCHS ...]

For each number of epochs the tuning runs of a study of 64 small networks are submitted with profiles/slurm as one pack, one job
after another so that they do not wait for each other. Submission, start and end are SLURM's own times, in whole seconds; the
time of training is the pack's; CPU time is SLURM's, of the whole job. It needs what `scripts/loopback_slurm.py` needs.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import yaml
from loopback_slurm import Slurm, obstacle, running

from trainatlas.study.attempts import attempts_at

ROOT = Path(__file__).resolve().parents[1]
STUDY = {
    "title": "Packs of several lengths",
    "question": "What does a job cost?",
    "data": "digits",
    "network": "mlp(depth=2, width=64)",
    "batch_size": 64,
    "probes": "light",
    "factors": {
        "activation": ["relu"], "init": ["kaiming_normal", "xavier_normal"], "normalisation": ["none"],
        "optimizer": ["sgd", "adam"], "preprocessing": ["standardize"],
    },
    "learning_rate": {"sgd": {"low": 0.03, "high": 0.3}, "adam": {"low": 0.001, "high": 0.01}},
    "samples": [{"name": "grid", "strategy": "grid", "tune": {"learning_rate": 4}, "tuning_seeds": [0, 1, 2, 3], "seeds": [4]}],
    "targets": [{"metric": "validation_accuracy", "value": 0.9}],
}  # fmt: skip
COLUMNS = (
    "epochs",
    "trials",
    "queued",
    "started to ended",
    "loading",
    "training",
    "overhead",
    "a trial",
    "useful",
    "CPU",
)


def measure(slurm: Slurm, epochs: int, folder: Path) -> tuple[object, ...]:
    """Submit one pack and return its row of the table."""
    name = f"epochs-{epochs}"
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(STUDY | {"epochs": epochs}), encoding="utf-8")
    words = ["--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"]
    results = folder / "results" / name
    words += ["--slurm-logdir", str(folder / "logs"), str(results / "plan-2.json")]
    words += ["--config", f"study={folder / name}.yaml"]
    words += [f"results={folder / 'results'}", f"reports={folder / 'reports'}"]
    subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=ROOT, env=os.environ | slurm.environment, check=True, capture_output=True,
    )  # fmt: skip
    (pack,) = json.loads((results / "plan-1.json").read_text(encoding="utf-8"))["packs"]
    with (results / "raw" / pack / "pack.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    (attempt,) = attempts_at(results, pack)
    told = slurm.run("scontrol", "--oneliner", "show", "job", attempt.job).split()
    submitted, started, ended = (
        datetime.fromisoformat(next(word.split("=")[1] for word in told if word.startswith(f"{key}=")))
        for key in ("SubmitTime", "StartTime", "EndTime")
    )
    whole, training, trials = (ended - submitted).total_seconds(), float(row["seconds"]), int(row["trials"])
    ran = (ended - started).total_seconds()
    overhead = whole - training
    times = (f"{whole - ran:.0f}", f"{ran:.0f}", f"{float(row['start_seconds']):.1f}", f"{training:.1f}")
    shares = (f"{overhead:.1f}", f"{overhead / trials:.2f}", f"{training / whole:.0%}")
    return (epochs, trials, *times, *shares, _cpu_seconds(slurm, attempt.job))


def _cpu_seconds(slurm: Slurm, job: str) -> str:
    """Return the CPU time that SLURM accounts a job, which a busy machine changes less than the clock."""
    total = slurm.run("sacct", "-n", "-P", "-j", job, "-o", "TotalCPU").split()[
        0
    ]  # the job's; its steps' come after it
    seconds = sum(float(part) * 60**place for place, part in enumerate(reversed(total.split(":"))))
    return f"{seconds:.1f}"


def main() -> None:
    """Print the table, times in seconds."""
    if (reason := obstacle()) is not None:
        sys.exit(f"job_overhead: {reason}")
    print(" ".join(f"{name:>16}" for name in COLUMNS))
    with running(accounting=True) as slurm, tempfile.TemporaryDirectory() as folder:
        for epochs in [int(word) for word in sys.argv[1:]] or [1, 30, 300, 1000]:
            print(" ".join(f"{cell!s:>16}" for cell in measure(slurm, epochs, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
