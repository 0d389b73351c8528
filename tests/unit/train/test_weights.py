"""Trials that go on from weights an earlier round left behind yield what they would have yielded from their start."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from trainatlas.catalogue import structure
from trainatlas.study.config import Probes
from trainatlas.study.planning import Pack, form_stacks
from trainatlas.study.trial import Trial
from trainatlas.train.checkpoints import Keeping
from trainatlas.train.pack import train_pack

TRIAL = Trial("digits", "mlp(depth=1, width=16)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.05, 64, 4, 0)
KINDS = [
    TRIAL._replace(optimizer=optimizer, learning_rate=rate, schedule=schedule, seed=seed)
    for seed, (optimizer, rate, schedule) in enumerate(
        [
            ("sgd", 0.05, "cosine(warmup=1.0)"),
            ("momentum", 0.01, "reduce_on_plateau(patience=0, threshold=0.2)"),
            ("adam", 0.01, "constant"),
            ("lookahead", 0.01, "step"),
            ("rmsprop", 0.01, "constant"),
        ]
    )
]
TABLES = ("trials", "curves", "layers", "histograms")


def pack_of(
    name: str,
    trials: Sequence[Trial],
    probes: Probes = "light",
    parents: dict[str, tuple[str, str]] | None = None,
    limit: int = 256,
) -> Pack:
    stacks = tuple(map(tuple, form_stacks(trials, structure, limit)))
    keeps = any(trial.stop_epoch for trial in trials)
    return Pack(name, probes, tuple(trials), Path(), stacks, parents or {}, keeps)


def train(pack: Pack, folder: Path, weights: Path | None) -> list[str]:
    said: list[str] = []
    keeping = Keeping(weights=weights)
    train_pack(pack, folder / pack.pack_id, torch.device("cpu"), 0.0, said.append, keeping=keeping)
    return said


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.csv").read_bytes() for name in TABLES}


def rung(trials: Sequence[Trial], stop: int) -> list[Trial]:
    return [trial._replace(stop_epoch=stop) for trial in trials]


def parents_of(trials: Sequence[Trial], stop: int, pack: str) -> dict[str, tuple[str, str]]:
    return {trial.trial_id: (pack, trial._replace(stop_epoch=stop).trial_id) for trial in trials}


@pytest.mark.parametrize("probes", ["light", "full"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalisation": "batch", "regularisation": "dropout(p=0.2) + early_stopping(patience=3)"},
        {"network": "cnn(depth=1, width=8)", "augmentation": "crop(padding=1)"},
    ],
    ids=["plain", "normalised and dropped out", "convolutional"],
)
def test_two_rungs_and_the_rest_yield_the_bytes_of_one_run(
    probes: Probes, changes: dict[str, str], tmp_path: Path
) -> None:
    trials = [trial._replace(**changes) for trial in KINDS]
    weights = tmp_path / "weights"
    train(pack_of("first", rung(trials, 1), probes), tmp_path, weights)
    second = pack_of("second", rung(trials, 3), probes, parents_of(rung(trials, 3), 1, "first"))
    assert any("goes on from the weights" in line for line in train(second, tmp_path, weights))
    third = pack_of("third", trials, probes, parents_of(trials, 3, "second"))
    assert any("goes on from the weights" in line for line in train(third, tmp_path, weights))
    train(pack_of("at once", trials, probes), tmp_path, None)
    assert tables(tmp_path / "third") == tables(tmp_path / "at once")
    train(pack_of("to the second", rung(trials, 3), probes), tmp_path, None)
    assert tables(tmp_path / "second") == tables(tmp_path / "to the second")


def test_those_that_go_on_need_not_have_stood_together(tmp_path: Path) -> None:
    """Some of two packs' trials, in stacks of others: the same numbers but for rounding."""
    trials = [trial._replace(seed=seed, batch_size=64) for trial in KINDS for seed in (0, 1)]
    train(pack_of("one", rung(trials[:6], 2)), tmp_path, tmp_path / "weights")
    train(pack_of("other", rung(trials[6:], 2), limit=2), tmp_path, tmp_path / "weights")
    chosen = trials[1:9:2]
    homes = parents_of(trials[:6], 2, "one") | parents_of(trials[6:], 2, "other")
    second = pack_of("second", chosen, parents={trial.trial_id: homes[trial.trial_id] for trial in chosen})
    assert any("goes on from the weights" in line for line in train(second, tmp_path, tmp_path / "weights"))
    train(pack_of("at once", chosen), tmp_path, None)
    found, expected = (
        np.genfromtxt(tmp_path / name / "curves.csv", delimiter=",", skip_header=1, usecols=(1, 4))
        for name in ("second", "at once")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_alone_where_there_were_many_adam_goes_on_as_before(tmp_path: Path) -> None:
    """A stack of one takes Adam's step in one pass, which keeps something else: not where it goes on from a larger one."""
    trials = [TRIAL._replace(optimizer="adam", learning_rate=0.01, seed=seed) for seed in (0, 1, 2)]
    train(pack_of("first", rung(trials, 2)), tmp_path, tmp_path / "weights")
    alone = trials[:1]
    second = pack_of("second", alone, parents=parents_of(alone, 2, "first"))
    train(second, tmp_path, tmp_path / "weights")
    train(pack_of("at once", trials), tmp_path, None)
    found, expected = (
        {
            line
            for line in (tmp_path / name / "trials.csv").read_text().splitlines()
            if line.startswith(alone[0].trial_id)
        }
        for name in ("second", "at once")
    )
    numbers = [[float(cell) for cell in next(iter(lines)).split(",")[-16:-8]] for lines in (found, expected)]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-4)


def harm_none(path: Path) -> None:
    path.unlink()


def harm_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [harm_none, harm_bytes])
def test_without_its_weights_a_trial_is_trained_from_its_start_to_the_same_bytes(harm: object, tmp_path: Path) -> None:
    train(pack_of("first", rung(KINDS, 2)), tmp_path, tmp_path / "weights")
    (path,) = (tmp_path / "weights" / "first").glob("*.npz")
    assert callable(harm)
    harm(path)
    second = pack_of("second", KINDS, parents=parents_of(KINDS, 2, "first"))
    assert any("begins anew" in line for line in train(second, tmp_path, tmp_path / "weights"))
    train(pack_of("at once", KINDS), tmp_path, None)
    assert tables(tmp_path / "second") == tables(tmp_path / "at once")


@pytest.mark.parametrize("probes", ["off", "standard"])
def test_weights_of_another_kind_of_run_are_not_used(probes: Probes, tmp_path: Path) -> None:
    train(pack_of("first", rung(KINDS, 2), "light"), tmp_path, tmp_path / "weights")
    second = pack_of("second", KINDS, probes, parents_of(KINDS, 2, "first"))
    assert any("begins anew" in line for line in train(second, tmp_path, tmp_path / "weights"))


def test_trials_that_ended_leave_no_weights(tmp_path: Path) -> None:
    bad = TRIAL._replace(learning_rate=1e30, seed=9)
    train(pack_of("first", rung([TRIAL, bad], 2)), tmp_path, tmp_path / "weights")
    for trials, said in (([TRIAL], "goes on"), ([bad], "begins anew")):
        pack = pack_of(said, trials, parents=parents_of(trials, 2, "first"))
        assert any(said in line for line in train(pack, tmp_path, tmp_path / "weights"))


def test_a_run_that_no_round_continues_leaves_nothing(tmp_path: Path) -> None:
    train(pack_of("only", KINDS), tmp_path, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
