"""Made-up results whose answers are known."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd
import pytest

from trainatlas.study.trial import FACTORS

Levels = Mapping[str, tuple[str, ...]]


@pytest.fixture(scope="session")
def grid_runs() -> Callable[..., pd.DataFrame]:
    """Return a function that makes the final runs of a whole grid.

    It takes the levels by factor (a factor left out stands at one level), the seeds, and what computes
    the test accuracy of a cell (levels by factor) and seed.
    """

    def runs(levels: Levels, seeds: Iterable[int], accuracy: Callable[[dict[str, str], int], float]) -> pd.DataFrame:
        full = {factor: levels.get(factor, ("only",)) for factor in FACTORS}
        rows: list[dict[str, Any]] = []
        for seed in seeds:
            for texts in itertools.product(*full.values()):
                cell = dict(zip(full, texts, strict=True))
                rows.append(cell | {"seed": seed, "test_accuracy": accuracy(cell, seed)})
        return pd.DataFrame(rows)

    return runs
