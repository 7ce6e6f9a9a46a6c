"""A part of a JSON, JSON lines, CSV or TSV file: its rows' own text, but for what is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datainf.data.fields import in_line, in_object
from datainf.data.formats import Table
from datainf.data.records import copy_part

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def write_text(
    source: Path, table: Table, rows: Sequence[int], target: Path,
    changed: Mapping[int, Mapping[str, Any]],
) -> None:  # fmt: skip
    """Write rows of a text file's table; `changed` has row → column → value in the place of its
    own. Header, byte order mark and line breaks are the file's.

    Raises `DataError` for a value that the file cannot hold.
    """
    delimiter = DELIMITERS.get(source.suffix.lower())
    columns = {name: place for place, name in enumerate(table.rows[0])}

    def anew(row: int, record: bytes) -> bytes:
        text, values = record.decode("utf-8"), changed[row]
        if delimiter is None:
            return in_object(text, values).encode("utf-8")
        placed = {columns[name]: str(value) for name, value in values.items()}
        return in_line(text, placed, delimiter).encode("utf-8")

    copy_part(source, table.lines, rows, target, anew, sorted(changed))
