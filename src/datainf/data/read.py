"""Reading files into rows, with the line that each row came from.

Text formats are read with the standard library, which knows line numbers; Parquet and saved
`datasets` folders stay memory-mapped. Nothing here unpickles or runs code from the data.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from datainf.errors import DataError

csv.field_size_limit(2**31 - 1)  # a long document in a field is no error


@dataclass(frozen=True)
class Table:
    """Rows as they came; `lines` holds each row's line in the file, where the format has lines."""

    rows: Sequence[Mapping[str, Any]]
    lines: list[int] | None = None
    fingerprint: str | None = None  # where the source is no file


def read(source: str, split: str | None) -> Table:
    """Read a file, a folder saved by `datasets`, or a hub data set.

    Raises `DataError` if there is no such thing, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return _saved_folder(path, split)
    if path.is_file():
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(
                f"{source}: cannot tell what is in a file that ends in {path.suffix!r}",
                remedy=f"one of {', '.join(_READERS)}, a folder saved by datasets, or a hub id",
            )
        return reader(path)
    if _looks_local(source, path):
        raise DataError(f"there is no file {source}{_suggestion(path)}", remedy="check the path")
    return _hub(source, split)


def _looks_local(source: str, path: Path) -> bool:
    """Whether a name that is no file was meant as one rather than as a hub id."""
    return (
        path.suffix.lower() in _READERS
        or path.is_absolute()
        or source.startswith(("./", "../"))
        or source.count("/") > 1
        or (path.parent.is_dir() and bool(_near(path)))
    )


def _json_lines(path: Path) -> Table:
    rows, lines = [], []
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                f"{path.name}, line {number}: not valid JSON ({error})",
                remedy="one JSON object a line",
            ) from None
        rows.append(_object(row, f"{path.name}, line {number}"))
        lines.append(number)
    return Table(rows, lines)


def _json(path: Path) -> Table:
    try:
        value = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            f"{path.name}: not valid JSON ({error})",
            remedy="a list of objects; a file with an object a line should end in .jsonl",
        ) from None
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        value = lists[0] if len(lists) == 1 else value
    if not isinstance(value, list):
        raise DataError(
            f"{path.name}: the file holds {type(value).__name__}, not a list of rows",
            remedy="a list of objects, or an object with one such list in it",
        )
    return Table([_object(row, f"{path.name}, row {number}") for number, row in enumerate(value)])


def _csv(path: Path) -> Table:
    return _delimited(path, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _tsv(path: Path) -> Table:
    # As GLUE and its kin ship them: a quotation mark is a character like any other.
    return _delimited(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def _delimited(path: Path, *, delimiter: str, quoting: Any) -> Table:
    content = io.StringIO(_text(path), newline="")  # line breaks as the file has them
    reader = csv.reader(content, delimiter=delimiter, quoting=quoting, strict=True)
    rows: list[Mapping[str, Any]] = []
    lines: list[int] = []
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{path.name}: two columns have the same name: {', '.join(header)}")
        previous = reader.line_num
        for fields in reader:
            if fields:  # a blank line has none
                _check_width(path, fields, header, previous + 1)
                rows.append(dict(zip(header, fields, strict=True)))
                lines.append(previous + 1)
            previous = reader.line_num
    except csv.Error as error:
        raise DataError(f"{path.name}, line {reader.line_num}: {error}") from None
    return Table(rows, lines)


def _check_width(path: Path, fields: list[str], header: list[str], line: int) -> None:
    if len(fields) != len(header):
        raise DataError(
            f"{path.name}, line {line}: {len(fields)} fields, and the header has {len(header)}",
            remedy="save it as Parquet or JSON lines; in .tsv files quotation marks do not quote",
        )


def _parquet(path: Path) -> Table:
    try:
        return Table(datasets.Dataset.from_parquet(str(path)))
    except (pa.ArrowInvalid, datasets.exceptions.DatasetGenerationError, OSError) as error:
        raise DataError(f"{path.name}: not a readable Parquet file ({error})") from None


def _saved_folder(path: Path, split: str | None) -> Table:
    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise DataError(
            f"{path} is a folder, but not one saved by datasets ({error})",
            remedy="dataset.save_to_disk(folder) makes one; or name a file in the folder",
        ) from None
    return _pick_split(str(path), loaded, split)


def _hub(source: str, split: str | None) -> Table:
    name, _, suffix = source.partition(":")
    try:
        loaded = datasets.load_dataset(name, split=split or suffix or None)
    except Exception as error:  # whatever hub, network and formats can raise
        detail = str(error).strip() or type(error).__name__
        raise DataError(
            f"{source} is neither a file here nor a data set that the hub gives: "
            f"{detail.splitlines()[0][:200]}",
            remedy="check the name and the network; org/name:split names a split",
        ) from None
    return _pick_split(source, loaded, None)


def _pick_split(source: str, loaded: Any, split: str | None) -> Table:
    if isinstance(loaded, datasets.DatasetDict):
        names = list(loaded)
        if split is None and len(names) == 1:
            split = names[0]
        if split not in loaded:
            raise DataError(
                f"{source} has the splits {', '.join(names)}; "
                + ("none was named" if split is None else f"there is no {split!r}"),
                remedy="--train-split or --query-split (--split of datainf collect) names one",
            )
        loaded = loaded[split]
    return Table(loaded, fingerprint=str(loaded._fingerprint))


_READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Bytes split on \n alone: a JSON string may hold other line separators.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, _decode(path, line, f", line {number}").removeprefix("\ufeff")


def _text(path: Path) -> str:
    return _decode(path, path.read_bytes(), "").removeprefix("\ufeff")


def _decode(path: Path, data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        place = place or f", line {line}"
        raise DataError(
            f"{path.name}{place}: not UTF-8 (byte 0x{data[error.start]:02x})",
            remedy="save the file as UTF-8",
        ) from None


def _object(row: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f"{place}: {type(row).__name__} where a row should be an object",
            remedy='rows like {"text": …}',
        )
    return row


def _suggestion(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    close = _near(path)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _near(path: Path) -> list[str]:
    return difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], 1)
