"""How this process was started: alone, or among others, by `torchrun` or what starts processes as
it does (`accelerate launch`). Its environment says which; nothing here waits for another process.

A process that torchrun has started ends when torchrun is gone. Where torchrun is told to end, it
ends its processes. Killed outright, by SIGKILL or by the system for memory, it cannot: they would
work on, keep the store's lock from the next start, and write beside it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread

STARTED_BY = "TORCHELASTIC_RUN_ID"
"""What torchrun's agent, also in other launchers, puts in the environment of its processes. Those
that a shell starts, and then ends, work on."""
INTERVAL = 0.5
"""Seconds between two looks."""
LINGER_SECONDS = 30
"""What a process that has nothing to say gives torchrun to end it: were it gone before the one that
says what went wrong, it would be taken for the cause."""


@dataclass(frozen=True)
class Launch:
    """This process among `count`, of which `local_count` are on this machine."""

    rank: int
    count: int
    local_rank: int
    local_count: int


def launch() -> Launch:
    """As the environment has it; one alone where it does not."""

    def number(name: str, otherwise: int) -> int:
        return int(os.environ.get(name, otherwise))

    count = number("WORLD_SIZE", 1)
    if count == 1 or "RANK" not in os.environ:
        return Launch(0, 1, 0, 1)
    rank = number("RANK", 0)
    # Where nothing is said of machines there is one.
    return Launch(rank, count, number("LOCAL_RANK", rank), number("LOCAL_WORLD_SIZE", count))


def attempt() -> str:
    """Which time it is that torchrun has started the processes."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def tell_launcher(message: str) -> None:
    """Have the table in which torchrun shows what failed end with this, in place of a hint how to
    find out: it reads a file (torch.distributed.elastic.multiprocessing.errors)."""
    if (path := os.environ.get("TORCHELASTIC_ERROR_FILE")) is None:
        return
    more = {"py_callstack": message, "timestamp": str(int(time.time()))}
    told = json.dumps({"message": {"message": message, "extraInfo": more}})
    with suppress(OSError):  # a disk that is full may be what is to be told
        Path(path).write_text(told, encoding="utf-8")


def linger() -> None:
    """Until torchrun ends this process, since another has failed; not for long where it does not.
    One alone goes on."""
    if launch().count > 1:
        time.sleep(LINGER_SECONDS)


@cache
def end_with_launcher() -> None:
    """From now on, end this process within a second of its launcher's end, as a kill would: what
    is on the disk can be gone on with. Does nothing without torchrun; at the first call alone.

    It watches the parent: torchrun in its workers, and a worker in what that one starts.
    """
    if STARTED_BY in os.environ:
        Thread(target=_watch, args=(os.getppid(),), name="datainf-launcher", daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:  # of a process whose parent has ended it is another
        time.sleep(INTERVAL)
    with suppress(OSError):  # whoever read it may be gone too
        sys.stderr.write("datainf: torchrun is gone, and so this process ends too\n")
        sys.stderr.flush()
    os._exit(1)
