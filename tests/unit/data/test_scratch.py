"""Data sets are copied to a node's own disk once and read there; what cannot be copied is read where it is."""

import gzip
import os
from pathlib import Path

import pytest

from trainatlas.data import sources
from trainatlas.data.published import SOURCES
from trainatlas.data.scratch import read_from_scratch
from trainatlas.study.errors import UserError


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared data folder with files that go by the names of a data set's."""
    folder = tmp_path / "shared"
    (folder / "cifar10").mkdir(parents=True)
    for file in SOURCES["cifar10"].files:
        (folder / "cifar10" / f"{file.name}.gz").write_bytes(gzip.compress(file.name.encode()))
    monkeypatch.setenv(sources.VARIABLE, str(folder))
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    return folder


def test_files_are_copied_once_and_found_there(shared: Path, tmp_path: Path) -> None:
    said: list[str] = []
    read_from_scratch("$NODE_DISK", ["cifar10(examples=100)", "digits", "mine.npz"], said.append)
    place = tmp_path / "node" / f"trainatlas-{os.getuid()}"
    assert sources.find("cifar10") == place / "cifar10"
    assert {path.name for path in (place / "cifar10").iterdir()} == {
        path.name for path in (shared / "cifar10").iterdir()
    }
    assert os.environ[sources.VARIABLE].split(os.pathsep) == [str(place), str(shared)]
    times = [path.stat().st_mtime_ns for path in (place / "cifar10").iterdir()]
    folder = (place / "cifar10").stat().st_ctime_ns
    os.environ[sources.VARIABLE] = str(shared)  # the next job of the node
    read_from_scratch("$NODE_DISK", ["cifar10"], said.append)
    assert [path.stat().st_mtime_ns for path in (place / "cifar10").iterdir()] == times
    assert (place / "cifar10").stat().st_ctime_ns == folder
    assert said == []


def test_where_the_disk_cannot_be_written_data_are_read_from_the_shared_folder(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "node").write_text("")
    said: list[str] = []
    read_from_scratch("$NODE_DISK", ["cifar10"], said.append)
    (line,) = said
    assert "cannot be written" in line and line.endswith(f"data are read from {shared / 'cifar10'}")
    assert sources.find("cifar10") == shared / "cifar10"


def test_a_variable_that_the_node_does_not_have_is_named(shared: Path) -> None:
    with pytest.raises(UserError, match=r"^scratch=\$NOT_SET/x: its variable is not set on this node"):
        read_from_scratch("$NOT_SET/x", ["cifar10"], print)
