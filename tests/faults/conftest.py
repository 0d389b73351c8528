"""A pack that holds one of everything that training remembers, and ways to train it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import torch

from trainatlas.study.planning import Pack
from trainatlas.study.trial import Trial
from trainatlas.train.checkpoints import Interrupted, Keeping, StopRequest
from trainatlas.train.pack import train_pack

CPU = torch.device("cpu")
TRIAL = Trial("digits", "mlp(depth=2, width=16)", "relu", "kaiming_normal", "batch", "sgd", "raw", 0.1, 64, 4, 0)
PLATEAU = "reduce_on_plateau(patience=0, threshold=0.5, cooldown=1)"
TRIALS = (
    TRIAL,
    TRIAL._replace(optimizer="nadam", learning_rate=0.01, schedule=PLATEAU),
    TRIAL._replace(optimizer="lookahead", learning_rate=0.01, augmentation="crop(padding=1)", seed=1),
    TRIAL._replace(optimizer="adadelta", learning_rate=1.0, schedule="cosine(warmup=1.5)"),
    TRIAL._replace(learning_rate=1e30),  # leaves its stack early
    TRIAL._replace(learning_rate=1e-5, regularisation="dropout + early_stopping(patience=1, min_delta=0.5)"),
    TRIAL._replace(regularisation="dropout + early_stopping(patience=1)", optimizer="rmsprop", learning_rate=0.01),
)
TABLES = ("trials.csv", "curves.csv", "layers.csv")


@dataclass
class Job:
    """Trains a pack into folders of its own, as often as it is told to."""

    folder: Path
    trials: Sequence[Trial] = TRIALS
    said: list[str] = field(default_factory=list)
    stop: StopRequest = field(default_factory=StopRequest)
    between: float = 0.0
    grace: float = 20.0
    stop_at: float = math.inf

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "checkpoint.npz"

    def train(self) -> bool:
        """Start a job; return whether it came to its end."""
        self.stop = StopRequest(self.stop_at)
        pack = Pack("0123456789ab", "standard", tuple(self.trials))
        keeping = Keeping(self.checkpoint.parent, self.between, self.grace, self.stop)
        try:
            train_pack(pack, self.folder / "raw", CPU, 0.0, self.said.append, keeping=keeping)
        except Interrupted as interrupted:
            self.said.append(str(interrupted))
            return False
        return True

    def tables(self) -> dict[str, bytes]:
        """Return the tables, whose trials are the pack's, each once."""
        found = {name: (self.folder / "raw" / name).read_bytes() for name in TABLES}
        ids = pd.read_csv(self.folder / "raw" / "trials.csv")["trial_id"]
        assert sorted(ids) == sorted(trial.trial_id for trial in self.trials)
        return found


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "job")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of the pack, trained in one go without checkpoints."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train_pack(Pack("0123456789ab", "standard", TRIALS), folder / "raw", CPU, 0.0, lambda line: None)
    return Job(folder).tables()


@pytest.fixture(scope="session")
def new_job() -> Callable[..., Job]:
    """Return what makes a Job of other trials."""
    return Job
