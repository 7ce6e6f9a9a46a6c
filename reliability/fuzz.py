"""Broken files are refused with an error of ours, whatever is in them.

    python -m reliability.fuzz --cases 100000

Whole files of every kind that is read are changed at random: bits flipped, bytes put in, taken out
and repeated, numbers made enormous, brackets nested, markup, control characters, paths and halves
of letters put in. Each is then read as a command reads it, in a process whose memory is bounded. A
file is read, or refused with an error of ours; everything else is a failure, and is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from datainf.applications.verify import verify
from datainf.config import RunConfig, read_config
from datainf.data import load
from datainf.errors import DatainfError
from datainf.report.review import read_decisions
from datainf.runs import run
from datainf.scores import load_scores
from datainf.second_moments import load_moments, save_moments
from datainf.store import GradientStore, Index
from reliability.work import Work

KEPT = Path(__file__).parent / "results" / "fuzz.json"
ROOM = 3 * 2**30
"""Bytes that reading may take beyond what the process has."""
CHECKED = ("a shard", "scores.safetensors", "second moments")
"""With checksums of all their bytes."""
PIECES = [
    b"", b"\x00", b"\xff\xfe", b"\xed\xa0\xbd", b"\r\n", b"\n\n", b"\xe2\x80\xa8", b"\x1b[2J", b'"',
    b"'",
    b"{", b"[" * 200, b"[" * 5000, b"]", b"}", b",", b":", b"null", b"NaN", b"Infinity", b"-1",
    b"1e400", b"9" * 400, b"18446744073709551616", b"true", b"{}", b"[]", b"\\ud83d",
    b"../../../../etc/passwd", b"/dev/zero", b"shard-00000.safetensors",
    b"<script>alert(1)</script>",
    b"!!python/object/apply:os.system [id]", b"&a [*a, *a]", b"=HYPERLINK(1)", b"id", b"label",
    b"text", b"prompt", b"completion", b"messages", b"input_ids", b"\t" * 50, b" " * 1000,
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), options.cases, options.seed)
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines(found)))
    for failure in found["failures"]:
        print(failure["kind"], failure["error"], failure["where"], sep="\n")


Reader = tuple[Path, Callable[[], object]]


def readers(folder: Path) -> dict[str, Reader]:
    """By kind: a file that is whole, and what reads it."""
    work, out = Work(folder / "work").make(), folder / "run"
    run(work.config(out))
    rows = [{"id": f"r{i}", "text": f"text {i}", "label": i % 2, "note": "a,b"} for i in range(6)]
    texts = {
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "json": json.dumps({"rows": rows}),
        "csv": "id,text,label\n" + "".join(f'{i},"text, {i}",{i % 2}\n' for i in range(6)),
        "tsv": "id\ttext\tlabel\n" + "".join(f"{i}\ttext {i}\t{i % 2}\n" for i in range(6)),
    }
    found: dict[str, Reader] = {}
    for kind, text in texts.items():
        path = folder / f"data.{kind}"
        path.write_text(text, encoding="utf-8")
        found[f"data, .{kind}"] = path, lambda p=path: list(load(str(p)))
    chats = folder / "chats.jsonl"
    turn = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    chats.write_text(json.dumps(turn) + "\n")
    found["data, messages"] = chats, lambda: list(load(str(chats)))
    train = load(str(folder / "data.jsonl"))
    decisions = folder / "decisions.json"
    some = [{"row": 1, "decision": "drop"}, {"row": 2, "decision": "relabel", "label": "0"}]
    decisions.write_text(json.dumps({"digest": train.digest, "decisions": some}))
    found["decisions.json"] = decisions, lambda: read_decisions(decisions, train)
    settings = out / "run.yaml"
    found["run.yaml"] = settings, lambda: RunConfig.from_values(read_config(settings), "run.yaml")
    index = out / "query" / "index.json"
    found["index.json"] = index, lambda: Index.load(index.parent)
    shard = next((out / "query").glob("*.safetensors"))
    found["a shard"] = shard, lambda: read_all(GradientStore.open(shard.parent))
    scores = out / "scores.safetensors"
    found["scores.safetensors"] = scores, lambda: load_scores(scores)
    moments = folder / "moments"
    moments.mkdir()
    opened = GradientStore.open(out / "query")
    save_moments(moments, {name: G.mean_square() for name, G in opened.blocks.items()})
    found["second moments"] = next(moments.iterdir()), lambda: load_moments(moments)
    found["a run, by verify"] = index, lambda: verify(out / "query")
    return found


def read_all(store: GradientStore) -> object:
    return store.ids, store.losses, [G.to_dense() for G in store.blocks.values()]


def fuzz(folder: Path, cases: int, seed: int) -> dict[str, Any]:
    chance, known = random.Random(seed), readers(folder)
    most = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in known}
    failures: list[dict[str, str]] = []
    for _ in range(cases):
        kind = chance.choice(list(known))
        path, read = known[kind]
        whole = path.read_bytes()
        broken = changed(whole, chance)
        path.write_bytes(broken)
        try:
            read()
            changes = "" if broken == whole else ", changed"
            outcomes[kind][f"read{changes if kind in CHECKED else ''}"] += 1
        except DatainfError:
            outcomes[kind]["refused"] += 1
        except Exception as error:
            outcomes[kind]["failed"] += 1
            if len(failures) < 50:
                failures.append({"kind": kind, "error": repr(error)[:300],
                                 "where": "".join(traceback.format_tb(error.__traceback__)[-2:]),
                                 "bytes": broken[:400].hex()})  # fmt: skip
        finally:
            path.write_bytes(whole)
    return {"cases": cases, "outcomes": outcomes, "failures": failures}


def changed(data: bytes, chance: random.Random) -> bytes:
    """A file with one to four changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 64)))
        piece = chance.choice((
            chance.choice(PIECES), chance.choice(PIECES), chance.randbytes(chance.randrange(1, 9)),
            data[at:end] * chance.choice((0, 2, 3, 50)), str(chance.getrandbits(70)).encode(),
        ))  # fmt: skip
        data = data[:at] + piece + data[end:]
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data) + 1)]
    return data


def lines(found: dict[str, Any]) -> list[str]:
    table = ["| file | cases | read | refused | failed |", "|---|---|---|---|---|"]
    total: Counter[str] = Counter()
    for kind, counts in found["outcomes"].items():
        own = Counter(counts)
        total += own
        cells = (f"{own[name]:,}" for name in ("read", "refused", "failed"))
        table.append(f"| {kind} | {own.total():,} | {' | '.join(cells)} |")
    cells = (f"{total[name]:,}" for name in ("read", "refused", "failed"))
    return [*table, f"| all | {total.total():,} | {' | '.join(cells)} |"]


if __name__ == "__main__":
    main()
