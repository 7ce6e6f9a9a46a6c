"""A process that torchrun has started ends when torchrun is gone.

Where torchrun is told to end, it ends its processes. Killed outright, by SIGKILL or by the system
for memory, it cannot: they would work on, keep the store's lock from the next start, and write
beside it.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import cache
from threading import Thread

STARTED_BY = "TORCHELASTIC_RUN_ID"
"""What torchrun's agent, also in other launchers, puts in the environment of its processes. Those
that a shell starts, and then ends, work on."""
INTERVAL = 0.5
"""Seconds between two looks."""


@cache
def end_with_launcher() -> None:
    """From now on, end this process within a second of its launcher's end, as a kill would: what
    is on the disk can be gone on with. Does nothing without torchrun; at the first call alone."""
    if STARTED_BY in os.environ:
        Thread(target=_watch, args=(os.getppid(),), name="datainf-launcher", daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:  # of a process whose parent has ended it is another
        time.sleep(INTERVAL)
    with suppress(OSError):  # whoever read it may be gone too
        sys.stderr.write("datainf: torchrun is gone, and so this process ends too\n")
        sys.stderr.flush()
    os._exit(1)
