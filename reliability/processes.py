"""Starting a command, alone or by torchrun, killing it, and seeing that nothing of it is left."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from datainf.errors import StoreBusyError
from datainf.files import locked

LIMIT = 600.0
"""Seconds after which a run that goes on counts as one that does not."""
LOOK = 0.002
"""Seconds between two looks at the disk or at processes."""
ALIVE_FOR = 20.0
"""Seconds after which processes whose torchrun was killed count as left behind."""
RESTARTS = 3


class Process(Protocol):
    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    def poll(self) -> int | None:
        """Its exit status, once it has one."""


class Forked:
    """A process of `multiprocessing`, as `subprocess` has them."""

    def __init__(self, target: object, arguments: Sequence[object]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["reliability.begun"])
        self._process = context.Process(target=target, args=tuple(arguments))  # type: ignore[arg-type]
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        return self._process.exitcode


@dataclass(frozen=True)
class Command:
    """`datainf` with arguments, alone or as torchrun starts it with options of its own; what it
    says is in `log`. `new` is for an interpreter of its own behind `prefix`, with everything to
    read; else it is forked from one that has read it."""

    arguments: Sequence[str]
    log: Path
    torchrun: Sequence[str] = ()
    new: bool = False
    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def begin(self) -> Process:
        self.log.unlink(missing_ok=True)
        if self.new:
            return self._begin_new()
        from reliability import begun  # which takes long

        if self.torchrun:
            own = self.torchrun, self.arguments, self.log, self.environment
            return Forked(begun.together, own)
        return Forked(begun.alone, (self.arguments, self.log))

    def _begin_new(self) -> Process:
        own = ["-m", "torch.distributed.run", *self.torchrun] if self.torchrun else []
        command = [*self.prefix, sys.executable, *own, "-m", "datainf", *self.arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", **self.environment}
        with self.log.open("wb") as log:
            return psutil.Popen(command, env=environment, stdout=log, stderr=log)  # type: ignore[no-any-return]


def of_ranks(count: int) -> list[str]:
    """The options of torchrun for so many processes on this machine; none for one."""
    if count == 1:
        return []
    own = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--rdzv-id", "kills"]
    return [*own, "--nproc-per-node", str(count), "--max-restarts", str(RESTARTS)]


def ends_well(process: Process, limit: float = LIMIT) -> bool:
    """Whether a process ends by itself, and with success."""
    deadline = time.monotonic() + limit
    while (status := process.poll()) is None:
        if time.monotonic() > deadline:
            for one in [*workers(process), process]:
                strike(one)
            return False
        time.sleep(LOOK)
    return status == 0


def strike(process: Process | psutil.Process) -> None:
    """Kill a process, unless it has just ended."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def done(log: Path, process: int) -> Path:
    """What a forked worker leaves beside the log when its work is done."""
    return log.with_name(f"{log.name}-{process}-done")


def strike_worker(torchrun: Process, at: int, log: Path) -> bool:
    """Kill one of its workers and say so, unless there is none or its work is done. Forked ones
    then wait for each other by an event that torchrun sets, and of which it would wait for an
    answer of the killed one, forever; those that have interpreters of their own are just gone."""
    with suppress(IndexError, psutil.NoSuchProcess):
        process = workers(torchrun)[at]
        process.suspend()
        if not done(log, process.pid).exists():
            process.kill()
            return True
        process.resume()
    return False


def kill(process: Process) -> list[psutil.Process]:
    """Kill a process, and nothing that it started, which is returned."""
    started = workers(process)
    strike(process)
    while process.poll() is None:
        time.sleep(LOOK)
    return started


def workers(process: Process) -> list[psutil.Process]:
    """What it started, in that order: the first of several processes is the first."""
    try:
        found = psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []
    return sorted(found, key=lambda one: (one.create_time(), one.pid))


def outlived(left: Iterable[psutil.Process]) -> float | None:
    """Seconds until all of these have ended by themselves; None if they do not, and are killed."""
    left, began = list(left), time.monotonic()
    while some := [one for one in left if is_alive(one)]:
        if time.monotonic() - began > ALIVE_FOR:
            for one in some:
                strike(one)
            return None
        time.sleep(LOOK)
    return time.monotonic() - began


def is_alive(process: psutil.Process) -> bool:
    """Ended ones that nobody has asked for are not; those are whose first thread has ended and
    another waits for the disk: their locks are held."""
    try:
        ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        return bool(process.is_running() and not ended)
    except psutil.NoSuchProcess:
        return False


def locks_are_free(run: Path) -> bool:
    """Whether the next start would get the lock of every store of a run."""
    try:
        for lock in run.rglob(".lock"):
            with locked(lock.parent):
                pass
    except StoreBusyError:
        return False
    return True
