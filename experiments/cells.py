"""A cell is one unit of an experiment's work; a ledger holds what finished cells found.

A *study* is one kind of cell: a function of a key ({"task": "MRPC", "rank": 4, "seed": 0}) and of
settings (a frozen dataclass). Its ledger is a file of JSON lines, one a finished cell, each with
a fingerprint of the settings that it was made with. A cell whose line is there is never run again;
a line whose settings have changed since does not count. Reports read ledgers alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.shipped import PREFIX, digest

Key = dict[str, Any]


class Scale(StrEnum):
    """How large a run is; experiments/README.md says what each is for."""

    desk = "desk"
    quick = "quick"
    paper = "paper"


GRID = {"grid": True}
"""Metadata of a settings field that chooses which cells there are, or where files lie, and so
leaves what a cell finds as it is: more seeds do not make the old ones stale."""

LINE: dict[str, type | tuple[type, ...]] = {
    "key": dict, "settings": str, "seconds": (int, float), "machine": str, "result": dict,
}  # fmt: skip
"""What a ledger's line holds."""

PACKAGES = {
    "glue": "experiments.glue",
    "fullsize": "experiments.fullsize",
    "retraining": "experiments.retraining",
    "text": "experiments.text",
    "adapters": "experiments.adapters",
    "training": "experiments.training",
    "runtime": "experiments.cost",
    "scaling": "experiments.scaling",
    "images": "experiments.images",
}
"""Each study's package, with SETTINGS by scale and cells(settings); its module `cell`, which plans
and reports do not load, has run(key, settings, folder)."""


@dataclass(frozen=True)
class Study:
    """A kind of cell at a scale."""

    name: str
    settings: Any
    keys: list[Key]
    alone: bool = False
    """Whether its cells are timed, and so need the machine to themselves."""

    def run(self, key: Key, folder: Path) -> dict[str, Any]:
        cell = import_module(f"{PACKAGES[self.name]}.cell")
        result: dict[str, Any] = cell.run(key, self.settings, folder)
        return result

    @property
    def fingerprint(self) -> str:
        text = json.dumps(_counting(self.settings), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def study(name: str, scale: str, data: Path | None = None) -> Study:
    """The study at a scale; `data` is the folder of data sets, for settings that have a place."""
    module = import_module(PACKAGES[name])
    settings = module.SETTINGS[scale]
    if any(f.name == "data" for f in dataclasses.fields(settings)):
        settings = dataclasses.replace(settings, data=data)
    return Study(name, settings, module.cells(settings), getattr(module, "ALONE", False))


@dataclass
class Ledger:
    """The finished cells of a study: read when made, added to line by line."""

    file: Path
    fingerprint: str
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: list[int] = field(default_factory=list)
    """Numbers of the lines, from 1, that cannot be read: they do not count, and stay."""

    def __post_init__(self) -> None:
        for number, line in _numbered_lines(self.file):
            if line is None:
                self.broken.append(number)
            elif line["settings"] == self.fingerprint:
                self.lines[name(line["key"])] = line

    @classmethod
    def of(cls, study: Study, folder: Path) -> Ledger:
        return cls(folder / f"{study.name}.jsonl", study.fingerprint)

    def within(self, keys: Iterable[Key]) -> Ledger:
        """Of these cells alone: a report is of its grid, whatever else the file has."""
        made, names = Ledger(self.file, self.fingerprint), set(map(name, keys))
        made.lines = {cell: line for cell, line in self.lines.items() if cell in names}
        return made

    def __contains__(self, key: Key) -> bool:
        return name(key) in self.lines

    def line(self, key: Key) -> dict[str, Any]:
        return self.lines[name(key)]

    def add(self, key: Key, result: Mapping[str, Any], seconds: float, machine: str) -> None:
        """Write a finished cell; it is on disk when this returns."""
        line = _rounded({
            "key": key, "settings": self.fingerprint, "seconds": round(seconds, 1),
            "machine": machine, "result": result,
        })  # fmt: skip
        self.file.parent.mkdir(parents=True, exist_ok=True)
        torn = self.file.exists() and self.file.read_bytes()[-1:] not in (b"\n", b"")
        with self.file.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines[name(key)] = line

    def select(self, **wanted: Any) -> list[dict[str, Any]]:
        """Finished cells whose key has these values, in the order of their keys."""
        return [
            line
            for _, line in sorted(self.lines.items())
            if all(line["key"].get(k) == v for k, v in wanted.items())
        ]


def name(key: Key) -> str:
    """A key in one line, for people and as a file's name: MRPC-rank=4-seed=0."""
    return "-".join(v if isinstance(v, str) else f"{k}={v}" for k, v in key.items())


def kept(folder: Path, study: str, key: Key) -> Path:
    """Where the files that a cell leaves are, in the ledgers' folder."""
    return folder / study / name(key)


def _counting(settings: Any) -> dict[str, Any]:
    """The fields of settings that decide what a cell finds, those of settings inside them too."""
    values = {
        f.name: getattr(settings, f.name)
        for f in dataclasses.fields(settings)
        if not f.metadata.get("grid")
    }
    base = values.get("base")
    if isinstance(base, str) and base.startswith(PREFIX):
        values["weights"] = digest(base)
    return {
        name: _counting(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }


def _numbered_lines(file: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """A file's lines by number; None for one that is not a whole line of a ledger: a kill in the
    middle of writing leaves such, and loses that cell alone."""
    if not file.exists():
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    whole = isinstance(found, dict) and all(
        isinstance(found.get(name), kind) for name, kind in LINE.items()
    )
    return found if whole else None


def _rounded(value: Any) -> Any:
    """Floats to six significant digits: ledgers are committed, and read by people."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
