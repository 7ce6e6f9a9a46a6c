"""Some rows of a data set, written in the form that it came in: what trained on the whole trains
on the part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from datainf.data.formats import Table
from datainf.data.other_splits import copy_saved_splits, link_image_splits
from datainf.data.write_file import write_file
from datainf.data.write_images import write_images
from datainf.data.write_saved import write_saved
from datainf.files import make_folder, writing

Row = Mapping[str, Any]


def write_part(
    source: str, table: Table, rows: Sequence[int], folder: Path, image: str | None,
    changed: Mapping[int, Row] = MappingProxyType({}),
) -> Path:  # fmt: skip
    """Write rows of a source's table into a folder, under the source's own name. Of a folder with
    splits, the part is of one, and the others go with it as they are.

    Args:
        source: Path or hub id. A hub data set is written as one that `datasets` saved.
        table: Its rows.
        rows: Which, in this order.
        folder: Made if it is not there; what stands in the place is replaced.
        image: The column of images, if there is one: paths in it are made absolute, as the part
            lies elsewhere than the whole.
        changed: What some rows have in the place of their own, row → column → value.

    Raises `WriteError` if the disk refuses, and `DataError` that names what cannot be read.
    """
    make_folder(folder)
    path, target = Path(source), folder / written_name(source)
    with _aside(target) as aside:
        if table.state is not None:  # read from a file, which may be gone by now
            write_file(path, table, rows, aside, image, changed)
        else:
            _write_folder(path, table, rows, aside, image, changed)
    return target


def _write_folder(
    path: Path, table: Table, rows: Sequence[int], target: Path, image: str | None,
    changed: Mapping[int, Row],
) -> None:  # fmt: skip
    if hasattr(table.rows, "select"):
        if table.split is not None and table.files:  # of several that were saved as one
            copy_saved_splits(path, table.split, target)
            target = target / table.split
        write_saved(table, rows, target, image, changed)
        return
    if table.split is not None:
        link_image_splits(path, table.split, target)
        target = target / table.split
    write_images(table, rows, target, changed)


def written_name(source: str) -> str:
    """What a part of a source is called in its folder."""
    path = Path(source)
    name = path.name if path.exists() else path.name.partition(":")[0]
    return "data" if name in ("", ".", "..") else name


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A place to write a file or a folder to, which then takes the place of `target`; what stood
    there stays as it was until then."""
    with (
        writing(target),
        tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as name,
    ):
        fresh, old = Path(name) / "new", Path(name) / "old"
        yield fresh
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)
