"""One process of `torchrun faults_worker.py FAULT OUT` in tests/test_ranks_errors.py: it collects
beside others, and something goes wrong in the second of them alone."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import typer

import datainf
from datainf.cli import Program
from datainf.cli import app as commands
from datainf.errors import DataError
from datainf.gradients import collector
from datainf.gradients.engine import PerExample
from datainf.launch import attempt, launch
from datainf.store import shards
from datainf.store.shards import ShardDraft
from datainf.tasks import Custom

ROWS = 12


def model() -> torch.nn.Module:
    made = torch.nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        made.weight.fill_(1)
    return made


def data() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return list(torch.randn(ROWS, 3, generator=draw))


def task() -> Custom:
    return Custom(lambda model, batch: model(batch)[:, 0])


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def nothing_finite(_at: Any, gradients: dict[str, torch.Tensor], _losses: Any) -> None:
    gradients["weight"].fill_(torch.nan)


def stopped(*_: Any) -> None:
    raise KeyboardInterrupt


def killed(*_: Any) -> None:
    if attempt() == "0":
        os.kill(os.getpid(), signal.SIGKILL)


def in_second_shard(fault: Any) -> None:
    """At the second shard of this process, so that one is finished."""
    plain, seen = ShardDraft.put, set[Path]()

    def put(draft: ShardDraft, *arguments: Any) -> Any:
        seen.add(draft.path)
        if len(seen) == 2:
            fault(*arguments)
        return plain(draft, *arguments)

    ShardDraft.put = put  # type: ignore[method-assign]


def out_of_memory_together() -> None:
    """Where some examples are compared at once, as `Collector.check` does."""
    plain = PerExample.check

    def check(engine: PerExample, examples: Any, *arguments: Any) -> Any:
        if len(examples) > 1:
            raise RuntimeError("CUDA out of memory.")
        return plain(engine, examples, *arguments)

    PerExample.check = check  # type: ignore[method-assign]


app = typer.Typer(cls=Program)


@app.command()
def collect(fault: str, out: Path) -> None:
    rows = data()
    if fault == "all":
        raise DataError("row 3: the same in all", remedy="another")
    if launch().rank == 1:
        if fault == "data":
            raise DataError("row 3: here alone", remedy="another")
        if fault == "memory":
            out_of_memory_together()
        if fault == "disk":
            shards.allocate = no_space  # type: ignore[assignment]
        if fault in ("nonfinite", "interrupt", "kill"):
            faults = {"nonfinite": nothing_finite, "interrupt": stopped, "kill": killed}
            in_second_shard(faults[fault])
    datainf.collect(model(), rows, task(), out=out, shard_rows=2)


@app.command()
def planned(adapter: Path, data: Path, out: Path) -> None:
    """`datainf collect`, by processes of which the second has less memory than an example takes."""
    if launch().rank == 1:
        collector.available_each = lambda _: 10_000  # type: ignore[assignment]
    folder = {"adapter": str(adapter), "data": str(data), "out": str(out)}
    arguments = [part for name, value in folder.items() for part in (f"--{name}", value)]
    commands(["collect", *arguments])


if __name__ == "__main__":
    if sys.argv[1] != "planned":
        sys.argv.insert(1, "collect")
    app()
