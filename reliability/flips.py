"""A bit that is flipped anywhere in what a run left is found, and its file named.

    python -m reliability.flips --flips 2000

Each flip is of one bit, in a file of a run's stores, indices and scores, every other time drawn by
its size, and at a place drawn evenly in it; then all of it is read as `datainf verify` reads it.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from datainf.applications.verify import verify
from datainf.runs import run
from reliability import script
from reliability.work import Work

CHECKED = ("*.safetensors", "index.json")
"""Files with checksums; tables for people are made again from them."""


def trials(folder: Path, flips: int, seed: int) -> dict[str, Any]:
    work, out, chance = Work(folder / "work").make(), folder / "run", random.Random(seed)
    run(work.config(out))
    files = [path for pattern in CHECKED for path in sorted(out.rglob(pattern))]
    sizes = [path.stat().st_size for path in files]
    tried, named, missed = Counter[str](), Counter[str](), []
    for turn in range(flips):
        (path,) = chance.choices(files, sizes if turn % 2 else None)
        data = path.read_bytes()
        place, bit = chance.randrange(len(data)), chance.randrange(8)
        path.write_bytes(flipped(data, place, bit))
        is_named = path in [fault.path for fault in verify(out).faults]
        path.write_bytes(data)
        tried[kind_of(path)] += 1
        named[kind_of(path)] += is_named
        if not is_named:
            missed.append({"file": str(path.relative_to(out)), "byte": place, "bit": bit})
    if verify(out).faults:
        raise SystemExit("what was flipped is not back")
    return {"tried": tried, "named": named, "missed": missed}


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def kind_of(path: Path) -> str:
    return "a shard" if path.name.startswith("shard-") else path.name


def lines(found: dict[str, Any]) -> list[str]:
    tried, named = found["tried"], found["named"]
    rows = [(kind, tried[kind], named[kind]) for kind in sorted(tried)]
    rows.append(("all", sum(tried.values()), sum(named.values())))
    return script.table(["a bit flipped in", "flips", "found and named"], rows)


if __name__ == "__main__":
    script.main(__doc__, {"flips": 2000, "seed": 0}, trials, lines, "flips")
