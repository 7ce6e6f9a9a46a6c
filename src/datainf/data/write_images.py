"""A part of a folder of images: links to them under their own names, and their metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datainf.data.formats import Table
from datainf.data.image_folder import FILE_NAME
from datainf.data.write_file import write_file
from datainf.errors import DataError

Row = Mapping[str, Any]


def write_images(
    table: Table, rows: Sequence[int], target: Path, changed: Mapping[int, Row]
) -> None:
    """Write a folder with links, and with metadata in the form that they came in if there were any;
    else an image with another label goes to that one's folder, beside its own.

    Raises `DataError` for an image that lies elsewhere.
    """
    target.mkdir(parents=True)
    if table.metadata is None:
        _by_class(table, rows, target, changed)
        return
    path, inner = table.metadata
    renamed = {row: dict(values) for row, values in changed.items()}
    for row in rows:
        name = _name(table, row)
        _link(target / name, table, row)
        if inner.rows[row][FILE_NAME] != name:  # a/../b: there may be no a
            renamed.setdefault(row, {})[FILE_NAME] = name
    write_file(path, inner, rows, target / path.name, None, renamed)


def _by_class(table: Table, rows: Sequence[int], target: Path, changed: Mapping[int, Row]) -> None:
    reserved = {target / _name(table, row) for row in rows} if changed else set()
    for row in rows:
        place = target / _name(table, row)
        if row in changed:
            (label,) = changed[row].values()
            place = _free(place.parent.parent / str(label) / place.name, reserved)
        _link(place, table, row)


def _name(table: Table, row: int) -> str:
    path, folder = table.rows[row]["image"], table.folder or Path()
    name = os.path.relpath(path, folder)
    if name.startswith(".."):
        raise DataError(
            f"row {row}: the image {path} lies outside {folder}",
            remedy="pictures within the folder",
        )
    return name


def _link(place: Path, table: Table, row: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():  # two rows may be of one image
        place.symlink_to(Path(table.rows[row]["image"]).absolute())


def _free(link: Path, reserved: set[Path]) -> Path:
    """A place that no other image has or will have, by the same name or the same with a number."""
    found, number = link, 1
    while found in reserved or found.is_symlink():
        number += 1
        found = link.with_stem(f"{link.stem}-{number}")
    return found
