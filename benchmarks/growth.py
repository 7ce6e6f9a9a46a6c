"""Memory and time as the number of examples grows: one is to stay, the other to be in proportion.

Each run is a process of its own: collection on SST-2 under MiniLM with LoRA, and DataInf for 50
queries from the store that it left, all scores (`score`) and the best and worst ten of every query
alone (`top`). Three rounds, in each of which every size has its turn; the median of the times and
the largest peak count.

    python -m benchmarks.growth collect|score|top STORES N DATA     # one of them
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import datainf
from benchmarks.timing import apart, peak_mib, timed
from benchmarks.works import minilm

SIZES, QUERIES, KEPT = (1000, 3000, 10_000, 30_000), 50, 10
STAGES, ROUNDS = ("collect", "score", "top"), 3


def run(data: Path | None) -> dict[str, Any]:
    if data is None:
        return {}
    runs: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        asked = minilm(data, "SST-2", QUERIES, start=max(SIZES))
        datainf.collect(asked.model, asked.rows, asked.task, out=Path(folder) / "query")
        for _, n in product(range(ROUNDS), SIZES):
            for stage in STAGES:
                runs[stage, n].append(apart("growth", stage, folder, n, data))
            shutil.rmtree(Path(folder) / "train")
    return {stage: {str(n): together(runs[stage, n]) for n in SIZES} for stage in STAGES}


def together(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        "seconds": statistics.median(one["seconds"] for one in runs),
        "peak_mib": max(one["peak_mib"] for one in runs),
    }


def one(stage: str, folder: Path, n: int, data: Path) -> dict[str, float]:
    seconds = timed(way_of(stage, folder, n, data))
    return {"seconds": seconds, "peak_mib": peak_mib()}


def way_of(stage: str, folder: Path, n: int, data: Path) -> Callable[[], object]:
    paths = folder / "train", folder / "query"
    if stage == "score":
        return lambda: datainf.attribute(*map(datainf.GradientStore.open, paths), "datainf")
    if stage == "top":
        return lambda: datainf.attribute_top(
            *map(datainf.GradientStore.open, paths), "datainf", k=KEPT
        )
    work = minilm(data, "SST-2", n)
    return lambda: datainf.collect(work.model, work.rows, work.task, out=folder / "train")


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        "| stage | n | seconds | seconds a 1,000 | ÷ the first | peak, MiB | ÷ the first |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, sizes in found.items():
        first = sizes[str(SIZES[0])]
        for n, one in sizes.items():
            each = 1000 * one["seconds"] / int(n)
            table.append(
                f"| {stage} | {int(n):,} | {one['seconds']:.2f} | {each:.3f} "
                f"| {each / (1000 * first['seconds'] / SIZES[0]):.2f} | {one['peak_mib']:,.0f} "
                f"| {one['peak_mib'] / first['peak_mib']:.2f} |"
            )
    return table


if __name__ == "__main__":
    stage, folder, n, data = sys.argv[1:]
    print(json.dumps(one(stage, Path(folder), int(n), Path(data))))
