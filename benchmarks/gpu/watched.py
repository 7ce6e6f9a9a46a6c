"""Ways of doing one thing on a device, timed in turn: each waited for, its memory's peak beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.timing import alternating

ROUNDS = 3
Found = dict[str, Any]
"""seconds: the median; peak: bytes of the device's memory at most, None on the CPU."""


def in_turn(
    ways: Mapping[str, Callable[[], object]], device: torch.device, rounds: int = ROUNDS
) -> dict[str, Found | None]:
    """What each way took; None for one that memory was too small for."""
    watched = {name: Watched(run, device) for name, run in ways.items()}
    seconds = alternating(watched, rounds)
    return {
        name: None if way.ran_out else {"seconds": seconds[name], "peak": way.peak}
        for name, way in watched.items()
    }


class Watched:
    """A way, as something to call: it is over when the device is done; once memory ran out, it is
    not tried again."""

    def __init__(self, run: Callable[[], object], device: torch.device) -> None:
        self.run, self.device = run, device
        self.ran_out = False
        self.peak: int | None = None

    def __call__(self) -> None:
        if self.ran_out:
            return
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            self.run()
        except torch.OutOfMemoryError:
            self.ran_out = True
        if on_gpu:
            torch.cuda.synchronize()
            self.peak = max(self.peak or 0, torch.cuda.max_memory_allocated())
        if on_gpu and self.ran_out:
            torch.cuda.empty_cache()


def gib(peak: int | None) -> str:
    """Bytes for a table."""
    return "" if peak is None else f"{peak / 2**30:.1f}"
