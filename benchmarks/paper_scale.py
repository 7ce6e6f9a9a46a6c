"""`exact` and `datainf` at the size of the paper's runtimes: RoBERTa-large on 4,500 examples.

48 blocks of 4,096 parameters and one of 2,048, random gradients. The paper reports 11,279 s for
Exact and 13 s for DataInf on QQP, on another machine, for the one mean gradient of the validation
set (section 4.2). Each of ours is a process of its own, from a store on disk, with its peak of
memory; the store was just written, so that it is read from memory's cache of the disk. `exact` is
run once, `datainf` five times, and the median counts.

The released way of Exact is measured on one block: it sums outer products one example at a time and
takes a general eigendecomposition. Of one block `exact` is run once both ways, `datainf` in turn,
for five rounds.

    python -m benchmarks.paper_scale STORES METHOD BLOCKS QUERIES     # one of them
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import datainf
from benchmarks.made_stores import make
from benchmarks.timing import alternating, apart, peak_mib, timed
from datainf import Damping, estimators
from datainf.linalg import from_dense
from experiments.cost import released

ROWS, QUERIES = 4500, 500
WIDTHS = {f"block.{place}": 4096 for place in range(48)} | {"head": 2048}
PUBLISHED = {"exact": 11279, "datainf": 13}
RUNS = [
    ("datainf", "tensor", 1), ("datainf", "tensor", 50), ("datainf", "tensor", QUERIES),
    ("exact", "tensor", 1), ("exact", "tensor", QUERIES),
    ("exact", "model", 1), ("exact", "model", QUERIES),
]  # fmt: skip
REPEATED, TIMES = "datainf", 5
"""What takes seconds is run so often, and the median counts."""


def run(_: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "train", ROWS, WIDTHS, seed=1)
        for m in sorted({m for _, _, m in RUNS}):
            make(Path(folder) / f"query {m}", m, WIDTHS, seed=2)
        found = []
        for method, blocks, m in RUNS:
            times = TIMES if method == REPEATED else 1
            runs = [apart("paper_scale", folder, method, blocks, m) for _ in range(times)]
            seconds = statistics.median(one["seconds"] for one in runs)
            peak = max(one["peak_mib"] for one in runs)
            found.append(
                {"method": method, "blocks": blocks, "m": m, "seconds": seconds, "peak_mib": peak}
            )
    return {"runs": found, "released block": released_block()}


def one(folder: Path, method: str, blocks: Any, m: int) -> dict[str, float]:
    paths = folder / "train", folder / f"query {m}"
    seconds = timed(
        lambda: datainf.attribute(*map(datainf.GradientStore.open, paths), method, blocks=blocks)
    )
    return {"seconds": seconds, "peak_mib": peak_mib()}


def released_block() -> dict[str, float]:
    """Both ways of Exact, and of DataInf, on one block of 4,096 for one query, in memory."""
    draw = torch.Generator().manual_seed(3)
    G, v = torch.randn(ROWS, 4096, generator=draw), torch.randn(4096, generator=draw)
    loops = [{"block": g.clone()} for g in G]

    def ours(name: str) -> Any:
        block = from_dense(G)  # which remembers its norms, so that each run is given a new one
        return estimators.from_name(name).fit(block).scores(v[None], Damping().lambda_of(block))

    in_turn = alternating(
        {
            "datainf, released": lambda: released.datainf_loop(loops, {"block": v}),
            "datainf": lambda: ours("datainf"),
        }
    )
    return in_turn | {
        "exact, released": released.exact(loops, {"block": v}).timing.with_products,
        "exact": timed(lambda: ours("exact")),
    }


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        f"n = {ROWS:,}; 48 blocks of 4,096 and one of 2,048.",
        "",
        "| method | blocks | queries | seconds | peak, GiB | published seconds ÷ |",
        "|---|---|---|---|---|---|",
    ]
    for one in found["runs"]:
        same = (one["blocks"], one["m"]) == ("tensor", 1)
        published = PUBLISHED[one["method"]] if same else 0
        ratio = f"{published / one['seconds']:,.0f} ({published:,} s)" if published else ""
        table.append(
            f"| {one['method']} | {one['blocks']} | {one['m']} | {one['seconds']:.1f} "
            f"| {one['peak_mib'] / 1024:.1f} | {ratio} |"
        )
    block = found["released block"]
    table += ["", "One block of 4,096, one query, in memory:", "",
              "| method | released way, s | ours, s | ratio |", "|---|---|---|---|"]  # fmt: skip
    for name in ("exact", "datainf"):
        loops, ours = block[f"{name}, released"], block[name]
        table.append(f"| {name} | {loops:.2f} | {ours:.3f} | {loops / ours:,.0f} |")
    return table


if __name__ == "__main__":
    print(json.dumps(one(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
