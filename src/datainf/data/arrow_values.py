"""Other values in some places of an Arrow table; its kinds of columns, and all else, stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datainf.data.pictures import placed

Row = Mapping[str, Any]


def with_values(table: pa.Table, places: Mapping[int, Row]) -> pa.Table:
    """The table with other values, place → column → value."""
    for name in {column for row in places.values() for column in row}:
        column = table.column(name)
        own = {place: row[name] for place, row in places.items() if name in row}
        table = _with_column(table, name, _replaced(column.combine_chunks(), own))
    return table


def _replaced(column: Any, own: Mapping[int, Any]) -> pa.Array:
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.DictionaryArray):  # whose words stay, those that no row has too
        known = column.dictionary.to_pylist()
        more = [value for value in dict.fromkeys(own.values()) if value not in known]
        words = pa.array([*known, *more], column.dictionary.type)
        numbers = {place: [*known, *more].index(value) for place, value in own.items()}
        indices = _replaced(column.indices, numbers)
        return pa.DictionaryArray.from_arrays(indices, words, ordered=column.type.ordered)
    values = column.to_pylist()
    for place, value in own.items():
        values[place] = value
    return pa.array(values, column.type)


def with_paths(table: pa.Table, name: str, folder: Path) -> pa.Table:
    """The table with the paths of images in a column made absolute, texts or those of a picture
    that is not held itself; the pictures' bytes are not looked at."""
    column = table.column(name)
    if _is_text(column.type):
        return _with_column(table, name, _absolute(column, folder))
    if not pa.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return table
    parts = column.combine_chunks()
    parts = parts.combine_chunks() if isinstance(parts, pa.ChunkedArray) else parts
    fields = {field.name: pc.struct_field(parts, [field.name]) for field in parts.type}
    if not _is_text(fields["path"].type):
        return table
    paths = fields["path"]
    if (held := fields.get("bytes")) is not None:
        has_none = pc.fill_null(pc.equal(pc.binary_length(held), 0), True)
        paths = pc.if_else(has_none, paths, pa.nulls(len(paths), paths.type))
    fields["path"] = pc.coalesce(_absolute(paths, folder), fields["path"])
    whole = pa.StructArray.from_arrays(
        list(fields.values()), fields=list(parts.type), mask=parts.is_null()
    )
    return _with_column(table, name, whole)


def _absolute(paths: Any, folder: Path) -> pa.Array:
    return pa.array([placed(folder, path) for path in paths.to_pylist()], paths.type)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), values)
