"""One value in the text of a row, said anew; all else of the text stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from datainf.errors import DataError

_BLANKS = re.compile(r"[ \t\r\n]*")
_FIELDS = {
    ",": re.compile(r'"[^"]*(?:""[^"]*)*"|[^,]*'),
    "\t": re.compile(r"[^\t]*"),
}
"""By what separates them: in a .tsv file a quotation mark is a character like any other."""


def after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Of the JSON object that begins at a place: each key, and where its value begins and ends. The
    text has been read before: it is valid."""
    decoder = json.JSONDecoder()
    at = after_blanks(text, at + 1)
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = after_blanks(text, after_blanks(text, at) + 1)  # the colon
        _, end = decoder.raw_decode(text, start)
        yield name, start, end
        at = after_blanks(text, end)
        at = after_blanks(text, at + 1) if text[at] == "," else at


def in_object(text: str, values: Mapping[str, Any]) -> str:
    """A JSON object's text with other values for some of its keys; an object in the place of one is
    changed where the two differ, if they have the same keys."""
    pieces, done = [], 0
    for name, start, end in members(text, after_blanks(text, 0)):
        if name not in values:
            continue
        own, new = json.loads(text[start:end]), values[name]
        if isinstance(own, dict) and isinstance(new, Mapping) and own.keys() == new.keys():
            differing = {key: value for key, value in new.items() if value != own[key]}
            said = in_object(text[start:end], differing)
        else:
            said = as_json(new, like=text)
        pieces += [text[done:start], said]
        done = end
    return "".join([*pieces, text[done:]])


def as_json(value: Any, like: str = "") -> str:
    r"""Letters as they are; but \u… where they are halves of one, which UTF-8 has no bytes for, and
    in a text that has all its own letters so."""
    text = json.dumps(value, ensure_ascii=like.isascii() and "\\u" in like)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def in_line(text: str, values: Mapping[int, str], delimiter: str) -> str:
    """A record's text with other values for some of its fields, by their places: in quotes where
    the field was, or the value needs them.

    Raises `DataError` for a value that a .tsv file cannot hold.
    """
    pieces, done = [], 0
    for place, field in enumerate(_fields(text, _FIELDS[delimiter])):
        if place in values:
            pieces += [text[done : field.start()], _field(values[place], field[0], delimiter)]
            done = field.end()
    return "".join([*pieces, text[done:]])


def _fields(text: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    at = 0
    while at <= len(text) and (field := pattern.match(text, at)):
        yield field
        at = field.end() + 1


def _field(value: str, own: str, delimiter: str) -> str:
    special = any(character in value for character in (delimiter, "\r", "\n"))
    if delimiter == "\t":
        if special:
            raise DataError(
                f"a .tsv file has no quotes, and cannot hold {value!r} with its tab or line break",
                remedy="the data as .csv or JSON lines",
            )
        return value
    if own.startswith('"') or special or '"' in value:
        return '"' + value.replace('"', '""') + '"'
    return value
