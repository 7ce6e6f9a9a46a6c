"""A part of a Parquet file, from the file's own columns: schema, metadata and compression stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datainf.data.arrow_paths import with_paths
from datainf.data.arrow_values import with_values
from datainf.data.parquet import reading_pages, tables_of
from datainf.data.parquet_options import options_of
from datainf.data.reading import reading
from datainf.errors import DataError

BATCH = 1000
"""Rows that are looked at at one time."""
MOST_BYTES = 256 * 2**20
"""Of a group of rows, which is in memory until it is written."""


def write_parquet(
    source: Path, rows: Sequence[int], target: Path, image: str | None,
    changed: Mapping[int, Mapping[str, Any]],
) -> None:  # fmt: skip
    """Write rows of a Parquet file, in groups as large as its own at most; `image` and `changed`
    are those of `datainf.data.write.write_part`.

    Raises `DataError` if the source cannot be read, or has paths of images that cannot be told.
    """
    with reading(source):
        handle = source.open("rb")
    with handle:
        with reading_pages(source):
            file = pq.ParquetFile(handle)
        own = file.metadata
        most = max((own.row_group(each).num_rows for each in range(own.num_row_groups)), default=1)
        with pq.ParquetWriter(target, file.schema_arrow, **options_of(file)) as writer:
            for group in _groups(_parts(source, file, rows, image, changed), most):
                writer.write_table(group, row_group_size=most)


def _parts(
    source: Path, file: pq.ParquetFile, rows: Sequence[int], image: str | None,
    changed: Mapping[int, Mapping[str, Any]],
) -> Iterator[pa.Table]:  # fmt: skip
    for start, table, places in _batches(source, file, rows):
        part = table.take(pa.array(places, pa.int64()))
        own = {
            place: changed[start + at] for place, at in enumerate(places) if start + at in changed
        }
        part = with_values(part, own)
        yield part if image is None else _with_paths(source, part, image)


def _with_paths(source: Path, part: pa.Table, image: str) -> pa.Table:
    try:
        return with_paths(part, image, source.parent)
    except DataError as error:
        raise DataError(f"{source.name}, {error.message}", remedy=error.remedy) from None


def _batches(
    source: Path, file: pq.ParquetFile, rows: Sequence[int]
) -> Iterator[tuple[int, pa.Table, Sequence[int]]]:
    """Parts of the file: the first row of each, the part, and which of its rows are asked for. Rows
    in no order, which nobody asks for but from Python, are taken from the whole."""
    if not all(one < next_ for one, next_ in pairwise(rows)):
        with reading_pages(source):
            whole = file.read()
        yield 0, whole, rows
        return
    start, done = 0, 0
    for table in tables_of(source, file, BATCH):
        first = done
        while done < len(rows) and rows[done] < start + len(table):
            done += 1
        if done > first:
            places = [row - start for row in rows[first:done]]
            yield start, table, places
        start += len(table)


def _groups(parts: Iterator[pa.Table], most: int) -> Iterator[pa.Table]:
    held, rows, size = list[pa.Table](), 0, 0
    for part in parts:
        if held and (rows + len(part) > most or size > MOST_BYTES):
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
        held.append(part)
        rows, size = rows + len(part), size + part.nbytes
    if held:
        yield pa.concat_tables(held)
