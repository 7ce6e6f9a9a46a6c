"""Ways of doing one thing, timed in turn: only ratios from one run are compared."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[1]


def alternating(
    ways: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clear: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds of every way, by rounds in which each has its turn; one round warms up.
    `clear` is called before every turn and not timed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            clear()
            times[name].append(timed(run))
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def median_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of several runs' figures, each by itself."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def peak_mib() -> float:
    """The largest resident size of this process so far, as Linux has it; what `getrusage` tells
    counts the parent's memory when the process was made, too."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def apart(module: str, *arguments: object) -> dict[str, Any]:
    """What `python -m benchmarks.MODULE` prints last, a line of JSON: a process of its own has a
    peak of memory of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
