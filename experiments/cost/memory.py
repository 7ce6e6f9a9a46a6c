"""The most memory that a piece of work takes, as Linux counts it.

Python's own counting does not see tensors. The kernel keeps the peak of a process's resident
memory, and forgets it on request. Where an allocator still holds memory that it was given back
before, the figure is too low by that much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROCESS = Path("/proc/self")
FORGET_PEAK = "5"


@dataclass
class Peak:
    """MiB above what the process held at the start; None where the system does not tell."""

    mib: float | None = None


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Filled in when the block ends."""
    peak = Peak()
    try:
        (PROCESS / "clear_refs").write_text(FORGET_PEAK)
        before = _kib("VmRSS")
    except OSError:  # not Linux, or not allowed
        yield peak
        return
    yield peak
    peak.mib = max(0.0, (_kib("VmHWM") - before) / 1024)


def _kib(field: str) -> float:
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1])
    raise OSError(f"{PROCESS / 'status'} has no {field}")
