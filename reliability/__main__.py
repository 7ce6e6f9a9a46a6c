"""docs/reliability.md, from what the other scripts found.

python -m reliability
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from reliability import again, flips, fuzz, guided, kills, nodes, scoring, script, soak

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
INTRO = """# Reliability

What happens when things go wrong, tried out. Each table is made by a script that can be run again;
the tests do a few of each. The machine had other work meanwhile: times here are none of a free one.
"""
SECTIONS: Sequence[tuple[str, ModuleType, Sequence[tuple[str, str]]]] = (
    ("Killed runs", kills, (("kills-1", "One process"), ("kills-2", "Two processes"),
                            ("kills-4", "Four processes"))),
    ("Killed scoring", scoring, (("scoring", ""),)),
    ("Killed again and again", again, (("again-1", "One process"), ("again-2", "Two processes"))),
    ("Two machines", nodes, (("nodes", ""),)),
    ("Flipped bits", flips, (("flips", ""),)),
    ("Broken files", fuzz, (("fuzz", ""),)),
    ("Broken files, guided by coverage", guided, (("guided", ""),)),
    ("A hundred thousand examples", soak, (("soak", ""),)),
)  # fmt: skip
"""Titles, the scripts, and what is kept of each, with titles of their own where that is more."""


def page() -> str:
    sections = [section(title, module, results) for title, module, results in SECTIONS]
    return "\n".join([INTRO, *(line for lines in sections for line in lines)])


def section(title: str, module: ModuleType, results: Sequence[tuple[str, str]]) -> list[str]:
    """What a script says of itself, and its tables; nothing where nothing is kept."""
    known = [(found, below) for name, below in results if (found := script.kept(name)) is not None]
    if not known:
        return []
    first, _, rest = (module.__doc__ or "").partition("\n\n    ")
    commands, _, more = rest.partition("\n\n")
    ran = [line.strip() for line in commands.splitlines()]
    told = [f"## {title}", "", first, "", more.strip(), "", "```sh", *ran, "```", ""]
    for found, below in known:
        told += [f"### {below}", ""] if below else []
        told += [*module.lines(found), "", *made(found)]
    return told


def made(found: script.Found) -> list[str]:
    """When, by which options, and on what."""
    options = " ".join(f"--{name} {value}" for name, value in found["options"].items())
    return [f"{found['day']}, by {options}, on {found['machine']}", ""]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
