"""Options that several commands share, and when this process began."""

from __future__ import annotations

import enum
import time
from pathlib import Path
from typing import Annotated, get_args

import typer

from trainatlas.study.languages import Language

STARTED = time.perf_counter()
"""When the process began to read its command line, by `time.perf_counter()`: what its own times count from."""


class Device(enum.StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


StudyFile = Annotated[Path, typer.Argument(help="The study's YAML file, such as benchmarks/digits.yaml.")]
Results = Annotated[Path, typer.Option(help="Folder under which each study's results lie.")]
RESULTS = Path("results")
"""Where results lie, where the user does not say."""
DeviceOption = Annotated[
    Device,
    typer.Option(envvar="TRAINATLAS_DEVICE", help="cuda: a GPU that no other job uses; auto: one where there is any."),
]
Profile = Annotated[str | None, typer.Option(help="One of the study's profiles, such as quick.")]
LanguageOption = Annotated[
    str | None,
    typer.Option(help=f"What the report is written in, {' or '.join(get_args(Language))}; otherwise as the file says."),
]
