"""Files of every format are read as others read them; bad ones are refused in one line; archives are harmless."""

import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from trainatlas.data.archives import read_whole, unpack
from trainatlas.data.formats import DataSet, Facts, read_cifar10, read_idx
from trainatlas.data.image_folder import folder_facts, read_folder
from trainatlas.data.npz import npz_facts, read_npz
from trainatlas.study.errors import UserError

RNG = np.random.default_rng(5)


def refused(words: str, act: Callable[[], Any]) -> str:
    """Assert that `act` raises a UserError of one line that holds `words`, and return the line."""
    with pytest.raises(UserError) as caught:
        act()
    line = str(caught.value)
    assert words in line and "\n" not in line, line
    return line


# --- IDX and CIFAR-10 ---


def test_idx_is_read_as_its_definition_says() -> None:
    values = RNG.integers(0, 256, (3, 4, 5), np.uint8)
    data = struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 4, 5) + values.tobytes()
    np.testing.assert_array_equal(read_idx(data, "f"), values)
    np.testing.assert_array_equal(read_idx(b"\0\0\x08\x01\0\0\0\x02\x07\x09", "f"), [7, 9])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x08", "no IDX file"),
        (b"\0\x01\x08\x01\0\0\0\x01\x07", "no IDX file"),  # magic
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "no IDX file"),  # floats
        (b"\0\0\x08\x04" + b"\0\0\0\x01" * 4 + b"\x07", "no IDX file"),
        (b"\0\0\x08\x02\0\0\0\x01", "no IDX file"),  # ends within its header
        (b"\0\0\x08\x01\0\0\0\x03\x07\x08", "holds 2 values; its header says 3"),
        (b"\0\0\x08\x01\0\0\0\x01\x07\x08", "holds 2 values; its header says 1"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"\x07", "its header says"),  # no memory is asked for
    ],
)
def test_what_is_no_idx_file_is_refused(data: bytes, words: str) -> None:
    assert refused(words, lambda: read_idx(data, "some/file")).startswith("some/file: ")


def test_cifar10_is_read_as_its_definition_says() -> None:
    pixels = RNG.integers(0, 256, (2, 3072), np.uint8)
    x, y = read_cifar10(b"\x06" + pixels[0].tobytes() + b"\x09" + pixels[1].tobytes(), "f")
    assert y.tolist() == [6, 9]
    for channel, row, column in [(0, 0, 0), (1, 2, 31), (2, 31, 7)]:
        assert x[1, channel, row, column] == pixels[1, channel * 1024 + row * 32 + column]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (bytes(3072), "3,072 bytes"),
        (bytes(3073) + b"\x0a" + bytes(3072), "label 10 in record 1; allowed: 0 to 9"),
    ],
)
def test_what_is_no_cifar10_file_is_refused(data: bytes, words: str) -> None:
    refused(words, lambda: read_cifar10(data, "batch.bin"))


# --- whole files and archives ---


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
def test_a_file_is_read_whole_however_it_is_packed(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(b"0123456789" * 100))
    assert read_whole(path, 1000) == b"0123456789" * 100
    refused("holds more than 999 bytes", lambda: read_whole(path, 999))
    refused("it holds 1,000 bytes, not 1,001", lambda: read_whole(path, 1001))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_truncated_or_altered_packed_file_is_refused(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "file"
    packed = pack(RNG.bytes(1000))
    path.write_bytes(packed[:-20])
    refused("truncated", lambda: read_whole(path, 1000))
    path.write_bytes(packed[:500] + bytes([packed[500] ^ 1]) + packed[501:])
    refused("altered", lambda: read_whole(path, 1000))


def test_no_more_of_a_bomb_is_unpacked_than_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    refused("holds more than 10 bytes", lambda: read_whole(path, 10))


Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive_of(path: Path, members: Members, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


GOOD: Members = [
    member("set", kind=tarfile.DIRTYPE),
    member("set/a.bin", b"aaaa"),
    member("set/readme.html", b"<p>"),
    member("set/b.bin", b"bbbbb"),
]
WANTED = {"a.bin": 4, "b.bin": 5}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_gives_the_wanted_files_and_no_others(mode: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    unpack(archive_of(tmp_path / "archive", GOOD, mode), WANTED, ["readme.html"], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"a.bin": b"aaaa", "b.bin": b"bbbbb"}


UNSAFE: dict[str, tuple[Members, str]] = {
    "absolute path": ([member("/tmp/a.bin", b"aaaa")], "unsafe path"),
    "escape": ([member("set/../../a.bin", b"aaaa")], "unsafe path"),
    "two dots alone": ([member("../a.bin", b"aaaa")], "unsafe path"),
    "backslash": ([member("set\\a.bin", b"aaaa")], "unsafe path"),
    "deep": ([member("set/sub/a.bin", b"aaaa")], "unsafe path"),
    "symbolic link": ([member("set/a.bin", kind=tarfile.SYMTYPE, linkname="/etc/passwd")], "no regular file"),
    "hard link": ([member("set/a.bin", kind=tarfile.LNKTYPE, linkname="/etc/passwd")], "no regular file"),
    "linked folder": ([member("set", kind=tarfile.SYMTYPE, linkname="/tmp"), *GOOD[1:]], "no regular file"),
    "device": ([member("set/a.bin", kind=tarfile.CHRTYPE, devmajor=1, devminor=5)], "no regular file"),
    "pipe": ([member("set/a.bin", kind=tarfile.FIFOTYPE)], "no regular file"),
    "stranger": ([*GOOD, member("set/evil.py", b"1")], "unexpected member 'set/evil.py'"),
    "twice": ([*GOOD, member("a.bin", b"AAAA")], "unexpected member"),
    "too large": ([member("set/a.bin", b"aaaaa")], "5 bytes, not 4"),
    "too small": ([member("set/a.bin", b"a")], "1 bytes, not 4"),
    "incomplete": (GOOD[:2], "lacks b.bin"),
    "bomb": ([*GOOD[:2], member("set/readme.html", bytes(60_000_000)), GOOD[3]], "more than it should"),
    "bomb of a header": (
        [member("set/a.bin", b"aaaa", pax_headers={"comment": "x" * 30_000_000})],
        "more than it should",
    ),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_unsafe_archive_is_refused_and_nothing_leaves_the_folder(case: str, tmp_path: Path) -> None:
    members, words = UNSAFE[case]
    out = tmp_path / "below" / "out"
    out.mkdir(parents=True)
    archive = archive_of(tmp_path / "archive.tar.gz", members)
    assert refused(words, lambda: unpack(archive, WANTED, ["readme.html"], out)).startswith(str(archive))
    assert {path.name for path in tmp_path.iterdir()} == {"archive.tar.gz", "below"}
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["out"]
    for path in out.iterdir():
        assert path.is_file() and not path.is_symlink() and path.name in WANTED


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_truncated_or_altered_archive_is_refused(mode: str, tmp_path: Path) -> None:
    path = archive_of(tmp_path / "archive", [member("set/a.bin", RNG.bytes(9_000))], mode)
    whole = path.read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    for broken in (whole[:4_000], b"nonsense" + whole, b""):
        path.write_bytes(broken)
        refused(str(path), lambda: unpack(path, {"a.bin": 9_000}, [], out))
        for made in out.iterdir():
            made.unlink()


# --- a user's own .npz ---


def arrays(**changes: Any) -> dict[str, Any]:
    """Return the arrays of a good file, some of them changed, None for left out."""
    given = {
        "x": np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3),
        "y": np.array([0, 1, 0, 1, 0, 1]),
    } | changes
    return {key: value for key, value in given.items() if value is not None}


def npz(folder: Path, compressed: bool = False, **changes: Any) -> Path:
    path = folder / "photos.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays(**changes))
    return path


def test_grey_images_become_one_channel_and_keep_their_bytes(tmp_path: Path) -> None:
    data = read_npz(npz(tmp_path))
    np.testing.assert_array_equal(data.x, arrays()["x"][:, None])
    assert data.x.dtype == np.uint8 and data.y.dtype == np.int64
    assert data.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.part is None and data.classes == ("0", "1")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_come_first(channels: int, tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (6, 2, 5, channels), np.uint8)
    data = read_npz(npz(tmp_path, x=x))
    assert data.x.shape == (6, channels, 2, 5) and data.x.flags.c_contiguous
    np.testing.assert_array_equal(data.x[4, channels - 1], x[4, :, :, channels - 1])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8])
def test_features_are_one_row_and_floats_stay_as_they_are(kind: Any, tmp_path: Path) -> None:
    x = np.array([[1, 0], [2, 5], [3, 7], [0, 0], [5, 1], [6, 9]], kind)
    data = read_npz(npz(tmp_path, x=x, compressed=True))
    assert data.x.shape == (6, 1, 1, 2)
    assert data.x.dtype == (np.uint8 if kind is np.uint8 else np.float32)
    np.testing.assert_array_equal(data.x[:, 0, 0], x)


@pytest.mark.parametrize(
    "split",
    [
        ["train", "train", "train", "train", "validation", "test"],
        [0, 0, 0, 0, 1, 2],
        np.array([0, 0, 0, 0, 1, 2], np.uint8),
    ],
)
def test_a_given_split_is_read_as_words_or_numbers(split: Any, tmp_path: Path) -> None:
    path = npz(tmp_path, split=np.array(split), classes=np.array(["cat", "dog"]), y=np.array([0.0, 1, 0, 1, 0, 1]))
    data = read_npz(path)
    assert data.part is not None and data.part.dtype == np.int8
    assert data.part.tolist() == [0, 0, 0, 0, 1, 2]
    assert data.classes == ("cat", "dog")
    assert npz_facts(path).given == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [{}, {"x": RNG.random((6, 4, 5, 3))}, {"x": RNG.random((6, 7)), "split": np.array([0, 0, 0, 0, 2, 2])}],
)
def test_the_facts_of_a_file_are_those_of_what_is_loaded(changes: dict[str, Any], tmp_path: Path) -> None:
    path = npz(tmp_path, **changes)
    agree(npz_facts(path), read_npz(path))


def agree(facts: Facts, data: DataSet) -> None:
    given = None if data.part is None else (int((data.part == 1).sum()), int((data.part == 2).sum()))
    assert (facts.examples, facts.given, facts.shape, facts.classes) == (
        len(data.y),
        given,
        data.x.shape[1:],
        len(data.classes),
    )
    assert len(facts.digest) == 12 and set(facts.digest) <= set("0123456789abcdef")


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    first = npz_facts(npz(tmp_path)).digest
    assert npz_facts(npz(tmp_path)).digest == first
    changed = arrays()["x"].copy()
    changed[0, 0, 0] ^= 1
    assert npz_facts(npz(tmp_path, x=changed)).digest != first


BAD_LABELS: dict[str, tuple[dict[str, Any], str]] = {
    "unlike length": ({"y": np.array([0, 1, 0, 1])}, "x has 6 examples and y 4"),
    "not whole": ({"y": np.array([0, 1, 0, 1, 0.5, 1])}, "y[4] is 0.5; allowed: whole numbers"),
    "negative": ({"y": np.array([0, 1, -1, 1, 0, 1])}, "y[2] is -1"),
    "not a number": ({"y": np.array([0, 1, np.nan, 1, 0, 1])}, "y[2] is nan"),
    "infinite": ({"y": np.array([0, 1, np.inf, 1, 0, 1])}, "y[2] is inf"),
    "huge": ({"y": np.array([0, 1, 2**63, 1, 0, 1], np.uint64)}, "y[2] is 9223372036854775808"),
    "beyond the names": ({"classes": np.array(["a", "b"]), "y": np.array([0, 1, 2, 2, 0, 1])}, "y[2] is 2"),
    "texts": ({"y": np.array(list("ababab"))}, "y is of type <U1"),
    "yes and no": ({"y": np.array([True, False] * 3)}, "y is of type bool"),
    "a column": ({"y": np.array([[0], [1]] * 3)}, "y has shape (6, 1); allowed: (examples,)"),
    "a class with one example": ({"y": np.array([0, 0, 0, 1, 1, 2])}, "class 2 ('2') has 1 example; allowed: two"),
    "a class with none": ({"y": np.array([1, 1, 2, 2, 1, 2])}, "class 0 ('0') has 0 examples"),
    "one class": ({"y": np.zeros(6, int)}, "1 class; allowed: two or more"),
    "no labels": ({"y": None}, "has no array 'y', only x"),
    "one training example": (
        {"split": np.array([0, 0, 0, 1, 0, 2])},
        "class 1 ('1') has 1 example of the training part",
    ),
    "unknown word": ({"split": np.array(["train", "val"] * 3)}, "split[1] is 'val'; allowed: train, validation, test"),
    "unknown number": ({"split": np.array([0, 1, 2, 3, 0, 0])}, "split[3] is '3'"),
    "split of floats": ({"split": np.zeros(6)}, "split[0] is '0.0'"),
    "short split": ({"split": np.array([0, 1])}, "split has shape (2,); allowed: (6,)"),
    "a name twice": ({"classes": np.array(["a", "a"])}, "names a class twice"),
    "names of numbers": ({"classes": np.array([1, 2])}, "classes is int64"),
    "pickled labels": ({"y": np.array([0, 1, 0, 1, 0, "x"], object)}, "y cannot be read: an object array (pickled)"),
    "whole pixels": ({"x": np.zeros((6, 2, 3), np.int64)}, "x is of type int64; allowed: uint8"),
    "complex": ({"x": np.zeros((6, 2, 3), complex)}, "x is of type complex128"),
    "five channels": ({"x": np.zeros((6, 2, 3, 5), np.uint8)}, "x has shape (6, 2, 3, 5); allowed"),
    "no dimension": ({"x": np.zeros(6, np.uint8)}, "x has shape (6,)"),
    "no pixels": ({"x": np.zeros((6, 0, 3), np.uint8)}, "x has shape (6, 0, 3)"),
    "no images": ({"x": None}, "has no array 'x'"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_arrays_are_refused_at_planning_and_at_loading(case: str, tmp_path: Path) -> None:
    changes, words = BAD_LABELS[case]
    path = npz(tmp_path, **changes)
    for act in (npz_facts, read_npz):
        assert refused(words, lambda act=act: act(path)).startswith(f"{path}: ")  # type: ignore[misc]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_pixels_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    x = np.zeros((6, 2, 3))
    x[4, 1, 2] = value
    path = npz(tmp_path, x=x)
    refused(f"x[4, 1, 2] is {x[4, 1, 2]}; allowed: finite", lambda: read_npz(path))


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    path = npz(tmp_path, x=np.array([Trap()] * 6, object))
    for act in (npz_facts, read_npz):
        refused("object array (pickled)", lambda act=act: act(path))  # type: ignore[misc]
    path.write_bytes(pickle.dumps(Trap()))
    for act in (npz_facts, read_npz):
        refused("no .npz file", lambda act=act: act(path))  # type: ignore[misc]
    assert not marker.exists()


def not_npz(path: Path, case: str) -> None:
    whole = npz(path.parent, compressed=True).read_bytes()
    if case == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photos/cat.png", b"1")
    elif case == "zip with x":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x", "y", "x.npy", "y.npy"):
                archive.writestr(name, b"1")
    elif case == "npy":
        with path.open("wb") as file:
            np.save(file, arrays()["x"])
    else:
        path.write_bytes({"text": b"hello", "empty": b"", "truncated": whole[:-30], "cut": whole[:100]}[case])


@pytest.mark.parametrize("case", ["zip", "zip with x", "npy", "text", "empty", "truncated", "cut"])
def test_what_is_no_npz_file_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "photos.npz"
    not_npz(path, case)
    for act in (npz_facts, read_npz):
        assert refused("", lambda act=act: act(path)).startswith(f"{path}: ")  # type: ignore[misc]


def test_an_altered_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path, x=RNG.integers(0, 256, (6, 20, 20), np.uint8))
    whole = bytearray(path.read_bytes())
    whole[1_000] ^= 1
    path.write_bytes(whole)
    refused("x cannot be read: Bad CRC-32", lambda: read_npz(path))


def test_a_missing_npz_is_told(tmp_path: Path) -> None:
    for act in (npz_facts, read_npz):
        refused("no such file", lambda act=act: act(tmp_path / "photos.npz"))  # type: ignore[misc]
        refused("no such file", lambda act=act: act(tmp_path))  # type: ignore[misc]


# --- a user's own folder ---


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (4, 3)) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = {"L": 1, "RGB": 3, "RGBA": 4}.get(mode, 1)
    pixels = RNG.integers(0, 256, (size[1], size[0], bands), np.uint8).squeeze()
    image = Image.fromarray(pixels)
    if image.mode != mode:
        image = image.convert(mode)
    image.save(path)
    return image


def photos(folder: Path, mode: str = "L") -> Path:
    for name in ("dog", "cat"):
        for number in range(3):
            picture(folder / name / f"{number}.png", mode)
    return folder


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3)])
def test_a_folder_of_class_folders_is_read(mode: str, channels: int, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", mode)
    (folder / ".hidden").touch()
    (folder / "cat" / "Thumbs.db").touch()
    data = read_folder(folder)
    assert data.classes == ("cat", "dog") and data.part is None
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.x.dtype == np.uint8 and data.x.shape == (6, channels, 3, 4)
    for row, name in enumerate(["cat/0", "cat/1", "cat/2", "dog/0", "dog/1", "dog/2"]):
        with Image.open(folder / f"{name}.png") as image:
            for channel in range(channels):
                for column, line in [(0, 0), (3, 2)]:
                    pixel = image.convert("L" if channels == 1 else "RGB").getpixel((column, line))
                    expected = pixel if channels == 1 else pixel[channel]  # type: ignore[index]
                    assert data.x[row, channel, line, column] == expected
    agree(folder_facts(folder), data)


def test_grey_among_colour_becomes_colour(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "RGB")
    grey = picture(folder / "cat" / "1.png", "L")
    data = read_folder(folder)
    for channel in range(3):
        np.testing.assert_array_equal(data.x[1, channel], np.asarray(grey))
    agree(folder_facts(folder), data)


def test_a_folder_may_bring_its_split(tmp_path: Path) -> None:
    for part in ("train", "test"):
        photos(tmp_path / part)
    data = read_folder(tmp_path)
    assert data.part is not None and data.part.tolist() == [0] * 6 + [2] * 6
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert folder_facts(tmp_path).given == (0, 6)
    picture(tmp_path / "validation" / "dog" / "9.png")
    data = read_folder(tmp_path)
    assert folder_facts(tmp_path).given == (1, 6)
    agree(folder_facts(tmp_path), data)


def test_the_digest_of_a_folder_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    digests = [folder_facts(folder).digest]
    (folder / "cat" / "2.png").rename(folder / "cat" / "7.png")
    digests.append(folder_facts(folder).digest)
    picture(folder / "cat" / "7.png")
    digests.append(folder_facts(folder).digest)
    assert len(set(digests)) == 3
    assert folder_facts(folder.rename(tmp_path / "elsewhere")).digest == digests[-1]


def spoil(folder: Path, case: str) -> str:
    """Spoil a good folder and return words of the message."""
    cat = folder / "cat"
    match case:
        case "unlike sizes":
            picture(cat / "1.png", size=(5, 3))
            return "cat/1.png: is 5 x 3 pixels and 0.png 4 x 3; allowed: one size"
        case "no image":
            (cat / "1.png").write_bytes(b"this is text")
            return "cat/1.png: cannot be read as an image"
        case "empty image":
            (cat / "1.png").write_bytes(b"")
            return "cat/1.png: cannot be read as an image"
        case "alpha":
            picture(cat / "1.png", "RGBA")
            return "cat/1.png: is an image of mode RGBA; allowed: grey or RGB"
        case "16 bits":
            Image.fromarray(np.zeros((3, 4), np.uint16)).save(cat / "1.png")
            return "is an image of mode I;16"
        case "one example":
            (cat / "1.png").unlink()
            (cat / "2.png").unlink()
            return "class 0 ('cat') has 1 example; allowed: two or more"
        case "empty class":
            (folder / "bird").mkdir()
            return "bird/: empty; allowed: images"
        case "stray file":
            (folder / "labels.csv").touch()
            return "labels.csv: a file among the class folders"
        case "stray text":
            (cat / "notes.txt").touch()
            return "notes.txt: no image by its name; allowed: .png"
        case "deep folder":
            (cat / "more").mkdir()
            return "cat/more: a folder in a class folder"
        case "one class":
            for path in (*(folder / "dog").iterdir(), folder / "dog"):
                path.unlink() if path.is_file() else path.rmdir()
            return "1 class; allowed: two or more"
    raise AssertionError(case)


@pytest.mark.parametrize(
    "case",
    [
        "unlike sizes",
        "no image",
        "empty image",
        "alpha",
        "16 bits",
        "one example",
        "empty class",
        "stray file",
        "stray text",
        "deep folder",
        "one class",
    ],
)
def test_a_bad_folder_is_refused_at_planning_and_at_loading(case: str, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    words = spoil(folder, case)
    for act in (folder_facts, read_folder):
        refused(words, lambda act=act: act(folder))  # type: ignore[misc]


@pytest.mark.parametrize("taken_elsewhere", [False, True])
def test_a_truncated_image_is_refused(taken_elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", taken_elsewhere)  # WeasyPrint sets it when it is imported
    folder = photos(tmp_path / "photos")
    path = folder / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-25])
    refused("cat/1.png: cannot be read as an image", lambda: read_folder(folder))
    assert taken_elsewhere == ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_image_that_claims_to_be_enormous_is_refused(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    path = folder / "cat" / "0.png"
    whole = bytearray(path.read_bytes())
    whole[16:24] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(whole)
    for act in (folder_facts, read_folder):
        refused("cat/0.png: cannot be read as an image", lambda act=act: act(folder))  # type: ignore[misc]


def test_missing_and_empty_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for act in (folder_facts, read_folder):
        refused("no such folder", lambda act=act: act(tmp_path / "photos"))  # type: ignore[misc]
        refused("empty; allowed: one folder", lambda act=act: act(tmp_path / "empty"))  # type: ignore[misc]


def test_a_split_without_a_class_of_training_is_refused(tmp_path: Path) -> None:
    photos(tmp_path / "train")
    picture(tmp_path / "test" / "bird" / "1.png")
    refused("bird/: no such class in train/; allowed: cat, dog", lambda: read_folder(tmp_path))
