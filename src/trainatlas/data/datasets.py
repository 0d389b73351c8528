"""The data sets that a study may name.

`facts` tells what planning needs - sizes, shape, classes, whether the data bring a split - without loading
anything; `load` fetches the values. A text names an entry of `DATA_SETS`, or a user's own data by their
path: `photos.npz`, `photos/` (see `trainatlas.data.npz` and `trainatlas.data.image_folder`). The files of
the sets that are downloaded are the affair of `trainatlas.data.sources`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trainatlas.data import sources
from trainatlas.data.formats import PARTS, DataSet, Facts
from trainatlas.data.image_folder import folder_facts, read_folder
from trainatlas.data.npz import npz_facts, read_npz
from trainatlas.data.published import SOURCES
from trainatlas.study.errors import UserError
from trainatlas.study.lazy import LazyModule
from trainatlas.study.levels import AnyOption, Level, LevelTable, Option, parse_level, split_level

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn import datasets as sklearn_datasets
else:
    np = LazyModule("numpy")
    sklearn_datasets = LazyModule("sklearn.datasets")

__all__ = ["DATA_SETS", "DataSet", "Facts", "data_set_level", "facts", "is_user_data", "load"]


@dataclass(frozen=True, kw_only=True)
class DataSetLevel(Level):
    """A data set's entry: `build` loads it, `facts` tells its sizes without loading; both take the options."""

    facts: Callable[..., Facts]


# --- sets that are files --------------------------------------------------------------------------------

LEAST_KEPT = 100
"""The smallest part of a data set that may be asked for: ten examples of each of ten classes."""


@dataclass(frozen=True)
class Kept(Option):
    """An option that is a number of examples to keep, or 0 for all; a part too small to hold every class is refused."""

    @property
    def allowed(self) -> str:
        """What a value may be."""
        return f"0 (all) or a whole number in [{LEAST_KEPT}, {self.high:g}]"

    def check(self, value: object) -> bool | int | float | str:
        """Return `value` as a whole number, or raise ValueError saying what is allowed."""
        number = super().check(value)
        assert isinstance(number, int)
        if 0 < number < LEAST_KEPT:
            raise ValueError(self.allowed)
        return number


def first_of_each_class(y: NDArray[np.int64], kept: int) -> NDArray[np.int64]:
    """Return the rows, ascending, of the first examples of each class, `kept` together.

    Each class keeps its share of `kept`, rounded so that they add up: the classes with the largest remainders
    get one more, the smaller class number first where they are equal.

    Parameters
    ----------
    y
        Classes, shape (examples,), in file order.
    kept
        Number of rows to return; 0 for all.
    """
    if kept in (0, len(y)):
        return np.arange(len(y))
    counts = np.bincount(y)
    quotas, remainders = np.divmod(counts * kept, len(y))
    quotas[np.argsort(-remainders, kind="stable")[: kept - quotas.sum()]] += 1
    return np.sort(np.concatenate([np.flatnonzero(y == label)[:quota] for label, quota in enumerate(quotas)]))


def _file_facts(name: str) -> Callable[..., Facts]:
    source = SOURCES[name]

    def told(examples: int = 0, test: int = 0) -> Facts:
        train_size, test_size = source.counts
        last = test or test_size
        return Facts((examples or train_size) + last, (0, last), source.shape, len(source.classes), "")

    return told


def _file_load(name: str) -> Callable[..., DataSet]:
    def read(examples: int = 0, test: int = 0) -> DataSet:
        content = sources.read(name)
        part = np.repeat(np.array([0, 2], np.int8), [content.train, len(content.y) - content.train])
        x, y = content.x, content.y
        if examples or test:
            rows = np.concatenate(
                [
                    first_of_each_class(y[: content.train], examples),
                    content.train + first_of_each_class(y[content.train :], test),
                ]
            )
            x, y, part = x[rows], y[rows], part[rows]
        return DataSet(x, y, part, SOURCES[name].classes)

    return read


def _file_entry(name: str, what: str, source: str) -> DataSetLevel:
    train_size, test_size = SOURCES[name].counts
    options: dict[str, AnyOption] = {
        "examples": Kept(0, 0, train_size, "examples of the training part to keep, the first of each class; 0: all"),
        "test": Kept(0, 0, test_size, "examples of the test part to keep, the first of each class; 0: all"),
    }
    return DataSetLevel(
        name=name, formula=what, source=source, build=_file_load(name), options=options, facts=_file_facts(name)
    )


# --- sets that need no files ----------------------------------------------------------------------------


def _digits() -> DataSet:
    """Read the file that scikit-learn comes with: to load scikit-learn for it takes longer than to train a small network."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None  # it is among the dependencies
    rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    x, y = rows[:, :-1], rows[:, -1]
    return DataSet(
        (x / 16).astype(np.float32).reshape(-1, 1, 8, 8), y.astype(np.int64), None, tuple(map(str, range(10)))
    )


def _breast_cancer() -> DataSet:
    bunch = sklearn_datasets.load_breast_cancer()
    x = bunch.data.astype(np.float32).reshape(-1, 1, 1, 30)
    return DataSet(x, bunch.target.astype(np.int64), None, tuple(map(str, bunch.target_names)))


ILL_SCALED_EXAMPLES, ILL_SCALED_CLASSES = 2_000, 4
_ILL_SCALED_SEED = 20_231_117
_ILL_SCALED_DISTANCE = 4.0


def _ill_scaled(features: int, decades: float) -> DataSet:
    """Draw Gaussian classes and multiply their features by factors that span `decades` powers of ten.

    Before that, every feature is as informative as any other: class means are normal, centred over the
    classes, about `_ILL_SCALED_DISTANCE` within-class standard deviations apart (a mean of pairs), and the noise
    is standard normal. The factors rise evenly in the logarithm from 10^(-decades/2) to 10^(decades/2), so
    that scales alone differ: no feature is off centre by more than its own spread. The draws
    depend on `features` alone: sets that differ in `decades` are one set on other scales.
    """
    draw = np.random.default_rng([_ILL_SCALED_SEED, features])
    y = draw.permutation(np.repeat(np.arange(ILL_SCALED_CLASSES), ILL_SCALED_EXAMPLES // ILL_SCALED_CLASSES))
    means = draw.standard_normal((ILL_SCALED_CLASSES, features))
    means = (means - means.mean(axis=0)) * _ILL_SCALED_DISTANCE / np.sqrt(2 * features)
    x = means[y] + draw.standard_normal((len(y), features))
    factors = 10.0 ** np.linspace(-decades / 2, decades / 2, features)
    names = tuple(map(str, range(ILL_SCALED_CLASSES)))
    return DataSet((x * factors).astype(np.float32)[:, None, None], y.astype(np.int64), None, names)


def _told(examples: int, shape: tuple[int, int, int], classes: int) -> Callable[..., Facts]:
    return lambda: Facts(examples, None, shape, classes, "")


def _ill_scaled_facts(features: int, decades: float) -> Facts:
    return Facts(ILL_SCALED_EXAMPLES, None, (1, 1, features), ILL_SCALED_CLASSES, "")


DATA_SETS = LevelTable(
    "data",
    DataSetLevel(
        name="digits",
        formula="handwritten digits, grey 8 x 8, grey values 0 to 16 divided by 16",
        source="Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (test part), in scikit-learn",
        build=_digits,
        facts=_told(1_797, (1, 8, 8), 10),
    ),
    _file_entry(
        "mnist",
        "handwritten digits, grey 28 x 28, 60,000 for training and 10,000 for testing",
        "LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition",
    ),
    _file_entry(
        "fashion_mnist",
        "pictures of clothes, grey 28 x 28, 60,000 for training and 10,000 for testing",
        "Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
    ),
    _file_entry(
        "cifar10",
        "pictures of animals and vehicles, colour 32 x 32, 50,000 for training and 10,000 for testing",
        "Krizhevsky 2009, Learning multiple layers of features from tiny images",
    ),
    DataSetLevel(
        name="ill_scaled",
        formula=(
            "four Gaussian classes in `features` dimensions, each feature then multiplied by a factor, "
            "10^(-decades/2) for the first to 10^(decades/2) for the last; 2,000 examples, drawn once and for all"
        ),
        source="synthetic, made for the claim that features on unlike scales need scaling",
        build=_ill_scaled,
        options={
            "features": Option(20, 2, 1_000, "number of features"),
            "decades": Option(6.0, 0, 12, "powers of ten between the smallest and the largest scale"),
        },
        facts=_ill_scaled_facts,
    ),
    # Of scikit-learn's tabular sets, this one has the most unlike scales: standard deviations span 5.3 powers of
    # ten (wine: 3.4), and 569 examples (wine: 178) leave enough for a test part.
    DataSetLevel(
        name="breast_cancer",
        formula="30 measurements of cell nuclei, as they are: standard deviations from 0.003 to 569; benign or malignant",
        source="Wolberg, Mangasarian and Street 1993, UCI Breast Cancer Wisconsin (Diagnostic), in scikit-learn",
        build=_breast_cancer,
        facts=_told(569, (1, 1, 30), 2),
    ),
)
"""Every data set by name. Planning reads its facts, training builds it."""


# --- what others call -----------------------------------------------------------------------------------


def is_user_data(text: str) -> bool:
    """Say whether a text names a user's own data: `photos.npz`, or a folder, `photos/`."""
    return text.endswith((".npz", "/"))


def facts(text: str, folder: Path) -> Facts:
    """Return what planning needs to know of a data set.

    Parameters
    ----------
    text
        A level of `DATA_SETS`, or the path of a user's own data.
    folder
        The study's folder, which a user's paths are relative to.

    Raises
    ------
    UserError
        Where the level is none, or a user's own data are missing or bad; pixels are looked at by `load` alone.
    """
    if is_user_data(text):
        path = _user_path(text, folder)
        return _user_facts(path, _state(path))
    return _table_facts(text)


@lru_cache(maxsize=1024)
def _table_facts(text: str) -> Facts:
    name, given = split_level(parse_level(text, DATA_SETS))
    level = DATA_SETS[name]
    assert isinstance(level, DataSetLevel)
    return level.facts(**DATA_SETS.options(name, given))


def load(text: str, folder: Path) -> DataSet:
    """Load a data set.

    Parameters
    ----------
    text
        A level of `DATA_SETS`, or the path of a user's own data.
    folder
        The study's folder, which a user's paths are relative to.

    Raises
    ------
    UserError
        In one line, where the level is none, or files are missing, truncated, altered or bad.
    """
    if is_user_data(text):
        path = _user_path(text, folder)
        return read_npz(path) if text.endswith(".npz") else read_folder(path)
    data = DATA_SETS.build(parse_level(text, DATA_SETS))
    assert isinstance(data, DataSet)
    return data


def _user_path(text: str, folder: Path) -> Path:
    path = folder / Path(text).expanduser()
    if not path.exists():
        raise UserError(
            f"data: '{text}': no such {'file' if text.endswith('.npz') else 'folder'} in {folder.absolute()}"
        )
    return path.absolute()


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes where data do: size and time of a file; of a folder, those of its class folders too.

    A plan asks for the facts of one data set thousands of times; they are worked out once. An image written
    over in place, within one process, goes unseen.
    """
    try:
        folders = [path, *path.glob("*/"), *(item for part in PARTS for item in (path / part).glob("*/"))]
        return tuple((str(item), item.stat().st_size, item.stat().st_mtime_ns) for item in folders)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=64)
def _user_facts(path: Path, state: tuple[tuple[str, int, int], ...]) -> Facts:
    return folder_facts(path) if path.is_dir() else npz_facts(path)


def data_set_level(text: str) -> Facts:
    """Return the facts of a level of the table; `facts` is what new code calls."""
    return facts(text, Path())
