"""Simulated studies are what they say, and the verdicts on them err as seldom as docs/calibration.md says."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from trainatlas.analysis.pairing import pairing

ROOT = Path(__file__).resolve().parents[2]
STUDIES = 120


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration", ROOT / "scripts" / "calibration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["calibration"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("changes", [{}, {"excluded": 0.25}, {"diverged": 0.1}])
def test_simulated_differences_are_on_average_the_true_ones(calibration: ModuleType, changes: dict[str, float]) -> None:
    simulation = calibration.Simulation(
        calibration.Design(step=0.01, interaction=0.02, taste=0.01, seeds=400, **changes)
    )
    paired = pairing(simulation.study(), "activation", calibration.LEVELS)
    assert len(simulation.truth) == 6
    for level, other, differences in paired.pairs():
        error = np.nanstd(np.nanmean(differences, axis=1)) / np.sqrt(400)
        assert np.nanmean(differences) == pytest.approx(simulation.truth[level, other], abs=4 * error)


def test_what_is_excluded_is_so_for_every_seed_and_what_diverges_ends_at_chance(calibration: ModuleType) -> None:
    runs = calibration.Simulation(calibration.Design(excluded=0.25, diverged=0.1)).study()
    cells = runs.groupby(["activation", "init", "normalisation", "optimizer"], observed=True).size()
    assert cells.eq(4).all() and 50 < len(cells) < 96
    assert 0.02 < runs["test_accuracy"].eq(calibration.CHANCE).mean() < 0.2


@pytest.mark.slow
def test_without_differences_only_what_rests_on_seeds_seldom_errs(calibration: ModuleType) -> None:
    shares = calibration.false_verdicts(calibration.Design(taste=0.007, excluded=0.1), STUDIES)
    most = stats.binom.ppf(0.999, STUDIES, 0.05) / STUDIES
    assert max(shares[test] for test in ("t-test", "flips of seeds", "Friedman over seeds")) <= most
    assert min(shares[test] for test in ("signed rank", "flips of pairs")) > most


@pytest.mark.parametrize("changes", [{}, {"excluded": 0.25}, {"diverged": 0.1}])
def test_known_differences_lie_in_the_intervals_over_seeds(calibration: ModuleType, changes: dict[str, float]) -> None:
    shares = calibration.coverage(calibration.Design(taste=0.007, **calibration.EFFECT, **changes), STUDIES)
    assert 0.91 <= shares["t over seeds"] <= 0.985


@pytest.mark.parametrize(("taste", "low", "high"), [(0.0, 0.93, 1.0), (0.007, 0.7, 0.92)])
def test_intervals_over_pairs_hold_where_differences_do_not_depend_on_the_seed(
    calibration: ModuleType, taste: float, low: float, high: float
) -> None:
    shares = calibration.coverage(calibration.Design(taste=taste, **calibration.EFFECT), STUDIES)
    assert low <= shares["BCa over pairs"] <= high


@pytest.mark.slow
def test_intervals_of_robust_summaries_need_the_jackknife(calibration: ModuleType) -> None:
    shares = calibration.summaries(calibration.Design(taste=0.007, **calibration.EFFECT), 30)
    for name in ("iqm", "improvement"):
        assert shares[f"{name}, jackknife"] >= stats.binom.ppf(0.001, 30, 0.95) / 30
    assert shares["iqm, runs drawn anew"] < shares["iqm, jackknife"]


def test_a_table_has_a_row_for_every_design(calibration: ModuleType) -> None:
    few = dict(list(calibration.designs().items())[:2])
    lines = calibration.measured(calibration.coverage, few, 2).splitlines()
    assert lines[0] == "| study | differences | seeds | t over seeds | BCa over pairs |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| balanced", "| balanced"]
