"""What the scripts have in common: options, a folder, and where what they found is kept."""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Found = dict[str, Any]


def main(
    doc: str | None,
    defaults: Mapping[str, int | str],
    find: Callable[..., Found],
    lines: Callable[[Found], list[str]],
    name: str,
) -> None:
    """Find something in a folder of its own by options of these names, keep it by a name that may
    have them in it, and show it. What was found of some kinds alone, by an option `only`, is not
    kept."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, value in defaults.items():
        parser.add_argument(f"--{option}", type=type(value), default=value)
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        found = find(Path(folder), **options)
    if not options.pop("only", ""):
        keep(name.format(**options), {"options": options} | found)
    print("\n".join(lines(found)))


def keep(name: str, found: Found) -> None:
    """With the machine and the day."""
    from benchmarks.machine import describe_machine

    made = {"machine": describe_machine(), "day": datetime.date.today().isoformat()}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(made | found, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def kept(name: str) -> Found | None:
    """What was found, if it was."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def say(place: int, count: int, *words: object) -> None:
    """A line about the work."""
    print(f"{place + 1}/{count}", *words, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """In Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(cell, row)) + " |" for row in cells]


def cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
