"""A part of a Parquet file, from the file's own columns: schema, metadata and compression stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datainf.data.arrow_values import with_paths, with_values

BATCH = 1000
"""Rows that are looked at at one time."""
MOST_BYTES = 256 * 2**20
"""Of a group of rows, which is in memory until it is written."""


def write_parquet(
    source: Path, rows: Sequence[int], target: Path, image: str | None,
    changed: Mapping[int, Mapping[str, Any]],
) -> None:  # fmt: skip
    """Write rows of a Parquet file, in groups as large as its own at most; `image` and `changed`
    are those of `datainf.data.write.write_part`."""
    with source.open("rb") as handle:
        file = pq.ParquetFile(handle)
        own = file.metadata
        most = max((own.row_group(each).num_rows for each in range(own.num_row_groups)), default=1)
        with pq.ParquetWriter(target, file.schema_arrow, **_options(file)) as writer:
            for group in _groups(_parts(file, rows, source.parent, image, changed), most):
                writer.write_table(group, row_group_size=most)


def _options(file: pq.ParquetFile) -> dict[str, Any]:
    """As the file was written. The version is pyarrow's own: an earlier one has no room for times
    to the nanosecond, though a file that says it may hold some."""
    found: dict[str, Any] = {"store_schema": b"ARROW:schema" in (file.metadata.metadata or {})}
    if file.metadata.num_row_groups:
        group = file.metadata.row_group(0)
        columns = [group.column(place) for place in range(group.num_columns)]
        packed = {column.path_in_schema: column.compression for column in columns}
        found["compression"] = {
            name: "NONE" if codec == "UNCOMPRESSED" else codec for name, codec in packed.items()
        }
        # Of a list's elements, which older files call so.
        found["use_compliant_nested_type"] = not any(".list.item" in name for name in packed)
    return found


def _parts(
    file: pq.ParquetFile, rows: Sequence[int], folder: Path, image: str | None,
    changed: Mapping[int, Mapping[str, Any]],
) -> Iterator[pa.Table]:  # fmt: skip
    for start, table, places in _batches(file, rows):
        part = table.take(pa.array(places, pa.int64()))
        own = {
            place: changed[start + at] for place, at in enumerate(places) if start + at in changed
        }
        part = with_values(part, own)
        yield part if image is None else with_paths(part, image, folder)


def _batches(
    file: pq.ParquetFile, rows: Sequence[int]
) -> Iterator[tuple[int, pa.Table, Sequence[int]]]:
    """Parts of the file: the first row of each, the part, and which of its rows are asked for. Rows
    in no order, which nobody asks for but from Python, are taken from the whole."""
    if not all(one < next_ for one, next_ in pairwise(rows)):
        yield 0, file.read(), rows
        return
    start, done = 0, 0
    for batch in file.iter_batches(BATCH):
        first = done
        while done < len(rows) and rows[done] < start + len(batch):
            done += 1
        if done > first:
            places = [row - start for row in rows[first:done]]
            yield start, pa.Table.from_batches([batch]), places
        start += len(batch)


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
