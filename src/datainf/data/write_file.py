"""A part of one file, in the file's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datainf.data.formats import Table, require_unchanged
from datainf.data.pictures import placed
from datainf.data.write_parquet import write_parquet
from datainf.data.write_text import write_text

Row = Mapping[str, Any]


def write_file(
    source: Path, table: Table, rows: Sequence[int], target: Path, image: str | None,
    changed: Mapping[int, Row],
) -> None:  # fmt: skip
    """Write rows of a file's table; `image` and `changed` are those of
    `datainf.data.write.write_part`.

    Raises `DataError` where the file has changed since, or cannot hold a value.
    """
    require_unchanged(source, table)
    if source.suffix.lower() == ".parquet":
        write_parquet(source, rows, target, image, changed)
    else:
        write_text(source, table, rows, target, _with_places(table, rows, image, changed))


def _with_places(
    table: Table, rows: Sequence[int], image: str | None, changed: Mapping[int, Row]
) -> Mapping[int, Row]:
    """What is to be changed, the paths of images among it."""
    found = dict(changed)
    if image is None or table.folder is None:
        return found
    for row in rows:
        own = table.rows[row].get(image)
        if (named := placed(table.folder, own)) != own:
            found[row] = {image: named, **found.get(row, {})}
    return found
