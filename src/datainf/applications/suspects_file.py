"""All training examples by suspicion, as a table in a file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from datainf import words
from datainf.applications.mislabeled import Suspects
from datainf.data import Examples
from datainf.errors import OptionError
from datainf.files import make_folder, write_atomically

FIRST = ("rank", "train_row", "train_id", "suspicion")
"""Columns of the table by which it is known."""
LINE = 10**6


def write_suspects(
    path: Path, found: Suspects, train: Examples, in_words: Callable[[Any], str]
) -> None:
    """A row an example, the most suspect first: rank, train_row, train_id, where, label,
    suspicion, a column for each signal, which is higher for what is more suspect, and the text. By
    the file's ending a CSV, JSON lines or a Parquet file. Ids and texts stand there as the data
    have them; a spreadsheet may take those that begin with "=" for formulas.

    Raises `OptionError` for another ending, `WriteError` where the disk refuses.
    """
    check_ending(path)
    order, known = found.order, train.labels
    labels = [known[row] for row in order]
    columns = {
        "rank": pa.array(range(1, len(order) + 1), pa.int32()),
        "train_row": pa.array(order, pa.int32()),
        "train_id": _texts(str(train.ids[row]) for row in order),
        "where": _texts(train.where(row) for row in order),
        "label": _texts(None if label is None else str(label) for label in labels),
        "suspicion": pa.array(found.combined[order].numpy()),
        **{
            name.replace("-", "_"): pa.array(values[order].double().numpy())
            for name, values in found.signals.items()
        },
        "text": _texts(in_words(train[row]) for row in order),
    }
    make_folder(path.parent)
    write_atomically(path, WRITERS[path.suffix.lower()](pa.table(columns)))


def _texts(texts: Iterable[str | None]) -> pa.Array:
    """Halves of letters, which JSON can hold, have no bytes in UTF-8: "?" stands for them."""
    plain = (None if t is None else t.encode("utf-8", "replace").decode() for t in texts)
    return pa.array(list(plain), pa.string())


def _csv(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pyarrow.csv.write_csv(table, out)
    return out.getvalue()


def _json_lines(table: pa.Table) -> bytes:
    lines = [json.dumps(_plain(row), ensure_ascii=False) for row in table.to_pylist()]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {k: words.plain(v) if isinstance(v, float) else v for k, v in row.items()}


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


WRITERS: dict[str, Callable[[pa.Table], bytes]] = {
    ".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet,
}  # fmt: skip


def is_suspects(path: Path) -> bool:
    """Whether a file is such a table."""
    try:
        if path.suffix.lower() == ".parquet":
            return set(FIRST) <= set(pq.read_schema(path).names)
        with path.open(encoding="utf-8") as file:
            line = file.readline(LINE)
    except (OSError, ValueError, pa.ArrowException):
        return False
    return all(f'"{name}"' in line for name in FIRST)


def check_ending(path: Path) -> None:
    """Raises `OptionError` for a file that no table is written to."""
    if path.suffix.lower() not in WRITERS:
        raise OptionError(
            f"cannot tell how to write {path}", remedy=f"a file ending in {', '.join(WRITERS)}"
        )
