"""The commands for data sets: `trainatlas data list | fetch | check | path`.

They are for looking at what there is and for having it before a study runs; training itself only reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainatlas.data import sources
from trainatlas.data.datasets import DATA_SETS, DataSet, facts, is_user_data, load
from trainatlas.data.published import SOURCES, source_of
from trainatlas.study.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The data sets: which there are, where they lie, whether they are whole.",
)

DataFolder = Annotated[
    Path | None,
    typer.Option(help=f"Folder of downloaded data sets; without it {sources.VARIABLE}, else the user's cache."),
]
Name = Annotated[str, typer.Argument(help="A data set, such as cifar10; hyphens and underscores are alike.")]

_BUILT_IN = "nothing to fetch"


@app.command("list")
def list_sets(data_folder: DataFolder = None) -> None:
    """Show every data set: examples, shape, classes and where its files are."""
    rows = [("name", "examples", "shape", "classes", "where")]
    for name in DATA_SETS:
        told = facts(name, Path())
        rows.append(
            (name, f"{told.examples:,}", _shape(told.shape), str(told.classes), _where(name, data_folder)),
        )
    _table(rows, right=(1, 3))


@app.command()
def fetch(name: Name, data_folder: DataFolder = None) -> None:
    """Download a data set unless it is here, verify it and say where it lies."""
    known = _known(name)
    if known not in SOURCES:
        typer.echo(f"{known}: {_BUILT_IN}")
        return
    typer.echo(sources.fetch(known, data_folder, say=lambda line: typer.echo(line, err=True)))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A data set, or the path of your own: photos.npz, photos/.")],
    data_folder: DataFolder = None,
) -> None:
    """Verify a data set's checksums and show its classes and its channels' means and standard deviations."""
    if is_user_data(name) or _known(name) not in SOURCES:
        _show_loaded(name if is_user_data(name) else _known(name))
        return
    found = sources.check(name, data_folder)
    typer.echo(f"{found.name}: {found.folder}")
    _table([(file.name, f"{file.size:,} bytes", f"SHA-256 {file.sha256}", "ok") for file in found.files], right=(1,))
    parts = {"training": found.train_counts, "test": found.test_counts}
    _show_classes(found.classes, parts)
    _show_channels(found.mean, found.std, "training pixels / 255")


@app.command()
def path(
    name: Annotated[str | None, typer.Argument(help="A data set; without it the folder downloads go to.")] = None,
    data_folder: DataFolder = None,
) -> None:
    """Show the folder that holds a data set, or the one its files go into."""
    if name is None:
        typer.echo(sources.download_folder(data_folder))
        return
    source = source_of(name)
    typer.echo(sources.find(name, data_folder) or sources.download_folder(data_folder) / source.name)


def _known(name: str) -> str:
    known = name.replace("-", "_")
    if known not in DATA_SETS:
        raise UserError(f"data: unknown data set '{name}'; allowed: {DATA_SETS.allowed}")
    return known


def _where(name: str, data_folder: Path | None) -> str:
    if name not in SOURCES:
        return _BUILT_IN
    found = sources.find(name, data_folder)
    if found is None:
        return f"not here: trainatlas data fetch {name}"
    return f"{found} (packed)" if found.is_file() else str(found)


def _show_loaded(name: str) -> None:
    """Show what a data set without fixed checksums holds: one that is drawn or built in, or a user's own."""
    import numpy as np

    told, data = facts(name, Path()), load(name, Path())
    digest = f", digest {told.digest}" if told.digest else ""
    typer.echo(f"{name}: {told.examples:,} examples of shape {_shape(told.shape)}{digest}")
    codes = {"training": 0, "validation": 1, "test": 2}
    parts: dict[str, Sequence[int]] = {"examples": np.bincount(data.y, minlength=told.classes).tolist()}
    if data.part is not None:
        parts = {
            part: np.bincount(data.y[data.part == code], minlength=told.classes).tolist()
            for part, code in codes.items()
        }
    _show_classes(data.classes, parts)
    mean, std = _channels(data)
    of = "all examples" if data.part is None else "training examples"
    _show_channels(mean, std, f"{of}, pixels / 255" if data.x.dtype == np.uint8 else of)


def _channels(data: DataSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import numpy as np

    x = data.x if data.part is None else data.x[data.part == 0]
    if x.dtype == np.uint8:
        pixels: NDArray[np.uint8] = x.astype(np.uint8, copy=False)
        return sources.channel_statistics(pixels)
    axes = (0, 2, 3)
    return tuple(x.mean(axes, dtype=np.float64).tolist()), tuple(x.std(axes, dtype=np.float64).tolist())


def _show_classes(names: Sequence[str], parts: Mapping[str, Sequence[int]]) -> None:
    rows = [("class", *parts)]
    rows += [(name, *(f"{counts[row]:,}" for counts in parts.values())) for row, name in enumerate(names)]
    rows.append(("all", *(f"{sum(counts):,}" for counts in parts.values())))
    _table(rows, right=range(1, 1 + len(parts)))


def _show_channels(mean: Sequence[float], std: Sequence[float], of: str) -> None:
    rows = [("channel", "mean", "std", of)]
    rows += [(str(i), f"{m:.4f}", f"{s:.4f}", "") for i, (m, s) in enumerate(zip(mean, std, strict=True))]
    _table(rows, right=(1, 2))


def _shape(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows in aligned columns, those of `right` to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())
