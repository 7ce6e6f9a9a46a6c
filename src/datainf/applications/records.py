"""What the record of the commands says was left in a folder: `datainf.provenance` writes it, and it
is as a file may be that anybody made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datainf.applications.selected_files import SETTINGS as SELECTION
from datainf.errors import StoreCorruptError
from datainf.files import read_file
from datainf.provenance import PAGE, is_within
from datainf.run_folder import SETTINGS

WHOLE = (SETTINGS, SELECTION)
"""A line with such a file tells of all that a run or a selection consists of, and takes the place
of what an earlier line with it told: a store that only the method before needed is due no more."""


@dataclass(frozen=True)
class Left:
    """What was left: by which command, None for a program of a person's own; the digest of the
    file; and of a page what it was asked to show."""

    command: str | None
    digest: str
    page: dict[str, Any] = field(default_factory=dict)

    @property
    def by(self) -> str:
        """In words."""
        return "a program of your own" if self.command is None else f"`datainf {self.command}`"


def left(record: Path) -> dict[Path, Left]:
    """By a folder's record, the last word on each file that was left in it or below.

    Raises `StoreCorruptError` naming the first line that is none of ours, `OSError` if the record
    cannot be read.
    """
    found, wholes = dict[str, Left](), dict[str, Iterable[str]]()
    for number, line in enumerate(read_file(record).splitlines(), start=1):
        try:
            told = _told(line)
        except (ValueError, LookupError, TypeError, RecursionError):
            raise StoreCorruptError(f"{record}: line {number} cannot be read") from None
        for settings in told.keys() & WHOLE:
            for name in wholes.get(settings, ()):
                found.pop(name, None)
            wholes[settings] = told
        found |= told
    return {record.parent / name: one for name, one in found.items()}


def _told(line: bytes) -> dict[str, Left]:
    """Of a line, by the name of the file within the folder; what is elsewhere is left out."""
    told = json.loads(line)
    words, files, page = told["command"], told["files"], told.get(PAGE, {})
    if not isinstance(files, dict) or not isinstance(page, dict):
        raise TypeError
    command = None if words is None else words[1]
    if not all(isinstance(one, str) for one in (*files, *files.values(), command or "")):
        raise TypeError
    return {name: Left(command, files[name], page) for name in files if is_within(name)}
