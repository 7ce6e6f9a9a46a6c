"""Files → rows, with the line that each row came from.

Text formats are read with the standard library, which knows line numbers; Parquet and saved
`datasets` folders stay memory-mapped. Nothing here unpickles or runs code from the data.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets

from datainf.data.parquet import read_parquet, reading_pages
from datainf.data.reading import reading
from datainf.errors import DataError
from datainf.redaction import beginning
from datainf.repositories import commit_in

csv.field_size_limit(2**31 - 1)  # a long document in a field is no error

MOST_COLUMNS = 10_000
"""Of a table in text: a field takes a hundred bytes of memory, and in the file it may take one."""


@dataclass(frozen=True)
class Table:
    """Rows as they came; `lines` holds each row's line in the file, where the format has lines;
    `folder` is where the rows' images are named from; `commit` is of the hub's repository that they
    came from, if it is known; `split` is the one that they are, of a source with several. Where the
    source is no file, `files` has what the rows were read from, or `fingerprint` stands for it;
    `form` is how a saved data set would give its rows, by the names in its state.json; `metadata`
    is the file that names a folder's images, and its table."""

    rows: Sequence[Mapping[str, Any]]
    lines: list[int] | None = None
    fingerprint: str | None = None
    folder: Path | None = None
    commit: str | None = None
    files: tuple[Path, ...] = ()
    split: str | None = None
    form: Mapping[str, Any] = field(default_factory=dict)
    metadata: tuple[Path, Table] | None = None
    state: tuple[int, ...] | None = None  # of the file, as it was read


def state_of(path: Path) -> tuple[int, ...]:
    """By which a file is known again that nobody has written to; the time of its last change of
    any kind, which no program can set, among it."""
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def require_unchanged(source: Path, table: Table) -> None:
    """Raises `DataError` where a file is gone, or has been written to since its table was read: the
    rows that were chosen may be others there."""
    if table.state is None:
        return
    with reading(source):
        state = state_of(source)
    if table.state != state:
        raise DataError(
            f"{source} has changed since it was read", remedy="run the command once more"
        )


def read_file(path: Path) -> Table:
    """Read one file.

    Raises `DataError` for an ending that is not known, or content that cannot be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: cannot tell what is in a file that ends in {path.suffix!r}",
            remedy=f"one of {', '.join(READERS)}, a folder saved by datasets or of images, or a "
            "hub id",
        )
    state = state_of(path)
    return replace(reader(path), folder=path.parent, state=state)


def from_dataset(dataset: Any) -> Table:
    """A data set of `datasets`, its images and the like left undecoded: a look at a row opens no
    file and no URL that the data name, and starts no program on what they hold. Its rows are plain
    ones with all columns, whatever form it would give them."""
    paths = (str(file.get("filename")) for file in dataset.cache_files)
    return Table(
        decoding(dataset.with_format(None), False),
        fingerprint=str(dataset._fingerprint),
        commit=next(filter(None, map(commit_in, paths)), None),
    )


def decoding(dataset: Any, decode: bool) -> Any:
    """The same data set, whose images, sounds and other files are decoded or not, wherever in its
    columns they are; the data stay where they are."""

    def told(feature: Any) -> Any:
        if isinstance(feature, dict):
            return {name: told(part) for name, part in feature.items()}
        if isinstance(feature, datasets.List | datasets.LargeList):
            return replace(feature, feature=told(feature.feature))
        return replace(feature, decode=decode) if hasattr(feature, "decode") else feature

    changed = copy.copy(dataset)
    changed._info = dataset.info.copy()
    changed._info.features = datasets.Features(told(dataset.features))
    return changed


def _json_lines(path: Path) -> Table:
    rows, lines = [], []
    for number, line in _lines(path):
        if not line.strip():
            continue
        place = f"{path.name}, line {number}"
        rows.append(_object(_decoded(line, place, "one JSON object a line"), place))
        lines.append(number)
    return Table(rows, lines)


def _json(path: Path) -> Table:
    value = _decoded(
        _text(path), path.name,
        "a list of objects; a file with an object a line should end in .jsonl",
    )  # fmt: skip
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        value = lists[0] if len(lists) == 1 else value
    if not isinstance(value, list):
        raise DataError(
            f"{path.name}: the file holds {type(value).__name__}, not a list of rows",
            remedy="a list of objects, or an object with one such list in it",
        )
    return Table([_object(row, f"{path.name}, row {number}") for number, row in enumerate(value)])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members. Raises `DataError` where two have one key: either could be meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise DataError(
            f"two values have the same key: {beginning(twice, 100)}", remedy="one of the two"
        )
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _decoded(text: str, place: str, remedy: str) -> Any:
    try:
        return _DECODER.decode(text)
    except DataError as error:
        raise DataError(f"{place}: {error.message}", remedy=error.remedy) from None
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits too
        raise DataError(f"{place}: not valid JSON ({error})", remedy=remedy) from None


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
    previous = 0  # the last line of the row before
    try:
        header = next(reader, [])
        if twice := [name for name, times in Counter(header).items() if times > 1]:
            raise DataError(
                f"{path.name}: two columns have the same name: {beginning(twice[0], 100)}",
                remedy="another name for one of them",
            )
        if len(header) > MOST_COLUMNS:
            raise DataError(
                f"{path.name}: {len(header):,} columns; at most {MOST_COLUMNS:,} are read",
                remedy="save it as Parquet",
            )
        previous = reader.line_num
        for fields in reader:
            if fields:  # a blank line has none
                _check_width(path, fields, header, previous + 1)
                rows.append(dict(zip(header, fields, strict=True)))
                lines.append(previous + 1)
            previous = reader.line_num
    except csv.Error as error:
        # Not where the reader is: a quotation mark that nothing closes takes it to the file's end.
        raise DataError(
            f"{path.name}, the row that begins at line {previous + 1}: {error}",
            remedy='a quotation mark at the end of each field that begins with one, and two ("") '
            "for one within it; or save it as Parquet or JSON lines",
        ) from None
    return Table(rows, lines)


def _check_width(path: Path, fields: list[str], header: list[str], line: int) -> None:
    if len(fields) != len(header):
        raise DataError(
            f"{path.name}, line {line}: {len(fields)} fields, and the header has {len(header)}",
            remedy="save it as Parquet or JSON lines; in .tsv files quotation marks do not quote",
        )


@contextmanager
def _unlogged() -> Iterator[None]:
    """`datasets` would print what it then raises, in a line of its own."""
    logger = logging.getLogger("datasets")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _parquet(path: Path) -> Table:
    with reading_pages(path), _unlogged():
        return from_dataset(read_parquet(path))


READERS: dict[str, Callable[[Path], Table]] = {
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
