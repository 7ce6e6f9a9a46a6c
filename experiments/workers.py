"""Runs what is left of a plan, on as many processes as were asked for, and says how it goes."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks.machine import describe_machine
from experiments.cells import Key, Ledger, Study, name
from experiments.plan import Pending, Plan, duration

Say = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """A cell that ended in an error; the others go on."""

    cell: Pending
    error: str


def work(plan: Plan, *, jobs: int, minutes: float | None, say: Say) -> list[Failure]:
    """Run the plan's cells; each is in its ledger as soon as it ends.

    Args:
        jobs: Processes side by side, sharing the cores; cells that are timed run one at a time,
            after all others, with all cores.
        minutes: Start no cell that is not expected to end within this time.
        say: Where a line goes for each cell that ends.
    """
    stop = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    failures = []
    for alone in (False, True):
        cells = [cell for cell in plan.pending if cell.study.alone == alone]
        failures += _pool(plan, cells, 1 if alone else jobs, stop, say)
    return failures


def _pool(plan: Plan, cells: list[Pending], jobs: int, stop: float, say: Say) -> list[Failure]:
    failures: list[Failure] = []
    running: dict[Future, Pending] = {}
    queue = list(cells)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start, (_threads(jobs),)) as pool:
        while queue or running:
            while queue and len(running) < jobs:
                cell = queue.pop(0)
                if time.monotonic() + (plan.expected(cell) or 0) > stop:
                    continue
                running[pool.submit(_run, cell.study, cell.key)] = cell
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                cell = running.pop(future)
                result, seconds, error = future.result()
                if error is not None:
                    failures.append(Failure(cell, error))
                else:
                    cell.ledger.add(cell.key, result, seconds, describe_machine())
                    plan.finished(cell)
                left = plan.time_left(jobs)
                say(
                    f"{plan.done}/{plan.total}  {cell.study.name} {name(cell.key)}  "
                    f"{'FAILED' if error else duration(seconds)}  "
                    f"{'' if left is None else duration(left) + ' left'}"
                )
    return failures


def _threads(jobs: int) -> int:
    """Threads of each process: OMP_NUM_THREADS if it is set, else the cores in equal parts."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // jobs))


def _start(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.disable(logging.WARNING)  # transformers' advice, once a cell


def _run(study: Study, key: Key) -> tuple[dict | None, float, str | None]:
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="experiments-") as folder:
            result = study.run(key, Path(folder))
    except Exception:
        return None, time.perf_counter() - started, traceback.format_exc()
    return result, time.perf_counter() - started, None


def ledgers(studies: list[Study], folder: Path) -> dict[str, Ledger]:
    return {study.name: Ledger.of(study, folder) for study in studies}
