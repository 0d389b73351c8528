"""Data sets of files are found, fetched whole or not at all, and known to be what they should be."""

import gzip
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainatlas.data import downloads, sources
from trainatlas.data.published import SOURCES, Download, Source, SourceFile, source_of
from trainatlas.data.sources import Checked
from trainatlas.study.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[3]
CIFAR10 = CHECKOUT.parent / "shared" / "data" / "cifar-10-batches-bin.tar.xz"
FASHION = Path("/usr/share/datasets/fashion-mnist")
needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_file(), reason=f"the true CIFAR-10 is not at {CIFAR10}")
needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a test; nothing of this machine's user is looked at, and nothing waits."""
    monkeypatch.setenv("TRAINATLAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    monkeypatch.setattr(downloads, "TIMEOUT", 10.0)
    return tmp_path / "data"


def listing(folder: Path) -> set[str]:
    """Return every file below a data folder, but for the locks and notes that hold no data."""
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {path for path in paths if not path.endswith(".lock") and path != ".verified.json"}


# --- a small source of each format ---


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Small:
    """A generated data set: its source, the files it consists of, and what a host sends."""

    source: Source
    files: dict[str, bytes]
    sent: dict[str, bytes]

    def place(self, folder: Path, packed: bool = False) -> None:
        """Put the files into a folder, as a user or a system package would."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(data, 1) if packed else data)


def idx(values: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def small_idx(host: str) -> Small:
    draw = np.random.default_rng(0)
    files = {}
    for part, examples in (("train", 20), ("test", 10)):
        files[f"{part}-images"] = idx(draw.integers(0, 256, (examples, 4, 5)))
        files[f"{part}-labels"] = idx(np.arange(examples) % 2)
    sent = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in files.items()}
    source = Source(
        name="small",
        reader="idx",
        train=("train-images", "train-labels"),
        test=("test-images", "test-labels"),
        files=tuple(SourceFile(name, len(data), sha256(data)) for name, data in files.items()),
        downloads=tuple(
            Download(name, len(data), sha256(data), (f"{host}/{name}",), (name.removesuffix(".gz"),))
            for name, data in sent.items()
        ),
        shape=(1, 4, 5),
        classes=("even", "odd"),
        train_counts=(10, 10),
        test_counts=(5, 5),
        folders=("small", "Small/raw"),
    )
    return Small(source, files, sent)


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(f"batches/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def small_cifar(host: str) -> Small:
    draw = np.random.default_rng(1)
    files = {}
    for number, name in enumerate(("batch_1.bin", "batch_2.bin", "test.bin")):
        labels = (np.arange(20) + number) % 10
        files[name] = np.column_stack([labels, draw.integers(0, 256, (20, 3072))]).astype(np.uint8).tobytes()
    archive = tar(files | {"readme.html": b"hello"})
    source = Source(
        name="small",
        reader="cifar10",
        train=("batch_1.bin", "batch_2.bin"),
        test=("test.bin",),
        files=tuple(SourceFile(name, len(data), sha256(data)) for name, data in files.items()),
        downloads=(
            Download("batches.tar.gz", len(archive), sha256(archive), (f"{host}/batches.tar.gz",), tuple(files)),
        ),
        shape=(3, 32, 32),
        classes=tuple("abcdefghij"),
        train_counts=(4,) * 10,
        test_counts=(2,) * 10,
        folders=("small", "batches"),
        archives=("batches.tar.xz", "batches.tar"),
        ignored=("readme.html",),
    )
    return Small(source, files, {"batches.tar.gz": archive})


SMALL = {"idx": small_idx, "cifar10": small_cifar}
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`, where nothing listens


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A small data set of each format, its host out of reach."""
    made = SMALL[request.param](NOWHERE)
    monkeypatch.setitem(SOURCES, "small", made.source)
    return made


# --- a host of our own ---


@dataclass
class Host:
    """A host that misbehaves as told: `faults` are used up one a request, then it does well."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)


def handler_of(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, wanted = self.path.lstrip("/"), self.headers.get("Range", "")
            host.asked.append((name, wanted))
            fault = host.faults.pop(0) if host.faults else ""
            data = host.files.get(name)
            if data is None or fault == "404":
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and "no ranges" not in fault else 0
            if "altered" in fault:
                data = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
            if "longer" in fault:
                data += bytes(1_000_000)
            body = data[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if "encoded" in fault:  # what some hosts say of every .gz file
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault.startswith(("breaks", "stalls")) else body)
            if fault == "stalls":
                host.go_on.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def host() -> Iterator[Host]:
    """A host on this machine, gone after the test."""
    host = Host()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(host))
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield host
    host.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(params=SMALL)
def hosted(request: pytest.FixtureRequest, host: Host, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A small data set of each format that the host sends."""
    made = SMALL[request.param](host.url)
    monkeypatch.setitem(SOURCES, "small", made.source)
    host.files |= made.sent
    return made


def whole(made: Small) -> set[str]:
    return {"small", *(f"small/{name}" for name in made.files)}


def test_what_is_fetched_is_unpacked_and_verified_and_not_fetched_again(
    hosted: Small, host: Host, folder: Path
) -> None:
    assert sources.fetch("small") == folder / "small"
    assert listing(folder) == whole(hosted)
    assert {name: (folder / "small" / name).read_bytes() for name in hosted.files} == hosted.files
    assert [name for name, _ in host.asked] == list(hosted.sent)
    assert sources.fetch("small") == folder / "small"
    assert len(host.asked) == len(hosted.sent)


def test_only_what_is_missing_or_altered_is_fetched(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_idx(host.url)
    monkeypatch.setitem(SOURCES, "small", made.source)
    host.files |= made.sent
    made.place(folder / "small")
    (folder / "small" / "test-labels").unlink()
    path = folder / "small" / "train-images"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    sources.fetch("small")
    assert [name for name, _ in host.asked] == ["train-images.gz", "test-labels.gz"]
    assert sources.check("small").folder == folder / "small"


def test_a_broken_download_is_taken_up_where_it_stopped(hosted: Small, host: Host, folder: Path) -> None:
    host.faults += ["breaks", "breaks"]
    sources.fetch("small")
    first = next(iter(hosted.sent))
    size = len(hosted.sent[first])
    assert host.asked[:3] == [
        (first, ""),
        (first, f"bytes={size // 2}-"),
        (first, f"bytes={size // 2 + (size - size // 2) // 2}-"),
    ]
    assert listing(folder) == whole(hosted)


def test_a_broken_download_starts_anew_where_the_host_knows_no_ranges(hosted: Small, host: Host, folder: Path) -> None:
    host.faults += ["breaks", "no ranges"]
    sources.fetch("small")
    assert listing(folder) == whole(hosted)


def test_a_host_that_calls_an_archive_an_encoding_does_no_harm(hosted: Small, host: Host, folder: Path) -> None:
    host.faults += ["encoded"] * len(hosted.sent)
    sources.fetch("small")
    assert listing(folder) == whole(hosted)


FAULTS = {
    "altered": ("altered", "sent another file: its SHA-256 is not"),
    "truncated": ("breaks, no ranges", "broke off"),
    "longer": ("longer", "bytes instead of"),
    "gone": ("404", "answers 404"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    case: str, hosted: Small, host: Host, folder: Path
) -> None:
    fault, words = FAULTS[case]
    host.faults += [fault] * 20
    with pytest.raises(UserError) as caught:
        sources.fetch("small")
    assert words in str(caught.value) and "127.0.0.1" in str(caught.value)
    assert listing(folder) == set()
    assert_told(str(caught.value), hosted, folder)
    host.faults.clear()
    sources.fetch("small")  # and nothing is in the way of a second try
    assert listing(folder) == whole(hosted)


def assert_told(line: str, made: Small, folder: Path) -> None:
    """Assert that a message names every file with its size and sum, and the folder it belongs in."""
    assert "\n" not in line and f"into {folder / 'small'}" in line
    for item in made.source.downloads:
        assert f"{item.name} ({item.size:,} bytes, SHA-256 {item.sha256}" in line


def test_without_network_the_message_names_files_and_folder(small: Small, folder: Path) -> None:
    with pytest.raises(UserError, match="no connection to") as caught:
        sources.fetch("small")
    assert_told(str(caught.value), small, folder)
    assert listing(folder) == set()


def test_a_second_address_is_tried(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_cifar(host.url)
    (item,) = made.source.downloads
    item = replace(item, urls=(f"{NOWHERE}/batches.tar.gz", f"{host.url}/missing", *item.urls))
    monkeypatch.setitem(SOURCES, "small", replace(made.source, downloads=(item,)))
    host.files |= made.sent
    sources.fetch("small")
    assert listing(folder) == whole(made)


def test_a_host_that_sends_an_unsafe_archive_is_not_believed(
    host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small_cifar(host.url)
    unsafe = tar(made.files | {"../../evil": b"1"})
    item = Download("batches.tar.gz", len(unsafe), sha256(unsafe), (f"{host.url}/batches.tar.gz",), tuple(made.files))
    monkeypatch.setitem(SOURCES, "small", replace(made.source, downloads=(item,)))
    host.files["batches.tar.gz"] = unsafe
    with pytest.raises(UserError, match="unsafe path"):
        sources.fetch("small")
    assert listing(folder) == set() and not (folder.parent / "evil").exists()


def test_what_a_killed_process_left_is_cleared_away(hosted: Small, folder: Path) -> None:
    left = folder / ".small.part"
    left.mkdir(parents=True)
    (left / "tmp123").write_bytes(b"half")
    sources.fetch("small")
    assert listing(folder) == whole(hosted)


def another_process(made: Small) -> subprocess.Popen[str]:
    """Start a process that fetches the set and prints its folder."""
    lines = (
        "from trainatlas.data import sources\n"
        "from trainatlas.data.published import SOURCES, Download, Source, SourceFile\n"
        f"SOURCES['small'] = {made.source!r}\n"
        "print(sources.fetch('small'))"
    )
    return subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_killed_while_it_downloads_leaves_nothing_in_the_way(hosted: Small, host: Host, folder: Path) -> None:
    host.faults.append("stalls")
    process = another_process(hosted)
    for _ in range(6_000):
        if host.asked:
            break
        host.go_on.wait(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert sources.find("small") is None
    assert not list((folder / "small").iterdir())
    assert sources.fetch("small") == folder / "small"
    assert listing(folder) == whole(hosted)


def test_two_processes_fetch_once(hosted: Small, host: Host, folder: Path) -> None:
    for process in [another_process(hosted), another_process(hosted)]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == str(folder / "small")
    assert sorted(name for name, _ in host.asked) == sorted(hosted.sent)
    assert listing(folder) == whole(hosted)


def test_who_waits_for_another_process_is_told(hosted: Small, folder: Path) -> None:
    folder.mkdir()
    said: list[str] = []
    with sources._lock(folder / ".small.lock", said.append, "small"):
        thread = threading.Thread(target=lambda: sources.fetch("small", folder, say=said.append))
        thread.start()
        for _ in range(6_000):
            thread.join(0.01)
            if said:
                break
        assert "another process" in said[0] and listing(folder) == {"small"}
    thread.join(60)
    assert listing(folder) == whole(hosted)


def test_a_full_disk_ends_with_one_line_and_nothing_kept(
    tiny_disk: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small_cifar(host.url)
    monkeypatch.setitem(SOURCES, "small", made.source)
    host.files |= made.sent
    with pytest.raises(UserError, match="cannot be written: No space left"):
        sources.fetch("small", tiny_disk)
    assert listing(tiny_disk) == set()


# --- what is here already ---


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("place", ["data folder", "system", "cache", "second folder"])
def test_files_are_found_wherever_they_may_lie(
    place: str, packed: bool, small: Small, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINATLAS_DATA", os.pathsep.join([str(folder), str(tmp_path / "other")]))
    where = {
        "data folder": folder / "small",
        "system": tmp_path / "usr" / "share",
        "cache": tmp_path / "cache" / "trainatlas" / "data" / "small",
        "second folder": tmp_path / "other" / small.source.folders[1],
    }[place]
    monkeypatch.setitem(SOURCES, "small", replace(small.source, system=(str(tmp_path / "usr" / "share"),)))
    assert sources.find("small") is None
    small.place(where, packed)
    assert sources.find("small") == where
    assert sources.fetch("small") == where  # no network is asked
    assert sources.read("small").folder == where
    assert listing(folder) == set() or place == "data folder"


def test_the_data_folder_is_that_of_the_flag_then_of_the_variable_then_the_cache(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache" / "trainatlas" / "data"
    assert sources.data_folders(tmp_path / "flag") == (tmp_path / "flag", cache)
    assert sources.data_folders() == (folder, cache)
    monkeypatch.delenv("TRAINATLAS_DATA")
    assert sources.data_folders() == (cache,)
    assert sources.download_folder() == cache
    assert not cache.exists()  # looking makes nothing


def test_a_folder_that_cannot_be_written_is_read_and_the_next_one_written(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = tmp_path / "file" / "below"  # not even root writes below a file
    fixed.parent.touch()
    monkeypatch.setenv("TRAINATLAS_DATA", str(fixed))
    assert sources.download_folder() == tmp_path / "cache" / "trainatlas" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(fixed))
    with pytest.raises(UserError, match=f"no folder can be written: {fixed}, {fixed}/trainatlas/data"):
        sources.fetch("small")
    with pytest.raises(UserError, match="not here"):
        sources.read("small")
    monkeypatch.setitem(SOURCES, "small", replace(small.source, system=(str(tmp_path / "system"),)))
    small.place(tmp_path / "system")
    assert sources.read("small").folder == tmp_path / "system"


@pytest.mark.parametrize(
    ("name", "mode"), [("batches.tar.gz", "w:gz"), ("batches.tar.xz", "w:xz"), ("batches.tar", "w")]
)
@pytest.mark.parametrize("below", ["", "small"])
def test_an_archive_put_by_hand_is_unpacked_once_whatever_packed_it(
    name: str, mode: str, below: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small_cifar(NOWHERE)
    monkeypatch.setitem(SOURCES, "small", made.source)
    (folder / below).mkdir(parents=True)
    (folder / below / name).write_bytes(tar(made.files, mode))
    assert sources.find("small") == folder / below / name
    content = sources.read("small")
    assert content.folder == folder / "small" and content.train == 40
    (folder / below / name).unlink()
    assert listing(folder) == whole(made)


def test_a_wrong_archive_put_by_hand_is_refused_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_cifar(NOWHERE)
    monkeypatch.setitem(SOURCES, "small", made.source)
    folder.mkdir()
    path = folder / "batches.tar.xz"
    altered = made.files | {"test.bin": made.files["test.bin"][:-1] + b"?"}
    cases = [
        (tar(altered), "altered: SHA-256 of its test.bin"),
        (tar(made.files)[:-500], "truncated"),
        (tar({"batch_1.bin": made.files["batch_1.bin"]}), "lacks batch_2.bin, test.bin"),
        (b"no archive", "truncated, altered or not to be read"),
    ]
    for data, words in cases:
        path.write_bytes(data)
        for act in (sources.read, sources.fetch):
            with pytest.raises(UserError, match=words if act is sources.read else "cannot be downloaded"):
                act("small")
            assert listing(folder) == {"batches.tar.xz"}


# --- reading and checking ---


def test_the_parts_are_read_in_file_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_idx(NOWHERE)
    monkeypatch.setitem(SOURCES, "small", made.source)
    made.place(folder / "small")
    content = sources.read("small")
    assert content.train == 20 and content.x.shape == (30, 1, 4, 5)
    pixels = [byte for part in ("train", "test") for byte in made.files[f"{part}-images"][16:]]
    assert content.x.ravel().tolist() == pixels
    assert content.y.tolist() == [0, 1] * 15


def test_missing_files_are_told_with_what_to_put_where(small: Small, folder: Path) -> None:
    with pytest.raises(
        UserError, match="small: not here; `trainatlas data fetch small` downloads it; or put"
    ) as caught:
        sources.read("small")
    assert_told(str(caught.value), small, folder)
    small.place(folder / "small")
    (folder / "small" / next(iter(small.files))).unlink()
    with pytest.raises(UserError, match="not here"):
        sources.read("small")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_truncated_or_altered_file_is_told_by_its_path(packed: bool, small: Small, folder: Path) -> None:
    small.place(folder / "small", packed)
    sources.read("small")  # now the files are known as good
    name = list(small.files)[1]
    path = folder / "small" / f"{name}{'.gz' * packed}"
    good, data = path.read_bytes(), small.files[name]
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes
    bad = [good[:-9], pack(data[:-1]), pack(data + b"?"), pack(data[:-1] + bytes([data[-1] ^ 1]))]
    for number, content in enumerate(bad):
        path.write_bytes(content)
        os.utime(path, ns=(number, number))  # the clock of files may be too coarse to tell the writes apart
        with pytest.raises(UserError, match=r"truncated|altered|more than") as caught:
            sources.read("small")
        assert str(caught.value).startswith(str(path)) and "trainatlas data fetch small" in str(caught.value)
    path.write_bytes(good)
    sources.read("small")


def test_a_file_is_hashed_again_only_when_it_changed(
    small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.place(folder / "small")
    hashed: list[int] = []
    real = hashlib.sha256

    def counting(data: bytes = b"") -> Any:
        hashed.append(len(data))
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", counting)
    sources.read("small")
    assert len(hashed) == len(small.files)
    sources.read("small")
    assert len(hashed) == len(small.files)
    path = folder / "small" / next(iter(small.files))
    os.utime(path, ns=(5, 5))
    sources.read("small")
    assert len(hashed) == len(small.files) + 1
    sources.check("small")
    assert len(hashed) == 2 * len(small.files) + 1


@pytest.mark.parametrize("notes", ["", "[]", "{", '{"x": 1}'])
def test_broken_notes_of_what_was_verified_do_no_harm(notes: str, small: Small, folder: Path) -> None:
    small.place(folder / "small")
    (folder / ".verified.json").write_text(notes)
    sources.read("small")
    sources.read("small")


def test_files_with_other_classes_than_published_are_refused(small: Small, folder: Path) -> None:
    counts = small.source.train_counts
    SOURCES["small"] = replace(small.source, train_counts=(counts[0] + 1, counts[1] - 1, *counts[2:]))
    small.place(folder / "small")
    with pytest.raises(UserError, match="examples of the classes; allowed"):
        sources.read("small")


def test_checking_tells_counts_and_statistics(small: Small, folder: Path) -> None:
    small.place(folder / "small", packed=True)
    found, content = sources.check("small"), sources.read("small")
    pixels = content.x[: content.train] / 255
    assert found == Checked(
        "small",
        folder / "small",
        small.source.files,
        small.source.classes,
        small.source.train_counts,
        small.source.test_counts,
        found.mean,
        found.std,
    )
    np.testing.assert_allclose(found.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_a_name_may_be_written_with_hyphens_and_an_unknown_one_is_told() -> None:
    assert source_of("fashion-mnist") is SOURCES["fashion_mnist"]
    with pytest.raises(UserError, match="'imagenet' is no data set of files; allowed: mnist, fashion_mnist, cifar10"):
        source_of("imagenet")


# --- the true files ---


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_source_is_whole(name: str) -> None:
    source = SOURCES[name]
    names = [file.name for file in source.files]
    assert sorted(names) == sorted((*source.train, *source.test))
    assert sorted(key for item in source.downloads for key in item.holds) == sorted(names)
    assert len(source.classes) == len(source.train_counts) == len(source.test_counts) == 10
    assert source.counts[1] == 10_000
    sums = [file.sha256 for file in source.files] + [item.sha256 for item in source.downloads]
    assert all(len(value) == 64 for value in sums) and len(set(sums)) == len(sums)
    assert all(url.endswith(f"/{item.name}") for item in source.downloads for url in item.urls)


@needs_fashion
def test_debians_fashion_mnist_is_the_published_one() -> None:
    found = sources.check("fashion_mnist")
    assert found.folder == FASHION
    assert (found.train_counts, found.test_counts) == ((6_000,) * 10, (1_000,) * 10)
    np.testing.assert_allclose(found.mean, 0.2860, atol=5e-5)
    np.testing.assert_allclose(found.std, 0.3530, atol=5e-5)


@needs_fashion
def test_debians_fashion_mnist_reads_as_its_bytes_say() -> None:
    content = sources.read("fashion_mnist")
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as file:
        magic, count, height, width = struct.unpack(">IIII", file.read(16))
        first = struct.unpack("784B", file.read(784))
    assert (magic, count, height, width) == (2051, 10_000, 28, 28)
    assert content.x[60_000].ravel().tolist() == list(first)
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as file:
        assert struct.unpack(">II", file.read(8)) == (2049, 60_000)
        assert content.y[:60_000].tolist() == list(file.read())
    assert SOURCES["fashion_mnist"].classes[content.y[0]] == "Ankle boot"


@pytest.fixture(scope="module")
def cifar10_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that holds the true archive and, once a test has read it, what is in it."""
    folder = tmp_path_factory.mktemp("true")
    (folder / CIFAR10.name).symlink_to(CIFAR10)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@needs_cifar10
def test_the_true_cifar10_is_the_published_one_and_reads_as_its_bytes_say(cifar10_folder: Path) -> None:
    found = sources.check("cifar10", cifar10_folder)
    assert (found.train_counts, found.test_counts) == ((5_000,) * 10, (1_000,) * 10)
    np.testing.assert_allclose(found.mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
    np.testing.assert_allclose(found.std, (0.2470, 0.2435, 0.2616), atol=5e-5)

    content = sources.read("cifar10", cifar10_folder)
    assert [SOURCES["cifar10"].classes[label] for label in content.y[:3]] == ["frog", "truck", "truck"]
    start = 0
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        rows = np.frombuffer((found.folder / name).read_bytes(), np.uint8).reshape(10_000, 3_073)
        assert np.array_equal(content.y[start : start + 10_000], rows[:, 0])
        assert np.array_equal(content.x[start : start + 10_000].reshape(10_000, -1), rows[:, 1:])
        start += 10_000
    assert start == len(content.y)
