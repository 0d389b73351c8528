"""`trainatlas data ...` says in plain columns what there is, and in one line what is wrong."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from trainatlas.data import downloads
from trainatlas.data.datasets import DATA_SETS
from trainatlas.data.published import SOURCES, Source, SourceFile
from trainatlas.data_commands import app
from trainatlas.study.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a test; nothing of this machine's user or system is looked at, no host is reached."""
    monkeypatch.setenv("TRAINATLAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    for key, source in SOURCES.items():
        nowhere = tuple(replace(item, urls=(f"http://127.0.0.1:9/{item.name}",)) for item in source.downloads)
        monkeypatch.setitem(SOURCES, key, replace(source, downloads=nowhere, system=()))
    return tmp_path / "data"


@pytest.fixture
def tiny_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Stand-in for MNIST in its own format, 20 and 10 examples, in the data folder."""
    draw = np.random.default_rng(0)
    target = folder / "mnist"
    target.mkdir(parents=True)
    files = []
    for part, examples in (("train", 20), ("t10k", 10)):
        pixels, labels = draw.integers(0, 256, (examples, 28, 28), np.uint8), np.arange(examples, dtype=np.uint8) % 10
        for name, array in ((f"{part}-images-idx3-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
            data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
            (target / name).write_bytes(data)
            files.append(SourceFile(name, len(data), hashlib.sha256(data).hexdigest()))
    made = replace(SOURCES["mnist"], files=tuple(files), train_counts=(2,) * 10, test_counts=(1,) * 10)
    monkeypatch.setitem(SOURCES, "mnist", made)
    return made


def shown(*words: object) -> str:
    """Run a command that must succeed and return what it prints."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*words: object) -> str:
    """Run a command that must fail for the user's sake and return its one line."""
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(text: str) -> dict[str, Sequence[str]]:
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def test_the_list_shows_every_set_aligned(tiny_mnist: Source, folder: Path) -> None:
    text = shown("list")
    lines = rows(text)
    assert set(lines) == {"name", *DATA_SETS}
    assert lines["digits"] == ["1,797", "1", "x", "8", "x", "8", "10", "nothing", "to", "fetch"]
    assert lines["cifar10"][-6:] == ["not", "here:", "trainatlas", "data", "fetch", "cifar10"]
    assert lines["mnist"][-1] == str(folder / "mnist")
    start = text.splitlines()[0].index("where")
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in text.splitlines())


def test_an_archive_counts_as_here(folder: Path) -> None:
    folder.mkdir()
    (folder / "cifar-10-binary.tar.gz").touch()
    assert rows(shown("list"))["cifar10"][-2:] == [str(folder / "cifar-10-binary.tar.gz"), "(packed)"]


def test_check_shows_sums_counts_and_channels(tiny_mnist: Source, folder: Path) -> None:
    text = shown("check", "mnist")
    for file in tiny_mnist.files:
        assert f"SHA-256 {file.sha256}  ok" in text
    lines = rows(text)
    assert lines["all"] == ["20", "10"] and lines["9"] == ["2", "1"]
    pixels = np.frombuffer((folder / "mnist" / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16) / 255
    assert text.splitlines()[-1].split() == ["0", f"{pixels.mean():.4f}", f"{pixels.std():.4f}"]


def test_check_refuses_an_altered_file(tiny_mnist: Source, folder: Path) -> None:
    path = folder / "mnist" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x08")
    assert f"{path}: altered" in told("check", "mnist")


@pytest.mark.parametrize(
    ("name", "all_examples"), [("digits", "1,797"), ("ill-scaled", "2,000"), ("breast_cancer", "569")]
)
def test_check_describes_sets_that_need_no_files(name: str, all_examples: str) -> None:
    lines = rows(shown("check", name))
    assert lines["all"] == [all_examples]
    assert lines["channel"][:2] == ["mean", "std"]


def test_check_describes_a_users_own_data(tmp_path: Path) -> None:
    x = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    split = np.array(["train"] * 4 + ["test"] * 2)
    np.savez(tmp_path / "photos.npz", x=x, y=np.array([0, 1] * 3), split=split, classes=np.array(["cat", "dog"]))
    text = shown("check", tmp_path / "photos.npz")
    lines = rows(text)
    assert "6 examples of shape 1 x 2 x 2, digest " in text
    assert lines["class"] == ["training", "validation", "test"] and lines["dog"] == ["2", "0", "1"]
    assert lines["0"] == [f"{(x[:4] / 255).mean():.4f}", f"{(x[:4] / 255).std():.4f}"]
    assert "no such file" in told("check", tmp_path / "none.npz")


def test_fetch_says_where_what_is_here_lies(tiny_mnist: Source, folder: Path) -> None:
    assert shown("fetch", "mnist").strip() == str(folder / "mnist")
    assert shown("fetch", "digits").strip() == "digits: nothing to fetch"


def test_fetch_without_network_names_file_and_folder(tmp_path: Path) -> None:
    line = told("fetch", "fashion-mnist", "--data-folder", tmp_path / "mine")
    assert "fashion_mnist: cannot be downloaded: no connection to 127.0.0.1:9" in line
    assert "train-images-idx3-ubyte.gz (26,421,880 bytes, SHA-256 3aede38d" in line
    assert f"into {tmp_path / 'mine' / 'fashion_mnist'}; Debian's package dataset-fashion-mnist" in line


def test_path_shows_the_folder_of_downloads_and_of_a_set(tiny_mnist: Source, folder: Path, tmp_path: Path) -> None:
    assert shown("path").strip() == str(folder)
    assert shown("path", "--data-folder", tmp_path / "mine").strip() == str(tmp_path / "mine")
    assert shown("path", "mnist").strip() == str(folder / "mnist")
    assert shown("path", "fashion-mnist").strip() == str(folder / "fashion_mnist")


def test_an_unknown_name_is_told_with_those_allowed() -> None:
    for command in ("fetch", "check"):
        assert told(command, "imagenet").startswith("data: unknown data set 'imagenet'; allowed: digits, mnist")
    assert "is no data set of files" in told("path", "imagenet")
