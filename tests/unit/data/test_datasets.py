"""A data set is what its facts promise before it is loaded, and what is promised takes no loading."""

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from trainatlas.data import datasets, sources
from trainatlas.data.datasets import DATA_SETS, DataSet, Facts, data_set_level, facts, is_user_data, load
from trainatlas.data.published import SOURCES, Source, SourceFile
from trainatlas.study.errors import UserError
from trainatlas.study.levels import parse_level

HERE = Path()
WITHOUT_FILES = ["digits", "ill_scaled", "ill_scaled(features=3, decades=2.0)", "breast_cancer"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a test; nothing of this machine's user is looked at."""
    monkeypatch.setenv("TRAINATLAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data"


def given_by(data: DataSet) -> tuple[int, int] | None:
    return None if data.part is None else (int((data.part == 1).sum()), int((data.part == 2).sum()))


def agree(told: Facts, data: DataSet) -> None:
    """Assert that the facts told beforehand are those of the data."""
    assert data.x.shape == (told.examples, *told.shape)
    assert data.y.shape == (told.examples,) and data.y.dtype == np.int64
    assert set(data.y.tolist()) == set(range(told.classes))
    assert len(data.classes) == told.classes and given_by(data) == told.given
    assert data.x.dtype in (np.uint8, np.float32)
    assert data.x.dtype == np.uint8 or np.isfinite(data.x).all()
    assert data.part is None or (data.part.dtype == np.int8 and set(data.part.tolist()) <= {0, 1, 2})


@pytest.mark.parametrize("text", WITHOUT_FILES)
def test_a_data_set_is_what_its_facts_say(text: str) -> None:
    agree(facts(text, HERE), load(text, HERE))
    assert facts(text, HERE).digest == "" and facts(text, HERE).given is None


def test_every_entry_has_facts_and_a_source() -> None:
    assert list(DATA_SETS) == ["digits", "mnist", "fashion_mnist", "cifar10", "ill_scaled", "breast_cancer"]
    for name, level in DATA_SETS.items():
        told = facts(name, HERE)
        assert told.examples > 0 and told.classes > 1 and all(told.shape)
        assert level.formula and level.source


def test_importing_and_asking_for_facts_loads_nothing_heavy(python: Callable[..., Any]) -> None:
    lines = (
        "import sys; from pathlib import Path\n"
        "import trainatlas.data.datasets as d, trainatlas.data.sources, trainatlas.data_commands\n"
        "[d.facts(name, Path()) for name in d.DATA_SETS]\n"
        "heavy = {'numpy', 'sklearn', 'PIL', 'pooch', 'requests', 'tqdm', 'torch', 'pandas'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = python(lines)
    assert done.returncode == 0, done.stderr


def test_digits_are_those_of_scikit_learn() -> None:
    data, bunch = load("digits", HERE), load_digits()
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.x[:, 0] * 16, bunch.images)
    np.testing.assert_array_equal(data.y, bunch.target)
    assert data.classes == tuple("0123456789") and data.part is None


def test_breast_cancer_is_that_of_scikit_learn_as_it_is() -> None:
    data, bunch = load("breast_cancer", HERE), load_breast_cancer()
    np.testing.assert_array_equal(data.x[:, 0, 0], bunch.data.astype(np.float32))
    np.testing.assert_array_equal(data.y, bunch.target)
    assert data.classes == ("malignant", "benign")
    spread = data.x.std(axis=0, dtype=np.float64)
    assert np.log10(spread.max() / spread.min()) > 5


# --- the ill-scaled set ---


def plain(text: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    data = load(text, HERE)
    return data.x[:, 0, 0].astype(np.float64), data.y


@pytest.mark.parametrize(("features", "decades"), [(20, 6.0), (2, 6.0), (50, 0.0), (7, 12.0)])
def test_scales_span_the_decades_and_classes_are_even(features: int, decades: float) -> None:
    x, y = plain(f"ill_scaled(features={features}, decades={decades})")
    assert np.bincount(y).tolist() == [500] * 4
    within = np.sqrt(np.mean([x[y == label].var(axis=0) for label in range(4)], axis=0))
    assert np.log10(within[-1] / within[0]) == pytest.approx(decades, abs=0.05)
    steps = np.diff(np.log10(within))
    np.testing.assert_allclose(steps, decades / (features - 1), atol=0.06)
    assert (abs(x.mean(axis=0)) < 0.1 * x.std(axis=0)).all()  # it is scales that differ, not centres


def test_sets_that_differ_in_decades_are_one_set_on_other_scales() -> None:
    (level, y), (steep, other) = plain("ill_scaled(decades=0)"), plain("ill_scaled(decades=6)")
    np.testing.assert_array_equal(y, other)
    np.testing.assert_allclose(steep / 10.0 ** np.linspace(-3, 3, 20), level, rtol=1e-6)


def test_the_ill_scaled_set_is_the_same_each_time_and_learnable_once_scaled() -> None:
    x, y = plain("ill_scaled")
    np.testing.assert_array_equal(x, plain("ill_scaled(features=20)")[0])
    scaled = StandardScaler().fit_transform(x)
    neighbours = KNeighborsClassifier()
    assert cross_val_score(neighbours, scaled, y).mean() > cross_val_score(neighbours, x, y).mean() + 0.3
    assert cross_val_score(LogisticRegression(), scaled, y).mean() > 0.9


# --- sets of files ---


@pytest.fixture
def tiny_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """Stand-in for CIFAR-10 in its own format: 500 and 200 examples, classes uneven and unordered."""
    draw = np.random.default_rng(3)
    base = SOURCES["cifar10"]
    files, counts = [], []
    target = folder / "cifar10"
    target.mkdir(parents=True)
    for number, file in enumerate(base.files):
        y = draw.permutation(np.repeat(np.arange(10), np.arange(6, 16) if number < 5 else 20))[:200]
        y = y[:100] if number < 5 else y
        data = np.column_stack([y, draw.integers(0, 256, (len(y), 3072))]).astype(np.uint8).tobytes()
        (target / file.name).write_bytes(data)
        files.append(SourceFile(file.name, len(data), hashlib.sha256(data).hexdigest()))
        counts.append(np.bincount(y, minlength=10))
    train, test = tuple(np.sum(counts[:5], axis=0).tolist()), tuple(counts[5].tolist())
    made = replace(base, files=tuple(files), train_counts=train, test_counts=test)
    monkeypatch.setitem(SOURCES, "cifar10", made)
    monkeypatch.setitem(DATA_SETS, "cifar10", datasets._file_entry("cifar10", "tiny", "generated"))
    datasets._table_facts.cache_clear()
    yield made
    datasets._table_facts.cache_clear()


@pytest.mark.parametrize(
    ("text", "examples", "given"),
    [
        ("cifar10", 700, (0, 200)),
        ("cifar10(examples=101)", 301, (0, 200)),
        ("cifar10(test=100)", 600, (0, 100)),
        ("cifar10(examples=250,test=199)", 449, (0, 199)),
        ("cifar10(examples=500, test=200)", 700, (0, 200)),
    ],
)
def test_what_is_kept_is_told_beforehand(
    text: str, examples: int, given: tuple[int, int], tiny_cifar10: Source
) -> None:
    told = facts(text, HERE)
    assert (told.examples, told.given, told.digest) == (examples, given, "")
    data = load(text, HERE)
    agree(told, data)
    assert data.part is not None and (np.diff(data.part) >= 0).all()  # training first
    assert data.classes == tiny_cifar10.classes


def test_the_first_examples_of_each_class_are_kept_in_their_proportions(tiny_cifar10: Source) -> None:
    everything, kept = load("cifar10", HERE), load("cifar10(examples=150, test=120)", HERE)
    for code, wanted in ((0, 150), (2, 120)):
        y, x = everything.y[everything.part == code], everything.x[everything.part == code]
        rows: list[int] = []
        for label in range(10):
            mine = int((kept.y[kept.part == code] == label).sum())
            assert abs(mine - wanted * (y == label).mean()) < 1
            rows += np.flatnonzero(y == label)[:mine].tolist()
        np.testing.assert_array_equal(kept.y[kept.part == code], y[sorted(rows)])
        np.testing.assert_array_equal(kept.x[kept.part == code], x[sorted(rows)])


@pytest.mark.parametrize("kept", [0, 100, 123, 500, 999, 1000])
def test_so_many_rows_are_kept_as_are_asked_for(kept: int) -> None:
    y = np.random.default_rng(0).integers(0, 7, 1_000)
    rows = datasets.first_of_each_class(y, kept)
    assert len(rows) == (kept or 1_000) and (np.diff(rows) > 0).all()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_the_facts_of_sets_of_files_need_no_files(name: str) -> None:
    train = 50_000 if name == "cifar10" else 60_000
    shape = (3, 32, 32) if name == "cifar10" else (1, 28, 28)
    assert facts(name, HERE) == Facts(train + 10_000, (0, 10_000), shape, 10, "")
    assert facts(f"{name}(examples=2000, test=500)", HERE) == Facts(2_500, (0, 500), shape, 10, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imagenet", "data: unknown level 'imagenet'; allowed: digits, mnist"),
        (
            "mnist(examples=5)",
            r"option 'examples' of 'mnist' is 5; allowed: 0 \(all\) or a whole number in \[100, 60000\]",
        ),
        ("cifar10(examples=60000)", r"allowed: 0 \(all\) or a whole number in \[100, 50000\]"),
        ("mnist(test=150.5)", "option 'test' of 'mnist' is 150.5"),
        ("ill_scaled(features=1)", "option 'features'"),
        ("digits(examples=100)", "'digits' has no option 'examples'"),
    ],
)
def test_a_bad_level_is_told(text: str, words: str) -> None:
    for act in (facts, load):
        with pytest.raises(UserError, match=words):
            act(text, HERE)


def test_a_level_has_one_spelling() -> None:
    assert parse_level("mnist( test = 0, examples=2000 )", DATA_SETS) == "mnist(examples=2000)"


def test_missing_files_are_told_in_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match="cifar10: not here; `trainatlas data fetch cifar10`") as caught:
        load("cifar10", HERE)
    line = str(caught.value)
    assert "cifar-10-binary.tar.gz (170,052,171 bytes, SHA-256 c4a38c50a1bc" in line and str(folder / "cifar10") in line


FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_true_fashion_mnist_loads_from_where_debian_puts_it() -> None:
    data = load("fashion_mnist(examples=1000, test=500)", HERE)
    agree(facts("fashion_mnist(examples=1000, test=500)", HERE), data)
    assert np.bincount(data.y[data.part == 0]).tolist() == [100] * 10
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as file:
        first = np.frombuffer(file.read(16 + 784), np.uint8, offset=16)
    np.testing.assert_array_equal(data.x[0].ravel(), first)
    assert data.classes[data.y[0]] == "Ankle boot"


# --- a user's own data ---


def save(path: Path, change: int = 0) -> None:
    x = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2) + np.uint8(change)
    np.savez(path, x=x, y=np.array([0, 1] * 3))


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("photos.npz", True),
        ("a/b.npz", True),
        ("photos/", True),
        ("~/photos/", True),
        ("digits", False),
        ("npz", False),
    ],
)
def test_a_path_is_a_users_own_data(text: str, own: bool) -> None:
    assert is_user_data(text) is own


def test_paths_are_relative_to_the_studys_folder(tmp_path: Path) -> None:
    save(tmp_path / "photos.npz")
    for text in ("photos.npz", str(tmp_path / "photos.npz")):
        agree(facts(text, tmp_path), load(text, tmp_path))
    assert len(facts("photos.npz", tmp_path).digest) == 12
    for act in (facts, load):
        with pytest.raises(UserError, match=f"'photos.npz': no such file in {tmp_path / 'else'}"):
            act("photos.npz", tmp_path / "else")
        with pytest.raises(UserError, match="'photos/': no such folder"):
            act("photos/", tmp_path)


def test_facts_follow_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "photos.npz"
    save(path)
    os.utime(path, ns=(1, 1))
    first = facts("photos.npz", tmp_path).digest
    save(path, change=1)
    os.utime(path, ns=(2, 2))
    assert facts("photos.npz", tmp_path).digest != first


def test_facts_of_ones_own_data_are_worked_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "photos.npz")
    first = facts("photos.npz", tmp_path)
    monkeypatch.setattr(datasets, "npz_facts", lambda path: pytest.fail("worked out again"))
    assert facts("photos.npz", tmp_path) == first


def test_a_folder_of_images_is_a_data_set(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (5, 4), (number, 2, 3)).save(tmp_path / "photos" / name / f"{number}.png")
    data = load("photos/", tmp_path)
    agree(facts("photos/", tmp_path), data)
    assert data.x.shape == (6, 3, 4, 5) and data.classes == ("cat", "dog")
    before = facts("photos/", tmp_path)
    Image.new("RGB", (5, 4)).save(tmp_path / "photos" / "cat" / "3.png")
    assert facts("photos/", tmp_path).examples == before.examples + 1


def test_the_older_name_gives_the_same_facts() -> None:
    assert data_set_level("digits") == facts("digits", HERE)


def test_no_module_state_is_left_by_looking(folder: Path) -> None:
    assert sources.find("cifar10") is None
    assert not folder.exists()
