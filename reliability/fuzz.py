"""Broken files are refused with an error of ours, whatever is in them.

    python -m reliability.fuzz --cases 100000

Whole files of every kind that is read are changed at random: bits flipped, bytes put in, taken out
and repeated, numbers made enormous, brackets nested, markup, control characters, paths and halves
of letters put in; and where they have a structure, as often values of another kind put in any of
its fields, fields taken out, renamed and told twice. Forged ones have no checksum, or the right one
for what is wrong. Each is then read as a command reads it, in a process whose memory is bounded. A
file is read within 20 seconds, or refused with an error of ours; everything else is a failure, and
is kept. Kinds that take long to read come less often.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import psutil

from datainf.errors import DatainfError
from reliability.fuzzed import kinds

KEPT = Path(__file__).parent / "results" / "fuzz.json"
MENDED = Path(__file__).parent / "results" / "mended.json"
ROOM = 3 * 2**30
"""Bytes that reading may take beyond what the process has."""
SECONDS = 20
"""That reading one file may take."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose names begin so; nothing is kept")
    options = parser.parse_args()
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), options.cases, options.seed, options.only)
    if not options.only:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)))
    for failure in found["failures"]:
        print(failure["cases"], failure["kind"], failure["error"], failure["where"], sep="\n")


class TooLongError(Exception):
    """A file was still being read after `SECONDS`."""


def fuzz(folder: Path, cases: int, seed: int, only: str = "") -> dict[str, Any]:
    """`only`: kinds whose names begin so."""
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    chance = random.Random(seed)
    known = [kind for kind in kinds(folder) if kind.name.startswith(only)]
    signal.signal(signal.SIGALRM, too_long)
    most = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    outcomes: dict[str, Counter[str]] = {kind.name: Counter() for kind in known}
    failures: dict[str, dict[str, Any]] = {}
    for _ in range(cases):
        (kind,) = chance.choices(known, [kind.share for kind in known])
        whole = kind.path.read_bytes()
        broken = kind.change(whole, chance)
        put(kind.path, broken)
        signal.alarm(SECONDS)
        try:
            kind.read()
            changes = "" if broken == whole else ", changed"
            outcomes[kind.name][f"read{changes if kind.checked else ''}"] += 1
        except DatainfError:
            outcomes[kind.name]["refused"] += 1
        except Exception as error:
            outcomes[kind.name]["failed"] += 1
            keep(failures, kind.name, error, broken)
        finally:
            signal.alarm(0)
            put(kind.path, whole)
            shutil.rmtree(folder / "cache", ignore_errors=True)
    return {"cases": cases, "outcomes": outcomes, "failures": list(failures.values())}


def put(path: Path, data: bytes) -> None:
    """As another file: what was mapped into memory of the one before stays as it was."""
    aside = path.with_name("aside")
    aside.write_bytes(data)
    aside.replace(path)


def keep(failures: dict[str, Any], kind: str, error: Exception, broken: bytes) -> None:
    """The first of those that fail at the same place, and how many more do."""
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    one = failures.setdefault(f"{kind}{type(error)}{where}", {
        "kind": kind, "error": repr(error)[:300], "where": where, "bytes": broken[:4000].hex(),
        "cases": 0,
    })  # fmt: skip
    one["cases"] += 1


def too_long(*_: object) -> None:
    raise TooLongError


def lines(found: dict[str, Any]) -> list[str]:
    """The table of a run, and what runs before it found, which is mended."""
    mended = json.loads(MENDED.read_text(encoding="utf-8"))
    listed = [f"| {one['file']} | {one['what']} | {one['cases']} |" for one in mended]
    return [
        *table(found), "", "What it found before, and tests beside it, is mended; each has a test.",
        "", "| file | what went wrong | cases |", "|---|---|---|", *listed,
    ]  # fmt: skip


def table(found: dict[str, Any]) -> list[str]:
    rows = ["| file | cases | read | refused | failed |", "|---|---|---|---|---|"]
    total: Counter[str] = Counter()
    for kind, counts in found["outcomes"].items():
        own = Counter(counts)
        total += own
        cells = (f"{own[name]:,}" for name in ("read", "refused", "failed"))
        rows.append(f"| {kind} | {own.total():,} | {' | '.join(cells)} |")
    cells = (f"{total[name]:,}" for name in ("read", "refused", "failed"))
    return [*rows, f"| all | {total.total():,} | {' | '.join(cells)} |"]


if __name__ == "__main__":
    main()
