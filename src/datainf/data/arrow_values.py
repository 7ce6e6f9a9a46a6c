"""Other values in some places of an Arrow table; its kinds of columns, and all else, stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = Mapping[str, Any]


def with_values(table: pa.Table, places: Mapping[int, Row]) -> pa.Table:
    """The table with other values, place → column → value."""
    for name in {column for row in places.values() for column in row}:
        column = table.column(name)
        own = {place: row[name] for place, row in places.items() if name in row}
        table = with_column(table, name, _replaced(column.combine_chunks(), own))
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


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), values)
