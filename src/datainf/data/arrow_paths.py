"""Paths of images in a column of an Arrow table, made absolute; the column's kind stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datainf.data.arrow_values import with_column
from datainf.data.pictures import placed
from datainf.errors import DataError
from datainf.redaction import beginning

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_null,
)  # fmt: skip
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def with_paths(table: pa.Table, name: str, folder: Path) -> pa.Table:
    """The table with the paths of images in a column made absolute: texts, be they said once for
    many rows, or those of a picture that is not held itself. The pictures' bytes are not looked at.

    Raises `DataError` for a kind of column that may have paths, and none that are known how to say
    anew.
    """
    column = table.column(name)
    if _holds_pictures(column.type):
        return table
    if (kind := _unknown(column.type)) is not None:
        raise DataError(
            f"column {name}: images named by {beginning(str(kind), 100)}, whose paths cannot be "
            "made absolute",
            remedy="their paths as a column of texts",
        )
    chunks = [_absolute(chunk, folder) for chunk in column.chunks]
    return with_column(table, name, pa.chunked_array(chunks, column.type))


def _absolute(paths: Any, folder: Path) -> pa.Array:
    if pa.types.is_struct(paths.type):
        return _in_structs(paths, folder)
    if pa.types.is_dictionary(paths.type):
        return _in_words(paths, folder)
    return pa.array([placed(folder, path) for path in paths.to_pylist()], paths.type)


def _in_words(paths: pa.DictionaryArray, folder: Path) -> pa.DictionaryArray:
    """Each word is there once, though a.png and ./a.png are one by now: pandas takes no others."""
    words = _absolute(paths.dictionary, folder).to_pylist()
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    places = pa.array([numbers[word] for word in words], paths.indices.type)
    known = pa.array(list(numbers), paths.dictionary.type)
    indices = places.take(paths.indices)
    return pa.DictionaryArray.from_arrays(indices, known, ordered=paths.type.ordered)


def _in_structs(images: pa.StructArray, folder: Path) -> pa.StructArray:
    fields = {field.name: pc.struct_field(images, [field.name]) for field in images.type}
    paths, held = fields["path"], fields.get("bytes")
    if held is None or pa.types.is_null(held.type):  # as pyarrow has it where no row has any
        lengths = [None] * len(images)
    else:
        lengths = pc.binary_length(held).to_pylist()
    own = zip(paths.to_pylist(), lengths, strict=True)
    fields["path"] = pa.array(
        [path if length else placed(folder, path) for path, length in own], paths.type
    )
    return pa.StructArray.from_arrays(
        list(fields.values()), fields=list(images.type), mask=images.is_null()
    )


def _holds_pictures(kind: pa.DataType) -> bool:
    """Rather than paths: their bytes, or their numbers in lists."""
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_pictures(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _holds_pictures(kind.value_type)
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("path") < 0)
    return any(is_one(kind) for is_one in (*_BYTES, *_LISTS))


def _unknown(kind: pa.DataType) -> pa.DataType | None:
    """The kind that paths, or the bytes beside them, are of, if it is none of the known."""
    if not pa.types.is_struct(kind):
        return None if _is_path(kind) else kind
    parts = {field.name: field.type for field in kind}
    path, held = parts["path"], parts.get("bytes", pa.null())
    if not _is_path(path) and not pa.types.is_null(path):
        return path
    return None if any(is_one(held) for is_one in _BYTES) else held


def _is_path(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_one(kind) for is_one in _TEXTS)
