"""Times side by side: every call in turn, round after round, and the median of each.

A machine that slows down for a while then slows all of them. A call that is long the first time is
not made again, for its time says enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Seconds = dict[str, float]
"""What a call took, by what was timed."""


@dataclass
class Timed:
    """The seconds of each run of a call."""

    runs: list[Seconds]

    @property
    def medians(self) -> Seconds:
        return {what: median(run[what] for run in self.runs) for what in self.runs[0]}

    @property
    def longest(self) -> float:
        return max(max(run.values()) for run in self.runs)


def alternating(
    calls: Mapping[str, Callable[[], Seconds]], *, rounds: int = 3, once_above: float = 20.0
) -> dict[str, Timed]:
    """Each call `rounds` times in turn, or once if it takes `once_above` seconds or more."""
    found: dict[str, Timed] = {name: Timed([]) for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            timed = found[name]
            if timed.runs and timed.longest >= once_above:
                continue
            timed.runs.append(call())
    return found


def whole(call: Callable[[], object]) -> Callable[[], Seconds]:
    """The call, timed from start to end as "seconds"."""

    def timed() -> Seconds:
        started = time.perf_counter()
        call()
        return {"seconds": time.perf_counter() - started}

    return timed
