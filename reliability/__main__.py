"""docs/reliability.md, from what the other scripts found.

python -m reliability
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reliability import flips, fuzz, kills

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
INTRO = """# Reliability

What happens when things go wrong, tried out. Each table is made by a script that can be run again;
the tests do a few of each.
"""


def page() -> str:
    return "\n".join([INTRO, *killed(), *section("flips", "Flipped bits", flips),
                      *section("fuzz", "Broken files", fuzz)])  # fmt: skip


def killed() -> list[str]:
    found = section("kills-1", "One process killed", kills)
    path = RESULTS / "kills-2.json"
    if path.exists():
        table = kills.lines(json.loads(path.read_text(encoding="utf-8")))
        found += ["## One of several killed", "", RANKS, *table, ""]
    return found


def section(name: str, title: str, module: Any) -> list[str]:
    """What a script says of itself, and its table."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    first, _, rest = (module.__doc__ or "").partition("\n\n    ")
    commands, _, more = rest.partition("\n\n")
    table = module.lines(json.loads(path.read_text(encoding="utf-8")))
    ran = [line.strip() for line in commands.splitlines()]
    return [f"## {title}", "", first, "", more.strip(), "", "```sh", *ran, "```", "", *table, ""]


RANKS = """By `torchrun --nproc-per-node 2 --max-restarts 3`: a worker is killed, or torchrun
itself.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
