"""How a Parquet file was written, for a part of it to be written so."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CODECS = frozenset({"SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD"})
"""Those that pyarrow has names for, and writes."""


def options_of(file: pq.ParquetFile) -> dict[str, Any]:
    """As the file was written. The version is pyarrow's own: an earlier one has no room for times
    to the nanosecond, though a file that says it may hold some."""
    found: dict[str, Any] = {"store_schema": b"ARROW:schema" in (file.metadata.metadata or {})}
    if file.metadata.num_row_groups:
        group = file.metadata.row_group(0)
        columns = [group.column(place) for place in range(group.num_columns)]
        # Of a list's elements, which older files call so.
        found["use_compliant_nested_type"] = not any(
            ".list.item" in column.path_in_schema for column in columns
        )
        names = _names(file.schema_arrow, found)
        found["compression"] = dict(zip(names, map(_codec, columns), strict=True))
    return found


def _codec(column: Any) -> str:
    """LZ4 as Hadoop and Spark have it is one that pyarrow reads, has no name for and does not
    write; its own LZ4 is the same but for what stands around it."""
    if column.compression == "UNCOMPRESSED":
        return "NONE"
    return column.compression if column.compression in CODECS else "LZ4"


def _names(schema: pa.Schema, options: dict[str, Any]) -> list[str]:
    """What the columns will be called, in the order that they have in the source too. Names there
    may be others: a list's elements are words.bag.array_element where Hive has written them, and
    words.list.element where pyarrow does. A codec for a name that is not there goes nowhere."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema, **options).close()
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(place).path for place in range(len(columns))]
