"""docs/reliability.md, from what the other scripts found.

python -m reliability
"""

from __future__ import annotations

import json
from pathlib import Path

from reliability import flips, kills

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
INTRO = """# Reliability

What happens when things go wrong, tried out. Each table is made by a script that can be run again;
the tests do a few of each.
"""


def page() -> str:
    parts = [INTRO]
    for name, title in (("kills-1", "One process killed"), ("kills-2", "One of several killed")):
        if (path := RESULTS / f"{name}.json").exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            about = (kills.__doc__ or "").partition("\n\n    ")
            rest = about[2].partition("\n\n")[2] if name == "kills-1" else RANKS
            parts += [f"## {title}\n", *([f"{about[0]}\n"] if name == "kills-1" else []), rest,
                      "\n".join(kills.lines(found)), ""]  # fmt: skip
    if flips.KEPT.exists():
        found = json.loads(flips.KEPT.read_text(encoding="utf-8"))
        about = (flips.__doc__ or "").partition("\n\n    ")
        parts += ["## Flipped bits\n", f"{about[0]}\n", about[2].partition("\n\n")[2],
                  f"{found['files']} files, {found['bytes']:,} bytes.\n",
                  "\n".join(flips.lines(found)), ""]  # fmt: skip
    return "\n".join(parts)


RANKS = """By `torchrun --nproc-per-node 2 --max-restarts 3`: a worker is killed, or torchrun
itself.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
