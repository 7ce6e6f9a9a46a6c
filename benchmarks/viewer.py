"""Seconds from the click to the answer to a new query, on 5,000 training examples.

`datainf attribute` makes the run, of sentences of SST-2 under adapters as they begin; then what
`datainf view` starts is started and asked over HTTP, as its page does, eleven times. Loading the
model and fitting the method come before the first query; "why" is which tensors and tokens of the
examples at both ends it comes from. The peak counts what is mapped of the store, which the system
takes back when it is needed.

    python -m benchmarks.viewer WORK FOLDER DATA     # one of them
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import peft
import transformers

from benchmarks.timing import apart, peak_mib, timed
from benchmarks.works import GLUE, minilm
from datainf.demos.demo import BASE
from datainf.report.subject import Subject
from datainf.viewer import Server
from datainf.viewer.live import LiveContents

ROWS, QUERIES, TOP = 5000, 20, 25
ASKED = 11
"""The first of them has the first reading of the store, and is told alone."""
WORKS = {
    "classification": "MiniLM, LoRA r=8 and head",
    "prompt + completion": "the demo's base, LoRA r=8",
}


def run(data: Path | None) -> dict[str, Any]:
    if data is None:
        return {}
    found = {}
    for name in WORKS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = apart("viewer", name, folder, data)
    return found


def one(name: str, folder: Path, data: Path) -> dict[str, float]:
    table = GLUE["SST-2"](data)[: ROWS + QUERIES + ASKED]
    rows = table if name == "classification" else [halves(row["text"]) for row in table]
    make_adapter(name, folder / "adapter", data)
    for part, some in (("train", rows[:ROWS]), ("query", rows[ROWS : ROWS + QUERIES])):
        lines = "".join(json.dumps(row) + "\n" for row in some)
        (folder / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    subprocess.run(
        [
            sys.executable, "-m", "datainf", "attribute", "--adapter", "adapter", "--train",
            "train.jsonl", "--query", "query.jsonl", "--out", "run", "--no-report",
        ],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    contents = LiveContents(Subject.open(folder / "run"), TOP)
    load = timed(contents.load)
    with Server(contents) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answers, whys = asked(server, rows[ROWS + QUERIES :])
        server.shutdown()
    return {
        "load": load, "first": answers[0], "answer": statistics.median(answers[1:]),
        "slowest": max(answers[1:]), "why": statistics.median(whys[1:]),
        "store_mib": size_mib(folder / "run" / "train"), "peak_mib": peak_mib(),
    }  # fmt: skip


def asked(server: Server, rows: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Seconds of each answer, and of why it is so."""
    answers, whys = [], []
    for row in rows:
        found = dict[str, Any]()
        typed = {key: str(value) for key, value in row.items()}
        answers.append(timed(partial(request, server, "ask", typed, found)))
        shown = [row for end in ("helpful", "harmful") for row, _ in found[end]]
        wanted = {"asked": found["asked"], "rows": shown}
        whys.append(timed(partial(request, server, "why", wanted, {})))
    return answers, whys


def request(server: Server, part: str, sent: dict[str, Any], found: dict[str, Any]) -> None:
    address = f"http://127.0.0.1:{server.server_port}/data/{part}"
    body = json.dumps(sent).encode()
    asked = urllib.request.Request(address, body, {"X-Datainf-Token": server.token})
    with urllib.request.urlopen(asked) as answer:
        found.update(json.load(answer))


def make_adapter(name: str, out: Path, data: Path) -> None:
    if name == "classification":
        minilm(data, "SST-2", 1).model.save_pretrained(out)
        return
    model = transformers.AutoModelForCausalLM.from_pretrained(BASE)
    config = peft.LoraConfig(
        r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    peft.get_peft_model(model, config).save_pretrained(out)


def halves(text: str) -> dict[str, str]:
    words = text.split()
    middle = len(words) // 2
    return {"prompt": " ".join(words[:middle]), "completion": " " + " ".join(words[middle:])}


def size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def lines(found: dict[str, dict[str, float]]) -> list[str]:
    table = [
        "| work | store, MiB | loading, s | first answer, s | next ten, median and slowest, s "
        "| why, s | peak, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        table.append(
            f"| {name}: {WORKS[name]} | {one['store_mib']:,.0f} | {one['load']:.1f} "
            f"| {one['first']:.2f} | {one['answer']:.2f}, {one['slowest']:.2f} | {one['why']:.2f} "
            f"| {one['peak_mib']:,.0f} |"
        )
    return table


if __name__ == "__main__":
    name, folder, data = sys.argv[1:]
    print(json.dumps(one(name, Path(folder), Path(data))))
