"""Where in a text file each row's own bytes stand, and a part of the file made of them.

What is not changed is copied and not said anew: numbers of twenty digits, quotes that tell an empty
text from none, how a file breaks its lines and indents are not in the rows.
"""

from __future__ import annotations

import json
import mmap
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datainf.data.fields import after_blanks, members
from datainf.data.reading import reading

BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"


@dataclass(frozen=True)
class Records:
    """A file's rows: each begins and ends at a byte. What stands between two of them is the end of
    a line, or a comma; before the first a header, say, and after the last a bracket. `between` is
    for a file of one row, which has none."""

    starts: Sequence[int]
    ends: Sequence[int]
    between: bytes

    def after(self, data: memoryview, row: int) -> bytes:
        """What follows a row where another comes next, but not the file's own next."""
        last = len(self.starts) - 1
        row = row if row < last else last - 1
        return self.between if row < 0 else bytes(data[self.ends[row] : self.starts[row + 1]])


def copy_part(
    source: Path, lines: Sequence[int] | None, rows: Sequence[int], target: Path,
    anew: Callable[[int, bytes], bytes], changed: Sequence[int],
) -> None:  # fmt: skip
    """Write a part of a text file: what stands before, between and after its rows as it is there.

    Args:
        source: The file.
        lines: The line of each of its rows, from 1; None for a JSON file.
        rows: Which, in this order.
        target: The new file.
        anew: (row, its bytes) → other bytes for it.
        changed: The rows that this is asked of, sorted.

    Raises `DataError` if the source cannot be read.
    """
    with _mapped(source) as mapped, memoryview(mapped) as data, target.open("wb") as out:
        with reading(source):
            found = _records(source, mapped, lines)
        out.write(data[: found.starts[0]])
        between = b""
        for first, last in _runs(rows, changed):
            out.write(between)
            start, end = found.starts[first], found.ends[last]
            if _among(first, changed):
                out.write(anew(first, bytes(data[start:end])))
            else:
                out.write(data[start:end])
            between = found.after(data, last)
        out.write(data[found.ends[-1] :])


@contextmanager
def _mapped(source: Path) -> Iterator[mmap.mmap]:
    with reading(source), source.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with mapped:
        yield mapped


def _runs(rows: Sequence[int], changed: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of rows that follow one another in the file too; a changed one is alone."""
    first = last = -1
    for row in rows:
        alone = _among(row, changed) or _among(last, changed)
        if first >= 0 and (row != last + 1 or alone):
            yield first, last
            first = row
        first, last = (row if first < 0 else first), row
    if first >= 0:
        yield first, last


def _among(row: int, ordered: Sequence[int]) -> bool:
    place = bisect_left(ordered, row)
    return place < len(ordered) and ordered[place] == row


def _records(source: Path, data: Any, lines: Sequence[int] | None) -> Records:
    ending = source.suffix.lower()
    if lines is None:
        return _of_a_list(bytes(data))
    begins = _begins(source, ending)
    starts, ends = array("q"), array("q")
    for row, line in enumerate(lines):
        start = begins[line - 1]
        if ending in (".csv", ".tsv"):  # a record may have several lines
            stop = begins[lines[row + 1] - 1] if row + 1 < len(lines) else begins[-1]
            held = data[start:stop].rstrip(b"\r\n")
        else:
            held = data[start : begins[line]].rstrip(BLANKS)
            without = held.removeprefix(BOM).lstrip(BLANKS)
            start, held = start + len(held) - len(without), without
        starts.append(start)
        ends.append(start + len(held))
    return Records(starts, ends, b"\n")


def _begins(source: Path, ending: str) -> array[int]:
    """The byte at which each line begins, and at which the last one ends; lines as the reader of
    these files counts them."""
    begins = array("q", [0])
    if ending in (".csv", ".tsv"):
        with source.open(encoding="utf-8", newline="") as file:  # \r alone ends a line too
            for line in file:
                begins.append(begins[-1] + (len(line) if line.isascii() else len(line.encode())))
    else:
        with source.open("rb") as file:
            for raw in file:
                begins.append(begins[-1] + len(raw))
    return begins


def _of_a_list(data: bytes) -> Records:
    """Of a JSON file: a list, or an object with one list in it."""
    text = data.decode("utf-8")
    found, decoder = list[int](), json.JSONDecoder()
    at = after_blanks(text, len(text) - len(text.removeprefix("\ufeff")))
    if text[at] == "{":
        at = next(start for _, start, _ in members(text, at) if text[start] == "[")
    at = after_blanks(text, at + 1)
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        found += [at, end]
        at = after_blanks(text, end)
        at = after_blanks(text, at + 1) if text[at] == "," else at
    places = _in_bytes(text, found)
    return Records(places[::2], places[1::2], b", ")


def _in_bytes(text: str, places: Sequence[int]) -> Sequence[int]:
    """Where characters of a text are, in its bytes; they are in order."""
    if text.isascii():
        return places
    found, done, at = array("q"), 0, 0
    for place in places:
        at += len(text[done:place].encode())
        done = place
        found.append(at)
    return found
