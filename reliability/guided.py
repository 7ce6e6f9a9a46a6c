"""Broken files that are looked for by what they make the readers do.

    python -m reliability.guided --runs 20000

atheris, which is libFuzzer for Python, changes a whole file of each kind, and keeps what reached a
branch of datainf that nothing before had reached, to change it further; as words it has those of
the whole file's beginning. No file gets longer than twice the whole one, or than 4,096 bytes if
that is more. Each kind is read in a process of its own, of 3 GB of memory and 20 seconds a file at
most. An index is tried without its checksum, or it would be damaged at once. Whatever is not read
and not refused by an error of ours is a failure, and ends its kind.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from reliability import script

KINDS = (
    "data, .jsonl", "data, .json", "data, .csv", "data, .tsv", "data, messages",
    "metadata.jsonl of images", "decisions.json", "run.yaml", "index.json, forged",
    "a run, by verify", "provenance.jsonl, by verify", "trainer_state.json", "scores", "a shard",
)  # fmt: skip
"""Of `reliability.fuzzed`: those that datainf reads itself, or as much of them as it does."""
ROOT = Path(__file__).resolve().parents[1]
LIMITS = ("-rss_limit_mb=3000", "-timeout=20", "-print_final_stats=1")
ROOM = 4096
"""Bytes that a small file may grow to."""
DONE = re.compile(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: \d+ corp: (\d+)", re.MULTILINE)
EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def fuzz(folder: Path, runs: int, seed: int) -> dict[str, Any]:
    """Each kind in turn."""
    found = {}
    for place, kind in enumerate(KINDS):
        own = folder / str(place)
        own.mkdir(parents=True)
        found[kind] = one(kind, own, runs, seed + 1)  # libFuzzer draws a seed for 0
        script.say(place, len(KINDS), kind, found[kind])
    return {"kinds": found}


def one(kind: str, folder: Path, runs: int, seed: int) -> dict[str, Any]:
    """What libFuzzer says of a kind."""
    done = subprocess.run(
        [sys.executable, "-m", "reliability.guided", kind, str(folder), f"-runs={runs}",
         f"-seed={seed}", f"-artifact_prefix={folder}/", *LIMITS],
        cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    end, tried = DONE.search(done.stderr), EXECUTED.search(done.stderr)
    if tried is None:
        raise SystemExit(f"{kind} was not fuzzed:\n{done.stderr[-3000:]}")
    whole = end is not None and done.returncode == 0
    return {
        "cases": int(tried[1]),
        "branches": int(end[2]) if end else 0,
        "kept": int(end[3]) if end else 0,
        "failure": "" if whole else done.stdout[-1500:] + done.stderr[-1500:],
    }


def child(name: str, folder: Path, options: list[str]) -> None:
    """A kind, until libFuzzer has had enough; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["datainf"]):
        from datainf.errors import DatainfError
        from reliability.fuzzed import kinds, without_checksum

        kind = next(kind for kind in kinds(folder / "files") if kind.name == name)
    whole = kind.path.read_bytes()
    if kind.path.name == "index.json":
        whole = json.dumps(without_checksum(json.loads(whole))).encode()
    most = max(ROOM, 2 * len(whole))
    seeds, words = folder / "seeds", folder / "words"
    seeds.mkdir()
    (seeds / "whole").write_bytes(whole)
    found = {b'"%b"' % word for word in re.findall(rb"\w{2,40}", whole[:10_000])}
    words.write_bytes(b"\n".join(sorted(found)))

    def read(data: bytes) -> None:
        kind.path.write_bytes(data)
        with suppress(DatainfError):
            kind.read()

    own = str(seeds), f"-dict={words}", f"-max_len={most}"
    atheris.Setup([sys.argv[0], *own, *options], read)
    atheris.Fuzz()


def lines(found: dict[str, Any]) -> list[str]:
    head = ["file", "cases", "branches reached", "files kept for them", "failed"]
    rows = [
        [kind, own["cases"], own["branches"], own["kept"], int(bool(own["failure"]))]
        for kind, own in found["kinds"].items()
    ]
    cases, failed = (sum(int(row[at]) for row in rows) for at in (1, 4))
    return script.table(head, [*rows, ["all", cases, "", "", failed]])


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in KINDS:
        child(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
    else:
        script.main(__doc__, {"runs": 20_000, "seed": 0}, fuzz, lines, "guided")
