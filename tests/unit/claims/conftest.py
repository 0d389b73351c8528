"""Claims and results that are made up, so that what should come of them is known."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from trainatlas.analysis.tables import CURVE_COLUMNS, LAYER_COLUMNS, trial_columns, write_table
from trainatlas.claims import feed as feed_module
from trainatlas.claims import search_readings
from trainatlas.claims.config import ClaimSet, Part, load_claims
from trainatlas.claims.feed import Feed
from trainatlas.study.config import Study
from trainatlas.train.records import Column

Rows = Iterable[Mapping[str, Any]]
KINDS = {"text": "str", "whole": "int64", "number": "float64"}
CONTENT = {
    "title": "What is said",
    "profiles": ["quick"],
    "seeds": [1, 2, 3],
    "chapters": {"A": "Activations", "B": "Normalisation"},
    "studies": {"tiny": {"file": "tiny.yaml"}},
    "claims": [
        {
            "id": "A1",
            "statement": "Tanh does better than ReLU.",
            "source": "S0",
            "parts": [
                {
                    "what": "test accuracy, tanh against ReLU",
                    "studies": ["tiny"],
                    "contrast": {"factor": "activation", "level": "tanh", "against": "relu"},
                    "metric": "test_accuracy",
                    "unit": "points",
                    "direction": "greater",
                    "margin": 0.01,
                }
            ],
        }
    ],
}


@pytest.fixture
def claims() -> dict[str, Any]:
    """What the YAML of a claims file with one claim of one part says; a copy of one's own."""
    return copy.deepcopy(CONTENT)


@pytest.fixture
def claims_file(tmp_path: Path) -> Callable[[Any], Path]:
    """Return a function that writes a claims file beside the studies that `study_of` writes."""

    def write(content: Any) -> Path:
        path = tmp_path / "studies" / "claims.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8"
        )
        return path

    return write


@pytest.fixture
def claim_set_of(claims_file: Callable[[Any], Path]) -> Callable[[Any], ClaimSet]:
    """Return a function that loads what it is given as a claims file."""
    return lambda content: load_claims(claims_file(content))


@pytest.fixture(scope="session")
def part_of() -> Callable[..., Part]:
    """Return a function that makes a part of a claim; what is not given is of no matter."""

    def part(**given: Any) -> Part:
        source = {} if "reading" in given else {"metric": "test_accuracy"}
        fixed = {"what": "an effect", "studies": ["tiny"], "direction": "greater", "margin": 0.01}
        return Part.model_validate(fixed | source | given)

    return part


def filled(rows: Rows, columns: tuple[Column, ...], known: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table with these columns: as in `rows`, else as in `known`, else nothing, or 0."""
    empty = {"text": "", "whole": 0, "number": float("nan")}
    default = {column.name: known.get(column.name, empty[column.kind]) for column in columns}
    table = pd.DataFrame([default | dict(row) for row in rows], columns=[column.name for column in columns])
    return table.astype({column.name: KINDS[column.kind] for column in columns})


def filled_tables(study: Study, trials: Rows, curves: Rows, layers: Rows) -> dict[str, pd.DataFrame]:
    first = {factor: levels[0] for factor, levels in study.factors.items()}
    known = first | {
        "data": study.data, "network": study.network, "learning_rate": 0.1, "batch_size": study.batch_size,
        "epochs": study.epochs, "validation_share": 0.2, "test_share": 0.2, "status": "ok", "sample": "grid",
        "stage": "final", "round": 1, "test_accuracy": 0.5, "final_train_accuracy": 0.5,
        "final_validation_accuracy": 0.5, "best_validation_accuracy": 0.5,
    }  # fmt: skip
    named = [{"trial_id": f"{number:016x}"} | dict(row) for number, row in enumerate(trials)]
    signals = {"activation_mean": 0.0, "activation_std": 1.0, "gradient_norm": 1.0}
    return {
        "trials": filled(named, trial_columns(study), known),
        "curves": filled(curves, CURVE_COLUMNS, {"split": "train_batch", "learning_rate": 0.1}),
        "layers": filled(layers, LAYER_COLUMNS, signals),
    }


@pytest.fixture(scope="session")
def write_results() -> Callable[..., None]:
    """Return a function that writes made-up tables of a study to a folder, as `trainatlas aggregate` would.

    A row of `trials` says what matters of it; levels that it does not name are the study's first.
    """

    def write(folder: Path, study: Study, trials: Rows, curves: Rows = (), layers: Rows = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        columns = {"trials": trial_columns(study), "curves": CURVE_COLUMNS, "layers": LAYER_COLUMNS}
        for name, table in filled_tables(study, trials, curves, layers).items():
            write_table(table, folder / f"{name}.csv", columns[name])

    return write


@pytest.fixture
def results_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Feed]:
    """Return a function that makes the Feed of a study from made-up tables, as `write_results` has them, without files."""
    tables: dict[Path, pd.DataFrame] = {}

    def read(path: Path, columns: object, made_by: str) -> pd.DataFrame:
        return tables[path].copy()

    def scan(path: Path, columns: object, made_by: str) -> Iterator[pd.DataFrame]:
        middle = len(tables[path]) // 2  # parts end wherever it may be, in the midst of a trial too
        yield from (tables[path].iloc[:0], tables[path].iloc[:middle], tables[path].iloc[middle:])

    monkeypatch.setattr(feed_module, "read_table", read)
    for module in (feed_module, search_readings):
        monkeypatch.setattr(module, "scan_table", scan)

    def feed(study: Study, trials: Rows, curves: Rows = (), layers: Rows = ()) -> Feed:
        folder = Path(f"{len(tables)}")
        for name, table in filled_tables(study, trials, curves, layers).items():
            tables[folder / f"{name}.csv"] = table
        return Feed(study, folder)

    return feed


@pytest.fixture
def feed_of(
    results_of: Callable[..., Feed], study_of: Callable[..., Study], tiny: dict[str, Any]
) -> Callable[..., Feed]:
    """Return a function that makes the Feed of the tiny study, changed as it is told, from made-up tables."""

    def feed(trials: Rows, curves: Rows = (), layers: Rows = (), **changes: Any) -> Feed:
        factors = tiny["factors"] | changes.pop("factors", {})
        return results_of(study_of(tiny | {"factors": factors} | changes), trials, curves, layers)

    return feed
