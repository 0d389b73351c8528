"""Each preprocessing is fitted once a split, whoever asks, and what stands on disk is used only if it is whole."""

import hashlib
import io
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainatlas.data import fitted as module
from trainatlas.data.fitted import FittedPreprocessings
from trainatlas.data.preprocessing import PREPROCESSINGS, PrincipalAxes

Array = NDArray[np.float64]
Python = Callable[..., subprocess.CompletedProcess[str]]

X: Array = np.random.default_rng(0).random((60, 2, 3, 3)) ** 2
SPLIT = ("noise", 3, 0.2, 0.2)
OF_AXES = ["pca", "pca(components=5)", "pca(variance=0.9)", "pca_whitening", "pca_whitening(components=3)",
           "zca_whitening", "zca_whitening(epsilon=0.1)"]  # fmt: skip
LEVELS = [*PREPROCESSINGS, *OF_AXES[1:3], "pca_whitening(components=3)"]
LEARNING = [level for level in LEVELS if PREPROCESSINGS.build(level).learns]


class Training:
    """The training part of a split, which counts how often it is asked for."""

    def __init__(self, x: Array = X) -> None:
        self.calls, self._x = 0, x

    def __call__(self) -> Array:
        self.calls += 1
        return self._x.copy()


def never() -> Array:
    raise AssertionError("nothing was to be fitted")


def assert_is_direct_fit(fitted: FittedPreprocessings, level: str, training: Callable[[], Array]) -> None:
    expected = PREPROCESSINGS.build(level).fit(X)
    ours = fitted.get(level, SPLIT, training)
    np.testing.assert_array_equal(ours.transform(X), expected.transform(X))
    assert ours.retained_variance == expected.retained_variance


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_fitted_once_a_split(level: str, on_disk: bool, tmp_path: Path) -> None:
    fitted, training, other = FittedPreprocessings(tmp_path if on_disk else None), Training(), Training(X * 3 - 1)
    first = fitted.get(level, SPLIT, training)
    assert fitted.get(level, SPLIT, training) is first
    assert_is_direct_fit(fitted, level, training)
    assert training.calls == (level in LEARNING)
    elsewhere = fitted.get(level, ("noise", 4, 0.2, 0.2), other)
    assert other.calls == (level in LEARNING)
    np.testing.assert_array_equal(elsewhere.transform(X), PREPROCESSINGS.build(level).fit(X * 3 - 1).transform(X))
    assert len(files(tmp_path)) == (2 if on_disk and level in LEARNING else 0)


@pytest.mark.parametrize("level", LEVELS)
def test_what_another_process_fitted_is_read_bit_for_bit(level: str, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when needed"
    FittedPreprocessings(folder).get(level, SPLIT, Training())
    assert_is_direct_fit(FittedPreprocessings(folder), level, never)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("first", OF_AXES)
def test_levels_of_principal_components_share_one_eigendecomposition(
    first: str, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decompositions = []

    def counted(matrix: Array) -> tuple[Array, Array]:
        decompositions.append(matrix.shape)
        return eigh(matrix)

    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", counted)
    fitted, training = FittedPreprocessings(tmp_path if on_disk else None), Training()
    fitted.get(first, SPLIT, training)
    shared = [fitted.get(level, SPLIT, never) for level in OF_AXES]
    again = [FittedPreprocessings(tmp_path).get(level, SPLIT, never) for level in OF_AXES] if on_disk else shared
    assert decompositions == [(18, 18)] and training.calls == 1
    assert len(files(tmp_path)) == on_disk
    for level, here, there in zip(OF_AXES, shared, again, strict=True):
        expected = PREPROCESSINGS.build(level).fit(X).transform(X)
        np.testing.assert_array_equal(here.transform(X), expected)
        np.testing.assert_array_equal(there.transform(X), expected)


def test_levels_that_learn_other_things_do_not_share(tmp_path: Path) -> None:
    fitted, training = FittedPreprocessings(tmp_path), Training()
    for level in LEVELS:
        assert_is_direct_fit(fitted, level, training)
    kinds = {PREPROCESSINGS.build(level).learns for level in LEARNING}
    assert training.calls == len(kinds) == len(files(tmp_path)) > 3


@pytest.mark.parametrize("other", [("noise", 3, 0.2, 0.25), ("noise", 3, 0.2), ("noises", 3, 0.2, 0.2),
                                   ("noise", "3", 0.2, 0.2), ()])  # fmt: skip
def test_splits_have_files_of_their_own(other: tuple[object, ...], tmp_path: Path) -> None:
    FittedPreprocessings(tmp_path).get("standardize", SPLIT, Training())
    training = Training()
    FittedPreprocessings(tmp_path).get("standardize", other, training)
    assert training.calls == 1 and len(files(tmp_path)) == 2


def test_a_new_version_reads_no_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FittedPreprocessings(tmp_path).get("standardize", SPLIT, Training())
    monkeypatch.setattr(module, "FITTED_VERSION", module.FITTED_VERSION + 1)
    training = Training()
    FittedPreprocessings(tmp_path).get("standardize", SPLIT, training)
    assert training.calls == 1


def test_numpy_reads_the_file_as_it_is(tmp_path: Path) -> None:
    FittedPreprocessings(tmp_path).get("pca", SPLIT, Training())
    (path,) = tmp_path.iterdir()
    with np.load(path, allow_pickle=False) as archive:
        arrays = PrincipalAxes(**archive)
    assert path.name.startswith("principal_axes-")
    np.testing.assert_array_equal(arrays.mean, X.reshape(60, -1).mean(0))


# Each takes the bytes of a good file and returns those of a bad one.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "a few bytes": lambda content: b"PK\x03\x04",
    "shorter than a checksum": lambda content: content[-20:],
    "cut in half": lambda content: content[: len(content) // 2],
    "last byte gone": lambda content: content[:-1],
    "checksum gone": lambda content: content[:-32],
    "one byte more": lambda content: content + b"\0",
    "one bit of a number turned": lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    "text": lambda content: b"not an archive",
    "a pickle": lambda content: b"\x80\x04N.",
}


@pytest.mark.parametrize("level", ["standardize", "zca_whitening"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(damage: str, level: str, tmp_path: Path) -> None:
    FittedPreprocessings(tmp_path).get(level, SPLIT, Training())
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    path.write_bytes(DAMAGES[damage](good))
    training = Training()
    assert_is_direct_fit(FittedPreprocessings(tmp_path), level, training)
    assert training.calls == 1
    assert path.read_bytes() == good
    assert_is_direct_fit(FittedPreprocessings(tmp_path), level, never)


@given(data=st.data())
def test_no_byte_of_a_file_may_differ(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("altered")
    FittedPreprocessings(folder).get("min_max", SPLIT, Training())
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    training = Training()
    assert_is_direct_fit(FittedPreprocessings(folder), "min_max", training)
    assert training.calls == 1


def test_a_file_under_the_name_of_another_is_made_anew(tmp_path: Path) -> None:
    fitted = FittedPreprocessings(tmp_path)
    fitted.get("standardize", SPLIT, Training())
    (path,) = tmp_path.iterdir()
    fitted.get("standardize", ("another",), Training(X * 2))
    (other,) = set(tmp_path.iterdir()) - {path}
    path.write_bytes(other.read_bytes())
    training = Training()
    assert_is_direct_fit(FittedPreprocessings(tmp_path), "standardize", training)
    assert training.calls == 1


UNFIT: dict[str, dict[str, NDArray[np.generic]]] = {
    "nothing": {},
    "of another level": {"offset": np.zeros((2, 3, 3)), "scale": np.ones((2, 3, 3))},
    "an array missing": {"mean": np.zeros(18), "axes": np.eye(18)},
    "an array too many": {"mean": np.zeros(18), "variances": np.ones(18), "axes": np.eye(18), "more": np.zeros(1)},
    "axes not square": {"mean": np.zeros(18), "variances": np.ones(18), "axes": np.eye(18)[:, :5]},
    "axes of other features": {"mean": np.zeros(18), "variances": np.ones(18), "axes": np.eye(17)},
    "mean an image": {"mean": np.zeros((2, 3, 3)), "variances": np.ones(18), "axes": np.eye(18)},
    "single precision": {"mean": np.zeros(18, np.float32), "variances": np.ones(18), "axes": np.eye(18)},
    "objects": {"mean": np.array([None] * 18), "variances": np.ones(18), "axes": np.eye(18)},
}


@pytest.mark.parametrize("arrays", UNFIT)
def test_a_whole_file_of_other_arrays_is_made_anew(arrays: str, tmp_path: Path) -> None:
    FittedPreprocessings(tmp_path).get("pca", SPLIT, Training())
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, **UNFIT[arrays])  # type: ignore[arg-type]
    archive = buffer.getvalue()
    path.write_bytes(archive + hashlib.sha256(path.name.encode() + archive).digest())
    training = Training()
    assert_is_direct_fit(FittedPreprocessings(tmp_path), "pca", training)
    assert training.calls == 1 and path.read_bytes() == good


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    fitted, training = FittedPreprocessings(tmp_path / "file" / "folder"), Training()
    for level in OF_AXES:
        assert_is_direct_fit(fitted, level, training)
    assert training.calls == 1
    assert files(tmp_path) == ["file"]


def test_a_folder_under_the_name_of_a_file_is_done_without(tmp_path: Path) -> None:
    FittedPreprocessings(tmp_path).get("pca", SPLIT, Training())
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()
    assert_is_direct_fit(FittedPreprocessings(tmp_path), "pca", Training())
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_full_or_read_only_disk_is_done_without(read_only: bool, tiny_disk: Path) -> None:
    FittedPreprocessings(tiny_disk).get("min_max", SPLIT, Training())
    kept = files(tiny_disk)
    if read_only:
        subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    else:
        with pytest.raises(OSError, match="No space left"):
            (tiny_disk / "ballast").write_bytes(bytes(100_000))
    fitted, training = FittedPreprocessings(tiny_disk), Training()
    for level in OF_AXES:
        assert_is_direct_fit(fitted, level, training)
    assert training.calls == 1
    assert_is_direct_fit(fitted, "min_max", never)  # what is there is still read
    assert files(tiny_disk) == sorted([*kept, *([] if read_only else ["ballast"])])


AT_ONCE = """
import sys, time
from pathlib import Path
import numpy as np
from trainatlas.data.fitted import FittedPreprocessings

folder, me, other = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
x = np.random.default_rng(0).random((60, 2, 3, 3)) ** 2
expected = FittedPreprocessings(None).get("pca", (0,), lambda: x).transform(x)
me.touch()
while not other.exists():
    time.sleep(0.001)
for split in range(60):
    time.sleep(-time.time() % 0.005)  # both begin each split at once
    found = FittedPreprocessings(folder).get("pca", (split,), lambda: x).transform(x)
    assert (found == expected).all()
print("done")
"""


def test_two_processes_may_write_the_same_files_at_once(tmp_path: Path, python: Python) -> None:
    folder, first, second = tmp_path / "folder", tmp_path / "first", tmp_path / "second"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(python, [AT_ONCE] * 2, [folder] * 2, [first, second], [second, first]))
    assert [(done.returncode, done.stdout, done.stderr) for done in both] == [(0, "done\n", "")] * 2
    assert len(files(folder)) == 60
    assert all(name.endswith(".npz") and not name.startswith(".") for name in files(folder))
    expected = PREPROCESSINGS.build("pca").fit(X).transform(X)
    for split in range(60):
        np.testing.assert_array_equal(FittedPreprocessings(folder).get("pca", (split,), never).transform(X), expected)
