"""Broken files are refused with an error of ours, whatever is in them.

    python -m reliability.fuzz --cases 100000

Whole files of every kind that is read are changed at random: bits flipped, bytes put in, taken out
and repeated, numbers made enormous, brackets nested, markup, control characters, paths and halves
of letters put in; and where they have a structure, as often values of another kind put in any of
its fields, fields taken out, renamed and told twice. Forged ones have no checksum, or the right one
for what is wrong. Each is then read as a command reads it, in a process whose memory is bounded. A
file is read within 20 seconds, or refused with an error of ours; everything else is a failure, and
is kept. Kinds that take long to read come less often. `datainf verify` reads a broken run, and says
what is broken: that counts as read.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import shutil
import signal
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import psutil

from datainf.errors import DatainfError
from reliability import script
from reliability.fuzzed import kinds

MENDED = script.RESULTS / "mended.json"
ROOM = 3 * 2**30
"""Bytes that reading may take beyond what the process has."""
SECONDS = 20
"""That reading one file may take."""
SAID = 5_000
"""Files between two lines about the work."""
ENDS = ("read", "refused", "failed")


class TooLongError(BaseException):
    """A file was still being read after `SECONDS`; nothing that handles errors may take it for a
    broken file."""


def fuzz(folder: Path, cases: int, seed: int, only: str = "") -> dict[str, Any]:
    """Of all kinds, or of those whose names begin as `only`."""
    faulthandler.enable()
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    chance = random.Random(seed)
    known = [kind for kind in kinds(folder) if kind.name.startswith(only)]
    signal.signal(signal.SIGALRM, too_long)
    most = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    outcomes: dict[str, Counter[str]] = {kind.name: Counter() for kind in known}
    failures: dict[str, dict[str, Any]] = {}
    for case in range(cases):
        if case % SAID == 0:
            script.say(case, cases, f"{len(failures)} ways to fail so far")
        (kind,) = chance.choices(known, [kind.share for kind in known])
        whole = kind.path.read_bytes()
        broken = kind.change(whole, chance)
        put(kind.path, broken)
        signal.alarm(SECONDS)
        try:
            kind.read()
            changes = "" if broken == whole else ", changed"
            outcomes[kind.name][f"read{changes if kind.checked else ''}"] += 1
        except (Exception, TooLongError) as error:
            if isinstance(error, DatainfError) and not took_all_memory(error):
                outcomes[kind.name]["refused"] += 1
                continue
            outcomes[kind.name]["failed"] += 1
            keep(failures, kind.name, error, broken)
        finally:
            signal.alarm(0)
            put(kind.path, whole)
            shutil.rmtree(folder / "cache", ignore_errors=True)
    return {"cases": cases, "outcomes": outcomes, "failures": list(failures.values())}


def took_all_memory(error: BaseException | None) -> bool:
    """Whether an error came of one that said so, whatever it says itself."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def put(path: Path, data: bytes) -> None:
    """As another file: what was mapped into memory of the one before stays as it was."""
    aside = path.with_name("aside")
    aside.write_bytes(data)
    aside.replace(path)


def keep(failures: dict[str, Any], kind: str, error: BaseException, broken: bytes) -> None:
    """The first of those that fail at the same place, and how many more do."""
    last = traceback.extract_tb(error.__traceback__)[-3:]
    where = "\n".join(f"{Path(at.filename).name}:{at.lineno} {at.name}: {at.line}" for at in last)
    one = failures.setdefault(f"{kind}{type(error)}{where}", {
        "kind": kind, "error": repr(error)[:300], "where": where, "bytes": broken[:4000].hex(),
        "cases": 0,
    })  # fmt: skip
    one["cases"] += 1


def too_long(*_: object) -> None:
    raise TooLongError


def told(found: dict[str, Any]) -> list[str]:
    """The table of a run, and its failures."""
    failures = [(one["cases"], one["kind"], one["error"], one["where"])
                for one in found["failures"]]  # fmt: skip
    return [*table(found), *(str(value) for one in failures for value in one)]


def lines(found: dict[str, Any]) -> list[str]:
    """The table of a run, and what runs before it found, which is mended."""
    mended = json.loads(MENDED.read_text(encoding="utf-8"))
    rows = [[one[name] for name in ("file", "what", "cases")] for one in mended]
    return [
        *table(found), "", "What it found before, and tests beside it, is mended; each has a test.",
        "", *script.table(["file", "what went wrong", "cases"], rows),
    ]  # fmt: skip


def table(found: dict[str, Any]) -> list[str]:
    rows, total = list[list[object]](), Counter[str]()
    for kind, counts in found["outcomes"].items():
        total += (own := Counter(counts))
        rows.append(_row(kind, own))
    return script.table(["file", "cases", *ENDS], [*rows, _row("all", total)])


def _row(name: str, counts: Counter[str]) -> list[object]:
    return [name, counts.total(), *(counts[end] for end in ENDS)]


if __name__ == "__main__":
    defaults = {"cases": 100_000, "seed": 0, "only": ""}
    script.main(__doc__, defaults, fuzz, told, "fuzz")
