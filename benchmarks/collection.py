"""Collection beside a plain forward and backward pass over the same batches.

In turn, medians of five rounds.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import datainf
from benchmarks.timing import alternating
from benchmarks.works import Work, llama, minilm
from datainf.gradients.collector import max_rows
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from experiments.cost import released

ROWS, BUDGET, ALONE = 1000, 1024, 50
"""Examples; tokens a batch, what the probe finds for two cores; and examples that the released way,
one at a time, is measured on, to count in proportion."""


def run(data: Path | None) -> dict[str, Any]:
    works = [llama(ROWS)]
    if data is not None:
        works += [minilm(data, "SST-2", ROWS), minilm(data, "MRPC", ROWS)]
    return {work.name: measure(work, smaller="SST-2" in work.name) for work in works}


def measure(work: Work, *, smaller: bool = False) -> dict[str, float]:
    task, device = work.task.for_model(work.model), torch.device("cpu")
    numbers = sum(p.numel() for p in select(work.model).values())
    batches = work.batches(BUDGET, max_rows(numbers * torch.float32.itemsize, device))
    some = [work.rows[place] for place in range(0, ROWS, ROWS // ALONE)]
    with tempfile.TemporaryDirectory() as folder, evaluating(work.model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = PerExample(work.model, select(work.model), task, device)
        engine.check(batches[0][:1] + batches[-1][:2])

        def gradients() -> None:
            for batch in batches:
                engine(batch)

        def whole(**options: Any) -> None:
            datainf.collect(
                work.model, work.rows, work.task, out=folder, batch_tokens=BUDGET, sample=False,
                **options,
            )  # fmt: skip

        ways: dict[str, Callable[[], object]] = {
            "plain": lambda: work.plain_pass(batches),
            "gradients": gradients,
            "to disk": whole,
            "released": lambda: released.gradients(work.model, task, some),
        }
        if smaller:
            ways["to disk, int8"] = lambda: whole(dtype="int8")
            ways["to disk, 1/64"] = lambda: whole(project=64)
        # Removing what the turn before has written is no part of a collection.
        times = alternating(ways, clear=lambda: shutil.rmtree(folder, ignore_errors=True))
    times["released"] *= len(work.rows) / len(some)
    return times


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        "| work, 1,000 examples | plain pass, s | per-example gradients ÷ plain | `collect` to "
        "disk ÷ plain | the released way, one by one, ÷ plain | to disk, int8 | to disk, projected "
        "to 1/64 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, times in found.items():
        plain = times["plain"]
        ratios = [f"{t / plain:.2f}" for way, t in times.items() if way != "plain"]
        cells = [name, f"{plain:.2f}", *ratios, "", ""][:7]
        table.append(f"| {' | '.join(cells)} |")
    return table
