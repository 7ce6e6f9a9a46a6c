"""How far a run is, by what is on the disk and what it has said."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from reliability.processes import LOOK, Command, Process

Sign = Callable[[Path, Path], bool]
"""Whether a phase has begun: of the run's folder, and of the log of what it says."""
STARTING, FINISHED = "starting", "finished"


def there(*names: str) -> Sign:
    """One of these files of a run."""
    return lambda run, _: any((run / name).exists() for name in names)


def said(words: str) -> Sign:
    return lambda _, log: log.exists() and words in log.read_text(encoding="utf-8")


SCORES = there("scores.safetensors.tmp", "scores.safetensors")
STORED: Mapping[str, Sign] = {
    "collecting train": there("train/index.json"),
    "collecting query": there("query/index.json"),
    "collecting curvature": there("curvature/index.json"),
    "scoring": said("gradients of drawn targets"),
    "writing scores": SCORES,
}
WHOLE: Mapping[str, Sign] = STORED | {FINISHED: there("top.jsonl")}
"""The phases of `datainf attribute --no-report`."""
SHOWN: Mapping[str, Sign] = {
    "scoring": STORED["scoring"],
    "writing scores": SCORES,
    "writing the page": there("top.jsonl"),
    FINISHED: there("report.html"),
}
"""Those of `datainf attribute` where the stores are there."""
SCORED: Mapping[str, Sign] = {"writing scores": SCORES, FINISHED: there("scores.parquet")}
"""Those of `datainf score`, which says nothing before the end: scoring is its start."""


def phase_of(signs: Mapping[str, Sign], run: Path, log: Path) -> str:
    """The last that has begun."""
    found = [phase for phase, has_begun in signs.items() if has_begun(run, log)]
    return found[-1] if found else STARTING


def wait_for(
    phase: str, signs: Mapping[str, Sign], run: Path, log: Path, process: Process
) -> None:
    """Until a phase or one after it has begun, or the process has ended."""
    order = [STARTING, *signs]
    while order.index(phase_of(signs, run, log)) < order.index(phase) and process.poll() is None:
        time.sleep(LOOK)


def measured(signs: Mapping[str, Sign], command: Command, run: Path) -> dict[str, float]:
    """The seconds that each phase takes of a run that nobody disturbs."""
    process, began = command.begin(), time.perf_counter()
    seconds, now = dict[str, float](), STARTING
    while process.poll() is None:
        phase, at = phase_of(signs, run, command.log), time.perf_counter()
        if phase != now:
            seconds[now], now, began = at - began, phase, at
        time.sleep(LOOK)
    if process.poll() != 0:
        raise SystemExit(f"the undisturbed run failed:\n{command.log.read_text()}")
    return seconds
