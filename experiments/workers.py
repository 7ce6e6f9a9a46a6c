"""Runs what is left of a plan, on as many processes as were asked for, and says how it goes.

What the libraries say meanwhile goes to workers.log beside the ledgers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from experiments.cells import Key, Study, kept, name
from experiments.plan import Pending, Plan, duration

Say = Callable[[str], None]
LOG = "workers.log"
KEEP = "keep"
"""What a cell leaves in this folder of its own stays beside the ledgers: pictures, say."""
DIED = (
    "The process, or one beside it, died: out of memory, or killed. Fewer --jobs leave each more "
    "memory."
)


GIVE_UP = 3
"""So many cells of a study in a row that end in the same error, and the rest of it is not tried."""


@dataclass(frozen=True)
class Failure:
    """A cell that ended in an error; the others go on."""

    cell: Pending
    error: str

    @property
    def cause(self) -> str:
        """The error's last line: its kind and what it says."""
        return self.error.strip().splitlines()[-1]


class Ended:
    """How cells ended: the failures, and which studies fail for one reason: no data, no hub."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self._in_a_row: dict[str, list[str]] = defaultdict(list)

    def well(self, cell: Pending) -> None:
        self._in_a_row[cell.study.name].clear()

    def badly(self, failure: Failure) -> None:
        self.failures.append(failure)
        self._in_a_row[failure.cell.study.name].append(failure.cause)

    def hopeless(self, study: Study) -> bool:
        """Whether its last `GIVE_UP` cells all failed, in the same way."""
        last = self._in_a_row[study.name][-GIVE_UP:]
        return len(last) == GIVE_UP and len(set(last)) == 1


@dataclass(frozen=True)
class Outcome:
    """What a worker hands back: a result, or what went wrong."""

    seconds: float = 0.0
    result: dict[str, Any] | None = None
    error: str | None = None


def work(plan: Plan, *, jobs: int, minutes: float | None, say: Say) -> list[Failure]:
    """Run the plan's cells; each is in its ledger as soon as it ends.

    Args:
        jobs: Processes side by side, sharing the cores; cells that are timed run one at a time,
            after all others, with all cores.
        minutes: Start no cell that is not expected to end within this time.
        say: Where a line goes for each cell that ends.
    """
    stop = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    ended = Ended()
    for alone in (False, True):
        queue = [cell for cell in plan.pending if cell.study.alone == alone]
        while queue:  # a process that dies takes its pool with it, and the rest go to a new one
            _pool(plan, queue, 1 if alone else jobs, stop, say, ended)
    return ended.failures


def _pool(
    plan: Plan, queue: list[Pending], jobs: int, stop: float, say: Say, ended: Ended
) -> None:  # fmt: skip
    """Take cells off the queue and run them, until it is empty or a process has died."""
    running: dict[Future[Outcome], Pending] = {}
    log = plan.folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    broken = False
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start, (_threads(jobs), log)) as pool:
        while True:
            while queue and len(running) < jobs and not broken:
                broken = not _submit(plan, queue, pool, running, stop)
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                cell = running.pop(future)
                outcome = _outcome(future)
                broken |= outcome.error == DIED
                if outcome.result is not None:
                    cell.ledger.add(cell.key, outcome.result, outcome.seconds, describe_machine())
                    plan.finished(cell)
                    ended.well(cell)
                else:
                    ended.badly(Failure(cell, str(outcome.error)))
                say(_line(plan, cell, outcome, jobs))
                if ended.hopeless(cell.study):
                    _leave(queue, cell.study, say)


def _leave(queue: list[Pending], study: Study, say: Say) -> None:
    """Take a study's cells off the queue."""
    left = [cell for cell in queue if cell.study is study]
    queue[:] = [cell for cell in queue if cell.study is not study]
    if left:
        say(
            f"{study.name}: {GIVE_UP} cells in a row ended in the same error; {len(left)} more are "
            "not tried"
        )


def _submit(
    plan: Plan, queue: list[Pending], pool: ProcessPoolExecutor,
    running: dict[Future[Outcome], Pending], stop: float,
) -> bool:  # fmt: skip
    """Set the first cell running if it is expected to end in time; False if the pool is broken."""
    if time.monotonic() + (plan.expected(queue[0]) or 0) > stop:
        queue.pop(0)
        return True
    try:
        cell = queue[0]
        running[pool.submit(_run, cell.study, cell.key, plan.folder)] = cell
    except BrokenProcessPool:
        return False
    queue.pop(0)
    return True


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(error=DIED)


def _line(plan: Plan, cell: Pending, outcome: Outcome, jobs: int) -> str:
    left = plan.time_left(jobs)
    return (
        f"{plan.done}/{plan.total}  {cell.study.name} {name(cell.key)}  "
        f"{'FAILED' if outcome.error else duration(outcome.seconds)}  "
        f"{'' if left is None else duration(left) + ' left'}"
    )


def _threads(jobs: int) -> int:
    """Threads of each process: OMP_NUM_THREADS if it is set, else the cores in equal parts."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // jobs))


def _start(threads: int, log: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for library in ("OMP", "MKL"):  # torch, which is not loaded yet, asks them
        os.environ[f"{library}_NUM_THREADS"] = str(threads)


def _end_with_parent() -> None:
    """A worker whose parent was killed would else wait for its next cell for ever."""
    parent = parent_process()
    assert parent is not None  # this is a worker
    connection.wait([parent.sentinel])
    os._exit(1)


def _run(study: Study, key: Key, out: Path) -> Outcome:
    print(f"\n{study.name} {name(key)}", flush=True)
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="experiments-") as folder:
            result = study.run(key, Path(folder))
            if (left := Path(folder) / KEEP).is_dir():
                shutil.copytree(left, kept(out, study.name, key), dirs_exist_ok=True)
    except Exception:
        return Outcome(time.perf_counter() - started, error=traceback.format_exc())
    return Outcome(time.perf_counter() - started, result)
