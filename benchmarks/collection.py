"""Collection beside a plain forward and backward pass over the same batches.

In turn, medians of five rounds. `collect` is all of it: reading and encoding the examples, the
probe, the checks against autograd, the pass, and the store on the disk for good. Beside it
stands what the disk alone takes for as many bytes.
"""

from __future__ import annotations

import os
import random
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
from datainf.gradients.layout import default_shard_rows
from datainf.gradients.parameters import select
from experiments.cost import released

ROWS, MORE, BUDGET, ALONE = 1000, 3000, 1024, 50
"""Examples, and so many where they are short, so that what is done once weighs less; tokens a
batch, what the probe finds for two cores; and examples that the released way, one at a time, is
measured on, to count in proportion."""
WAYS = ("gradients", "to disk", "disk", "released", "to disk, int8", "to disk, 1/64")
"""What stands beside the plain pass, in the order of the table."""


def run(data: Path | None) -> dict[str, Any]:
    works = [llama(ROWS)]
    if data is not None:
        works += [
            minilm(data, name, n) for name, n in (("SST-2", ROWS), ("SST-2", MORE), ("MRPC", ROWS))
        ]
    return {f"{work.name}, {len(work.rows):,} examples": measure(work) for work in works}


def measure(work: Work) -> dict[str, float]:
    task, device = work.task.for_model(work.model), torch.device("cpu")
    numbers = sum(p.numel() for p in select(work.model).values())
    rows, row_bytes = len(work.rows), numbers * torch.float32.itemsize
    batches = work.batches(BUDGET, max_rows(row_bytes, device), default_shard_rows(rows, row_bytes))
    some = [work.rows[place] for place in range(0, rows, rows // ALONE)]
    row = random.Random(0).randbytes(row_bytes)
    with tempfile.TemporaryDirectory() as folder, evaluating(work.model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = PerExample(work.model, select(work.model), task, device)
        engine.check(batches[0][:1] + batches[-1][:2])

        def gradients() -> None:
            for batch in batches:
                engine(batch)

        def disk() -> None:
            Path(folder).mkdir()
            with Path(folder, "bytes").open("wb") as file:
                for _ in range(rows):
                    file.write(row)
                os.fsync(file.fileno())

        def whole(**options: Any) -> None:
            datainf.collect(
                work.model, work.rows, work.task, out=folder, batch_tokens=BUDGET, sample=False,
                **options,
            )  # fmt: skip

        ways: dict[str, Callable[[], object]] = {
            "plain": lambda: work.plain_pass(batches),
            "gradients": gradients,
            "to disk": whole,
            "disk": disk,
            "released": lambda: released.gradients(work.model, task, some),
        }
        if "SST-2" in work.name and rows == ROWS:
            ways["to disk, int8"] = lambda: whole(dtype="int8")
            ways["to disk, 1/64"] = lambda: whole(project=64)
        # Removing what the turn before has written is no part of a collection.
        times = alternating(ways, clear=lambda: shutil.rmtree(folder, ignore_errors=True))
    times["released"] *= len(work.rows) / len(some)
    return times


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        "| work | plain pass, s | per-example gradients ÷ plain | `collect` to disk ÷ plain "
        "| the disk alone ÷ plain | the released way, one by one, ÷ plain | to disk, int8 "
        "| to disk, projected to 1/64 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, times in found.items():
        plain = times["plain"]
        ratios = [f"{times[way] / plain:.2f}" if way in times else "" for way in WAYS]
        table.append(f"| {' | '.join([name, f'{plain:.2f}', *ratios])} |")
    return table
