"""The published data sets that are files: what each consists of, and the hosts that send it.

A source states its files by size and SHA-256, uncompressed, so that it makes no difference who packed
them: the upstream host, a Debian package or the user.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainatlas.study.errors import UserError


@dataclass(frozen=True)
class SourceFile:
    """A file of a data set, uncompressed: its name, size in bytes and SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Download:
    """A file at a host: its name, size and SHA-256 as it is sent, addresses to try in order, files it holds."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]
    holds: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Everything known of a data set that is files.

    Attributes
    ----------
    name
        Its name in a study; downloads lie in the folder of this name.
    reader
        "idx": a part is an images file and a labels file; "cifar10": a part is one file or several.
    train, test
        Names of the files of each part, in order.
    files, downloads
        What the data set consists of, and how it is had.
    shape
        (channels, height, width).
    classes
        Names of the classes.
    train_counts, test_counts
        Examples of each class in each part.
    folders
        Names that folders with these files go by, below a data folder.
    archives
        Names of archives of all files that users may have put by hand, beside those of `downloads`.
    ignored
        Names of small files that an archive holds too.
    system
        Folders where a system's package puts the files, read only.
    hint
        Another way to the data, for messages.
    """

    name: str
    reader: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    files: tuple[SourceFile, ...]
    downloads: tuple[Download, ...]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    folders: tuple[str, ...]
    archives: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    hint: str = ""

    @property
    def counts(self) -> tuple[int, int]:
        """Examples of the training and of the test part."""
        return sum(self.train_counts), sum(self.test_counts)

    def file(self, name: str) -> SourceFile:
        """Return the file of this name."""
        return next(file for file in self.files if file.name == name)


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_IDX_SIZES = (16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000)


def _idx_files(*sums: str) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(*file) for file in zip(_IDX, _IDX_SIZES, sums, strict=True))


def _idx_downloads(hosts: tuple[str, ...], *sent: tuple[int, str]) -> tuple[Download, ...]:
    return tuple(
        Download(f"{name}.gz", size, sha256, tuple(f"{host}{name}.gz" for host in hosts), (name,))
        for name, (size, sha256) in zip(_IDX, sent, strict=True)
    )


# LeCun, Cortes and Burges, "The MNIST database of handwritten digits". The original host sends nothing any
# more; these are the mirrors of torchvision (torchvision/datasets/mnist.py) and TensorFlow. Sizes and sums
# are those that many public programs agree on, uncompressed and gzipped.
_MNIST = Source(
    name="mnist",
    reader="idx",
    train=_IDX[:2],
    test=_IDX[2:],
    files=_idx_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    downloads=_idx_downloads(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    folders=("mnist", "MNIST/raw"),
)

# Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747; MIT licence. Debian's gzip files differ from upstream's, what
# they hold does not.
_FASHION_MNIST = Source(
    name="fashion_mnist",
    reader="idx",
    train=_IDX[:2],
    test=_IDX[2:],
    files=_idx_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    downloads=_idx_downloads(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # no https; the sums make up for it
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    shape=(1, 28, 28),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    train_counts=(6_000,) * 10,
    test_counts=(1_000,) * 10,
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"),
    system=("/usr/share/datasets/fashion-mnist", "/usr/local/share/datasets/fashion-mnist"),
    hint="Debian's package dataset-fashion-mnist has it too",
)

_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")

# Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; no licence is stated, so each user
# downloads it. The binary version: the Python version is a pickle, which could run anything.
_CIFAR10 = Source(
    name="cifar10",
    reader="cifar10",
    train=_BATCHES[:5],
    test=_BATCHES[5:],
    files=tuple(
        SourceFile(name, 30_730_000, sha256)
        for name, sha256 in zip(
            _BATCHES,
            (
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ),
            strict=True,
        )
    ),
    downloads=(
        Download(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            _BATCHES,
        ),
    ),
    shape=(3, 32, 32),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    train_counts=(5_000,) * 10,
    test_counts=(1_000,) * 10,
    folders=("cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
    archives=tuple(
        f"{stem}{end}" for stem in ("cifar-10-binary", "cifar-10-batches-bin") for end in (".tar.xz", ".tar")
    ),
    ignored=("batches.meta.txt", "readme.html"),
)

SOURCES: dict[str, Source] = {source.name: source for source in (_MNIST, _FASHION_MNIST, _CIFAR10)}
"""Every data set that is files, by its name in a study."""


def source_of(name: str) -> Source:
    """Return the source of a data set; `fashion-mnist` and `fashion_mnist` are one name."""
    try:
        return SOURCES[name.replace("-", "_")]
    except KeyError:
        raise UserError(f"data: '{name}' is no data set of files; allowed: {', '.join(SOURCES)}") from None
